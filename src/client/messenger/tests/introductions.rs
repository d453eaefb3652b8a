//! Links that somebody else may have made, followed by somebody who knows whom they name.

use super::evil::Evil;
use super::setups::{they_talk, verified};
use super::*;
use crate::transport::invitation::{InvitationLink, Inviter};

/// The server and the link agree on another identity of a contact: the person has to decide.
#[test]
fn a_link_does_not_replace_a_known_identity() {
    let (server, alice, bob) = verified();
    let evil = Evil::new(10);
    let genuine = evil.publish_as(&server, &bob.name);
    let link = InvitationLink {
        address: server.address.parse().unwrap(),
        code: None,
        inviter: Some(Inviter {
            name: bob.name,
            identity: evil.keys.public().fingerprint(),
            nonce: [1; 8],
            expires: u64::MAX,
            secret: zeroize::Zeroizing::new([2; 16]),
        }),
    };
    let before = server.world.lock().unwrap().sends.len();
    let text = link.to_text().to_string();
    let said = alice.run(Command::Introduce(text)).unwrap_err();
    assert!(
        said.contains("ANOTHER IDENTITY of bob than the one that you know"),
        "{said}"
    );
    assert_eq!(server.world.lock().unwrap().sends.len(), before);
    super::evil::publish(&server, &bob.name, genuine);
    alice.run(Command::Verify(bob.name, false)).unwrap();
    alice.sees_line("bob is verified");
    they_talk(&alice, &bob, "as before");
}
