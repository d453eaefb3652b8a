-- Secure Chat's tables in a PostgreSQL database, version 2. schema_from_1.sql makes them of version 1.
--
-- They hold what the SQLite file holds, see ../../../schema.sql, and the servers' runs besides. One more table is in
-- schema_guesses.sql.
-- Names compare by bytes (COLLATE "C"), so that pages of names come in the same order whatever
-- the database's locale is. Times are milliseconds since 1970 (UTC).

-- The server's own values: 'version' of this schema; 'secret', 'epoch', see the SQLite schema;
-- 'certificate': SHA-256 of the one that all servers of this database show; 'successions': what their
-- certificates have announced of each other, and whether the last one is being put in place.
CREATE TABLE server (
    key                 TEXT COLLATE "C" PRIMARY KEY,
    value               BYTEA   NOT NULL
);

-- Each run of a server on this database. A server writes only while its own run has not ended, and
-- another server may end it: the row is the fence, and its lock is the order.
CREATE TABLE runs (
    run                 BIGINT  PRIMARY KEY,
    node                TEXT    NOT NULL,
    -- The version of these tables that its server knows. It has no default, so that a server of version 1,
    -- which names none, can't begin a run.
    version             BIGINT  NOT NULL,
    -- No other server may run at the same time.
    alone               BOOLEAN NOT NULL,
    -- Where it listens for the other servers: an IP address and a port.
    address             TEXT,
    -- The number of the last batch that this run has committed. It tells a server whose connection
    -- broke at a commit whether that was done.
    batch               BIGINT  NOT NULL DEFAULT 0,
    ended               BOOLEAN NOT NULL DEFAULT FALSE
);

-- What a run looks for among the others.
CREATE INDEX live_runs ON runs (run) WHERE NOT ended;

-- Until when a server may act for the users: as long as it renews this. See lease.rs.
CREATE TABLE leases (
    run                 BIGINT  PRIMARY KEY REFERENCES runs (run),
    -- It grows with each renewal.
    renewed             BIGINT  NOT NULL DEFAULT 0,
    -- The lock that the server holds, if its system tells locks apart.
    place               TEXT    NOT NULL
);

-- Which run has an account's mailbox in its memory, or had it last: if that has ended, nobody has it. No
-- foreign keys on purpose: they would lock other rows for each claim, and accounts and runs keep their rows.
CREATE TABLE homes (
    account             BIGINT  PRIMARY KEY,
    run                 BIGINT  NOT NULL,
    -- It grows with each claim. The numbers of the mailbox's messages begin at 2 to the power of 32 times
    -- this.
    claims              BIGINT  NOT NULL,
    -- The user has a visible session there.
    online              BOOLEAN NOT NULL DEFAULT FALSE
);

-- One row per account, for ever: a deleted account keeps its row, emptied, so that nobody inherits
-- the name and with it somebody else's mail.
CREATE TABLE users (
    id                  BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name                TEXT COLLATE "C" NOT NULL UNIQUE,
    created             BIGINT  NOT NULL,
    deleted             BOOLEAN NOT NULL DEFAULT FALSE,
    salt                BYTEA   NOT NULL,
    memory_kib          BIGINT  NOT NULL,
    passes              BIGINT  NOT NULL,
    lanes               BIGINT  NOT NULL,
    login_key           BYTEA   NOT NULL,
    logins              BIGINT  NOT NULL DEFAULT 0,
    last_seen           BIGINT,
    listed              BOOLEAN NOT NULL DEFAULT TRUE,
    presence            BOOLEAN NOT NULL DEFAULT TRUE,
    refuse_unencrypted  BOOLEAN NOT NULL DEFAULT FALSE,
    -- The published identity and signed prekey: all NULL, or none.
    identity_signing    BYTEA,
    identity_dh         BYTEA,
    prekey_id           BIGINT,
    prekey              BYTEA,
    prekey_signature    BYTEA,
    disabled            BOOLEAN NOT NULL DEFAULT FALSE
);

-- What a search reads.
CREATE INDEX listed_names ON users (name) WHERE listed AND NOT deleted;

-- Deleted accounts, whose mail a start looks for.
CREATE INDEX deleted_users ON users (id) WHERE deleted;

-- The greatest generation of an account's vault that a login named.
CREATE TABLE vault_generations (
    account             BIGINT  PRIMARY KEY REFERENCES users (id),
    generation          BIGINT  NOT NULL
);

-- What the client that named it recognises it by.
CREATE TABLE vault_proofs (
    account             BIGINT  PRIMARY KEY REFERENCES users (id),
    proof               BYTEA
);

CREATE TABLE resets (
    account             BIGINT  PRIMARY KEY REFERENCES users (id),
    key                 BYTEA   NOT NULL,
    expires             BIGINT  NOT NULL
);

-- Whom `server import` brought into the folder that was moved here.
CREATE TABLE imported_accounts (
    account             BIGINT  PRIMARY KEY REFERENCES users (id),
    name                TEXT COLLATE "C" NOT NULL UNIQUE,
    only_sender         BOOLEAN NOT NULL,
    verifier            BYTEA
);

-- The ids of the messages that it brought.
CREATE TABLE imported_messages (
    id                  BYTEA   PRIMARY KEY
);

CREATE TABLE invitations (
    id                  BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code                BYTEA   NOT NULL UNIQUE,
    inviter             BIGINT  NOT NULL,
    created             BIGINT  NOT NULL,
    expires             BIGINT  NOT NULL,
    uses                BIGINT  NOT NULL
);

CREATE INDEX invitations_of ON invitations (inviter);

CREATE TABLE bans (
    network             TEXT COLLATE "C" PRIMARY KEY,
    created             BIGINT  NOT NULL
);

CREATE TABLE one_time_prekeys (
    account             BIGINT  NOT NULL REFERENCES users (id),
    id                  BIGINT  NOT NULL,
    key                 BYTEA   NOT NULL,
    PRIMARY KEY (account, id)
);

CREATE TABLE blocks (
    account             BIGINT  NOT NULL REFERENCES users (id),
    blocked             BIGINT  NOT NULL REFERENCES users (id),
    PRIMARY KEY (account, blocked)
);

-- Who blocks somebody, for a name that is given away.
CREATE INDEX blocks_of ON blocks (blocked);

-- Accepted and not yet acknowledged. No foreign key on purpose: it would lock the recipient's row
-- for each message, and accounts keep their rows for ever.
CREATE TABLE mail (
    recipient           BIGINT  NOT NULL,
    number              BIGINT  NOT NULL,
    sender              BIGINT  NOT NULL,
    id                  BYTEA   NOT NULL,
    at                  BIGINT  NOT NULL,
    kind                SMALLINT NOT NULL,
    body                BYTEA   NOT NULL,
    PRIMARY KEY (recipient, number)
);

CREATE TABLE expired (
    recipient           BIGINT  NOT NULL,
    number              BIGINT  NOT NULL,
    sender              BIGINT  NOT NULL,
    id                  BYTEA   NOT NULL,
    at                  BIGINT  NOT NULL,
    told                BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (recipient, number)
);

CREATE INDEX untold ON expired (sender, recipient, number) WHERE NOT told;
