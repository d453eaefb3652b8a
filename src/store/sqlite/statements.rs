//! Every statement that a running server gives to SQLite, in one list.
//!
//! Two rules hold for all of them, and a test checks each statement's plan. No statement
//! sorts or copies rows into a temporary table, so that a mailbox of hundreds of megabytes
//! opens in little memory and without a temporary file. No statement looks at all the mail,
//! since that takes time in proportion to it.

macro_rules! statements {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal;)+) => {
        $($(#[doc = $doc])* pub(super) const $name: &str = $text;)+

        /// All statements, by name.
        #[cfg(test)]
        pub(super) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),+];
    };
}

statements! {
    ACCOUNT = "
        SELECT id, salt, memory_kib, passes, lanes, login_key, logins, last_seen,
               listed, presence, refuse_unencrypted, identity_signing, identity_dh, prekey_id, disabled,
               (SELECT verifier FROM imported_accounts WHERE user = users.id)
        FROM users WHERE name = ?1 AND deleted = 0";
    /// Names that were given away begin with `~`, which follows 'z'.
    ACCOUNTS = "
        SELECT id, name, created, deleted, disabled, logins, last_seen,
               identity_signing IS NOT NULL,
               (SELECT expires FROM resets WHERE resets.user = users.id),
               (SELECT verifier IS NOT NULL FROM imported_accounts WHERE user = users.id)
        FROM users WHERE name > ?1 AND name < '{' ORDER BY name LIMIT ?2";
    LISTED_ACCOUNT = "
        SELECT id, name, created, deleted, disabled, logins, last_seen,
               identity_signing IS NOT NULL,
               (SELECT expires FROM resets WHERE resets.user = users.id),
               (SELECT verifier IS NOT NULL FROM imported_accounts WHERE user = users.id)
        FROM users WHERE name = ?1";
    FIND_RESET = "SELECT key, expires FROM resets WHERE user = ?1";
    INVITATIONS = "
        SELECT id, (SELECT name FROM users WHERE users.id = inviter AND deleted = 0),
               code, inviter, created, expires, uses
        FROM invitations WHERE id > ?1 ORDER BY id LIMIT ?2";
    BANS = "SELECT network, created FROM bans ORDER BY network";
    /// This is a range on the index of listed names: '{' follows 'z', the highest character of
    /// a name.
    SEARCH = "
        SELECT name, last_seen, presence AND NOT EXISTS
               (SELECT 1 FROM blocks WHERE blocks.user = users.id AND blocked = ?4), id
        FROM users
        WHERE name >= ?1 AND name < ?1 || '{' AND name > ?2 AND listed = 1 AND deleted = 0
        ORDER BY name LIMIT ?3";
    BLOCKED = "
        SELECT (SELECT name FROM users WHERE users.id = blocks.blocked AND deleted = 0)
        FROM blocks WHERE blocks.user = ?1";
    BLOCKS = "SELECT 1 FROM blocks WHERE user = ?1 AND blocked = ?2";
    /// The length of a body is in the row's header, so bodies are not read.
    SIZES = "SELECT sender, kind, octet_length(body), number FROM mail WHERE recipient = ?1";
    /// Bodies of a kind that is left out are not read.
    PAGE = "
        SELECT number, sender, id, at, kind, iif(kind >= ?4, body, NULL),
               (SELECT name FROM users WHERE users.id = mail.sender)
        FROM mail WHERE recipient = ?1 AND number > ?2 AND number < ?3
        ORDER BY number LIMIT ?5";
    MESSAGE = "
        SELECT number, sender, id, at, kind, body,
               (SELECT name FROM users WHERE users.id = mail.sender)
        FROM mail WHERE recipient = ?1 AND number = ?2";
    PLACE = "SELECT number, sender, id FROM mail WHERE recipient = ?1 AND number = ?2";
    PLACES_AFTER = "
        SELECT number, sender, id FROM mail WHERE recipient = ?1 AND number > ?2
        ORDER BY number LIMIT ?3";

    FIRST_MAIL = "SELECT 1 FROM mail ORDER BY recipient, number LIMIT 1";
    LAST_MAIL = "SELECT 1 FROM mail ORDER BY recipient DESC, number DESC LIMIT 1";

    STORE = "
        INSERT INTO mail (recipient, number, sender, id, at, kind, body)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    ACKNOWLEDGE = "DELETE FROM mail WHERE recipient = ?1 AND number BETWEEN ?2 AND ?3";

    NEXT_MAILBOX = "SELECT recipient FROM mail WHERE recipient > ?1 ORDER BY recipient LIMIT 1";
    MAILBOX_NAME = "SELECT name FROM users WHERE id = ?1 AND deleted = 0";
    /// Of the body of a notice, so that one about expired messages is recognised.
    OLDEST = "
        SELECT number, at, iif(kind = 2, body, NULL) FROM mail WHERE recipient = ?1
        ORDER BY number LIMIT ?2";
    EXPIRING = "
        SELECT sender, iif(kind = 2, body, NULL), (SELECT name FROM users WHERE users.id = mail.sender)
        FROM mail WHERE recipient = ?1 AND number BETWEEN ?2 AND ?3 ORDER BY number";
    EXPIRE = "
        INSERT OR IGNORE INTO expired (recipient, number, sender, id, at)
        SELECT recipient, number, sender, id, ?4 FROM mail
        WHERE recipient = ?1 AND number BETWEEN ?2 AND ?3 AND kind < 2";
    EXPIRED = "SELECT number, sender, id FROM expired WHERE recipient = ?1 AND number = ?2";
    EXPIRED_AFTER = "
        SELECT number, sender, id FROM expired WHERE recipient = ?1 AND number > ?2
        ORDER BY number LIMIT ?3";
    UNTOLD = "
        SELECT recipient, number, id, (SELECT name FROM users WHERE users.id = recipient),
               (SELECT deleted = 0 AND (presence OR users.id = ?1) FROM users WHERE users.id = recipient)
               AND NOT EXISTS (SELECT 1 FROM blocks WHERE user = recipient AND blocked = ?1)
        FROM expired WHERE sender = ?1 AND told = 0 AND (recipient, number) > (?2, ?3)
        ORDER BY recipient, number LIMIT ?4";
    TOLD = "UPDATE expired SET told = 1 WHERE recipient = ?1 AND number = ?2 AND told = 0";
    EXPIRED_END = "
        SELECT recipient, number FROM expired WHERE (recipient, number) > (?1, ?2)
        ORDER BY recipient, number LIMIT 1 OFFSET ?3";
    FORGET_EXPIRED = "
        DELETE FROM expired
        WHERE (recipient, number) > (?1, ?2) AND (recipient, number) <= (?3, ?4)
          AND (at < ?5 OR EXISTS (SELECT 1 FROM users WHERE deleted = 1
                                  AND users.id IN (expired.sender, expired.recipient)))";

    REGISTER = "
        INSERT INTO users (name, created, salt, memory_kib, passes, lanes, login_key)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (name) DO NOTHING";
    COUNT_LOGIN = "UPDATE users SET logins = logins + 1 WHERE id = ?1 RETURNING logins";
    GENERATION = "
        SELECT generation, (SELECT proof FROM vault_proofs WHERE user = ?1)
        FROM vault_generations WHERE user = ?1";
    TELL_GENERATION = "
        INSERT INTO vault_generations (user, generation) VALUES (?1, ?2)
        ON CONFLICT (user) DO UPDATE SET generation = excluded.generation";
    TELL_PROOF = "INSERT OR REPLACE INTO vault_proofs (user, proof) VALUES (?1, ?2)";
    DROP_GENERATION = "DELETE FROM vault_generations WHERE user = ?1";
    DROP_PROOF = "DELETE FROM vault_proofs WHERE user = ?1";
    SEEN = "UPDATE users SET last_seen = ?2 WHERE id = ?1 AND deleted = 0 AND presence";
    FORGET_SEEN = "
        UPDATE users SET last_seen = NULL WHERE id > ?1 AND id <= ?2 AND last_seen < ?3";
    NEWEST_ACCOUNT = "SELECT max(id) FROM users";
    SET_FLAGS = "
        UPDATE users SET listed = ?2, presence = ?3, refuse_unencrypted = ?4,
               last_seen = iif(?3, last_seen, NULL) WHERE id = ?1";
    SET_LOGIN = "
        UPDATE users SET salt = ?2, memory_kib = ?3, passes = ?4, lanes = ?5, login_key = ?6
        WHERE id = ?1 AND login_key = ?7 AND deleted = 0";
    /// A login key of zeros is a low-order point: no signature verifies under it.
    TAKE_LOGIN = "UPDATE users SET login_key = zeroblob(32) WHERE id = ?1 AND deleted = 0";
    SET_RESET = "INSERT OR REPLACE INTO resets (user, key, expires) VALUES (?1, ?2, ?3)";
    FORGET_VERIFIER = "UPDATE imported_accounts SET verifier = NULL WHERE user = ?1";
    USE_VERIFIER = "
        UPDATE imported_accounts SET verifier = NULL WHERE user = ?1 AND verifier = ?2";
    FIND_IMPORTED = "
        SELECT id, users.name, deleted, only_sender, refuse_unencrypted,
               deleted = 0 AND only_sender = 0 AND verifier IS NULL AND login_key = zeroblob(32)
               AND NOT EXISTS (SELECT 1 FROM resets WHERE resets.user = id)
        FROM imported_accounts JOIN users ON id = user WHERE imported_accounts.name = ?1";
    IMPORT_ACCOUNT = "
        INSERT INTO imported_accounts (user, name, only_sender, verifier) VALUES (?1, ?2, ?3, ?4)";
    RESERVE_SENDER = "
        INSERT INTO users (name, created, deleted, salt, memory_kib, passes, lanes, login_key)
        VALUES (?1, ?2, 1, zeroblob(16), 0, 0, 0, zeroblob(32)) ON CONFLICT (name) DO NOTHING";
    /// A name that only senders' messages had reserved becomes an account, or one that a restore has made
    /// gets again what its password is checked against.
    ADMIT_SENDER = "
        UPDATE users SET deleted = 0, created = ?2, salt = ?3, memory_kib = ?4, passes = ?5,
               lanes = ?6 WHERE id = ?1 AND login_key = zeroblob(32)";
    ADMIT_IMPORTED = "
        UPDATE imported_accounts SET only_sender = 0, verifier = ?2 WHERE user = ?1";
    IMPORT_MESSAGE = "INSERT OR IGNORE INTO imported_messages (id) VALUES (?1)";
    IS_IMPORTED = "SELECT 1 FROM imported_messages WHERE id = ?1";
    DROP_RESET = "DELETE FROM resets WHERE user = ?1";
    DISABLE = "UPDATE users SET disabled = ?2 WHERE id = ?1 AND deleted = 0";
    FIND_INVITATION = "SELECT uses, expires FROM invitations WHERE code = ?1";
    USE_INVITATION = "UPDATE invitations SET uses = uses - 1 WHERE code = ?1";
    COUNT_INVITATIONS = "
        SELECT count(*) FROM invitations WHERE inviter = ?1 AND uses > 0 AND expires > ?2";
    INVITE = "
        INSERT INTO invitations (code, inviter, created, expires, uses)
        VALUES (?1, ?2, ?3, ?4, ?5)";
    /// Those that have not worked for a while.
    FORGET_INVITATIONS = "DELETE FROM invitations WHERE inviter = ?1 AND expires < ?2";
    REVOKE = "DELETE FROM invitations WHERE id = ?1";
    DROP_INVITATIONS = "DELETE FROM invitations WHERE inviter = ?1";
    BAN = "INSERT OR IGNORE INTO bans (network, created) VALUES (?1, ?2)";
    LIFT_BAN = "DELETE FROM bans WHERE network = ?1";
    BLOCK = "INSERT OR IGNORE INTO blocks (user, blocked) VALUES (?1, ?2)";
    UNBLOCK = "DELETE FROM blocks WHERE user = ?1 AND blocked = ?2";

    IDENTITY = "SELECT identity_signing, identity_dh FROM users WHERE id = ?1";
    SET_IDENTITY = "
        UPDATE users SET identity_signing = ?2, identity_dh = ?3,
               prekey_id = ?4, prekey = ?5, prekey_signature = ?6 WHERE id = ?1";
    BUNDLE = "
        SELECT identity_signing, identity_dh, prekey_id, prekey, prekey_signature
        FROM users WHERE id = ?1 AND deleted = 0 AND identity_signing IS NOT NULL";
    ADD_PREKEY = "INSERT OR REPLACE INTO one_time_prekeys (user, id, key) VALUES (?1, ?2, ?3)";
    /// All but as many as there is room for.
    DROP_EARLIER_PREKEYS = "
        DELETE FROM one_time_prekeys WHERE user = ?1 AND id <=
            (SELECT id FROM one_time_prekeys WHERE user = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
    CLAIM_PREKEY = "
        DELETE FROM one_time_prekeys WHERE user = ?1 AND id =
            (SELECT min(id) FROM one_time_prekeys WHERE user = ?1)
        RETURNING id, key";
    COUNT_PREKEYS = "SELECT count(*) FROM one_time_prekeys WHERE user = ?1";

    /// A login key of zeros is a low-order point: no signature verifies under it.
    EMPTY_ACCOUNT = "
        UPDATE users SET deleted = 1, disabled = 0, login_key = zeroblob(32), salt = zeroblob(16),
               last_seen = NULL, identity_signing = NULL, identity_dh = NULL,
               prekey_id = NULL, prekey = NULL, prekey_signature = NULL
        WHERE id = ?1 AND login_key = ifnull(?2, login_key) AND deleted = 0";
    DROP_PREKEYS = "DELETE FROM one_time_prekeys WHERE user = ?1";
    /// Who blocked this account keeps a row that names nobody any more.
    DROP_BLOCKS = "DELETE FROM blocks WHERE user = ?1";
    /// The mail of a deleted account goes in slices.
    DROP_MAIL = "
        DELETE FROM mail WHERE recipient = ?1 AND number <= coalesce(
            (SELECT number FROM mail WHERE recipient = ?1 ORDER BY number LIMIT 1 OFFSET ?2),
            9223372036854775807)";
    /// What a name that is given away leaves behind. The row stays, so that its number is never
    /// another account's; no user's name begins with `~`.
    FREE_NAME = "UPDATE users SET name = '~' || id WHERE id = ?1 AND deleted = 1";
    /// Nothing leads to the mail of a sender, or to those who block somebody: a part is looked through.
    TRACES = "
        SELECT recipient, number, sender, kind, octet_length(body) FROM mail
        WHERE (recipient, number) > (?1, ?2) ORDER BY recipient, number LIMIT ?3";
    BLOCKERS = "
        SELECT user, blocked FROM blocks WHERE (user, blocked) > (?1, ?2)
        ORDER BY user, blocked LIMIT ?3";
    DELETED_WITH_MAIL = "
        SELECT id FROM users WHERE deleted = 1
           AND EXISTS (SELECT 1 FROM mail WHERE recipient = users.id)";

    /// What the tables hold about a person: each statement begins with the row's key, in two numbers,
    /// and whether the row is the person's; see `personal_data`.
    OWN_ACCOUNT = "
        SELECT id, 0, 1, id, name, created, deleted, salt, memory_kib, passes, lanes, login_key, logins,
               last_seen, listed, presence, refuse_unencrypted, identity_signing, identity_dh, prekey_id,
               prekey, prekey_signature, disabled
        FROM users WHERE id = ?1 AND id > ?2 LIMIT ?4";
    OWN_GENERATION = "
        SELECT user, 0, 1, (SELECT name FROM users WHERE users.id = user) AS user, generation
        FROM vault_generations WHERE user = ?1 AND user > ?2 LIMIT ?4";
    OWN_PROOF = "
        SELECT user, 0, 1, (SELECT name FROM users WHERE users.id = user) AS user, proof
        FROM vault_proofs WHERE user = ?1 AND user > ?2 LIMIT ?4";
    OWN_RESET = "
        SELECT user, 0, 1, (SELECT name FROM users WHERE users.id = user) AS user, key, expires
        FROM resets WHERE user = ?1 AND user > ?2 LIMIT ?4";
    OWN_IMPORT = "
        SELECT user, 0, 1, (SELECT users.name FROM users WHERE users.id = user) AS user, name,
               only_sender, verifier
        FROM imported_accounts WHERE user = ?1 AND imported_accounts.user > ?2 LIMIT ?4";
    OWN_INVITATIONS = "
        SELECT id, 0, 1, id, code, (SELECT name FROM users WHERE users.id = inviter) AS inviter,
               created, expires, uses
        FROM invitations WHERE inviter = ?1 AND id > ?2 ORDER BY id LIMIT ?4";
    OWN_PREKEYS = "
        SELECT id, 0, 1, (SELECT name FROM users WHERE users.id = user) AS user, id, key
        FROM one_time_prekeys WHERE user = ?1 AND id > ?2 ORDER BY id LIMIT ?4";
    OWN_BLOCKS = "
        SELECT blocked, 0, 1, (SELECT name FROM users WHERE users.id = user) AS user,
               (SELECT name FROM users WHERE users.id = blocked) AS blocked
        FROM blocks WHERE user = ?1 AND blocks.blocked > ?2 ORDER BY blocks.blocked LIMIT ?4";
    OWN_MAILBOX = "
        SELECT number, 0, 1, (SELECT name FROM users WHERE users.id = recipient) AS recipient, number,
               (SELECT name FROM users WHERE users.id = sender) AS sender, id, at,
               CASE kind WHEN 0 THEN 'envelope' WHEN 1 THEN 'unencrypted' ELSE 'notice' END AS kind,
               iif(kind >= 1, body, octet_length(body)) AS body
        FROM mail WHERE recipient = ?1 AND number > ?2 ORDER BY number LIMIT ?4";
    /// Nothing leads to those who block a person, so all blocks are looked through, a part at a time.
    EACH_BLOCK = "
        SELECT user, blocked, blocked = ?1, (SELECT name FROM users WHERE users.id = user) AS user,
               (SELECT name FROM users WHERE users.id = blocked) AS blocked
        FROM blocks WHERE (blocks.user, blocks.blocked) > (?2, ?3)
        ORDER BY blocks.user, blocks.blocked LIMIT ?4";
    /// And for messages that were removed.
    EACH_EXPIRED = "
        SELECT recipient, number, sender = ?1 OR recipient = ?1,
               (SELECT name FROM users WHERE users.id = recipient) AS recipient, number,
               (SELECT name FROM users WHERE users.id = sender) AS sender, id, at, told
        FROM expired WHERE (expired.recipient, expired.number) > (?2, ?3)
        ORDER BY expired.recipient, expired.number LIMIT ?4";
    /// The same holds for the mail of a sender. A person's own mailbox is another section.
    EACH_MESSAGE = "
        SELECT recipient, number, sender = ?1 AND recipient <> ?1,
               (SELECT name FROM users WHERE users.id = recipient) AS recipient, number,
               (SELECT name FROM users WHERE users.id = sender) AS sender, id, at,
               CASE kind WHEN 0 THEN 'envelope' WHEN 1 THEN 'unencrypted' ELSE 'notice' END AS kind,
               iif(kind >= 1, body, octet_length(body)) AS body
        FROM mail WHERE (mail.recipient, mail.number) > (?2, ?3)
        ORDER BY mail.recipient, mail.number LIMIT ?4";

    /// 64 pages are 256 KiB, and take some milliseconds.
    VACUUM = "PRAGMA incremental_vacuum(64)";

    FIND_VALUE = "SELECT value FROM server WHERE key = ?1";
    SET_VALUE = "INSERT OR REPLACE INTO server (key, value) VALUES (?1, ?2)";
    FORGET_VALUE = "DELETE FROM server WHERE key = ?1";
    ANY_ACCOUNT = "SELECT 1 FROM users LIMIT 1";
    /// As in `schema.sql`, for a database that was made without it.
    ADD_GENERATIONS = "
        CREATE TABLE IF NOT EXISTS vault_generations (
            user       INTEGER PRIMARY KEY REFERENCES users (id),
            generation INTEGER NOT NULL
        )";
    ADD_PROOFS = "
        CREATE TABLE IF NOT EXISTS vault_proofs (
            user       INTEGER PRIMARY KEY REFERENCES users (id),
            proof      BLOB
        )";
    ADD_EXPIRED = "
        CREATE TABLE IF NOT EXISTS expired (
            recipient  INTEGER NOT NULL REFERENCES users (id),
            number     INTEGER NOT NULL,
            sender     INTEGER NOT NULL REFERENCES users (id),
            id         BLOB    NOT NULL,
            at         INTEGER NOT NULL,
            told       INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (recipient, number)
        ) WITHOUT ROWID";
    ADD_UNTOLD = "CREATE INDEX IF NOT EXISTS untold ON expired (sender) WHERE told = 0";
    /// The page that all rows of table `server` are in.
    SERVER_PAGE = "SELECT rootpage FROM sqlite_schema WHERE name = 'server'";
    ANY_TABLE = "SELECT 1 FROM sqlite_schema LIMIT 1";
}
