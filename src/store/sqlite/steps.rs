//! How much each statement does, counted: it must not grow with a mailbox or with the store.
//!
//! A plan does not show that: the walk through a mailbox for one id is a search on the primary
//! key, too. SQLite counts the steps of its virtual machine.

use rusqlite::types::Value;
use rusqlite::{Connection, StatementStatus};

use super::open::open;
use super::statements::{
    self, ALL, DELETED_WITH_MAIL, DROP_MAIL, EMPTY_ACCOUNT, PAGE, PLACES_AFTER, SEARCH, SIZES,
    VACUUM,
};

/// What takes time in proportion to something, and why it may.
const GROWS: &[(&str, &str)] = &[
    (
        SIZES,
        "opening a mailbox counts it, once until it leaves memory",
    ),
    (DELETED_WITH_MAIL, "asked once, when the server starts"),
];

/// A store in which everything is there `count` times.
fn store(folder: &std::path::Path, count: i64) -> Connection {
    let path = folder.join(format!("{count}.db"));
    let connection = open(&path).unwrap().connection;
    // Speed, since nothing has to survive.
    connection
        .execute_batch("PRAGMA synchronous = OFF; BEGIN")
        .unwrap();
    let fill = format!(
        "CREATE TEMP TABLE counted AS WITH RECURSIVE c(n) AS
             (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {count}) SELECT n FROM c;
         -- Half are not listed, and a few are deleted.
         INSERT INTO users (name, created, deleted, salt, memory_kib, passes, lanes, login_key,
                            listed)
             SELECT 'user' || n, 0, n % 7 = 6, zeroblob(16), 1, 1, 1, zeroblob(32), n % 2
             FROM counted;
         INSERT INTO blocks SELECT n, 1 FROM counted WHERE n > 1;
         INSERT INTO blocks SELECT 1, n FROM counted WHERE n BETWEEN 2 AND 1000;
         INSERT INTO one_time_prekeys SELECT 1, n, zeroblob(32) FROM counted WHERE n <= 200;
         INSERT INTO one_time_prekeys SELECT n, 1, zeroblob(32) FROM counted WHERE n > 1;
         -- One large mailbox, and many small ones. Nearly all of it are envelopes.
         INSERT INTO mail SELECT 1, n, 2 + n % 3, randomblob(16), 0, n % 100 = 99, zeroblob(50)
             FROM counted;
         INSERT INTO mail SELECT n, 1, 1, randomblob(16), 0, 0, zeroblob(50)
             FROM counted WHERE n > 1;
         -- All of one sender, and told of none.
         INSERT INTO expired SELECT 1, n, 2, randomblob(16), 5, 0 FROM counted;
         INSERT INTO expired SELECT n, 1, 2, randomblob(16), 5, 0 FROM counted WHERE n > 1;
         CREATE TABLE filler AS SELECT randomblob(4000) FROM counted WHERE n <= 1000;
         DROP TABLE filler;
         COMMIT"
    );
    connection.execute_batch(&fill).unwrap();
    connection
}

