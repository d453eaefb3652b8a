//! Several servers on one database, each a store of its own. What one server promises is in `tests`.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::sync::mpsc::channel;

use super::open_error::Conflict;
use super::tests::{Fixture, administer, database, is_somebody_waiting, open_as};
use super::*;
use crate::protocol::request::Sender;
use crate::store::conformance::{Scene, delete, keys, new_account};
use crate::store::homes::{Home, Homes};

/// Two servers on one database.
struct Two {
    first: Fixture,
    second: Fixture,
}

impl Two {
    fn new() -> Self {
        let first = Fixture::new();
        let address = first.address.clone();
        let store = open_as(&address, "second", "elsewhere").unwrap();
        let second = Fixture { store, address };
        Two { first, second }
    }

    /// What the two answer when they do something at the same time.
    fn at_once<T: Send>(&self, act: impl Fn(usize, &Fixture) -> T + Sync) -> [T; 2] {
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| {
            let run = |number, fixture| {
                let (barrier, act) = (&barrier, &act);
                scope.spawn(move || {
                    barrier.wait();
                    act(number, fixture)
                })
            };
            [run(0, &self.first), run(1, &self.second)].map(|thread| thread.join().unwrap())
        })
    }
}

fn connection(address: &str) -> Connection {
    let parameters: StoreAddress = address.parse().unwrap();
    Connector::new(&parameters).unwrap().connect().unwrap()
}

fn claim(fixture: &Fixture, user: UserId) -> Home {
    match fixture.change(Change::ClaimHome(user)) {
        Changed::Home(home) => home,
        other => panic!("{other:?}"),
    }
}

/// Claims a mailbox that is free, and returns where its numbers begin.
fn take(fixture: &Fixture, user: UserId) -> u64 {
    match claim(fixture, user) {
        Home::Here { first_number } => first_number,
        Home::At(run) => panic!("it is at {run:?}"),
    }
}

fn in_use(opened: Result<Postgres, OpenError>) -> Conflict {
    match opened.err().unwrap() {
        OpenError::InUse(_, why) => why,
        other => panic!("{other}"),
    }
}

#[test]
fn servers_share_a_database_and_each_has_a_name_and_a_folder_of_its_own() {
    let Two { first, second } = Two::new();
    let alice = first.register("alice");
    assert!(first.store.lease().holds() && second.store.lease().holds());
    let at = "192.0.2.1:7000".parse().unwrap();
    second.store.announce_address(at).unwrap();
    let nodes = first.store.nodes().unwrap();
    assert_eq!(nodes.len(), 1);
    assert_eq!(
        (nodes[0].run, nodes[0].address),
        (second.store.run, Some(at))
    );
    assert_eq!(nodes[0].name, "second");
    assert_eq!(second.store.nodes().unwrap()[0].run, first.store.run);
    assert!(first.store.local_address().unwrap().is_loopback());

    let again = open_as(&first.address, "second", "third");
    assert_eq!(in_use(again), Conflict::Name);
    let candidate = Candidate {
        node: "command",
        place: "third",
        alone: true,
        standbys: 0,
    };
    let alone = Postgres::open(&first.address.parse().unwrap(), candidate);
    assert_eq!(in_use(alone), Conflict::Alone);

    // The folder's lock says that the process before has ended.
    let (told, ended) = channel();
    first
        .store
        .set_on_ended(Box::new(move |run| told.send(run).unwrap()));
    let next = open_as(&first.address, "second", "elsewhere").unwrap();
    let batch = Batch {
        changes: vec![Change::Seen(alice, 5)],
        ..Batch::default()
    };
    let refused = second.store.commit(&batch).unwrap_err();
    assert!(refused.to_string().contains("for dead"), "{refused}");
    assert!(second.store.is_superseded());
    next.commit(&batch).unwrap();
    first.store.commit(&batch).unwrap();
    assert_eq!(ended.recv().unwrap(), second.store.run);
    next.close().unwrap();
    assert_eq!(ended.recv().unwrap(), next.run);
    assert_eq!(first.store.nodes().unwrap(), []);
}

