//! The handles that the server gives for messages: what a client names when it asks for
//! outcomes, and when it sends again. Also what it makes of answers that contradict each other.

use super::double::handle_of;
use super::setups::acquainted;
use super::*;
use crate::protocol::ids::Handle;

fn latest(server: &Double) -> (MessageId, bool, Option<Handle>) {
    let world = server.world.lock().unwrap();
    let (mid, _, again) = world.sends.last().unwrap();
    (*mid, *again, *world.after.last().unwrap())
}

fn answered(somebody: &Somebody) {
    somebody
        .run(Command::AwaitAnswers(Duration::from_secs(5)))
        .unwrap();
}

#[test]
fn what_is_sent_again_names_the_last_handle_from_before_it_was_sent() {
    let (server, mut alice, bob) = acquainted();
    alice.send("bob", "answered");
    answered(&alice);
    let (before, ..) = latest(&server);
    server.world.lock().unwrap().drop_answers = true;
    alice.send("bob", "unanswered");
    bob.reads("unanswered");
    let (mid, again, after) = latest(&server);
    assert!(!again && after.is_none());
    // The client is killed, and is told the handle of a later message.
    alice.session.take().unwrap().end();
    let mut vault = alice.vault();
    vault
        .transact(|vault| {
            let mut contact = vault.contact_or_new(&bob.name)?;
            assert_eq!(contact.last_handle, Some(handle_of(&before)));
            contact.last_handle = Some(ByteArray([0xaa; 16]));
            vault.save_contact(&contact)
        })
        .unwrap();
    drop(vault);
    server.world.lock().unwrap().drop_answers = false;
    alice.log_in();
    answered(&alice);
    assert_eq!(latest(&server), (mid, true, Some(handle_of(&before))));
    // From then on it is that message's own.
    alice.send("bob", "and another");
    server.cut();
    alice.is_connected();
    answered(&alice);
    let world = server.world.lock().unwrap();
    for (sent, after) in world.sends.iter().zip(&world.after) {
        let (other, _, again) = sent;
        if *other != mid && *again {
            assert_eq!(*after, Some(handle_of(&mid)));
        }
    }
}

#[test]
fn the_first_message_of_all_names_no_handle() {
    let server = Double::start();
    let mut alice = Somebody::registered(&server, "alice");
    let bob = Somebody::registered(&server, "bob");
    server.world.lock().unwrap().drop_answers = true;
    alice.send("bob", "the first");
    bob.reads("the first");
    alice.session.take().unwrap().end();
    server.world.lock().unwrap().drop_answers = false;
    alice.log_in();
    answered(&alice);
    let (_, again, after) = latest(&server);
    assert!(again && after.is_none());
}

#[test]
fn outcomes_are_asked_for_by_handles() {
    let (server, mut alice, mut bob) = acquainted();
    bob.log_out();
    for text in ["one", "two", "three"] {
        alice.send("bob", text);
    }
    alice.log_out();
    alice.log_in();
    let world = server.world.lock().unwrap();
    let asked = world.outcomes.last().unwrap();
    assert_eq!(asked.ids.len(), 3);
    let handles: Vec<_> = asked.ids.iter().map(|id| Some(handle_of(id))).collect();
    assert_eq!(asked.handles, handles);
}

#[test]
fn a_message_that_was_refused_is_not_delivered_because_the_server_says_so() {
    let (server, mut alice, bob) = acquainted();
    let evil = super::evil::Evil::new(10);
    let genuine = evil.publish_as(&server, &bob.name);
    alice.send("bob", "for bob alone");
    alice.sees_line("messages to bob wait here");
    let mid = alice.id_of("for bob alone");
    let delivered = Event::Delivered {
        to: bob.name,
        ids: vec![mid],
    };
    server.tell("alice", &delivered);
    alice.is_connected();
    let shows = alice.everything();
    let is_receipt = |event: &ViewEvent| matches!(event, ViewEvent::Receipt { .. });
    assert!(!shows.iter().any(is_receipt), "{shows:?}");
    super::evil::publish(&server, &bob.name, genuine);
    alice.session.take().unwrap().end();
    alice.log_in();
    assert_eq!(bob.reads("for bob alone"), Mark::None);
}

#[test]
fn an_unencrypted_message_is_for_no_identity() {
    let server = Double::start();
    let alice = Somebody::registered(&server, "alice");
    let bob = Somebody::registered(&server, "bob");
    server.world.lock().unwrap().refuse_send = Some((Code::IdentityChanged, "another identity"));
    alice
        .run(Command::SendUnencrypted(bob.name, "in the open".to_owned()))
        .unwrap();
    alice.sees_line("the message to bob was not sent: the server says");
    assert!(
        alice
            .run(Command::AwaitAnswers(Duration::from_secs(5)))
            .is_err()
    );
    assert_eq!(messages(&bob.everything()), 0);
}

impl Somebody {
    /// The id of the latest message, which has this text.
    fn id_of(&self, wanted: &str) -> MessageId {
        self.run(Command::History(None)).unwrap();
        self.sees(wanted, |event| match event {
            ViewEvent::Message { text, id, .. } if text == wanted => Some(*id),
            _ => None,
        })
    }
}
