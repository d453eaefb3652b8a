//! The published keys in the store on SQLite.

use super::tests::Fixture;
use super::*;
use crate::protocol::limits::MAX_ONE_TIME_PREKEYS;
use crate::store::Change;
use crate::store::conformance::{Scene, keys};

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
