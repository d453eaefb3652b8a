-- Secure Chat's database, version 3.
--
-- All that the server keeps: accounts, public keys, who blocks whom, and mail
-- that waits for its recipient. It holds no key that opens a message, and no
-- password: an envelope is opaque bytes to it.
--
-- `PRAGMA user_version` is the schema's version. A later version of the server
-- migrates step by step from the number it finds; a number it does not know
-- makes it stop, with the file untouched. Times are milliseconds since 1970 (UTC).

-- "SChs": tells `file` and us that this is a server's database of ours.
PRAGMA application_id = 0x53436873;
PRAGMA user_version = 3;

-- One row per account, for ever: a deleted account keeps its row, emptied, so
-- that nobody inherits the name and with it somebody else's mail.
CREATE TABLE users (
    id                  INTEGER PRIMARY KEY,     -- never reused, since no row is deleted
    name                TEXT    NOT NULL UNIQUE, -- canonical: lower case, a-z 0-9 . _ -
    created             INTEGER NOT NULL,
    deleted             INTEGER NOT NULL DEFAULT 0,
    -- How the client derives its keys from the password (Argon2id); public.
    salt                BLOB    NOT NULL,        -- 16 bytes
    memory_kib          INTEGER NOT NULL,
    passes              INTEGER NOT NULL,
    lanes               INTEGER NOT NULL,
    login_key           BLOB    NOT NULL,        -- Ed25519 public key, 32 bytes
    logins              INTEGER NOT NULL DEFAULT 0,
    last_seen           INTEGER,                 -- end of the last visible session
    -- Settings.
    listed              INTEGER NOT NULL DEFAULT 1,
    presence            INTEGER NOT NULL DEFAULT 1,
    refuse_unencrypted  INTEGER NOT NULL DEFAULT 0,
    -- The published identity and signed prekey: all NULL, or none.
    identity_signing    BLOB,                    -- Ed25519, 32 bytes
    identity_dh         BLOB,                    -- X25519, 32 bytes
    prekey_id           INTEGER,
    prekey              BLOB,                    -- X25519, 32 bytes
    prekey_signature    BLOB,                    -- 64 bytes
    -- 1: the operator has disabled the account. It keeps its mail, and cannot log in.
    disabled            INTEGER NOT NULL DEFAULT 0
);

-- The greatest generation of an account's vault that a login named. A server adds the table
-- to a database that was made without it.
CREATE TABLE vault_generations (
    user                INTEGER PRIMARY KEY REFERENCES users (id),
    generation          INTEGER NOT NULL
);

-- What the client that named it recognises it by. A server adds this table, too.
CREATE TABLE vault_proofs (
    user                INTEGER PRIMARY KEY REFERENCES users (id),
    proof               BLOB                     -- 16 bytes
);

-- What a search reads, so that names which it must not find cost it nothing. A server adds it to a
-- database that was made without it.
CREATE INDEX listed_names ON users (name) WHERE listed = 1 AND deleted = 0;

-- Accounts whose password the operator has reset. Until the owner has set another one with the
-- one-time code that they were given, `users.login_key` is zeros, so that no password logs in.
CREATE TABLE resets (
    user                INTEGER PRIMARY KEY REFERENCES users (id),
    key                 BLOB    NOT NULL,        -- Ed25519 public key that the code leads to, 32 bytes
    expires             INTEGER NOT NULL
);

-- Whom `server import` has brought from the Python program before this one. A row stays for ever,
-- so that a second import revives nobody.
CREATE TABLE imported_accounts (
    user                INTEGER PRIMARY KEY REFERENCES users (id),
    name                TEXT    NOT NULL UNIQUE, -- as it was spelled there
    -- 1: it sent messages and had no account there; `users` has it as deleted, so the name is reserved.
    only_sender         INTEGER NOT NULL,
    -- The public key to which Argon2id leads from the hash of the password of then, with the salt and
    -- the cost in `users`; 32 bytes. NULL once the owner has set a password. Until then
    -- `users.login_key` is zeros, so that no password logs in.
    verifier            BLOB
);