/// The parameters of a statement, as the server gives them in a bad case.
fn parameters(text: &str, count: i64) -> Vec<Value> {
    let blob = |length| Value::Blob(vec![0; length]);
    let name = |name: &str| Value::Text(name.to_owned());
    let number = Value::Integer;
    match text {
        SEARCH => vec![name("us"), name(""), number(51), number(1)],
        statements::ACCOUNT => vec![name("user7")],
        statements::REGISTER => vec![
            name("somebody"),
            number(0),
            blob(16),
            number(1),
            number(1),
            number(1),
            blob(32),
        ],
        // In the middle of the large mailbox.
        PAGE => [1, count / 2, i64::MAX, 1, 500].map(number).into(),
        PLACES_AFTER => [1, 0, 1000].map(number).into(),
        statements::PLACE | statements::MESSAGE => [1, count / 2].map(number).into(),
        statements::STORE => {
            let [recipient, place, sender, at, kind] = [1, count + 1, 2, 0, 0].map(number);
            vec![recipient, place, sender, blob(16), at, kind, blob(50)]
        }
        statements::OLDEST => [1, 200].map(number).into(),
        statements::EXPIRING | statements::EXPIRE => [1, 1, 200, 0].map(number).into(),
        statements::EXPIRED | statements::TOLD => [1, count / 2].map(number).into(),
        statements::EXPIRED_AFTER => [1, count / 2, 100].map(number).into(),
        statements::UNTOLD => [2, 1, count / 2, 100].map(number).into(),
        statements::EXPIRED_END => [1, count / 2, 99].map(number).into(),
        statements::FORGET_EXPIRED => [1, count / 2, 1, count / 2 + 99, 9].map(number).into(),
        statements::ACKNOWLEDGE => [1, count / 2, count / 2 + 99].map(number).into(),
        DROP_MAIL => [1, 500].map(number).into(),
        statements::DROP_EARLIER_PREKEYS => [1, 100].map(number).into(),
        statements::ADD_PREKEY => vec![number(1), number(201), blob(32)],
        statements::FIND_VALUE | statements::FORGET_VALUE => vec![name("secret")],
        statements::SET_VALUE => vec![name("secret"), blob(32)],
        statements::BLOCK => [1, count].map(number).into(),
        statements::SET_IDENTITY => {
            vec![number(1), blob(32), blob(32), number(1), blob(32), blob(64)]
        }
        statements::SET_LOGIN => vec![
            number(1),
            blob(16),
            number(1),
            number(1),
            number(1),
            blob(32),
            blob(32),
        ],
        statements::ADMIT_SENDER => vec![
            number(1),
            number(0),
            blob(16),
            number(1),
            number(1),
            number(1),
        ],
        statements::ACCOUNTS => vec![name("user"), number(50)],
        statements::LISTED_ACCOUNT => vec![name("user7")],
        statements::OWN_MAILBOX | statements::EACH_BLOCK => {
            [1, count / 2, 0, 100].map(number).into()
        }
        statements::EACH_MESSAGE => [1, 1, count / 2, 100].map(number).into(),
        statements::TRACES | statements::BLOCKERS => [1, count / 2, 100].map(number).into(),
        statements::SET_RESET => vec![number(1), blob(32), number(1)],
        statements::FIND_INVITATION | statements::USE_INVITATION => vec![blob(32)],
        statements::INVITE => {
            let [inviter, created, expires, uses] = [1, 1, 1, 1].map(number);
            vec![blob(31), inviter, created, expires, uses]
        }
        statements::BAN => vec![name("192.0.2.1"), number(1)],
        statements::LIFT_BAN => vec![name("192.0.2.1")],
        EMPTY_ACCOUNT => vec![number(1), blob(32)],
        // Numbers, the first of which is the account with the large mailbox.
        _ => [1, 1, 1, 1].map(number).into(),
    }
}

/// How many steps a statement takes, its rows read to the end. It leaves nothing behind.
fn steps(connection: &Connection, text: &str, count: i64) -> i64 {
    // Pages can be given back only outside of a transaction.
    if text != VACUUM {
        connection.execute_batch("BEGIN").unwrap();
    }
    let mut statement = connection.prepare(text).unwrap();
    let parameters = parameters(text, count);
    for at in 1..=statement.parameter_count() {
        statement
            .raw_bind_parameter(at, &parameters[at - 1])
            .unwrap();
    }
    let mut rows = statement.raw_query();
    while rows.next().unwrap().is_some() {}
    drop(rows);
    let taken = statement.get_status(StatementStatus::VmStep);
    drop(statement);
    if text != VACUUM {
        connection.execute_batch("ROLLBACK").unwrap();
    }
    taken.into()
}

#[test]
fn no_statement_does_more_in_a_larger_store() {
    let folder = tempfile::tempdir().unwrap();
    let (few, many) = (1000, 100_000);
    let [small, large] = [few, many].map(|count| store(folder.path(), count));
    for (name, text) in ALL {
        let (few, many) = (steps(&small, text, few), steps(&large, text, many));
        assert!(few > 0, "{name} did nothing");
        let grows = many > few + few / 10 + 10;
        let may = GROWS.iter().any(|(other, _)| other == text);
        assert_eq!(grows, may, "{name}: {few} steps became {many}");
    }
}
