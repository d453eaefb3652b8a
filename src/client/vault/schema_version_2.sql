-- The client's vault, version 2. Columns called `sealed` are encrypted, and bound to
-- all other columns of their row; what is readable without the vault key is ids,
-- times, and how the key is wrapped.

-- The vault key under each secret that opens it. During a change of password two
-- passwords stand here; the server decides which of them logs in.
CREATE TABLE wraps (
    id         INTEGER PRIMARY KEY,
    kind       INTEGER NOT NULL,  -- 1 password, 2 recovery code
    salt       BLOB,              -- Argon2id, for a password
    memory_kib INTEGER,
    passes     INTEGER,
    lanes      INTEGER,
    wrapped    BLOB NOT NULL
) STRICT;

-- Single values: 1 the identity's private halves, 2 the record of this device.
CREATE TABLE state (
    id     INTEGER PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT;

CREATE TABLE contacts (
    id     INTEGER PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT;

-- The ratchets with one contact.
CREATE TABLE conversations (
    contact INTEGER PRIMARY KEY,
    sealed  BLOB NOT NULL
) STRICT;

CREATE TABLE signed_prekeys (
    id      INTEGER PRIMARY KEY,
    created INTEGER NOT NULL,     -- milliseconds since 1970
    sealed  BLOB NOT NULL
) STRICT;

CREATE TABLE one_time_prekeys (
    id     INTEGER PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT;

-- The history, in the order it happened here. No place is used twice, here and
-- among the errands: the outbox remembers by place what has been sent.
CREATE TABLE messages (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    contact INTEGER NOT NULL,
    mid     BLOB NOT NULL,
    at      INTEGER NOT NULL,     -- milliseconds since 1970
    sealed  BLOB NOT NULL
) STRICT;
CREATE INDEX messages_by_contact ON messages (contact, seq);
CREATE INDEX messages_by_mid ON messages (mid);

-- Messages that may not have been shown: a kill can come between taking and showing.
CREATE TABLE unread (
    seq INTEGER PRIMARY KEY
) STRICT;

-- What the client sends by itself: requests to send messages again, and answers
-- to such requests.
CREATE TABLE errands (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    contact INTEGER NOT NULL,
    mid     BLOB NOT NULL,
    at      INTEGER NOT NULL,     -- milliseconds since 1970
    sealed  BLOB NOT NULL
) STRICT;
CREATE INDEX errands_by_mid ON errands (mid);

-- Messages that could not be decrypted and may still be sent again, and how often
-- they were asked for.
CREATE TABLE wanted (
    id      INTEGER PRIMARY KEY,
    contact INTEGER NOT NULL,
    mid     BLOB NOT NULL,
    asked   INTEGER NOT NULL,
    UNIQUE (contact, mid)
) STRICT;

-- Ciphertext that the server has not answered for: sent again with the same
-- bytes after a lost connection. `seq` is the message's or the errand's.
CREATE TABLE outbox (
    seq    INTEGER PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT;

-- Messages not encrypted yet: no session so far, or an identity to be accepted.
CREATE TABLE unsent (
    seq     INTEGER PRIMARY KEY,
    contact INTEGER NOT NULL
) STRICT;

-- Every message ever taken, so that none is taken twice.
CREATE TABLE taken (
    contact INTEGER NOT NULL,
    mid     BLOB NOT NULL,
    PRIMARY KEY (contact, mid)
) STRICT, WITHOUT ROWID;

-- Envelopes that wait for a changed identity to be accepted. `seq` is the message's.
CREATE TABLE held (
    seq     INTEGER PRIMARY KEY,
    contact INTEGER NOT NULL,
    sealed  BLOB NOT NULL
) STRICT;