-- Messages that `server import` has brought, for ever, so that a second import brings none again.
CREATE TABLE imported_messages (
    id                  BLOB    PRIMARY KEY      -- the ObjectId, 12 bytes
) WITHOUT ROWID;

-- Invitations to make an account. One that is used up or expired stays a while, so that
-- whoever tries it again learns why it does not work.
CREATE TABLE invitations (
    id                  INTEGER PRIMARY KEY,
    code                BLOB    NOT NULL UNIQUE, -- SHA-256 of the code, 32 bytes
    inviter             INTEGER NOT NULL,        -- users.id; 0 for the operator
    created             INTEGER NOT NULL,
    expires             INTEGER NOT NULL,
    uses                INTEGER NOT NULL         -- how many accounts it may still make
);

-- The invitations of one person.
CREATE INDEX invitations_of ON invitations (inviter);

-- Networks from which no connection is taken.
CREATE TABLE bans (
    network             TEXT    PRIMARY KEY,     -- 192.0.2.7, 10.0.0.0/8, 2001:db8::/32
    created             INTEGER NOT NULL
) WITHOUT ROWID;

-- One-time prekeys not handed out yet. Handing one out deletes it.
CREATE TABLE one_time_prekeys (
    user                INTEGER NOT NULL REFERENCES users (id),
    id                  INTEGER NOT NULL,
    key                 BLOB    NOT NULL,        -- X25519, 32 bytes
    PRIMARY KEY (user, id)
) WITHOUT ROWID;

-- Whose messages an account does not want.
CREATE TABLE blocks (
    user                INTEGER NOT NULL REFERENCES users (id),
    blocked             INTEGER NOT NULL REFERENCES users (id),
    PRIMARY KEY (user, blocked)
) WITHOUT ROWID;

-- Accepted and not yet acknowledged. Clustered by mailbox and number, so that
-- storing appends, delivering scans and acknowledging deletes ranges. There is
-- no second index on purpose: one on the id would cost two thirds of the rate
-- of storing and four fifths of the rate of delivering.
CREATE TABLE mail (
    recipient           INTEGER NOT NULL REFERENCES users (id),
    number              INTEGER NOT NULL,        -- the mailbox's own order
    sender              INTEGER NOT NULL,        -- users.id; 0 for the server's notices
    id                  BLOB    NOT NULL,        -- 16 bytes, scoped to the sender
    at                  INTEGER NOT NULL,        -- when it was accepted
    kind                INTEGER NOT NULL,        -- 0 envelope, 1 unencrypted text, 2 notice (JSON)
    body                BLOB    NOT NULL,
    PRIMARY KEY (recipient, number)
) WITHOUT ROWID;

-- What is left of messages that waited longer than the operator keeps mail, for a year: their senders are
-- told, and nobody is told that they were delivered. A server adds this table, too.
CREATE TABLE expired (
    recipient           INTEGER NOT NULL REFERENCES users (id),
    number              INTEGER NOT NULL,        -- as in `mail`
    sender              INTEGER NOT NULL REFERENCES users (id),
    id                  BLOB    NOT NULL,        -- 16 bytes
    at                  INTEGER NOT NULL,        -- when it was removed
    told                INTEGER NOT NULL DEFAULT 0, -- 1: the sender has been sent a notice
    PRIMARY KEY (recipient, number)
) WITHOUT ROWID;

-- Of which messages a sender is still to be told.
CREATE INDEX untold ON expired (sender) WHERE told = 0;

-- The server's own values.
CREATE TABLE server (
    key                 TEXT    PRIMARY KEY,     -- 'secret': 32 random bytes behind the stable
                                                 -- fake answers about users that don't exist;
                                                 -- 'begun': a server has served with this file;
                                                 -- 'generation': which start of a server this is,
                                                 -- and which write-ahead log of it;
                                                 -- 'erased': something was erased, and the
                                                 -- file is still to be written anew;
                                                 -- 'epoch': 16 random bytes of the last restore;
                                                 -- 'runs': how many servers have, 8 bytes, big-endian;
                                                 -- 'successions': what the server's certificates have
                                                 -- announced of each other, JSON
    value               BLOB    NOT NULL
) WITHOUT ROWID;
