-- Wrong logins lately, see guesses.rs: of version 2 as well, whose earlier servers do not know it. In each row
-- are those of the names whose hash has its number in the first 20 bits.
CREATE TABLE guesses (
    slot                INTEGER PRIMARY KEY,
    -- When all of them are forgotten, by the database's clock.
    forgiven            BIGINT  NOT NULL
);