#[test]
fn a_mailbox_has_one_home_and_its_numbers_never_come_again() {
    let Two { first, second } = Two::new();
    let [alice, bob] = ["alice", "bob"].map(|name| first.register(name));
    let [one, two] = [first.store.run, second.store.run];
    let begin = take(&first, alice);
    assert!(begin >= first.store.first_number());
    assert_eq!(claim(&second, alice), Home::At(one));
    assert_eq!(second.store.home(alice).unwrap(), Some(one));
    assert_eq!(first.store.home(alice).unwrap(), None, "it is here");
    assert_eq!(second.store.home(bob).unwrap(), None);

    for (fixture, changed) in [(&second, 0), (&first, 1)] {
        fixture.change(Change::Online(alice, true));
        assert_eq!(second.store.online(&[bob, alice]).unwrap().len(), changed);
    }
    assert_eq!(first.store.online(&[alice]).unwrap(), []);

    assert_eq!(
        second.change(Change::MoveHome(alice, two)),
        Changed::Unknown
    );
    let nowhere = Change::MoveHome(alice, RunId(999));
    assert_eq!(first.change(nowhere), Changed::Unknown);
    first.put(alice, bob, Sender::User("bob".parse().unwrap()), begin);
    let batch = Batch {
        acknowledged: vec![(alice, begin..=begin)],
        ..Batch::default()
    };
    first.store.commit(&batch).unwrap();
    assert_eq!(first.change(Change::MoveHome(alice, two)), Changed::Done);
    assert_eq!(claim(&first, alice), Home::At(two));
    assert_eq!(first.change(Change::MoveHome(alice, one)), Changed::Unknown);
    assert_eq!(first.store.online(&[alice]).unwrap(), [], "it was moved");
    let moved = take(&second, alice);
    assert!(moved > begin + (1 << 31));
    assert!(take(&second, alice) > moved + (1 << 31), "loaded once more");

    second.change(Change::Online(alice, true));
    assert_eq!(first.store.online(&[alice]).unwrap(), [alice]);
    second.store.close().unwrap();
    assert_eq!(first.store.home(alice).unwrap(), None);
    assert_eq!(first.store.online(&[alice]).unwrap(), []);
    assert!(take(&first, alice) > moved + (1 << 32));
    assert_eq!(first.change(Change::MoveHome(alice, two)), Changed::Unknown);
}

