//! The contract as tests: what is kept about a person, and for how long.

use std::sync::Arc;

use super::{Scene, generation, keys};
use crate::protocol::ids::{ByteArray, MessageId};
use crate::protocol::request::{Body, Sender};
use crate::store::personal_data::{Field, Person, START, Section};
use crate::store::{Batch, Change, Changed, Invitation, Message, Reset, UserId};

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
    assert_eq!(counts, [1, 1, 1, 1, 0, 1, 1, 1, 2, 1, 2], "{found:?}");
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
