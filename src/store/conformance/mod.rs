//! The contract as tests: the same for every store. What only one store promises is tested beside
//! it.

pub(super) mod people;

use std::sync::Arc;

use super::*;
use crate::protocol::ids::Blob;
use crate::protocol::reply::Succession;
use crate::protocol::request::{OneTimePrekey, SignedPrekey};

/// A new store, and what tests do to it.
pub(super) trait Scene {
    /// The store.
    fn store(&self) -> &dyn Store;

    /// Commits one change.
    fn change(&self, change: Change) -> Changed {
        let batch = Batch {
            changes: vec![change],
            ..Batch::default()
        };
        self.store().commit(&batch).unwrap().remove(0)
    }

    /// Makes an account.
    fn register(&self, name: &str) -> UserId {
        match self.change(Change::Register(new_account(name))) {
            Changed::Registered(id) => id,
            other => panic!("{other:?}"),
        }
    }

    /// Stores a message: an envelope if its number is even, and otherwise a text.
    fn put(&self, recipient: UserId, sender: UserId, from: Sender, number: u64) {
        let body = if number.is_multiple_of(2) {
            Body::Envelope(Blob(vec![1; 10].into()))
        } else {
            Body::Plain("hello".into())
        };
        let message = Message {
            number,
            sender,
            from,
            mid: MessageId([number as u8; 16]),
            at: 5,
            body,
        };
        let batch = Batch {
            messages: vec![(recipient, Arc::new(message))],
            ..Batch::default()
        };
        self.store().commit(&batch).unwrap();
    }

    /// The numbers in a mailbox.
    fn numbers(&self, recipient: UserId) -> Vec<u64> {
        let page = self.store().page(recipient, bounds(0, u64::MAX)).unwrap();
        page.messages.iter().map(|message| message.number).collect()
    }
}

/// Each rule of the contract as a test of the store that the expression makes.
macro_rules! contract {
    ($scene:expr) => {
        crate::store::conformance::contract!($scene,
            a_password_changes_only_if_it_is_the_one_that_was_proven
            names_are_taken_once_and_stay_taken
            mail_is_paged_in_order_and_deleted_by_range
            a_failed_batch_leaves_nothing
            search_is_a_prefix_in_pages
            the_greatest_generation_of_a_vault_is_kept
            a_reset_takes_the_old_key_and_its_code_sets_one_new_key
            an_invitation_makes_as_many_accounts_as_it_says_until_it_expires
            networks_are_banned_once
            what_certificates_have_announced_is_kept_until_it_is_ended
            a_mailbox_is_claimed_by_the_server_that_has_it
            a_one_time_prekey_is_handed_out_once
            an_identity_is_replaced_only_on_request
        );
        crate::store::conformance::contract!($scene, people,
            when_people_were_last_seen_is_forgotten_a_part_at_a_time
            what_is_held_about_a_person_is_found_a_row_at_a_time
            mail_that_waited_too_long_leaves_a_row_and_a_notice
            a_name_that_is_given_away_brings_nothing_along
            guesses_at_a_name_are_counted_where_several_servers_may_be
        );
    };
    ($scene:expr, people, $($name:ident)+) => {
        $(#[test]
        fn $name() {
            crate::store::conformance::people::$name(&$scene);
        })+
    };
    ($scene:expr, $($name:ident)+) => {
        $(#[test]
        fn $name() {
            crate::store::conformance::$name(&$scene);
        })+
    };
}
pub(super) use contract;

/// A page of all that is between two numbers.
pub(super) fn bounds(after: u64, before: u64) -> PageBounds {
    PageBounds {
        after,
        before,
        messages: 100,
        rows: 100,
        bytes: 1 << 20,
        envelopes: true,
    }
}

fn kdf() -> KdfParams {
    KdfParams {
        salt: ByteArray([1; 16]),
        memory_kib: 65536,
        passes: 3,
        lanes: 1,
    }
}

/// The login key of [`new_account`].
const LOGIN_KEY: ByteArray<32> = ByteArray([2; 32]);

/// Deletes a new account.
pub(super) fn delete(user: UserId) -> Change {
    let proven = Some(LOGIN_KEY);
    Change::Delete { user, proven }
}

/// An account to make.
pub(super) fn new_account(name: &str) -> NewAccount {
    NewAccount {
        name: name.parse().unwrap(),
        kdf: kdf(),
        login_key: LOGIN_KEY,
        created: 1,
        invitation: None,
    }
}

const NOBODY: ByteArray<32> = ByteArray([0; 32]);

fn new_login(user: UserId, proven: ByteArray<32>, login_key: u8) -> NewLogin {
    NewLogin {
        user,
        proven,
        kdf: new_account("x").kdf,
        login_key: ByteArray([login_key; 32]),
    }
}

