//! The contract as tests: what is kept about a person, and for how long.

use std::sync::Arc;
use std::time::Duration;

use super::{Scene, delete, generation, keys, new_account};
use crate::protocol::ids::{ByteArray, MessageId};
use crate::protocol::request::{Body, Sender};
use crate::store::expiry::{Due, FIRST, Look, Step, Stepped};
use crate::store::personal_data::{Field, Person, START, Section};
use crate::store::purge::Part;
use crate::store::{Batch, Change, Changed, Flags, Invitation, Message, Place, Reset, UserId};

pub(in crate::store) fn when_people_were_last_seen_is_forgotten_a_part_at_a_time(
    fixture: &impl Scene,
) {
    let [old, new] = ["old", "new"].map(|name| fixture.register(name));
    fixture.change(Change::Seen(old, 99));
    fixture.change(Change::Seen(new, 100));
    let last_seen = |name: &str| {
        let account = fixture.store().account(&name.parse().unwrap()).unwrap();
        account.unwrap().last_seen
    };
    let forget = |after| fixture.change(Change::ForgetSeen(after, 100));
    assert_eq!(forget(old), Changed::Done);
    assert_eq!(last_seen("old"), Some(99), "it is not among them");
    assert_eq!(forget(UserId(0)), Changed::Done);
    assert_eq!((last_seen("old"), last_seen("new")), (None, Some(100)));
    assert_eq!(forget(UserId(4000)), Changed::Done);
    assert_eq!(forget(UserId(-5000)), Changed::LookedUpTo(UserId(-4000)));
}

