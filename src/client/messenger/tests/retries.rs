//! Messages that can't be decrypted come again: after a lost vault, in a dead
//! session. And when they must not.

use super::setups::acquainted;
use super::*;
use crate::client::login;
use crate::client::messenger::batch::Batch;
use crate::client::messenger::identity::wire_identity;
use crate::client::messenger::retry;
use crate::client::vault::HistoryQuery;
use crate::client::vault::{
    DeliveryState, EncryptionStatus, MessageRecord, PasswordKey, VaultFile,
};
use crate::client::view::{Mark, ViewEvent};
use crate::clock;
use crate::crypto::account::password::Argon2Params;
use crate::crypto::account::recovery::RecoveryCode;
use crate::crypto::keys::IdentityKeys;

const DAY: u64 = 24 * 3600 * 1000;

impl Somebody {
    /// Logs in and says yes to everything, on a machine without a vault.
    fn on_a_new_machine(&mut self) {
        self.home = TempDir::new().unwrap();
        self.log_in_agreeing();
    }

    fn log_in_agreeing(&mut self) {
        let yes = &mut Answers {
            yes: true,
            ..answers(PASSWORD)
        };
        let account = self.login_flow().log_in(self.name, yes).unwrap();
        self.start(account);
    }

    pub(super) fn vault(&self) -> Vault {
        let file = VaultFile::take(self.home.path(), &self.server, &self.name).unwrap();
        let opened = login::open(file.read().unwrap(), PASSWORD).unwrap();
        opened.ok().unwrap().vault
    }

    pub(super) fn reads_again(&self, wanted: &str) {
        self.sees(wanted, |event| match event {
            ViewEvent::Message {
                text,
                state: "sent again",
                mark: Mark::None,
                ..
            } if text == wanted => Some(()),
            _ => None,
        });
    }

    pub(super) fn sees_undecryptable(&self) {
        self.sees("an undecryptable message", |event| match event {
            ViewEvent::Message {
                mark: Mark::Undecryptable(_),
                ..
            } => Some(()),
            _ => None,
        });
    }

    /// Texts of the history with somebody, `None` for what could not be decrypted.
    pub(super) fn texts(&self, with: &str) -> Vec<Option<String>> {
        let _ = self.everything();
        let query = HistoryQuery {
            with: Some(with.parse().unwrap()),
            ..HistoryQuery::default()
        };
        self.run(Command::History(query)).unwrap();
        let text = |event| match event {
            ViewEvent::Message { text, mark, .. } => Some((mark == Mark::None).then_some(text)),
            _ => None,
        };
        self.everything().into_iter().filter_map(text).collect()
    }
}

pub(super) fn texts(texts: &[&str]) -> Vec<Option<String>> {
    texts.iter().map(|text| Some(text.to_string())).collect()
}

/// Alice and bob, who know each other; bob is away, and three messages wait.
fn waiting_for_bob(trust: Trust) -> (Double, Somebody, Somebody) {
    let (server, mut alice, mut bob) = acquainted();
    bob.log_out();
    alice.log_out();
    alice.trust = trust;
    alice.log_in();
    for text in ["one", "two", "three"] {
        alice.send("bob", text);
    }
    alice
        .run(Command::AwaitAnswers(Duration::from_secs(5)))
        .unwrap();
    (server, alice, bob)
}

#[test]
fn a_fresh_machine_gets_what_it_could_not_decrypt() {
    let (server, alice, mut bob) = waiting_for_bob(Trust::FirstUse);
    bob.on_a_new_machine();
    for _ in 0..3 {
        bob.sees_undecryptable();
    }
    bob.sees_line("asked to send");
    bob.run(Command::Fetch).unwrap();
    let pending = |server: &Double| {
        let world = server.world.lock().unwrap();
        world.accounts[&"bob".parse().unwrap()].mailbox.len()
    };
    assert_eq!(pending(&server), 0, "kept, and acknowledged");

    alice.sees_line("bob's identity has changed");
    assert_eq!(
        messages(&bob.everything()),
        0,
        "nothing before it is accepted"
    );
    alice.run(Command::Accept(bob.name)).unwrap();
    alice.sees_line("/verify bob yes");
    assert_eq!(messages(&bob.everything()), 0, "nothing for being accepted");
    alice.run(Command::Verify(bob.name, false)).unwrap();
    alice.run(Command::Verify(bob.name, true)).unwrap();
    alice.sees_in_all("could not decrypt", 3);
    for text in ["one", "two", "three"] {
        bob.reads_again(text);
    }
    assert_eq!(bob.texts("alice"), texts(&["one", "two", "three"]));
    assert_eq!(
        alice.texts("bob").len(),
        5,
        "the request itself is no message"
    );
    // The two talk on, and nothing comes a second time.
    alice.send("bob", "welcome back");
    assert_eq!(bob.reads("welcome back"), Mark::None);
    bob.log_out();
    bob.log_in();
    assert_eq!(messages(&bob.everything()), 0);
}