fn key_of(fixture: &impl Scene, name: &str) -> ByteArray<32> {
    let account = fixture.store().account(&name.parse().unwrap()).unwrap();
    account.unwrap().login_key
}

/// Keys to publish.
pub(super) fn keys(identity: u8, one_time: std::ops::Range<u32>) -> Box<Publish> {
    Box::new(Publish {
        identity: Identity {
            signing: ByteArray([identity; 32]),
            dh: ByteArray([identity; 32]),
        },
        signed_prekey: SignedPrekey {
            id: 1,
            key: ByteArray([3; 32]),
            signature: ByteArray([4; 64]),
        },
        one_time: one_time
            .map(|id| OneTimePrekey {
                id,
                key: ByteArray([5; 32]),
            })
            .collect(),
        replace: false,
        new_identity: false,
    })
}

pub(super) fn a_password_changes_only_if_it_is_the_one_that_was_proven(fixture: &impl Scene) {
    let alice = fixture.register("alice");
    let [first, second] = [[8; 32], [9; 32]].map(ByteArray);
    let set = |proven, login_key| {
        Change::SetLogin(NewLogin {
            user: alice,
            proven,
            kdf: kdf(),
            login_key,
        })
    };
    let account = || fixture.store().account(&"alice".parse().unwrap()).unwrap();
    // Both were proven with the key of before.
    let batch = Batch {
        changes: vec![set(LOGIN_KEY, first), set(LOGIN_KEY, second)],
        ..Batch::default()
    };
    let changed = fixture.store().commit(&batch).unwrap();
    assert_eq!(changed, [Changed::Done, Changed::OtherLogin]);
    assert_eq!(account().unwrap().login_key, first);
    assert_eq!(fixture.change(delete(alice)), Changed::OtherLogin);
    assert_eq!(account().unwrap().login_key, first);
    fixture.put(alice, alice, Sender::User("alice".parse().unwrap()), 1);
    assert!(!fixture.store().reclaim().unwrap());
    assert_eq!(fixture.numbers(alice), [1], "nothing of it was deleted");
    assert_eq!(fixture.change(set(first, second)), Changed::Done);
}

pub(super) fn names_are_taken_once_and_stay_taken(fixture: &impl Scene) {
    let alice = fixture.register("alice");
    assert_eq!(
        fixture.change(Change::Register(new_account("Alice"))),
        Changed::NameTaken
    );
    assert_eq!(fixture.change(delete(alice)), Changed::Done);
    assert!(
        fixture
            .store()
            .account(&"alice".parse().unwrap())
            .unwrap()
            .is_none()
    );
    assert_eq!(
        fixture.change(Change::Register(new_account("alice"))),
        Changed::NameTaken
    );
}

pub(super) fn mail_is_paged_in_order_and_deleted_by_range(fixture: &impl Scene) {
    let (alice, bob) = (fixture.register("alice"), fixture.register("bob"));
    let from = Sender::User("alice".parse().unwrap());
    for number in 1..=10 {
        fixture.put(bob, alice, from, number);
    }
    let page = fixture
        .store()
        .page(
            bob,
            PageBounds {
                messages: 3,
                ..bounds(2, 9)
            },
        )
        .unwrap();
    let numbers: Vec<u64> = page.messages.iter().map(|m| m.number).collect();
    assert_eq!((numbers, page.complete), (vec![3, 4, 5], false));
    let page = fixture
        .store()
        .page(
            bob,
            PageBounds {
                envelopes: false,
                ..bounds(0, 9)
            },
        )
        .unwrap();
    assert!(
        page.complete
            && page
                .messages
                .iter()
                .all(|m| matches!(m.body, Body::Plain(_)))
    );
    assert_eq!(page.messages[0].from, from);

    let batch = Batch {
        acknowledged: vec![(bob, 2..=4), (bob, 7..=7), (alice, 1..=9)],
        ..Batch::default()
    };
    fixture.store().commit(&batch).unwrap();
    assert_eq!(fixture.numbers(bob), [1, 5, 6, 8, 9, 10]);

    let summary = fixture.store().summary(bob).unwrap();
    assert_eq!(summary.last, 10);
    let [(sender, tally)] = summary.tallies[..] else {
        panic!()
    };
    assert_eq!(
        (sender, tally.envelopes, tally.plain, tally.bytes),
        (alice, 3, 3, 45)
    );
    let place = |number| Place {
        number,
        sender: alice,
        mid: MessageId([number as u8; 16]),
    };
    let store = fixture.store();
    let places = store.places(bob, &[5, 4, 11]).unwrap();
    assert_eq!(places, [place(5)]);
    assert_eq!(store.places_after(bob, 5, 2).unwrap(), [place(6), place(8)]);
    assert_eq!(store.places_after(bob, 9, 2).unwrap(), [place(10)]);
    assert_eq!(store.message(bob, 5).unwrap().unwrap().mid, place(5).mid);
    assert_eq!(store.message(bob, 4).unwrap(), None);
}

