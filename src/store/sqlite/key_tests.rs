//! The published keys in the store on SQLite.

use super::tests::Fixture;
use super::*;
use crate::protocol::ids::ByteArray;
use crate::protocol::limits::MAX_ONE_TIME_PREKEYS;
use crate::protocol::request::{Identity, OneTimePrekey, Publish, SignedPrekey};

fn keys(identity: u8, one_time: std::ops::Range<u32>) -> Box<Publish> {
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

#[test]
fn a_one_time_prekey_is_handed_out_once() {
    let fixture = Fixture::new();
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

#[test]
fn earlier_prekeys_make_room_for_new_ones_whatever_their_ids() {
    let fixture = Fixture::new();
    let alice = fixture.register("alice");
    let most = MAX_ONE_TIME_PREKEYS as u32;
    for (new, left) in [
        (1000..1000 + most - 50, most - 50),
        (0..100, most),
        (5000..5000 + most, most),
        (100..101, most),
    ] {
        let publish = keys(1, new.clone());
        let published = fixture.change(Change::Publish(alice, publish));
        assert_eq!(published, Changed::Published(left));
        let kept: Vec<u32> = (rusqlite::Connection::open(fixture.folder.path().join("chat.db"))
            .unwrap())
        .prepare("SELECT id FROM one_time_prekeys")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(|id| id.unwrap())
        .collect();
        assert!(new.clone().all(|id| kept.contains(&id)), "{new:?}");
    }
}

#[test]
fn an_identity_is_replaced_only_on_request() {
    let fixture = Fixture::new();
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