#[test]
fn nothing_is_sent_again_under_trust_always() {
    let (_server, alice, mut bob) = waiting_for_bob(Trust::Always);
    bob.on_a_new_machine();
    alice.sees_line("with --trust always that is never done by itself");
    alice.send("bob", "by hand");
    assert_eq!(bob.reads("by hand"), Mark::None);
    let texts = bob.texts("alice");
    assert_eq!(texts, [None, None, None, Some("by hand".to_owned())]);
}

#[test]
fn a_dead_session_is_replaced_and_its_messages_come_again() {
    let (_server, alice, mut bob) = acquainted();
    bob.log_out();
    let mut vault = bob.vault();
    let contact = vault.contact(&alice.name).unwrap().id;
    vault
        .transact(|vault| vault.forget_conversation(contact))
        .unwrap();
    drop(vault);
    bob.log_in();
    alice.send("bob", "into the void");
    bob.sees_undecryptable();
    bob.reads_again("into the void");
    alice.send("bob", "in the new session");
    assert_eq!(bob.reads("in the new session"), Mark::None);
    bob.send("alice", "and back");
    assert_eq!(alice.reads("and back"), Mark::None);
}

#[test]
fn a_session_that_went_back_in_time_is_replaced() {
    let server = Double::start();
    let alice = Somebody::registered(&server, "alice");
    let mut bob = Somebody::registered(&server, "bob");
    let turn = |alice: &Somebody, bob: &Somebody, number: u32| {
        alice.send("bob", &format!("from alice {number}"));
        bob.reads(&format!("from alice {number}"));
        bob.send("alice", &format!("from bob {number}"));
        alice.reads(&format!("from bob {number}"));
    };
    turn(&alice, &bob, 0);
    bob.log_out();
    let vault = bob.vault();
    let contact = vault.contact(&alice.name).unwrap().id;
    let old = vault.conversation(contact).unwrap().unwrap();
    drop(vault);
    bob.log_in();
    turn(&alice, &bob, 1);
    turn(&alice, &bob, 2);
    bob.log_out();
    let mut vault = bob.vault();
    vault
        .transact(|vault| vault.save_conversation(contact, &old))
        .unwrap();
    drop(vault);
    bob.log_in();
    alice.send("bob", "to the later state");
    bob.sees_undecryptable();
    // Nobody but the person knows that it was not the network.
    bob.sees_line("if it never does: /renew alice");
    bob.run(Command::Renew(alice.name)).unwrap();
    bob.reads_again("to the later state");
    alice.sees_line("bob's client started a new session that does not go on from the one before");
    turn(&alice, &bob, 3);
}

#[test]
fn an_answer_that_went_elsewhere_is_asked_for_once_more() {
    let (server, mut alice, mut bob) = waiting_for_bob(Trust::FirstUse);
    alice.log_out();
    let mut vault = bob.vault();
    let contact = vault.contact(&alice.name).unwrap().id;
    vault
        .transact(|vault| vault.forget_conversation(contact))
        .unwrap();
    drop(vault);
    bob.log_in();
    bob.sees_line("asked to send");
    bob.log_out();
    alice.log_in();
    alice.sees_in_all("could not decrypt", 3);
    alice
        .run(Command::AwaitAnswers(Duration::from_secs(5)))
        .unwrap();
    // Another login takes the answers away.
    let elsewhere = Somebody::new(&server, "bob");
    let refused = elsewhere
        .login_flow()
        .log_in(bob.name, &mut answers(PASSWORD));
    assert!(refused.is_err());
    let mut world = server.world.lock().unwrap();
    world.accounts.get_mut(&bob.name).unwrap().mailbox.clear();
    drop(world);
    bob.log_in();
    for text in ["one", "two", "three"] {
        bob.reads_again(text);
    }
}

