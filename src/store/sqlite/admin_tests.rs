//! Resets, invitations, bans, names that are given away, and the way from an older schema.

use rusqlite::Connection;

use super::tests::{Fixture, delete, new_account};
use super::*;
use crate::protocol::ids::ByteArray;
use crate::protocol::request::Sender;
use crate::store::{Invitation, NewLogin};

const NOBODY: ByteArray<32> = ByteArray([0; 32]);

fn new_login(user: UserId, proven: ByteArray<32>, login_key: u8) -> NewLogin {
    NewLogin {
        user,
        proven,
        kdf: new_account("x").kdf,
        login_key: ByteArray([login_key; 32]),
    }
}

fn key_of(fixture: &Fixture, name: &str) -> ByteArray<32> {
    let account = fixture.store.account(&name.parse().unwrap()).unwrap();
    account.unwrap().login_key
}

#[test]
fn a_reset_takes_the_old_key_and_its_code_sets_one_new_key() {
    let fixture = Fixture::new();
    let bob = fixture.register("bob");
    let before = key_of(&fixture, "bob");
    let code = ByteArray([9; 32]);
    let reset = Reset {
        key: code,
        expires: 100,
    };
    let finish = |key, now| fixture.change(Change::FinishReset(new_login(bob, key, 5), now));
    assert_eq!(finish(NOBODY, 1), Changed::Unknown, "there is no reset");
    assert_eq!(fixture.change(Change::Reset(bob, reset)), Changed::Done);
    assert_eq!(key_of(&fixture, "bob"), NOBODY);
    // A change of password that was proven before the reset comes too late.
    let late = Change::SetLogin(new_login(bob, before, 6));
    assert_eq!(fixture.change(late), Changed::OtherLogin);
    assert_eq!(finish(ByteArray([8; 32]), 1), Changed::Unknown);
    assert_eq!(finish(code, 101), Changed::Expired);
    assert_eq!(key_of(&fixture, "bob"), NOBODY);
    assert_eq!(finish(code, 100), Changed::Done);
    assert_eq!(key_of(&fixture, "bob"), ByteArray([5; 32]));
    assert_eq!(finish(code, 100), Changed::Unknown, "it works once");
    let changed = Change::SetLogin(new_login(bob, ByteArray([5; 32]), 6));
    assert_eq!(fixture.change(changed), Changed::Done);
}

#[test]
fn an_invitation_makes_as_many_accounts_as_it_says_until_it_expires() {
    let fixture = Fixture::new();
    let code = ByteArray([1; 32]);
    let invitation = Invitation {
        code,
        inviter: UserId::SERVER,
        created: 0,
        expires: 50,
        uses: 2,
    };
    let Changed::Invited(id) = fixture.change(Change::Invite(invitation, 1)) else {
        panic!("it was not stored");
    };
    let other = Invitation {
        code: ByteArray([2; 32]),
        ..invitation
    };
    let too_many = fixture.change(Change::Invite(other, 1));
    assert_eq!(too_many, Changed::UsedUp, "the inviter has one that works");
    let register = |name: &str, code, created| {
        let mut account = new_account(name);
        (account.invitation, account.created) = (Some(code), created);
        fixture.change(Change::Register(account))
    };
    assert_eq!(register("a", ByteArray([3; 32]), 1), Changed::Unknown);
    assert!(matches!(register("a", code, 1), Changed::Registered(_)));
    assert_eq!(
        register("a", code, 1),
        Changed::NameTaken,
        "uses nothing up"
    );
    assert_eq!(register("b", code, 51), Changed::Expired);
    assert!(matches!(register("b", code, 50), Changed::Registered(_)));
    assert_eq!(register("c", code, 50), Changed::UsedUp);
    assert_eq!(fixture.store.invitations(i64::MIN, 9).unwrap().len(), 1);
    assert_eq!(fixture.change(Change::Revoke(id)), Changed::Done);
    assert_eq!(fixture.change(Change::Revoke(id)), Changed::Unknown);
    assert_eq!(register("c", code, 1), Changed::Unknown);
}