pub(in crate::store) fn what_is_held_about_a_person_is_found_a_row_at_a_time(fixture: &impl Scene) {
    let [bob, carol] = ["bob", "carol"].map(|name| fixture.register(name));
    let invitation = Invitation {
        code: ByteArray([1; 32]),
        inviter: bob,
        created: 1,
        expires: 2,
        uses: 1,
    };
    let reset = Reset {
        key: ByteArray([9; 32]),
        expires: 100,
    };
    for change in [
        Change::CountLogin(bob, Some(generation(7, 1))),
        Change::Invite(invitation, 5),
        Change::Publish(bob, keys(1, 0..1)),
        Change::Publish(carol, keys(1, 0..1)),
        Change::Block(bob, carol, true),
        Change::Block(carol, bob, true),
        Change::Reset(bob, reset),
        Change::ClaimHome(bob),
        Change::ClaimHome(carol),
    ] {
        fixture.change(change);
    }
    let sender = |name: &str| Sender::User(name.parse().unwrap());
    fixture.put(bob, carol, sender("carol"), 2);
    fixture.put(bob, carol, sender("carol"), 3);
    fixture.put(carol, bob, sender("bob"), 1);
    fixture.put(carol, carol, sender("carol"), 2);
    for (number, news) in [
        (3, r#"{"notice":"turned_away","names":["bob"],"count":1}"#),
        (4, r#"{"notice":"announcement","text":"bob"}"#),
    ] {
        let notice = Message {
            number,
            sender: UserId::SERVER,
            from: Sender::Server,
            mid: MessageId([number as u8; 16]),
            at: 5,
            body: Body::Plain(news.into()),
        };
        let batch = Batch {
            messages: vec![(carol, Arc::new(notice))],
            ..Batch::default()
        };
        fixture.store().commit(&batch).unwrap();
    }
    let name = "bob";
    let mut found = Vec::new();
    for section in Section::ALL {
        let mut after = Some(START);
        while let Some(from) = after {
            let person = Person { id: bob, name };
            let page = fixture.store().personal_data(person, section, from, 1);
            let page = page.unwrap();
            assert!(page.rows.len() <= 1);
            found.extend(page.rows.into_iter().map(|row| (section, row)));
            after = page.next;
        }
    }
    let count = |section| found.iter().filter(|(of, _)| *of == section).count();
    let counts = Section::ALL.map(count);
    // A store of one server knows no homes.
    let homes = usize::from(fixture.store().run().is_some());
    let expected = [1, 1, 1, 1, 0, 1, 1, 1, 2, 1, 0, 2, homes];
    assert_eq!(counts, expected, "{found:?}");
    let holds = |section, column: &str, value: Field| {
        let field = (column.to_owned(), value);
        found
            .iter()
            .any(|(of, row)| *of == section && row.contains(&field))
    };
    let text = |text: &str| Field::Text(text.to_owned());
    assert!(holds(Section::Account, "name", text("bob")), "{found:?}");
    assert!(
        holds(Section::Account, "logins", Field::Number(1)),
        "{found:?}"
    );
    assert!(
        holds(Section::BlockedBy, "blocked", text("bob")),
        "{found:?}"
    );
    assert!(
        holds(Section::Mailbox, "body", Field::Size(10)),
        "{found:?}"
    );
    assert!(holds(Section::Mailbox, "body", text("hello")), "{found:?}");
    assert!(
        holds(Section::Elsewhere, "kind", text("notice")),
        "{found:?}"
    );
}

pub(in crate::store) fn mail_that_waited_too_long_leaves_a_row_and_a_notice(fixture: &impl Scene) {
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| fixture.register(name));
    let store = fixture.store();
    let from_alice = Sender::User("alice".parse().unwrap());
    for number in 1..=3 {
        fixture.put(bob, alice, from_alice, number);
    }
    // All of it is from the same moment.
    assert_eq!(store.due(UserId(0), 5).unwrap(), Look::End);
    let found = |numbers| {
        Look::Found(Due {
            recipient: bob,
            name: "bob".parse().unwrap(),
            numbers,
        })
    };
    let Look::Found(due) = store.due(UserId(0), 6).unwrap() else {
        panic!("it is due");
    };
    assert_eq!(Look::Found(due.clone()), found(1..=3));
    let step = |step| match fixture.change(Change::Expiry(step)) {
        Changed::Expiry(stepped) => stepped,
        other => panic!("{other:?}"),
    };
    let alices = vec!["alice".parse().unwrap()];
    let part = Due {
        numbers: 1..=2,
        ..due
    };
    assert_eq!(
        step(Step::Remove(part, 100)),
        Stepped::Removed(2, alices.clone())
    );
    assert_eq!(
        fixture.numbers(bob),
        [2, 3],
        "a notice is in the last place"
    );
    let notice = |number| {
        let message = store.message(bob, number).unwrap().unwrap();
        assert_eq!(message.from, Sender::Server);
        match message.body {
            Body::Plain(text) => text.to_string(),
            Body::Envelope(_) => panic!("an envelope"),
        }
    };
    let told = r#"{"notice":"missed","from":[{"name":"alice","count":2}],"count":2}"#;
    assert_eq!(notice(2), told);
    // The notice goes on into the next one, and is never due by itself.
    assert_eq!(store.due(UserId(0), 6).unwrap(), found(2..=3));
    let Look::Found(due) = store.due(UserId(0), 6).unwrap() else {
        panic!("it is due");
    };
    assert_eq!(step(Step::Remove(due, 200)), Stepped::Removed(1, alices));
    assert_eq!(fixture.numbers(bob), [3]);
    assert_eq!(notice(3), told.replace('2', "3"));
    assert_eq!(store.due(UserId(0), u64::MAX >> 2).unwrap(), Look::End);

    let numbers = |places: Vec<Place>| -> Vec<u64> {
        assert!(places.iter().all(|place| place.sender == alice));
        places.iter().map(|place| place.number).collect()
    };
    assert_eq!(numbers(store.expired(bob, &[1, 3, 9]).unwrap()), [1, 3]);
    assert_eq!(numbers(store.expired_after(bob, 1, 10).unwrap()), [2, 3]);
    assert!(store.expired(carol, &[1]).unwrap().is_empty());

    let open = || {
        let untold = store.untold(alice, FIRST, 10).unwrap();
        untold.iter().filter(|untold| untold.open).count()
    };
    assert_eq!(open(), 3);
    fixture.change(Change::Block(bob, alice, true));
    assert_eq!(open(), 0, "who blocks is not given away");
    fixture.change(Change::Block(bob, alice, false));
    let hidden = Flags {
        listed: true,
        presence: false,
        refuse_unencrypted: false,
    };
    fixture.change(Change::SetFlags(bob, hidden));
    assert_eq!(open(), 0, "who hides is not given away");
    fixture.change(Change::SetFlags(
        bob,
        Flags {
            presence: true,
            ..hidden
        },
    ));
    let keys = vec![(bob, 1), (bob, 2)];
    assert_eq!(step(Step::Told(keys.clone())), Stepped::Told(keys.clone()));
    assert_eq!(step(Step::Told(keys)), Stepped::Told(Vec::new()));
    assert_eq!(open(), 1);

    assert_eq!(step(Step::Forget(FIRST, 150)), Stepped::Forgotten(None));
    assert_eq!(numbers(store.expired_after(bob, 0, 10).unwrap()), [3]);
    fixture.change(delete(alice));
    assert_eq!(step(Step::Forget(FIRST, 0)), Stepped::Forgotten(None));
    assert!(store.expired_after(bob, 0, 10).unwrap().is_empty());
}

pub(in crate::store) fn a_name_that_is_given_away_brings_nothing_along(fixture: &impl Scene) {
    let (alice, bob) = (fixture.register("alice"), fixture.register("bob"));
    let sender = |name: &str| Sender::User(name.parse().unwrap());
    fixture.put(alice, bob, sender("bob"), 1);
    fixture.put(bob, alice, sender("alice"), 2);
    fixture.put(alice, alice, sender("alice"), 3);
    fixture.change(Change::Block(alice, bob, true));
    let reuse = || fixture.change(Change::Reuse(bob, new_account("bob")));
    assert_eq!(reuse(), Changed::NameTaken, "it is somebody's");
    fixture.change(delete(bob));
    let store = fixture.store();
    let Part {
        found,
        looked_at,
        next,
    } = store.traces(bob, FIRST).unwrap();
    assert_eq!((looked_at, next), (3, None));
    let owners: Vec<_> = found.iter().map(|it| it.owner.as_ref()).collect();
    let owner = "alice".parse().unwrap();
    assert_eq!(owners, [Some(&owner), None], "{found:?}");
    assert_eq!((found[0].size, found[0].is_envelope), (5, false));
    assert_eq!((found[1].size, found[1].is_envelope), (10, true));
    let blockers = store.blockers(bob, FIRST).unwrap();
    assert_eq!((&blockers.found[..], blockers.next), (&[alice][..], None));
    let places = found.iter().map(|it| (it.recipient, it.number));
    let purge = Change::Purge(bob, places.collect(), blockers.found);
    assert_eq!(fixture.change(purge), Changed::Done);
    assert_eq!(fixture.numbers(alice), [3], "what others sent stays");
    fixture.change(Change::Purge(alice, vec![(alice, 3)], Vec::new()));
    let Changed::Registered(new) = reuse() else {
        panic!("it was not given away");
    };
    assert!(new != bob && new != alice);
    for recipient in [alice, bob, new] {
        assert_eq!(fixture.numbers(recipient), [0; 0]);
    }
    assert!(!fixture.store().blocks(alice, bob).unwrap());
    let names: Vec<String> = fixture
        .store()
        .accounts(None, 9)
        .unwrap()
        .iter()
        .map(|it| it.name.to_string())
        .collect();
    assert_eq!(names, ["alice", "bob"]);
    let carol = fixture.register("carol");
    assert!(carol > new, "no number is another account's");
}

pub(crate) fn guesses_at_a_name_are_counted_where_several_servers_may_be(fixture: &impl Scene) {
    fixture.register("alice");
    let store = fixture.store();
    let guess = |name: &str, forgiven_after| {
        let name = name.parse().unwrap();
        store.count_guess(&name, forgiven_after, 3).unwrap()
    };
    let hour = Duration::from_secs(3600);
    if store.run().is_none() {
        assert_eq!(guess("alice", hour), None, "its server remembers them");
        return;
    }
    // Whether the name exists makes no difference.
    for name in ["alice", "ghost"] {
        let counts = [(); 5].map(|()| guess(name, hour));
        assert_eq!(counts, [1, 2, 3, 3, 3].map(Some), "{name}");
    }
    let short = Duration::from_millis(20);
    assert_eq!(guess("bob", short), Some(1));
    std::thread::sleep(short * 2);
    assert_eq!(guess("bob", short), Some(1), "the first is forgotten");
    assert_eq!(guess("alice", hour), Some(3), "others' are not");
}