/// It can't be opened and is not shown, but it may well be a message.
#[test]
fn what_came_before_an_import_is_asked_for_and_not_said_to_be_no_message() {
    let (_server, alice, mut bob) = acquainted();
    bob.log_out();
    let asked = &mut answers(PASSWORD);
    let export = bob.login_flow().export(bob.name, asked).unwrap();
    alice.send("bob", "while you move");
    alice.sees_state("stored");
    bob.home = TempDir::new().unwrap();
    let account = bob.login_flow().import(&export, asked).unwrap();
    bob.start(account);
    bob.sees_line("for the vault before the import can't be opened here");
    bob.sees_line("that was all: nothing to show");
    assert_eq!(bob.reads("while you move"), Mark::None);
}

/// A vault of alice's with bob in it, and a message of a given age.
fn asked_vault(home: &TempDir, age: u64) -> (Vault, Me, Vec<[u8; 16]>) {
    let name = "alice".parse().unwrap();
    let file = VaultFile::take(home.path(), "test", &name).unwrap();
    let password = PasswordKey::derive(PASSWORD, Argon2Params::FLOOR).unwrap();
    let code = RecoveryCode::generate(&mut os_rng()).wrapping_key();
    let mut vault = file
        .create(&password, credentials::new_kdf(), &code, |_| Ok(()))
        .unwrap();
    let keys = vault.make_identity().unwrap();
    let theirs = IdentityKeys::generate(&mut os_rng()).public();
    let mid = random_id();
    vault
        .transact(|vault| {
            let mut contact = vault.contact_or_new(&"bob".parse().unwrap())?;
            contact.identity = Some(wire_identity(&theirs));
            vault.save_contact(&contact)?;
            let record = MessageRecord {
                outgoing: true,
                text: "secret".to_owned(),
                identity: Some(identity::fingerprint(&wire_identity(&theirs))),
                ..MessageRecord::new(EncryptionStatus::Encrypted, DeliveryState::Delivered)
            };
            vault.add_message(contact.id, &MessageId(mid), clock::unix_ms() - age, &record)
        })
        .unwrap();
    let me = Me {
        name,
        keys,
        trust: Trust::FirstUse,
        age: 0,
        after_restore: false,
    };
    (vault, me, vec![mid])
}

/// How many messages a request for `ids` by a contact makes alice send again.
fn answers_to(vault: &mut Vault, me: &Me, ids: &[[u8; 16]], from: &str) -> usize {
    let before = vault.postponed().unwrap().len();
    vault
        .transact(|vault| {
            let contact = vault.contact_or_new(&from.parse().unwrap())?;
            let mut batch = Batch::new(vault, me, clock::unix_ms());
            retry::answer(&mut batch, &contact, ids)
        })
        .unwrap();
    vault.postponed().unwrap().len() - before
}

#[test]
fn a_message_is_sent_again_twice_at_most() {
    let home = TempDir::new().unwrap();
    let (mut vault, me, ids) = asked_vault(&home, 29 * DAY);
    // Named twice in one request, it is sent once.
    let twice = [ids[0], ids[0]];
    assert_eq!(answers_to(&mut vault, &me, &twice, "bob"), 1);
    // Under the id of its answer it is the same message.
    let resent = vault.history(None, 1).unwrap().remove(0).record.resends[0];
    assert_eq!(answers_to(&mut vault, &me, &[ids[0], resent.0], "bob"), 1);
    assert_eq!(answers_to(&mut vault, &me, &twice, "bob"), 0);
}

