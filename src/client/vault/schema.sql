-- The client's vault, version 3. A table holds values under numbers; what a value says,
-- and how it is protected, is in `table.rs`. Without the vault key only numbers, sizes
-- and the way the key is wrapped can be read.

-- What authenticates all rows of all tables: see `rows.rs`.
CREATE TABLE root (
    id          INTEGER PRIMARY KEY,  -- always 1
    generation  INTEGER NOT NULL,     -- how many transactions there were
    last_number INTEGER NOT NULL,     -- the last place of a message or control message
    mac         BLOB NOT NULL
) STRICT;

-- The vault key under each secret that opens it. During a change of password two
-- passwords stand here; the server decides which of them logs in.
CREATE TABLE key_slots (
    id         INTEGER PRIMARY KEY,
    kind       INTEGER NOT NULL,  -- 1 password, 2 recovery code
    salt       BLOB,              -- Argon2id, for a password
    memory_kib INTEGER,
    passes     INTEGER,
    lanes      INTEGER,
    wrapped    BLOB NOT NULL
) STRICT;

-- Single values: 1 the identity's private halves, 2 the record of this device,
-- 3 the key under which ids are filed, 4 the account's name, 5 notes on key slots.
CREATE TABLE state (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;

CREATE TABLE contacts (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;

-- The ratchet sessions with a contact, by the contact's number.
CREATE TABLE sessions (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;

CREATE TABLE signed_prekeys (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;

CREATE TABLE one_time_prekeys (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;

-- The history, in the order it happened here. A number is used once, here and among the
-- control messages, because the outbox tells by it what has been sent.
CREATE TABLE messages (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;

-- Which rows `messages` has, 32 to a chunk: the end of each row's MAC, its contact, and
-- the beginning of its id.
CREATE TABLE message_chunks (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;

-- The ids of all messages, filed under a keyed hash: whether one was received before, so
-- that none is taken twice, and the number of its message.
CREATE TABLE seen_ids (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;

-- Messages that may not have been shown, by number: a kill can come between taking and
-- showing.
CREATE TABLE unread (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;

-- What the client sends by itself: requests to send messages again, and answers to
-- such requests.
CREATE TABLE control_messages (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;

-- By contact: messages that could not be decrypted and may still be sent again, and how
-- often they were asked for.
CREATE TABLE wanted (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;

-- Ciphertext that the server has not answered for: sent again with the same bytes after a
-- lost connection. The number is that of the message or control message.
CREATE TABLE outbox (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;

-- Messages and control messages not encrypted yet, by number: no session so far, or an
-- identity to be accepted.
CREATE TABLE unsent (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;

-- Envelopes that wait for a changed identity to be accepted, by the message's number.
CREATE TABLE waiting_envelopes (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;