#[test]
fn a_name_that_is_given_away_brings_nothing_along() {
    let fixture = Fixture::new();
    let (alice, bob) = (fixture.register("alice"), fixture.register("bob"));
    let sender = |name: &str| Sender::User(name.parse().unwrap());
    fixture.put(alice, bob, sender("bob"), 1);
    fixture.put(bob, alice, sender("alice"), 2);
    fixture.change(Change::Block(alice, bob, true));
    let reuse = || fixture.change(Change::Reuse(bob, new_account("bob")));
    assert_eq!(reuse(), Changed::NameTaken, "it is somebody's");
    fixture.change(delete(bob));
    let Changed::Registered(new) = reuse() else {
        panic!("it was not given away");
    };
    assert!(new != bob && new != alice);
    for recipient in [alice, bob, new] {
        assert_eq!(fixture.numbers(recipient), [0; 0]);
    }
    assert!(!fixture.store.blocks(alice, bob).unwrap());
    let names: Vec<String> = fixture
        .store
        .accounts(None, 9)
        .unwrap()
        .iter()
        .map(|it| it.name.to_string())
        .collect();
    assert_eq!(names, ["alice", "bob"]);
    let carol = fixture.register("carol");
    assert!(carol > new, "no number is another account's");
}

#[test]
fn networks_are_banned_once() {
    let fixture = Fixture::new();
    for at in [1, 2] {
        fixture.change(Change::Ban("10.0.0.0/8".to_owned(), at));
    }
    assert_eq!(
        fixture.store.bans().unwrap(),
        [("10.0.0.0/8".to_owned(), 1)]
    );
    let lift = || fixture.change(Change::LiftBan("10.0.0.0/8".to_owned()));
    assert_eq!((lift(), lift()), (Changed::Done, Changed::Unknown));
}

/// What `pragma table_info` says of each table, with its indices.
fn tables(connection: &Connection) -> Vec<String> {
    let mut statement = connection
        .prepare(
            "SELECT t.name || '.' || c.name || ' ' || c.type || ' ' || c.\"notnull\" || ' '
                    || coalesce(c.dflt_value, '') || ' ' || c.pk
             FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'
             UNION ALL SELECT type || ' ' || name || ' of ' || tbl_name FROM sqlite_schema
             ORDER BY 1",
        )
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn a_database_of_version_1_becomes_what_a_new_one_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../../../tests/schemas/1.5.sql"))
        .unwrap();
    old.execute_batch(
        "INSERT INTO users (name, created, salt, memory_kib, passes, lanes, login_key)
         VALUES ('bob', 1, zeroblob(16), 1, 1, 1, zeroblob(32))",
    )
    .unwrap();
    drop(old);
    let store = Sqlite::open(&path).unwrap();
    assert!(
        !store
            .account(&"bob".parse().unwrap())
            .unwrap()
            .unwrap()
            .disabled
    );
    drop(store);
    Sqlite::open(&folder.path().join("new.db")).unwrap();
    let [migrated, new] = ["chat.db", "new.db"].map(|name| {
        let connection = Connection::open(folder.path().join(name)).unwrap();
        let version =
            connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
        (version.unwrap(), tables(&connection))
    });
    assert_eq!(migrated, new);
}

#[test]
fn when_people_were_last_seen_is_forgotten_a_part_at_a_time() {
    let fixture = Fixture::new();
    let [old, new] = ["old", "new"].map(|name| fixture.register(name));
    fixture.change(Change::Seen(old, 99));
    fixture.change(Change::Seen(new, 100));
    let last_seen = |name: &str| {
        let account = fixture.store.account(&name.parse().unwrap()).unwrap();
        account.unwrap().last_seen
    };
    let forget = |after| fixture.change(Change::ForgetSeen(after, 100));
    assert_eq!(forget(old), Changed::Done);
    assert_eq!(last_seen("old"), Some(99), "it is not among them");
    assert_eq!(forget(UserId(0)), Changed::Done);
    assert_eq!((last_seen("old"), last_seen("new")), (None, Some(100)));
    let writer = fixture.store.writer.lock();
    let later = "UPDATE users SET id = 5000 WHERE name = 'new'";
    writer.as_ref().unwrap().execute(later, []).unwrap();
    drop(writer);
    assert_eq!(forget(UserId(0)), Changed::LookedUpTo(UserId(1000)));
    assert_eq!(forget(UserId(4000)), Changed::Done);
}