#[test]
fn old_and_foreign_messages_are_not_sent_again() {
    let home = TempDir::new().unwrap();
    let (mut vault, me, ids) = asked_vault(&home, 31 * DAY);
    assert_eq!(answers_to(&mut vault, &me, &ids, "bob"), 0, "too old");

    let home = TempDir::new().unwrap();
    let (mut vault, me, ids) = asked_vault(&home, 0);
    assert_eq!(answers_to(&mut vault, &me, &[[1; 16]], "bob"), 0, "no such");
    vault
        .transact(|vault| {
            let mut carol = vault.contact_or_new(&"carol".parse().unwrap())?;
            carol.identity = vault.contact(&"bob".parse().unwrap()).unwrap().identity;
            vault.save_contact(&carol)
        })
        .unwrap();
    assert_eq!(answers_to(&mut vault, &me, &ids, "carol"), 0, "not hers");
    // That somebody else claims to be bob keeps nothing from him.
    vault
        .transact(|vault| {
            let mut bob = vault.contact_or_new(&"bob".parse().unwrap())?;
            bob.pending_identity = Some(wire_identity(&me.keys.public()));
            vault.save_contact(&bob)
        })
        .unwrap();
    assert_eq!(answers_to(&mut vault, &me, &ids, "bob"), 1, "a claim");
    // Another identity than the one that has it waits for the person's word.
    vault
        .transact(|vault| {
            let mut bob = vault.contact_or_new(&"bob".parse().unwrap())?;
            bob.identity = Some(wire_identity(&me.keys.public()));
            vault.save_contact(&bob)
        })
        .unwrap();
    for _ in 0..3 {
        assert_eq!(answers_to(&mut vault, &me, &ids, "bob"), 0, "another");
    }
    let bob = vault.contact(&"bob".parse().unwrap()).unwrap().clone();
    assert_eq!(retry::asked_for(&vault, &bob, clock::unix_ms()).unwrap(), 1);
    assert_eq!(vault.requests(bob.id).unwrap().len(), 1, "noted once");
}

#[test]
fn asking_in_vain_ends() {
    let home = TempDir::new().unwrap();
    let (mut vault, ..) = asked_vault(&home, 0);
    let bob = vault.contact(&"bob".parse().unwrap()).unwrap().id;
    let lost = MessageRecord {
        outgoing: false,
        form: EncryptionStatus::Undecryptable("for a test".to_owned()),
        state: DeliveryState::Received,
        ..vault.history(None, 1).unwrap().remove(0).record
    };
    let mut asked = 0;
    for number in 0..20 {
        vault
            .transact(|vault| {
                let mid = MessageId([number; 16]);
                vault.add_message(bob, &mid, clock::unix_ms(), &lost)?;
                vault.want(bob, &mid)?;
                asked += usize::from(retry::ask(vault, bob, 1, clock::unix_ms())?);
                Ok(())
            })
            .unwrap();
    }
    assert_eq!(asked, 3, "nobody is asked for ever who is never understood");
}

#[test]
fn what_is_taken_counts_as_unread_until_it_is_shown() {
    let home = TempDir::new().unwrap();
    let (mut vault, me, _) = asked_vault(&home, 0);
    let message = Incoming {
        from: "carol".parse().unwrap(),
        mid: MessageId([3; 16]),
        at: 5,
        body: Body::Plain("from a console".into()),
    };
    let effects = vault
        .transact(|vault| {
            let mut batch = Batch::new(vault, &me, clock::unix_ms());
            receive::receive_message(&mut batch, &message)?;
            batch.finish()
        })
        .unwrap();
    let unread: Vec<_> = vault.all_unread().unwrap();
    assert_eq!(
        unread.len(),
        1,
        "killed here, it is shown at the next login"
    );
    assert_eq!(effects.shows.last().unwrap().unread, Some(unread[0].seq));
    vault
        .transact(|vault| vault.mark_read(&[unread[0].seq]))
        .unwrap();
    assert!(vault.all_unread().unwrap().is_empty());
}

#[test]
fn what_a_kill_kept_from_the_screen_is_shown_at_the_next_login() {
    let server = Double::start();
    let alice = Somebody::registered(&server, "alice");
    let mut bob = Somebody::registered(&server, "bob");
    alice.send("bob", "seen");
    bob.reads("seen");
    bob.log_out();
    let mut vault = bob.vault();
    assert!(vault.all_unread().unwrap().is_empty(), "it was shown");
    let seq = vault.find_message(None).unwrap().unwrap().seq;
    vault.transact(|vault| vault.mark_unread(seq)).unwrap();
    drop(vault);
    bob.log_in();
    bob.sees_line("1 message had just arrived when this client ended");
    bob.reads("seen");
    bob.log_out();
    bob.log_in();
    assert_eq!(messages(&bob.everything()), 0);
}
