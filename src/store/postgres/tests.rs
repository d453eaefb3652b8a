//! The contract on PostgreSQL, and what this store promises besides. They need PostgreSQL, 15 or
//! later, and start one with `scripts/postgres.sh` unless `SECURE_CHAT_TEST_POSTGRES` names one.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::protocol::request::Sender;
use crate::store::conformance::{Scene, contract, delete, new_account};
use crate::store::personal_data::NOT_PERSONAL;

/// A database of its own.
pub(super) struct Fixture {
    pub(super) store: Postgres,
    pub(super) address: String,
}

/// Where the tests' database server is: the one of `SECURE_CHAT_TEST_POSTGRES`, or one of this process.
fn server() -> String {
    static STARTED: OnceLock<(String, Child)> = OnceLock::new();
    if let Ok(given) = std::env::var("SECURE_CHAT_TEST_POSTGRES") {
        return given;
    }
    let (address, _) = STARTED.get_or_init(|| {
        // `cat` ends when this process does, and the database with it.
        let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres.sh"))
            .args(["sh", "-c", "echo $SECURE_CHAT_TEST_POSTGRES; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let said = script.stdout.take().unwrap();
        BufReader::new(said).read_line(&mut address).unwrap();
        assert!(address.starts_with("postgres://"), "it needs PostgreSQL");
        (address.trim_end().to_owned(), script)
    });
    address.clone()
}

/// Runs statements that are no business of the store.
pub(super) fn administer(address: &str, sql: &str) {
    let parameters: StoreAddress = address.parse().unwrap();
    let mut client = Connector::new(&parameters).unwrap().connect().unwrap();
    client.run(sql).unwrap();
}

fn open(address: &str) -> Result<Postgres, OpenError> {
    // As if each were a start in the same folder.
    open_as(address, "test", "folder")
}

/// Opens it for a server of this name that holds this lock.
pub(super) fn open_as(address: &str, node: &str, place: &str) -> Result<Postgres, OpenError> {
    let candidate = Candidate {
        node,
        place,
        alone: false,
        standbys: 2,
    };
    Postgres::open(&address.parse().unwrap(), candidate)
}

/// The address of an empty database.
pub(super) fn database() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("test_{}_{number}", std::process::id());
    administer(&server(), &format!("CREATE DATABASE {name}"));
    server().replace("/postgres?", &format!("/{name}?"))
}

impl Fixture {
    pub(super) fn new() -> Self {
        let address = database();
        Fixture {
            store: open(&address).unwrap(),
            address,
        }
    }

    /// Ends all other connections, as a database that is restarted does.
    fn cut(&self) {
        administer(
            &self.address,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
    }
}

impl Scene for Fixture {
    fn store(&self) -> &dyn Store {
        &self.store
    }
}

contract!(Fixture::new());

#[test]
fn a_database_is_found_again_as_it_was() {
    let fixture = Fixture::new();
    let (alice, bob) = (fixture.register("alice"), fixture.register("bob"));
    fixture.put(bob, alice, Sender::User("alice".parse().unwrap()), 1);
    let (secret, first_number) = (fixture.store.secret(), fixture.store.first_number());
    fixture.store.close().unwrap();
    assert!(fixture.store.summary(bob).is_err(), "reads have ended");
    let store = open(&fixture.address).unwrap();
    assert_eq!(store.summary(bob).unwrap().last, 1);
    assert_eq!(store.secret(), secret);
    assert!(store.first_number() > first_number.max(1));
}

#[test]
fn a_broken_connection_is_made_anew_for_reads_and_writes() {
    let fixture = Fixture::new();
    let (alice, bob) = (fixture.register("alice"), fixture.register("bob"));
    let from = Sender::User("alice".parse().unwrap());
    fixture.put(bob, alice, from, 1);
    assert_eq!(fixture.numbers(bob), [1]);
    fixture.cut();
    assert_eq!(fixture.numbers(bob), [1]);
    fixture.put(bob, alice, from, 2);
    fixture.cut();
    fixture.put(bob, alice, from, 3);
    assert_eq!(fixture.numbers(bob), [1, 2, 3]);
}

#[test]
fn a_commit_that_was_cut_off_is_looked_up() {
    let fixture = Fixture::new();
    let alice = fixture.register("alice");
    let mut writer = fixture.store.writer.lock();
    let last = writer.batch;
    assert!(fixture.store.was_done(&mut writer, last).unwrap());
    assert!(!fixture.store.was_done(&mut writer, last + 1).unwrap());
    // The old connection still has the batch open: who looks waits for its end.
    let mut old = writer.connection.take().unwrap();
    old.run("BEGIN").unwrap();
    let numbered: [&(dyn postgres::types::ToSql + Sync); 2] = [&fixture.store.run.0, &(last + 1)];
    old.execute(statements::NUMBER_BATCH, &numbered).unwrap();
    let at: i64 = 9;
    old.execute(statements::SEEN, &[&alice.0, &at]).unwrap();
    let writer = &mut *writer;
    let done = std::thread::scope(|scope| {
        let looked = scope.spawn(|| fixture.store.was_done(writer, last + 1).unwrap());
        while !is_somebody_waiting(&fixture.address) {
            std::thread::yield_now();
        }
        old.run("COMMIT").unwrap();
        looked.join().unwrap()
    });
    assert!(done);
}

/// Whether a connection to this database waits for another's lock.
pub(super) fn is_somebody_waiting(address: &str) -> bool {
    let parameters: StoreAddress = address.parse().unwrap();
    let mut connection = Connector::new(&parameters).unwrap().connect().unwrap();
    let waiting = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock')";
    let row = connection.row(waiting, &[]).unwrap().unwrap();
    get(&row, 0).unwrap()
}

#[test]
fn a_deleted_accounts_mail_goes_in_slices_and_goes_on_after_a_restart() {
    let fixture = Fixture::new();
    let (alice, bob) = (fixture.register("alice"), fixture.register("bob"));
    for number in 1..=600 {
        fixture.put(bob, alice, Sender::User("alice".parse().unwrap()), number);
    }
    fixture.change(delete(bob));
    assert!(fixture.store.reclaim().unwrap());
    let left = fixture.store.summary(bob).unwrap().tallies[0].1.messages();
    assert_eq!(left, 100);
    fixture.store.close().unwrap();
    let store = open(&fixture.address).unwrap();
    while store.reclaim().unwrap() {}
    assert_eq!(store.summary(bob).unwrap().last, 0);
}

#[test]
fn a_page_ends_where_the_messages_before_it_fill_its_bounds() {
    let fixture = Fixture::new();
    let (alice, bob) = (fixture.register("alice"), fixture.register("bob"));
    for number in 1..=10 {
        fixture.put(bob, alice, Sender::User("alice".parse().unwrap()), number);
    }
    let page = |messages, rows, bytes, envelopes| {
        let bounds = PageBounds {
            after: 0,
            before: u64::MAX,
            messages,
            rows,
            bytes,
            envelopes,
        };
        let page = fixture.store.page(bob, bounds).unwrap();
        let numbers: Vec<u64> = page.messages.iter().map(|message| message.number).collect();
        (numbers, page.end, page.complete)
    };
    // A text has 5 bytes, an envelope 10.
    assert_eq!(page(9, 9, 15, true), (vec![1, 2], 2, false));
    assert_eq!(page(9, 9, 16, true), (vec![1, 2, 3], 3, false));
    assert_eq!(page(2, 9, 99, false), (vec![1, 3], 3, false));
    assert_eq!(page(9, 4, 99, false), (vec![1, 3], 4, false));
    assert_eq!(page(9, 99, 99, false), (vec![1, 3, 5, 7, 9], 10, true));
}

#[test]
fn tables_that_are_not_ours_are_left_alone() {
    let fixture = Fixture::new();
    fixture.store.close().unwrap();
    administer(
        &fixture.address,
        "UPDATE server SET value = '99' WHERE key = 'version'",
    );
    assert!(matches!(
        open(&fixture.address).err(),
        Some(OpenError::Newer)
    ));
    administer(&fixture.address, "DELETE FROM server WHERE key = 'version'");
    assert!(matches!(
        open(&fixture.address).err(),
        Some(OpenError::Foreign)
    ));
    administer(
        &fixture.address,
        "DROP TABLE server; CREATE TABLE server (load real)",
    );
    assert!(matches!(
        open(&fixture.address).err(),
        Some(OpenError::Foreign)
    ));
}

#[test]
fn no_table_and_no_column_about_a_person_is_left_out() {
    let fixture = Fixture::new();
    let parameters: StoreAddress = fixture.address.parse().unwrap();
    let mut connection = Connector::new(&parameters).unwrap().connect().unwrap();
    let all = "SELECT table_name || '.' || column_name FROM information_schema.columns
               WHERE table_schema = 'public'";
    let all: BTreeSet<String> = connection.lines(all).unwrap().into_iter().collect();
    for section in Section::ALL {
        let table = section.table();
        let columns = connection
            .columns(personal_data::statement(section))
            .unwrap();
        let columns = columns.into_iter().skip(personal_data::LEADING);
        let shown: BTreeSet<String> = columns
            .filter(|column| column != "size")
            .map(|column| column.replace("user", "account"))
            .map(|column| format!("{table}.{column}"))
            .collect();
        let prefix = format!("{table}.");
        let has = all.iter().filter(|name| name.starts_with(&prefix));
        assert_eq!(shown, has.cloned().collect(), "{section:?}");
    }
    let shown = Section::ALL.iter().map(|section| section.table());
    let apart = NOT_PERSONAL.iter().map(|(table, _)| *table);
    // The rest is the servers'; of guesses, how many there were for any of the names that share a row.
    let servers = ["guesses", "leases", "runs"];
    let known: BTreeSet<&str> = shown.chain(apart).chain(servers).collect();
    let tables: BTreeSet<&str> = all
        .iter()
        .map(|name| name.split('.').next().unwrap())
        .collect();
    assert_eq!(known, tables);
}

#[test]
fn a_database_that_promises_less_is_named() {
    let fixture = Fixture::new();
    let found = fixture.store.weaknesses();
    assert!(found.iter().any(|it| it.contains("fsync=off")), "{found:?}");
}

#[test]
fn a_database_that_cannot_be_used_says_what_to_do() {
    let address = database();
    let name = address.split(['/', '?']).nth(3).unwrap();
    let weak = address.replace("chat@", &format!("{name}@"));
    let rights = format!("CREATE ROLE {name} LOGIN");
    let limit = format!("ALTER ROLE {name} CONNECTION LIMIT 0");
    let read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    let nowhere = address.replace(name, "nowhere");
    for (statement, address, remedy) in [
        (rights.as_str(), &weak, "the owner of the database"),
        (&limit, &weak, "a server needs 7"),
        (&read_only, &address, "read-only"),
        ("SELECT", &nowhere, "createdb"),
    ] {
        administer(&server(), statement);
        let said = open(address).err().unwrap().to_string();
        assert!(said.contains(remedy), "{statement}: {said}");
    }
}

#[test]
fn a_commit_that_is_warned_of_is_looked_up_and_not_repeated() {
    let fixture = Fixture::new();
    let (alice, bob) = (fixture.register("alice"), fixture.register("bob"));
    // As when the wait for a synchronous standby was cancelled.
    administer(
        &fixture.address,
        "CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS
         'BEGIN RAISE WARNING ''committed here alone''; RETURN NULL; END';
         CREATE CONSTRAINT TRIGGER warned AFTER INSERT ON mail DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION warn()",
    );
    let process = || {
        let mut writer = fixture.store.writer.lock();
        let connection = writer.connection.as_mut().unwrap();
        let row = connection.row("SELECT pg_backend_pid()", &[]).unwrap();
        get::<i32>(&row.unwrap(), 0).unwrap()
    };
    let before = process();
    fixture.put(bob, alice, Sender::User("alice".parse().unwrap()), 1);
    assert_eq!(fixture.numbers(bob), [1]);
    assert_ne!(process(), before, "it was answered without a look");
    let same = process();
    fixture.change(Change::Seen(bob, 5));
    assert_eq!(process(), same);
}

#[test]
fn a_row_that_another_holds_for_too_long_fails_what_needs_it() {
    let fixture = Fixture::new();
    let [alice, bob] = ["alice", "bob"].map(|name| fixture.register(name));
    let parameters: StoreAddress = fixture.address.parse().unwrap();
    let mut held = Connector::new(&parameters).unwrap().connect().unwrap();
    held.run("BEGIN").unwrap();
    held.execute(statements::COUNT_LOGIN, &[&alice.0]).unwrap();
    let batch = Batch {
        changes: [bob, alice].map(|user| Change::Seen(user, 5)).into(),
        ..Batch::default()
    };
    let failed = fixture.store.commit(&batch).unwrap_err();
    assert!(matches!(failed, StoreError::Locked(_)), "{failed}");
    fixture.change(Change::Seen(bob, 6));
    held.run("COMMIT").unwrap();
    fixture.store.commit(&batch).unwrap();
}

#[test]
fn a_primary_of_before_is_not_used_any_more() {
    let fixture = Fixture::new();
    let connector = &fixture.store.connector;
    let mut connection = connector.connect().unwrap();
    connection.run("SELECT 1").unwrap();
    // Another host has begun a new timeline.
    connector.meet(9);
    let failures = [connection.run("SELECT 1").err(), connector.connect().err()];
    for failure in failures {
        assert!(matches!(failure, Some(Failure::Outdated)), "{failure:?}");
    }
}

#[test]
fn names_are_given_once_whatever_their_case() {
    let fixture = Fixture::new();
    fixture.register("zoe");
    let account = new_account("Zoe");
    assert_eq!(
        fixture.change(Change::Register(account)),
        Changed::NameTaken
    );
}

#[test]
fn no_statement_looks_at_all_the_mail() {
    let fixture = Fixture::new();
    let parameters: StoreAddress = fixture.address.parse().unwrap();
    let mut connection = Connector::new(&parameters).unwrap().connect().unwrap();
    // Small tables are scanned whatever the indexes are, unless that is forbidden.
    connection
        .run("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
        .unwrap();
    let mut plan = |sql: &str| -> String {
        let values = sql.split('$').skip(1);
        let values = values
            .map(|text| text[..1].parse().unwrap())
            .max()
            .unwrap_or(0);
        connection
            .run(&format!("PREPARE planned AS {sql}"))
            .unwrap();
        let nulls = vec!["NULL"; values].join(", ");
        let nulls = if values == 0 {
            String::new()
        } else {
            format!("({nulls})")
        };
        let lines = connection.lines(&format!("EXPLAIN EXECUTE planned{nulls}"));
        connection.run("DEALLOCATE planned").unwrap();
        lines.unwrap().join("\n")
    };
    for (name, sql) in statements::ALL {
        let plan = plan(sql);
        let whole = plan.contains("Seq Scan on mail") || plan.contains("Seq Scan on users");
        assert!(!whole, "{name}: {plan}");
        let tables = ["homes", "runs", "leases", "guesses"];
        let whole = tables.map(|table| format!("Seq Scan on {table}"));
        // One is of the tables of version 1, and of a start alone; the other looks through what is bounded.
        let is_apart = ["OLD_RUNS", "FORGET_GUESSES"].contains(name);
        assert!(
            is_apart || !whole.iter().any(|scan| plan.contains(scan)),
            "{name}: {plan}"
        );
    }
    // It can fail.
    assert!(plan("SELECT 1 FROM mail WHERE sender = 1").contains("Seq Scan on mail"));
}
