-- Makes the tables of version 2 of those of version 1, see schema.sql. No server of version 1 runs any more.
UPDATE runs SET ended = TRUE WHERE NOT ended;
DELETE FROM leases;

ALTER TABLE runs ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE runs ALTER COLUMN version DROP DEFAULT;
ALTER TABLE runs ADD COLUMN alone BOOLEAN NOT NULL DEFAULT TRUE;
ALTER TABLE runs ALTER COLUMN alone DROP DEFAULT;
ALTER TABLE runs ADD COLUMN address TEXT;
CREATE INDEX live_runs ON runs (run) WHERE NOT ended;

CREATE TABLE homes (
    account             BIGINT  PRIMARY KEY,
    run                 BIGINT  NOT NULL,
    claims              BIGINT  NOT NULL,
    online              BOOLEAN NOT NULL DEFAULT FALSE
);
