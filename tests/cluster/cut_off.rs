//! What becomes of those at a server that can no longer act: they are sent away within seconds, and go on
//! elsewhere.

use std::time::{Duration, Instant};

use serde_json::json;

use super::database::Database;
use super::network::{CLIENTS, DATABASE};
use super::nodes::{Lost, Nodes, Place, Toward};
use super::play::{beside, network};

/// The lease, what a server waits without one, and what a loaded machine may add.
const WITHIN: Duration = Duration::from_secs(6 + 2 + 5);

#[test]
fn who_is_at_a_node_without_the_database_goes_to_another_one() {
    let Some(network) = network("cut-off") else {
        let database = Database::start();
        return who_is_there_is_sent_away(&beside(&database));
    };
    let _database = network.within(DATABASE, Database::in_network);
    let place = Place::Network(network.clone());
    network.within(CLIENTS, || who_is_there_is_sent_away(&place));
}

fn who_is_there_is_sent_away(place: &Place) {
    let nodes = Nodes::start(2, place);
    nodes.register(&["alice".to_owned(), "bob".to_owned()]);
    // The nodes have seen each other before somebody is passed from one to the other.
    let mut alice = nodes.client(0);
    alice.login("alice").unwrap();
    let mut bob = nodes.client(1);
    bob.login("bob").unwrap();
    bob.send("alice", 1, "hello").unwrap();
    assert_eq!(alice.message().body, "hello");
    std::thread::sleep(Duration::from_secs(2));

    let cut = Instant::now();
    nodes.cut(0, Toward::Database, Lost::All);
    while alice.next_event().is_some() {}
    let ended = cut.elapsed();
    println!("cut-off: the session has ended after {ended:?}");
    assert!(ended < WITHIN, "{ended:?}");
    let mut next = nodes.client(1);
    next.login_with("alice", json!({"take_over": true}))
        .unwrap();
    println!("cut-off: and goes on elsewhere after {:?}", cut.elapsed());
    assert_eq!(next.message().body, "hello");
    nodes.heal(0, Toward::Database, Lost::All, false);
}