#[test]
fn a_server_that_dies_gives_its_mailboxes_up_and_knows_before() {
    let Two { first, second } = Two::new();
    let alice = first.register("alice");
    take(&second, alice);
    let (told, ended) = channel();
    first
        .store
        .set_on_ended(Box::new(move |run| told.send(run).unwrap()));
    second.store.renewal.stop();
    while second.store.lease().holds() {
        assert_eq!(claim(&first, alice), Home::At(second.store.run));
        assert!(ended.try_recv().is_err(), "it was ended while it could act");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(ended.recv().unwrap(), second.store.run);
    assert_eq!(first.store.home(alice).unwrap(), None);
    take(&first, alice);
    let batch = Batch {
        changes: vec![Change::ClaimHome(alice)],
        ..Batch::default()
    };
    assert!(second.store.commit(&batch).is_err());
    assert!(first.store.lease().holds() && !first.store.is_superseded());
}

#[test]
fn the_end_of_a_run_waits_for_its_batch_under_way() {
    let Two { first, second } = Two::new();
    let alice = first.register("alice");
    let mut writer = second.store.writer.lock();
    let mut under_way = writer.connection.take().unwrap();
    under_way.run("BEGIN").unwrap();
    let run = second.store.run.0;
    under_way
        .execute(statements::NUMBER_BATCH, &[&run, &9_i64])
        .unwrap();
    under_way
        .execute(statements::SEEN, &[&alice.0, &9_i64])
        .unwrap();
    let next = std::thread::scope(|scope| {
        let next = scope.spawn(|| open_as(&first.address, "second", "elsewhere").unwrap());
        while !is_somebody_waiting(&first.address) {
            assert!(!next.is_finished());
            std::thread::yield_now();
        }
        under_way.run("COMMIT").unwrap();
        next.join().unwrap()
    });
    let account = next.account(&"alice".parse().unwrap()).unwrap();
    assert_eq!(account.unwrap().last_seen, Some(9));
    // What was begun after the end changes nothing.
    under_way.run("BEGIN").unwrap();
    let ours = under_way.execute(statements::NUMBER_BATCH, &[&run, &10_i64]);
    assert_eq!(ours.unwrap(), 0);
}

#[test]
fn two_servers_that_do_the_same_at_the_same_time_do_it_once() {
    let two = Two::new();
    for number in 0..10 {
        let name = format!("user{number}");
        let registered = two.at_once(|_, fixture| {
            let account = new_account(&name);
            fixture.change(Change::Register(account))
        });
        let made = registered.iter().filter(|it| **it != Changed::NameTaken);
        assert_eq!(made.count(), 1, "{registered:?}");
        let id = two.first.store.account(&name.parse().unwrap()).unwrap();
        let id = id.unwrap().id;
        let homes = two.at_once(|_, fixture| claim(fixture, id));
        let here = homes.iter().filter(|it| matches!(it, Home::Here { .. }));
        assert_eq!(here.count(), 1, "{homes:?}");
    }
    let alice = two.first.register("alice");
    two.first.change(Change::Publish(alice, keys(1, 0..100)));
    let handed_out = two.at_once(|_, fixture| {
        let bundle = || Change::ClaimBundle {
            of: alice,
            one_time: true,
        };
        let bundles = (0..40).map(|_| fixture.change(bundle()));
        bundles
            .map(|bundle| match bundle {
                Changed::Bundle(bundle, _) => bundle.one_time.unwrap().id,
                other => panic!("{other:?}"),
            })
            .collect::<Vec<u32>>()
    });
    let ids: BTreeSet<u32> = handed_out.iter().flatten().copied().collect();
    assert_eq!(ids.len(), 80, "{handed_out:?}");
    let deleted = two.at_once(|_, fixture| fixture.change(delete(alice)));
    assert_eq!(deleted.iter().filter(|it| **it == Changed::Done).count(), 1);
}

#[test]
fn a_batch_that_meets_another_servers_in_a_deadlock_is_done_once_more() {
    let two = Two::new();
    let users = ["alice", "bob"].map(|name| two.first.register(name));
    let mut held = connection(&two.first.address);
    held.run("BEGIN").unwrap();
    held.execute(statements::COUNT_LOGIN, &[&users[1].0])
        .unwrap();
    std::thread::scope(|scope| {
        let batch = Batch {
            changes: users.map(|user| Change::CountLogin(user, None)).into(),
            ..Batch::default()
        };
        let store = &two.first.store;
        let counted = scope.spawn(move || store.commit(&batch).unwrap());
        while !is_somebody_waiting(&two.first.address) {
            std::thread::yield_now();
        }
        // One of the two is chosen to fail.
        let other = held.execute(statements::COUNT_LOGIN, &[&users[0].0]);
        let ended = if other.is_ok() { "COMMIT" } else { "ROLLBACK" };
        held.run(ended).unwrap();
        let before = u64::from(other.is_ok());
        for changed in counted.join().unwrap() {
            assert!(matches!(changed, Changed::Login { logins, .. } if logins == before + 1));
        }
    });
}

const HOUR: Duration = Duration::from_secs(3600);

/// Counts a wrong login, and returns how many are remembered.
fn guess(store: &Postgres, name: &str) -> u32 {
    let counted = store.count_guess(&name.parse().unwrap(), HOUR, 30);
    counted.unwrap().unwrap()
}

#[test]
fn guesses_are_counted_for_all_servers_and_outlive_each() {
    let two = Two::new();
    let counted = two.at_once(|_, fixture| [(); 10].map(|()| guess(&fixture.store, "alice")));
    let counted: BTreeSet<u32> = counted.into_iter().flatten().collect();
    assert_eq!(counted, (1..=20).collect());
    two.second.store.close().unwrap();
    let again = open_as(&two.first.address, "second", "elsewhere").unwrap();
    assert_eq!(guess(&again, "alice"), 21);
    assert_eq!(guess(&again, "bob"), 1, "others are not slowed");
    // A clock that was far ahead, as another primary's may have been, leaves no more than the most.
    administer(
        &two.first.address,
        "UPDATE guesses SET forgiven = 1::bigint << 60",
    );
    assert_eq!(guess(&again, "alice"), 30);
    administer(&two.first.address, "UPDATE guesses SET forgiven = 0");
    assert_eq!(guess(&again, "alice"), 1);
}

#[test]
fn guesses_wait_neither_for_mail_nor_for_the_disk_and_take_little_room() {
    let two = Two::new();
    let alice = two.first.register("alice");
    let rows = "SELECT count(*) FROM guesses";
    let mut client = connection(&two.first.address);
    client
        .run(
            "CREATE TABLE settings (setting TEXT);
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO settings VALUES (current_setting(''synchronous_commit'')); RETURN NULL; END';
             CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON guesses
             FOR EACH ROW EXECUTE FUNCTION note()",
        )
        .unwrap();
    // The account's row, its mailbox and the writing connection are all taken.
    let writer = two.first.store.writer.lock();
    client.run("BEGIN").unwrap();
    client
        .execute(statements::COUNT_LOGIN, &[&alice.0])
        .unwrap();
    client
        .run("LOCK TABLE mail, users, homes, runs IN ACCESS EXCLUSIVE MODE")
        .unwrap();
    assert_eq!(guess(&two.first.store, "alice"), 1);
    assert_eq!(guess(&two.first.store, "alice"), 2);
    client.run("ROLLBACK").unwrap();
    drop(writer);
    let mut numbers = 0..300_u32;
    assert!(numbers.all(|number| guess(&two.first.store, &format!("ghost{number}")) >= 1));
    let kept: i64 = client.lines(rows).unwrap()[0].parse().unwrap();
    assert!((290..=301).contains(&kept), "{kept}");
    // No name is in them, and each is one of as many rows as are permitted at all.
    let columns = "SELECT data_type FROM information_schema.columns WHERE table_name = 'guesses'";
    assert_eq!(client.lines(columns).unwrap(), ["integer", "bigint"]);
    let apart = "SELECT count(*) FROM guesses WHERE slot NOT BETWEEN 0 AND 1048575";
    assert_eq!(client.lines(apart).unwrap(), ["0"]);
    guesses::forget(&mut client).unwrap();
    assert_eq!(client.lines(rows).unwrap(), [kept.to_string()]);
    client.run("UPDATE guesses SET forgiven = 1").unwrap();
    client
        .run("DELETE FROM settings WHERE setting = 'on'")
        .unwrap();
    guesses::forget(&mut client).unwrap();
    assert_eq!(client.lines(rows).unwrap(), ["0"]);
    let settings = "SELECT DISTINCT setting FROM settings";
    assert_eq!(client.lines(settings).unwrap(), ["off"]);
    assert_eq!(client.lines("SHOW synchronous_commit").unwrap(), ["on"]);
}

#[test]
fn a_server_that_starts_makes_the_table_of_guesses_and_removes_old_ones() {
    let address = database();
    open_as(&address, "earlier", "place")
        .unwrap()
        .close()
        .unwrap();
    administer(&address, "DROP TABLE guesses");
    let store = open_as(&address, "later", "elsewhere").unwrap();
    administer(&address, "INSERT INTO guesses VALUES (7, 1)");
    let other = open_as(&address, "other", "third").unwrap();
    let mut client = connection(&address);
    while client.lines("SELECT slot FROM guesses").unwrap() != [""; 0] {
        std::thread::yield_now();
    }
    assert_eq!((guess(&store, "alice"), guess(&other, "alice")), (1, 2));
}

/// A database as a server of version 1 leaves it that was killed.
fn of_version_1() -> String {
    let address = database();
    administer(
        &address,
        include_str!("../../../tests/schemas/postgres_1.sql"),
    );
    administer(
        &address,
        "INSERT INTO server VALUES ('version', '1'), ('secret', decode(repeat('07', 32), 'hex'));
         INSERT INTO runs (run, node, batch, ended) VALUES (6, 'old', 9, TRUE), (7, 'old', 4, FALSE);
         INSERT INTO leases (run, renewed, place) VALUES (7, 50, 'folder');
         INSERT INTO users (name, created, salt, memory_kib, passes, lanes, login_key)
         VALUES ('bob', 1, decode(repeat('00', 16), 'hex'), 1, 1, 1, decode(repeat('00', 32), 'hex'));
         INSERT INTO mail VALUES (1, (7::bigint << 40) + 3, 1, decode(repeat('01', 16), 'hex'), 5, 1, 'text')",
    );
    address
}

/// The columns and indexes of a database.
fn tables(address: &str) -> Vec<String> {
    let columns = "
        SELECT table_name || ' ' || column_name || ' ' || data_type || ' ' || is_nullable || ' '
               || coalesce(column_default, '')
        FROM information_schema.columns WHERE table_schema = 'public'
        UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1";
    connection(address).lines(columns).unwrap()
}

#[test]
fn tables_of_version_1_become_what_new_ones_are() {
    let address = of_version_1();
    // Two start at once: one has the folder of the server before.
    let stores = std::thread::scope(|scope| {
        let address = &address;
        let first = scope.spawn(|| open_as(address, "first", "folder").unwrap());
        let second = scope.spawn(|| {
            loop {
                match open_as(address, "second", "elsewhere") {
                    Ok(store) => return store,
                    Err(OpenError::InUse(_, Conflict::Earlier)) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        });
        [first.join().unwrap(), second.join().unwrap()]
    });
    let new = Fixture::new();
    assert_eq!(tables(&address), tables(&new.address));
    let bob = stores[1].account(&"bob".parse().unwrap()).unwrap().unwrap();
    let last = stores[1].summary(bob.id).unwrap().last;
    assert_eq!(last, (7 << 40) + 3);
    assert_eq!(stores[0].secret(), [7; 32]);
    let fixture = Fixture {
        address,
        store: stores.into_iter().next().unwrap(),
    };
    assert!(take(&fixture, bob.id) > last);
    // A server of version 1 that has waited for its turn can't begin a run, and one that starts says so.
    let begin = "INSERT INTO runs (run, node) SELECT coalesce(max(run), 0) + 1, 'old' FROM runs";
    let refused = connection(&fixture.address).run(begin).unwrap_err();
    assert!(refused.to_string().contains("version"), "{refused}");
    let version = "SELECT encode(value, 'escape') FROM server WHERE key = 'version'";
    let version = connection(&fixture.address).lines(version).unwrap();
    assert_eq!(version, ["2"]);
}

#[test]
fn a_server_of_version_1_that_runs_is_left_alone() {
    let address = of_version_1();
    let before = tables(&address);
    let stop = AtomicBool::new(false);
    let refused = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut connection = connection(&address);
            while !stop.load(Ordering::Acquire) {
                connection
                    .execute(statements::RENEW_LEASE, &[&7_i64])
                    .unwrap();
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let opened = open_as(&address, "new", "elsewhere");
        stop.store(true, Ordering::Release);
        opened.err().unwrap()
    });
    let said = refused.to_string();
    assert!(
        said.contains("earlier version") && said.contains("old"),
        "{said}"
    );
    assert_eq!(tables(&address), before);
}