pub(super) fn a_failed_batch_leaves_nothing(fixture: &impl Scene) {
    let (alice, bob) = (fixture.register("alice"), fixture.register("bob"));
    let from = Sender::User("alice".parse().unwrap());
    fixture.put(bob, alice, from, 1);
    let page = fixture.store().page(bob, bounds(0, 9)).unwrap();
    let again = Arc::new(page.messages[0].clone());
    let fresh = Arc::new(Message {
        number: 2,
        ..page.messages[0].clone()
    });
    let batch = Batch {
        messages: vec![(bob, fresh), (bob, again)],
        ..Batch::default()
    };
    assert!(fixture.store().commit(&batch).is_err(), "number 1 exists");
    assert_eq!(fixture.numbers(bob), [1]);
    fixture.put(bob, alice, from, 2);
    assert_eq!(fixture.numbers(bob), [1, 2], "the connection was reopened");
}

pub(super) fn search_is_a_prefix_in_pages(fixture: &impl Scene) {
    for name in ["al", "alice", "alf", "bob", "al-z", "al_z"] {
        fixture.register(name);
    }
    let hidden = fixture.register("alan");
    let flags = Flags {
        listed: false,
        presence: true,
        refuse_unencrypted: false,
    };
    fixture.change(Change::SetFlags(hidden, flags));
    let names = |after: Option<&str>, limit| -> Vec<String> {
        let after = after.map(|name| name.parse().unwrap());
        let found = fixture
            .store()
            .search(hidden, "al", after.as_ref(), limit)
            .unwrap();
        found.iter().map(|found| found.name.to_string()).collect()
    };
    assert_eq!(names(None, 10), ["al", "al-z", "al_z", "alf", "alice"]);
    assert_eq!(names(Some("al_z"), 1), ["alf"]);
    assert!(
        fixture
            .store()
            .search(hidden, "%", None, 10)
            .unwrap()
            .is_empty()
    );
}

pub(super) fn the_greatest_generation_of_a_vault_is_kept(fixture: &impl Scene) {
    let alice = fixture.register("alice");
    let tell = |told| match fixture.change(Change::CountLogin(alice, told)) {
        Changed::Login { vault, .. } => vault,
        other => panic!("{other:?}"),
    };
    let [seven, eight, nine, ten] = [7, 8, 9, 10].map(|number| Some(generation(number, 1)));
    assert_eq!(tell(None), None);
    assert_eq!(tell(seven), None);
    assert_eq!(tell(nine), None);
    assert_eq!(
        tell(None),
        nine,
        "a console's login, or one without a vault"
    );
    let of_copy = Some(generation(9, 2));
    assert_eq!(tell(of_copy), nine, "the same vault twice is a copy");
    assert_eq!(tell(eight), nine);
    let without_proof = Some(VaultGeneration {
        number: 11,
        proof: None,
    });
    assert_eq!(tell(without_proof), None);
    assert_eq!(tell(ten), without_proof);
    assert_eq!(tell(Some(generation(u64::MAX, 1))), None);
    assert_eq!(tell(ten), Some(generation(i64::MAX as u64, 1)));
}

/// A generation, and what its client recognises it by.
pub(super) fn generation(number: u64, proof: u8) -> VaultGeneration {
    VaultGeneration {
        number,
        proof: Some(ByteArray([proof; 16])),
    }
}

pub(super) fn a_reset_takes_the_old_key_and_its_code_sets_one_new_key(fixture: &impl Scene) {
    let bob = fixture.register("bob");
    let before = key_of(fixture, "bob");
    let code = ByteArray([9; 32]);
    let reset = Reset {
        key: code,
        expires: 100,
    };
    let finish = |key, now| fixture.change(Change::FinishReset(new_login(bob, key, 5), now));
    assert_eq!(finish(NOBODY, 1), Changed::Unknown, "there is no reset");
    assert_eq!(fixture.change(Change::Reset(bob, reset)), Changed::Done);
    assert_eq!(key_of(fixture, "bob"), NOBODY);
    // A change of password that was proven before the reset comes too late.
    let late = Change::SetLogin(new_login(bob, before, 6));
    assert_eq!(fixture.change(late), Changed::OtherLogin);
    assert_eq!(finish(ByteArray([8; 32]), 1), Changed::Unknown);
    assert_eq!(finish(code, 101), Changed::Expired);
    assert_eq!(key_of(fixture, "bob"), NOBODY);
    assert_eq!(finish(code, 100), Changed::Done);
    assert_eq!(key_of(fixture, "bob"), ByteArray([5; 32]));
    assert_eq!(finish(code, 100), Changed::Unknown, "it works once");
    let changed = Change::SetLogin(new_login(bob, ByteArray([5; 32]), 6));
    assert_eq!(fixture.change(changed), Changed::Done);
}

