//! Every statement that a running server gives to PostgreSQL, in one list.
//!
//! They mirror those of [`sqlite`](crate::store::sqlite). A batch's messages go in one statement,
//! and so do its acknowledgements: the driver sends one statement after the other, and waits for
//! each answer.

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
               (SELECT count(*) FROM one_time_prekeys WHERE account = users.id),
               (SELECT verifier FROM imported_accounts WHERE account = users.id)
        FROM users WHERE name = $1 AND NOT deleted";
    /// Names that were given away begin with `~`, which follows 'z'.
    ACCOUNTS = "
        SELECT id, name, created, deleted, disabled, logins, last_seen,
               identity_signing IS NOT NULL,
               (SELECT expires FROM resets WHERE account = users.id),
               (SELECT verifier IS NOT NULL FROM imported_accounts WHERE account = users.id)
        FROM users WHERE name > $1 AND name < '{' ORDER BY name LIMIT $2";
    LISTED_ACCOUNT = "
        SELECT id, name, created, deleted, disabled, logins, last_seen,
               identity_signing IS NOT NULL,
               (SELECT expires FROM resets WHERE account = users.id),
               (SELECT verifier IS NOT NULL FROM imported_accounts WHERE account = users.id)
        FROM users WHERE name = $1";
    FIND_RESET = "SELECT key, expires FROM resets WHERE account = $1";
    INVITATIONS = "
        SELECT id, (SELECT name FROM users WHERE users.id = inviter AND NOT deleted),
               code, inviter, created, expires, uses
        FROM invitations WHERE id > $1 ORDER BY id LIMIT $2";
    /// One more, unless the most are remembered; $2 is the time in which one is forgotten. The setting is of this
    /// statement alone.
    COUNT_GUESS = "
        INSERT INTO guesses AS known (slot, forgiven)
        SELECT get_byte(hash, 0) * 4096 + get_byte(hash, 1) * 16 + get_byte(hash, 2) / 16, now + $2
        FROM (SELECT sha256(convert_to($1, 'UTF8')) AS hash,
                     floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now,
                     set_config('synchronous_commit', 'off', TRUE)) AS guess
        ON CONFLICT (slot) DO UPDATE
        SET forgiven = least(greatest(known.forgiven + $2, excluded.forgiven),
                             excluded.forgiven + $2 * ($3::bigint - 1))
        RETURNING greatest(1, ceil((forgiven - extract(epoch FROM clock_timestamp()) * 1000) / $2))::bigint";
    /// It looks at the whole table, which is bounded, once a minute.
    FORGET_GUESSES = "
        DELETE FROM guesses
        USING (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now,
                      set_config('synchronous_commit', 'off', TRUE)) AS clock
        WHERE forgiven <= now";
    BANS = "SELECT network, created FROM bans ORDER BY network";
    /// This is a range on the index of listed names: '{' follows 'z', the highest character of
    /// a name.
    SEARCH = "
        SELECT name, last_seen, presence AND NOT EXISTS
               (SELECT 1 FROM blocks WHERE account = users.id AND blocked = $4), id
        FROM users
        WHERE name >= $1 AND name < $1 || '{' AND name > $2 AND listed AND NOT deleted
        ORDER BY name LIMIT $3";
    BLOCKED = "
        SELECT name FROM blocks JOIN users ON users.id = blocked
        WHERE account = $1 AND NOT deleted ORDER BY name";
    BLOCKS = "SELECT 1 FROM blocks WHERE account = $1 AND blocked = $2";
    /// The length of a body that lies out of line is known without reading it.
    SIZES = "
        SELECT sender, kind, count(*), sum(octet_length(body))::bigint, min(number), max(number)
        FROM mail WHERE recipient = $1 GROUP BY sender, kind";
    /// Rows until enough messages, or bytes of their bodies, have come before. Bodies of a kind
    /// that is left out are not read.
    PAGE = "
        SELECT number, sender, id, at, kind, CASE WHEN wanted THEN body END,
               (SELECT name FROM users WHERE users.id = looked.sender)
        FROM (SELECT number, sender, id, at, kind, body, kind >= $4 AS wanted,
                     count(*) FILTER (WHERE kind >= $4) OVER before AS messages,
                     coalesce(sum(octet_length(body)) FILTER (WHERE kind >= $4) OVER before, 0) AS bytes
              FROM (SELECT * FROM mail WHERE recipient = $1 AND number > $2 AND number < $3
                    ORDER BY number LIMIT $5) AS rows
              WINDOW before AS (ORDER BY number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
             ) AS looked
        WHERE messages < $6 AND bytes < $7 ORDER BY number";
    MESSAGE = "
        SELECT number, sender, id, at, kind, body,
               (SELECT name FROM users WHERE users.id = mail.sender)
        FROM mail WHERE recipient = $1 AND number = $2";
    PLACES = "
        SELECT mail.number, sender, id
        FROM unnest($2::bigint[]) WITH ORDINALITY AS asked (number, position)
        JOIN mail ON mail.recipient = $1 AND mail.number = asked.number ORDER BY position";
    PLACES_AFTER = "
        SELECT number, sender, id FROM mail WHERE recipient = $1 AND number > $2
        ORDER BY number LIMIT $3";

    STORE = "
        INSERT INTO mail (recipient, number, sender, id, at, kind, body)
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bigint[],
                             $6::smallint[], $7::bytea[])";
    /// The places are looked up range by range, whatever the planner thinks of the tables' sizes.
    ACKNOWLEDGE = "
        DELETE FROM mail WHERE ctid = ANY (ARRAY(
            SELECT found.ctid
            FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])
                 AS acknowledged (recipient, first, last)
            CROSS JOIN LATERAL
                (SELECT ctid FROM mail WHERE mail.recipient = acknowledged.recipient
                        AND number BETWEEN first AND last OFFSET 0) AS found))";

    REGISTER = "
        INSERT INTO users (name, created, salt, memory_kib, passes, lanes, login_key)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name) DO NOTHING RETURNING id";
    COUNT_LOGIN = "UPDATE users SET logins = logins + 1 WHERE id = $1 RETURNING logins";
    GENERATION = "
        SELECT generation, (SELECT proof FROM vault_proofs WHERE account = $1)
        FROM vault_generations WHERE account = $1 FOR UPDATE";
    TELL_GENERATION = "
        INSERT INTO vault_generations (account, generation) VALUES ($1, $2)
        ON CONFLICT (account) DO UPDATE SET generation = excluded.generation";
    TELL_PROOF = "
        INSERT INTO vault_proofs (account, proof) VALUES ($1, $2)
        ON CONFLICT (account) DO UPDATE SET proof = excluded.proof";
    DROP_GENERATION = "DELETE FROM vault_generations WHERE account = $1";
    DROP_PROOF = "DELETE FROM vault_proofs WHERE account = $1";
    SEEN = "UPDATE users SET last_seen = $2 WHERE id = $1 AND NOT deleted AND presence";
    FORGET_SEEN = "
        UPDATE users SET last_seen = NULL WHERE id > $1 AND id <= $2 AND last_seen < $3";
    NEWEST_ACCOUNT = "SELECT max(id) FROM users";
    SET_FLAGS = "
        UPDATE users SET listed = $2, presence = $3, refuse_unencrypted = $4,
               last_seen = CASE WHEN $3 THEN last_seen END WHERE id = $1";
    SET_LOGIN = "
        UPDATE users SET salt = $2, memory_kib = $3, passes = $4, lanes = $5, login_key = $6
        WHERE id = $1 AND login_key = $7 AND NOT deleted";
    /// A login key of zeros is a low-order point: no signature verifies under it.
    TAKE_LOGIN = "
        UPDATE users SET login_key = decode(repeat('00', 32), 'hex') WHERE id = $1 AND NOT deleted";
    SET_RESET = "
        INSERT INTO resets (account, key, expires) VALUES ($1, $2, $3)
        ON CONFLICT (account) DO UPDATE SET key = excluded.key, expires = excluded.expires";
    DROP_RESET = "DELETE FROM resets WHERE account = $1";
    FORGET_VERIFIER = "UPDATE imported_accounts SET verifier = NULL WHERE account = $1";
    USE_VERIFIER = "
        UPDATE imported_accounts SET verifier = NULL WHERE account = $1 AND verifier = $2";
    DISABLE = "UPDATE users SET disabled = $2 WHERE id = $1 AND NOT deleted";
    FIND_INVITATION = "SELECT uses, expires FROM invitations WHERE code = $1 FOR UPDATE";
    USE_INVITATION = "UPDATE invitations SET uses = uses - 1 WHERE code = $1";
    COUNT_INVITATIONS = "
        SELECT count(*) FROM invitations WHERE inviter = $1 AND uses > 0 AND expires > $2";
    INVITE = "
        INSERT INTO invitations (code, inviter, created, expires, uses)
        VALUES ($1, $2, $3, $4, $5) RETURNING id";
    /// Those that have not worked for a while.
    FORGET_INVITATIONS = "DELETE FROM invitations WHERE inviter = $1 AND expires < $2";
    REVOKE = "DELETE FROM invitations WHERE id = $1";
    DROP_INVITATIONS = "DELETE FROM invitations WHERE inviter = $1";
    BAN = "INSERT INTO bans (network, created) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    LIFT_BAN = "DELETE FROM bans WHERE network = $1";
    BLOCK = "INSERT INTO blocks (account, blocked) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    UNBLOCK = "DELETE FROM blocks WHERE account = $1 AND blocked = $2";

    IDENTITY = "SELECT identity_signing, identity_dh FROM users WHERE id = $1 FOR UPDATE";
    SET_IDENTITY = "
        UPDATE users SET identity_signing = $2, identity_dh = $3,
               prekey_id = $4, prekey = $5, prekey_signature = $6 WHERE id = $1";
    BUNDLE = "
        SELECT identity_signing, identity_dh, prekey_id, prekey, prekey_signature
        FROM users WHERE id = $1 AND NOT deleted AND identity_signing IS NOT NULL";
    ADD_PREKEYS = "
        INSERT INTO one_time_prekeys (account, id, key)
        SELECT DISTINCT ON (id) $1::bigint, id, key
        FROM unnest($2::bigint[], $3::bytea[]) WITH ORDINALITY AS added (id, key, position)
        ORDER BY id, position DESC
        ON CONFLICT (account, id) DO UPDATE SET key = excluded.key";
    /// All but as many as there is room for.
    DROP_EARLIER_PREKEYS = "
        DELETE FROM one_time_prekeys WHERE account = $1 AND id <=
            (SELECT id FROM one_time_prekeys WHERE account = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)";
    CLAIM_PREKEY = "
        DELETE FROM one_time_prekeys WHERE account = $1 AND id =
            (SELECT id FROM one_time_prekeys WHERE account = $1 ORDER BY id LIMIT 1
             FOR UPDATE SKIP LOCKED)
        RETURNING id, key";
    COUNT_PREKEYS = "SELECT count(*) FROM one_time_prekeys WHERE account = $1";

    NEXT_MAILBOX = "SELECT recipient FROM mail WHERE recipient > $1 ORDER BY recipient LIMIT 1";
    MAILBOX_NAME = "SELECT name FROM users WHERE id = $1 AND NOT deleted";
    OLDEST = "
        SELECT number, at, CASE WHEN kind = 2 THEN body END FROM mail WHERE recipient = $1
        ORDER BY number LIMIT $2";
    EXPIRING = "
        SELECT sender, CASE WHEN kind = 2 THEN body END,
               (SELECT name FROM users WHERE users.id = mail.sender)
        FROM mail WHERE recipient = $1 AND number BETWEEN $2 AND $3 ORDER BY number";
    EXPIRE = "
        INSERT INTO expired (recipient, number, sender, id, at)
        SELECT recipient, number, sender, id, $4 FROM mail
        WHERE recipient = $1 AND number BETWEEN $2 AND $3 AND kind < 2 ON CONFLICT DO NOTHING";
    EXPIRED = "
        SELECT number, sender, id FROM expired WHERE recipient = $1 AND number = ANY($2)";
    EXPIRED_AFTER = "
        SELECT number, sender, id FROM expired WHERE recipient = $1 AND number > $2
        ORDER BY number LIMIT $3";
    UNTOLD = "
        SELECT recipient, number, id, (SELECT name FROM users WHERE users.id = recipient),
               coalesce((SELECT NOT deleted AND (presence OR users.id = $1) FROM users
                         WHERE users.id = recipient), FALSE)
               AND NOT EXISTS (SELECT 1 FROM blocks WHERE account = recipient AND blocked = $1)
        FROM expired WHERE sender = $1 AND NOT told AND (recipient, number) > ($2, $3)
        ORDER BY recipient, number LIMIT $4";
    TOLD = "
        UPDATE expired SET told = TRUE WHERE recipient = $1 AND number = $2 AND NOT told";
    EXPIRED_END = "
        SELECT recipient, number FROM expired WHERE (recipient, number) > ($1, $2)
        ORDER BY recipient, number LIMIT 1 OFFSET $3";
    FORGET_EXPIRED = "
        DELETE FROM expired
        WHERE (recipient, number) > ($1, $2) AND (recipient, number) <= ($3, $4)
          AND (at < $5 OR EXISTS (SELECT 1 FROM users WHERE deleted
                                  AND users.id IN (expired.sender, expired.recipient)))";

    /// A login key of zeros is a low-order point: no signature verifies under it.
    EMPTY_ACCOUNT = "
        UPDATE users SET deleted = TRUE, disabled = FALSE,
               login_key = decode(repeat('00', 32), 'hex'), salt = decode(repeat('00', 16), 'hex'),
               last_seen = NULL, identity_signing = NULL, identity_dh = NULL,
               prekey_id = NULL, prekey = NULL, prekey_signature = NULL
        WHERE id = $1 AND login_key = coalesce($2, login_key) AND NOT deleted";
    DROP_PREKEYS = "DELETE FROM one_time_prekeys WHERE account = $1";
    /// Who blocked this account keeps a row that names nobody any more.
    DROP_BLOCKS = "DELETE FROM blocks WHERE account = $1";
    /// The mail of a deleted account goes in slices.
    DROP_MAIL = "
        DELETE FROM mail WHERE recipient = $1 AND number <= coalesce(
            (SELECT number FROM mail WHERE recipient = $1 ORDER BY number LIMIT 1 OFFSET $2),
            9223372036854775807)";
    /// What a name that is given away leaves behind. The row stays, so that its number is never
    /// another account's; no user's name begins with `~`.
    FREE_NAME = "UPDATE users SET name = '~' || id WHERE id = $1 AND deleted";
    /// Nothing leads to the mail of a sender, or to those who block somebody: a part is looked through.
    TRACES = "
        SELECT recipient, number, sender, kind, octet_length(body) FROM mail
        WHERE (recipient, number) > ($1, $2) ORDER BY recipient, number LIMIT $3";
    BLOCKERS = "
        SELECT account, blocked FROM blocks WHERE (account, blocked) > ($1, $2)
        ORDER BY account, blocked LIMIT $3";
    DELETED_WITH_MAIL = "
        SELECT id FROM users WHERE deleted
           AND EXISTS (SELECT 1 FROM mail WHERE recipient = users.id)";

    /// What the tables hold about a person: each statement begins with the row's key, in two numbers,
    /// and whether the row is the person's; see `personal_data`. A column `account`, so named because
    /// `user` is a word of SQL, is shown as the SQLite store shows it.
    OWN_ACCOUNT = "
        SELECT id, 0::bigint, TRUE, id, name, created, deleted, salt, memory_kib, passes, lanes,
               login_key, logins, last_seen, listed, presence, refuse_unencrypted, identity_signing,
               identity_dh, prekey_id, prekey, prekey_signature, disabled
        FROM users WHERE id = $1 AND id > $2 LIMIT $3";
    OWN_GENERATION = "
        SELECT account, 0::bigint, TRUE, (SELECT name FROM users WHERE id = account) AS \"user\",
               generation
        FROM vault_generations WHERE account = $1 AND account > $2 LIMIT $3";
    OWN_PROOF = "
        SELECT account, 0::bigint, TRUE, (SELECT name FROM users WHERE id = account) AS \"user\", proof
        FROM vault_proofs WHERE account = $1 AND account > $2 LIMIT $3";
    OWN_RESET = "
        SELECT account, 0::bigint, TRUE, (SELECT name FROM users WHERE id = account) AS \"user\", key,
               expires
        FROM resets WHERE account = $1 AND account > $2 LIMIT $3";
    OWN_IMPORT = "
        SELECT account, 0::bigint, TRUE, (SELECT name FROM users WHERE id = account) AS \"user\", name,
               only_sender, verifier
        FROM imported_accounts WHERE account = $1 AND account > $2 LIMIT $3";
    OWN_INVITATIONS = "
        SELECT id, 0::bigint, TRUE, id, code,
               (SELECT name FROM users WHERE users.id = inviter) AS inviter, created, expires, uses
        FROM invitations WHERE inviter = $1 AND id > $2 ORDER BY id LIMIT $3";
    OWN_PREKEYS = "
        SELECT id, 0::bigint, TRUE, (SELECT name FROM users WHERE users.id = account) AS \"user\", id,
               key
        FROM one_time_prekeys WHERE account = $1 AND id > $2 ORDER BY id LIMIT $3";
    OWN_BLOCKS = "
        SELECT blocked, 0::bigint, TRUE, (SELECT name FROM users WHERE id = account) AS \"user\",
               (SELECT name FROM users WHERE id = blocks.blocked) AS blocked
        FROM blocks WHERE account = $1 AND blocked > $2 ORDER BY blocks.blocked LIMIT $3";
    OWN_HOME = "
        SELECT account, 0::bigint, TRUE, (SELECT name FROM users WHERE id = account) AS \"user\", run,
               claims, online
        FROM homes WHERE account = $1 AND account > $2 LIMIT $3";
    OWN_MAILBOX = "
        SELECT number, 0::bigint, TRUE, (SELECT name FROM users WHERE users.id = recipient) AS recipient,
               number, (SELECT name FROM users WHERE users.id = sender) AS sender, mail.id, at,
               CASE kind WHEN 0 THEN 'envelope' WHEN 1 THEN 'unencrypted' ELSE 'notice' END AS kind,
               CASE WHEN kind >= 1 THEN body END AS body, octet_length(body) AS size
        FROM mail WHERE recipient = $1 AND number > $2 ORDER BY number LIMIT $3";
    /// Of all blocks, a part at a time.
    EACH_BLOCK = "
        SELECT account, blocked, blocked = $1, (SELECT name FROM users WHERE id = account) AS \"user\",
               (SELECT name FROM users WHERE id = blocks.blocked) AS blocked
        FROM blocks WHERE (blocks.account, blocks.blocked) > ($2, $3)
        ORDER BY blocks.account, blocks.blocked LIMIT $4";
    EACH_EXPIRED = "
        SELECT recipient, number, sender = $1 OR recipient = $1,
               (SELECT name FROM users WHERE users.id = recipient) AS recipient, number,
               (SELECT name FROM users WHERE users.id = sender) AS sender, expired.id, at, told
        FROM expired WHERE (expired.recipient, expired.number) > ($2, $3)
        ORDER BY expired.recipient, expired.number LIMIT $4";
    /// Nothing leads to the mail of a sender, so all mail is looked through, a part at a time. A
    /// person's own mailbox is another section.
    EACH_MESSAGE = "
        SELECT recipient, number, sender = $1 AND recipient <> $1,
               (SELECT name FROM users WHERE users.id = recipient) AS recipient, number,
               (SELECT name FROM users WHERE users.id = sender) AS sender, mail.id, at,
               CASE kind WHEN 0 THEN 'envelope' WHEN 1 THEN 'unencrypted' ELSE 'notice' END AS kind,
               CASE WHEN kind >= 1 THEN body END AS body, octet_length(body) AS size
        FROM mail WHERE (mail.recipient, mail.number) > ($2, $3)
        ORDER BY mail.recipient, mail.number LIMIT $4";

    FIND_VALUE = "SELECT value FROM server WHERE key = $1";
    LOCK_VALUE = "SELECT key FROM server WHERE key = $1 FOR UPDATE";
    ADD_VALUE = "INSERT INTO server (key, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    SET_VALUE = "
        INSERT INTO server (key, value) VALUES ($1, $2)
        ON CONFLICT (key) DO UPDATE SET value = excluded.value";

    BEGIN_RUN = "
        INSERT INTO runs (run, node, version, alone)
        SELECT coalesce(max(run), 0) + 1, $1, $2, $3 FROM runs RETURNING run";
    SKIP_RUNS = "
        INSERT INTO runs (run, node, version, alone, ended)
        VALUES ($1, 'the servers of the file before', 0, TRUE, TRUE) ON CONFLICT DO NOTHING";
    /// No row if another server has ended this run.
    NUMBER_BATCH = "UPDATE runs SET batch = $2 WHERE run = $1 AND NOT ended";
    /// Waits for a commit of this run that is under way on a connection that broke. It writes, so that its
    /// own commit waits until the synchronous standby has all that came before it.
    LAST_BATCH = "UPDATE runs SET batch = batch WHERE run = $1 RETURNING batch";
    /// Until the end of the transaction.
    LOCK_STARTS = "SELECT pg_advisory_xact_lock($1)";
    /// Of the tables of version 1.
    OLD_RUNS = "
        SELECT leases.run, FALSE, node, TRUE, NULL::text, renewed, place
        FROM leases JOIN runs ON runs.run = leases.run ORDER BY leases.run";
    /// Those that have not ended, and those begun behind this one.
    RUNS = "
        SELECT runs.run, ended, node, alone, address, renewed, place
        FROM runs LEFT JOIN leases ON leases.run = runs.run
        WHERE NOT ended OR runs.run > $1 ORDER BY runs.run";
    ANNOUNCE = "UPDATE runs SET address = $2 WHERE run = $1 AND NOT ended";
    TAKE_LEASE = "INSERT INTO leases (run, place) VALUES ($1, $2)";
    /// No row if another server has ended it.
    RENEW_LEASE = "UPDATE leases SET renewed = renewed + 1 WHERE run = $1";
    /// Ends a run unless its lease was renewed beyond this. Waits for its server if that commits at this
    /// moment, since it holds the run's row.
    END_RUN = "
        WITH gone AS (DELETE FROM leases WHERE run = $1 AND renewed = $2 RETURNING run)
        UPDATE runs SET ended = TRUE FROM gone WHERE runs.run = gone.run";
    END_RUN_WITHOUT_LEASE = "
        UPDATE runs SET ended = TRUE
        WHERE run = $1 AND NOT EXISTS (SELECT 1 FROM leases WHERE leases.run = runs.run)";
    END_OWN_RUN = "
        WITH gone AS (DELETE FROM leases WHERE run = $1)
        UPDATE runs SET ended = TRUE WHERE run = $1";

    /// The first claim's number is above those of all runs before, see schema.sql. No row if a run that
    /// has not ended has the mailbox.
    CLAIM_HOME = "
        INSERT INTO homes (account, run, claims) VALUES ($1, $2, $2::bigint << 8)
        ON CONFLICT (account) DO UPDATE
        SET run = $2, claims = homes.claims + 1, online = FALSE
        WHERE homes.run = $2 OR (SELECT ended FROM runs WHERE runs.run = homes.run)
        RETURNING claims";
    HOLDER = "SELECT run FROM homes WHERE account = $1";
    MOVE_HOME = "
        UPDATE homes SET run = $3, online = FALSE WHERE account = $1 AND run = $2
        AND EXISTS (SELECT 1 FROM runs WHERE runs.run = $3 AND NOT ended)";
    SET_ONLINE = "UPDATE homes SET online = $3 WHERE account = $1 AND run = $2";
    HOME = "
        SELECT homes.run FROM homes JOIN runs ON runs.run = homes.run
        WHERE account = $1 AND homes.run <> $2 AND NOT ended";
    ONLINE = "
        SELECT account FROM unnest($1::bigint[]) AS asked (id)
        JOIN homes ON account = asked.id JOIN runs ON runs.run = homes.run
        WHERE online AND homes.run <> $2 AND NOT ended";
}