pub(super) fn an_invitation_makes_as_many_accounts_as_it_says_until_it_expires(
    fixture: &impl Scene,
) {
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
    assert_eq!(fixture.store().invitations(i64::MIN, 9).unwrap().len(), 1);
    assert_eq!(fixture.change(Change::Revoke(id)), Changed::Done);
    assert_eq!(fixture.change(Change::Revoke(id)), Changed::Unknown);
    assert_eq!(register("c", code, 1), Changed::Unknown);
}

pub(super) fn networks_are_banned_once(fixture: &impl Scene) {
    for at in [1, 2] {
        fixture.change(Change::Ban("10.0.0.0/8".to_owned(), at));
    }
    assert_eq!(
        fixture.store().bans().unwrap(),
        [("10.0.0.0/8".to_owned(), 1)]
    );
    let lift = || fixture.change(Change::LiftBan("10.0.0.0/8".to_owned()));
    assert_eq!((lift(), lift()), (Changed::Done, Changed::Unknown));
}

pub(super) fn what_certificates_have_announced_is_kept_until_it_is_ended(fixture: &impl Scene) {
    let step = |from: u8, to: u8| {
        Box::new(Succession {
            certificate: Blob(Box::new([from])),
            next: ByteArray([to; 32]),
            at: 1,
            scheme: 2,
            signature: Blob(Box::new([3])),
        })
    };
    let known = || fixture.store().successions().unwrap();
    assert_eq!(known(), Successions::default());
    assert_eq!(fixture.change(Change::EndSuccession), Changed::Unknown);
    for next in [2, 3] {
        assert_eq!(
            fixture.change(Change::Announce(step(1, next))),
            Changed::Done
        );
    }
    assert!(known().under_way);
    assert_eq!(known().steps, [*step(1, 3)], "the last word of each counts");
    assert_eq!(fixture.change(Change::EndSuccession), Changed::Done);
    assert_eq!(fixture.change(Change::EndSuccession), Changed::Unknown);
    assert_eq!((known().under_way, known().steps.len()), (false, 1));
}

pub(super) fn a_mailbox_is_claimed_by_the_server_that_has_it(fixture: &impl Scene) {
    let [alice, bob] = ["alice", "bob"].map(|name| fixture.register(name));
    let claim = |user| match fixture.change(Change::ClaimHome(user)) {
        Changed::Home(Home::Here { first_number }) => first_number,
        other => panic!("{other:?}"),
    };
    let first = claim(alice);
    assert!(first >= fixture.store().first_number());
    assert!(claim(alice) >= first && claim(bob) > 0);
    assert_eq!(fixture.change(Change::Online(alice, true)), Changed::Done);
    let store = fixture.store();
    // All this is about other servers.
    assert_eq!(store.nodes().unwrap(), []);
    assert_eq!(store.home(alice).unwrap(), None);
    assert_eq!(store.online(&[alice, bob]).unwrap(), []);
}

pub(super) fn a_one_time_prekey_is_handed_out_once(fixture: &impl Scene) {
    let alice = fixture.register("alice");
    let take = |one_time| {
        fixture.change(Change::ClaimBundle {
            of: alice,
            one_time,
        })
    };
    assert_eq!(take(true), Changed::NoKeys);
    assert_eq!(
        fixture.change(Change::Publish(alice, keys(1, 0..2))),
        Changed::Published(2)
    );
    let mut handed_out = Vec::new();
    for (one_time, left) in [(true, 1), (false, 0), (true, 0), (true, 0)] {
        let Changed::Bundle(bundle, stock) = take(one_time) else {
            panic!()
        };
        assert_eq!(stock, left);
        handed_out.push(bundle.one_time.map(|key| key.id));
    }
    assert_eq!(handed_out, [Some(0), None, Some(1), None]);
}

pub(super) fn an_identity_is_replaced_only_on_request(fixture: &impl Scene) {
    let alice = fixture.register("alice");
    fixture.change(Change::Publish(alice, keys(1, 0..5)));
    assert_eq!(
        fixture.change(Change::Publish(alice, keys(2, 5..6))),
        Changed::OtherIdentity
    );
    let mut new = keys(2, 5..6);
    new.new_identity = true;
    assert_eq!(
        fixture.change(Change::Publish(alice, new)),
        Changed::Published(1),
        "old prekeys go too"
    );
    let many = keys(2, 10..400);
    assert_eq!(
        fixture.change(Change::Publish(alice, many)),
        Changed::Published(200)
    );
}
