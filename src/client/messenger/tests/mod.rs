//! Whole sessions against a small server, down to the screen.

mod answers;
mod claims;
mod confirmations;
mod copies;
mod disclosure;
mod double;
mod evil;
mod handles;
mod hostile;
mod introductions;
mod key_slots;
mod passwd;
mod planted;
mod renewals;
mod restored;
mod retries;
mod setups;

use crate::client::view::Mark;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use zeroize::Zeroizing;

use self::double::Double;
use super::*;
use crate::client::login::credentials;
use crate::client::login::{LoginError, LoginFlow, Prompt};
use crate::client::messenger::command::{Command, SettingsChange};
use crate::client::net::endpoint::{Endpoint, Protection};
use crate::protocol::{Blob, Body, Code, MessageId};

/// Collects what is shown.
struct Recorder(Mutex<Sender<ViewEvent>>);

impl Display for Recorder {
    fn event(&self, event: ViewEvent) {
        let _ = self.0.lock().unwrap().send(event);
    }

    fn show_unread(&self, event: ViewEvent, written: Written) {
        self.event(event);
        written.note();
    }

    fn finish_writing(&self) {}

    fn people(&self, _: Vec<Person>) {}

    fn ended(&self, end: End) {
        let (End::ShutOut(why) | End::Vault(why) | End::Gone(why)) = end;
        self.event(ViewEvent::bad(format!("ended: {why}")));
    }
}

/// Answers every question alike.
struct Answers {
    password: &'static str,
    /// What the account's password was changed to.
    new_password: Option<&'static str>,
    secret: Option<String>,
    yes: bool,
    said: Vec<ViewEvent>,
}

impl Prompt for Answers {
    fn password(&mut self, _: &str) -> Option<Zeroizing<String>> {
        Some(Zeroizing::new(self.password.to_owned()))
    }

    fn new_password(&mut self, _: &str) -> Option<Zeroizing<String>> {
        let password = self.new_password?;
        Some(Zeroizing::new(password.to_owned()))
    }

    fn secret(&mut self, _: &str) -> Option<Zeroizing<String>> {
        self.secret.take().map(Zeroizing::new)
    }

    fn yes(&mut self, _: &str) -> bool {
        self.yes
    }

    fn say(&mut self, event: ViewEvent) {
        self.said.push(event);
    }
}

fn answers(password: &'static str) -> Answers {
    Answers {
        password,
        new_password: None,
        secret: None,
        yes: false,
        said: Vec::new(),
    }
}

const PASSWORD: &str = "correct horse";

impl Drop for Somebody {
    /// The session's thread holds the vault and the connection.
    fn drop(&mut self) {
        if let Some(session) = self.session.take()
            && !std::thread::panicking()
        {
            session.end();
        }
    }
}

/// Somebody with a machine of their own.
struct Somebody {
    name: UserName,
    home: TempDir,
    server: String,
    trust: Trust,
    /// Whether receipts are sent. Most tests count what is sent, or lose it.
    receipts: bool,
    session: Option<SessionHandle>,
    screen: Option<Receiver<ViewEvent>>,
}

impl Somebody {
    fn new(server: &Double, name: &str) -> Self {
        Somebody {
            name: name.parse().unwrap(),
            home: TempDir::new().unwrap(),
            server: server.address.clone(),
            trust: Trust::FirstUse,
            receipts: false,
            session: None,
            screen: None,
        }
    }

    fn registered(server: &Double, name: &str) -> Self {
        Self::new(server, name).register()
    }

    fn register(self) -> Self {
        let mut somebody = self;
        let account = somebody
            .login_flow()
            .register(somebody.name, &mut answers(PASSWORD))
            .unwrap();
        somebody.start(account);
        somebody
    }

    fn endpoint(&self) -> Endpoint {
        let address = self.server.parse().unwrap();
        Endpoint::new(address, Protection::Off, self.home.path()).unwrap()
    }

    fn login_flow(&self) -> LoginFlow {
        LoginFlow {
            endpoint: self.endpoint(),
            data: self.home.path().to_owned(),
            take_over: false,
            claim: false,
            new_identity: false,
            kind: SessionKind::Chat,
        }
    }

    fn start(&mut self, account: Account) {
        let (sender, receiver) = channel();
        let recorder = Arc::new(Recorder(Mutex::new(sender)));
        self.session = Some(SessionHandle::start(account, self.trust, recorder).unwrap());
        self.screen = Some(receiver);
        if !self.receipts {
            let off = SettingsChange::Receipts(false);
            self.run(Command::Settings(off)).unwrap();
        }
        // Its keys are published before it hears a command.
        self.run(Command::Contacts).unwrap();
    }

    fn log_in(&mut self) {
        let account = self
            .login_flow()
            .log_in(self.name, &mut answers(PASSWORD))
            .unwrap();
        self.start(account);
    }

    fn log_out(&mut self) {
        self.run(Command::AwaitAnswers(Duration::from_secs(5)))
            .unwrap();
        self.session.take().unwrap().end();
    }

    /// Runs a command; an error is what the person hears.
    fn run(&self, command: Command) -> Result<(), String> {
        let session = self.session.as_ref().unwrap();
        let result = session.run(command);
        result.map(drop).map_err(|failure| failure.why)
    }

    fn send(&self, to: &str, text: &str) {
        self.run(Command::Send(to.parse().unwrap(), text.to_owned()))
            .unwrap();
    }

    /// Waits until something is shown that `wanted` takes.
    fn sees<T>(&self, what: &str, wanted: impl Fn(&ViewEvent) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.as_ref().unwrap().recv_timeout(left) {
                Ok(event) => match wanted(&event) {
                    Some(found) => return found,
                    None => seen.push(event),
                },
                Err(_) => panic!("{} never saw {what}, but {seen:#?}", self.name),
            }
        }
    }

    fn reads(&self, wanted: &str) -> Mark {
        self.sees(wanted, |event| match event {
            ViewEvent::Message {
                text,
                mark,
                outgoing: false,
                ..
            } if text == wanted => Some(mark.clone()),
            _ => None,
        })
    }

    fn sees_line(&self, part: &str) {
        self.sees(part, |event| match event {
            ViewEvent::Line(_, line) if line.contains(part) => Some(()),
            _ => None,
        });
    }

    /// Waits for lines with a number behind `before` until the numbers add up to
    /// `total`: what arrives together is counted together, and when is chance.
    fn sees_in_all(&self, before: &str, total: u64) {
        let mut sum = 0;
        while sum < total {
            sum += self.sees(&format!("{before} {total} in all"), |event| match event {
                ViewEvent::Line(_, line) => {
                    let (_, behind) = line.split_once(before)?;
                    behind.split_whitespace().next()?.parse::<u64>().ok()
                }
                _ => None,
            });
        }
        assert_eq!(sum, total, "{before}");
    }

    /// Waits for a connection on which the server answers.
    fn is_connected(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.run(Command::Status(self.name)).is_err() {
            assert!(Instant::now() < deadline, "{} is not connected", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Everything shown until now, after the messenger has done what it had to.
    fn everything(&self) -> Vec<ViewEvent> {
        self.run(Command::Contacts).unwrap();
        self.screen.as_ref().unwrap().try_iter().collect()
    }

    fn sees_state(&self, wanted: &str) {
        self.sees(wanted, |event| match event {
            ViewEvent::Receipt { state, .. } if *state == wanted => Some(()),
            _ => None,
        });
    }
}

fn messages(shows: &[ViewEvent]) -> usize {
    shows
        .iter()
        .filter(|event| matches!(event, ViewEvent::Message { .. }))
        .count()
}

#[test]
fn two_people_talk_online_and_offline() {
    let server = Double::start();
    let alice = Somebody::registered(&server, "alice");
    let mut bob = Somebody::registered(&server, "bob");
    alice.send("bob", "hello");
    assert_eq!(bob.reads("hello"), Mark::None);
    alice.sees_state("delivered");
    bob.send("alice", "hello yourself");
    assert_eq!(alice.reads("hello yourself"), Mark::None);

    bob.log_out();
    for number in 0..20 {
        alice.send("bob", &format!("missed {number}"));
    }
    bob.log_in();
    bob.sees_line("while you were away: 20 messages");
    for number in 0..20 {
        assert_eq!(bob.reads(&format!("missed {number}")), Mark::None);
    }
    bob.run(Command::Fetch).unwrap();
    assert!(
        server.world.lock().unwrap().accounts[&bob.name]
            .mailbox
            .is_empty()
    );
    let ciphertexts = &server.world.lock().unwrap().sends;
    let found = |text: &[u8]| {
        ciphertexts
            .iter()
            .any(|(_, bytes, _)| bytes.windows(text.len()).any(|w| w == text))
    };
    assert!(!found(b"missed") && !found(b"hello"));
}

#[test]
fn a_message_that_comes_twice_is_taken_once() {
    let server = Double::start();
    let alice = Somebody::registered(&server, "alice");
    let bob = Somebody::registered(&server, "bob");
    alice.send("bob", "once");
    bob.reads("once");
    alice.sees_state("delivered");
    let (mid, bytes, _) = server.world.lock().unwrap().sends[0].clone();
    let again = |mid, bytes: &[u8]| Incoming {
        from: alice.name,
        mid,
        at: 5,
        body: Body::Envelope(Blob(bytes.into())),
    };
    server.push("bob", again(mid, &bytes));
    // The same bytes under another id are caught by the encryption.
    server.push("bob", again(MessageId([9; 16]), &bytes));
    let mark = bob.reads("");
    assert!(matches!(mark, Mark::Undecryptable(_)), "{mark:?}");
    assert_eq!(messages(&bob.everything()), 0);
    bob.is_connected();
    assert!(
        server.world.lock().unwrap().accounts[&bob.name]
            .mailbox
            .is_empty()
    );
}

#[test]
fn an_answer_that_is_lost_makes_no_second_message() {
    let server = Double::start();
    let alice = Somebody::registered(&server, "alice");
    let bob = Somebody::registered(&server, "bob");
    alice.send("bob", "first");
    bob.reads("first");
    server.world.lock().unwrap().drop_answers = true;
    alice.send("bob", "second");
    bob.reads("second");
    alice.sees_line("connection lost");
    server.world.lock().unwrap().drop_answers = false;
    alice.send("bob", "third");
    alice.sees_line("connected again");
    bob.reads("third");
    assert_eq!(messages(&bob.everything()), 0, "nothing came twice");
    let world = server.world.lock().unwrap();
    let second: Vec<_> = world
        .sends
        .iter()
        .filter(|send| send.0 == world.sends[1].0)
        .collect();
    assert!(
        second.len() >= 2 && second.iter().all(|send| send.1 == second[0].1),
        "the same bytes"
    );
    assert!(second[1].2, "said to be sent again");
}

#[test]
fn what_was_typed_without_a_connection_goes_out_later() {
    let server = Double::start();
    let alice = Somebody::registered(&server, "alice");
    let bob = Somebody::registered(&server, "bob");
    server.cut();
    alice.sees_line("connection lost");
    alice.send("bob", "typed in the dark");
    alice.sees_line("connected again");
    bob.reads("typed in the dark");
}

#[test]
fn a_changed_identity_holds_messages_until_it_is_accepted() {
    let server = Double::start();
    let alice = Somebody::registered(&server, "alice");
    let mut bob = Somebody::registered(&server, "bob");
    alice.send("bob", "to the old bob");
    bob.reads("to the old bob");
    alice.sees_state("delivered");
    bob.log_out();

    // Bob's machine is gone; on the new one a question is asked first.
    bob.home = TempDir::new().unwrap();
    let refused = bob.login_flow().log_in(bob.name, &mut answers(PASSWORD));
    assert!(matches!(refused, Err(LoginError::Refused(_))));
    let account = loop {
        let yes = &mut Answers {
            yes: true,
            ..answers(PASSWORD)
        };
        if let Ok(account) = bob.login_flow().log_in(bob.name, yes) {
            break account;
        }
    };
    bob.start(account);
    bob.run(Command::Status(alice.name)).unwrap();

    alice.send("bob", "who are you");
    alice.sees_line("bob's identity has changed");
    alice.send("bob", "and this is for you");
    bob.send("alice", "it is me");
    alice.sees("a held message", |event| match event {
        ViewEvent::Message {
            mark: Mark::Held,
            text,
            ..
        } if text.is_empty() => Some(()),
        _ => None,
    });
    assert_eq!(messages(&bob.everything()), 0, "alice's messages are held");
    alice.run(Command::Accept(bob.name)).unwrap();
    assert_eq!(alice.reads("it is me"), Mark::None);
    assert_eq!(bob.reads("and this is for you"), Mark::None);
    // What was encrypted for the old bob before it was refused needs more.
    alice.run(Command::Verify(bob.name, false)).unwrap();
    alice.run(Command::Verify(bob.name, true)).unwrap();
    assert_eq!(bob.reads("who are you"), Mark::None);
}

#[test]
fn the_first_message_to_somebody_blocked_says_that_no_answer_comes() {
    let (_server, alice, bob) = setups::acquainted();
    alice.run(Command::Block(bob.name)).unwrap();
    alice.send("bob", "goodbye");
    alice.sees_line("their answers do not arrive until /unblock bob");
    alice.send("bob", "for good");
    let told =
        |event: &ViewEvent| matches!(event, ViewEvent::Line(_, line) if line.contains("/unblock"));
    assert!(!alice.everything().iter().any(told));
}

#[test]
fn safety_numbers_agree_and_are_remembered() {
    let server = Double::start();
    let alice = Somebody::registered(&server, "alice");
    let bob = Somebody::registered(&server, "bob");
    let number = |me: &Somebody, them: &Somebody| {
        me.run(Command::Verify(them.name, false)).unwrap();
        let digits = |event: &ViewEvent| match event {
            ViewEvent::SafetyNumber { number, .. } => Some(number.clone()),
            _ => None,
        };
        me.sees("digits", digits)
    };
    assert_eq!(number(&alice, &bob), number(&bob, &alice));
    alice.run(Command::Verify(bob.name, false)).unwrap();
    alice.run(Command::Verify(bob.name, true)).unwrap();
    alice.sees_line("bob is verified");
}

#[test]
fn unencrypted_mail_is_marked_and_never_sent_by_itself() {
    let server = Double::start();
    let alice = Somebody::registered(&server, "alice");
    let bob = Somebody::registered(&server, "bob");
    let plain = |text: &str| Incoming {
        from: bob.name,
        mid: MessageId([text.len() as u8; 16]),
        at: 5,
        body: Body::Plain(text.into()),
    };
    server.push("alice", plain("from a console"));
    assert_eq!(alice.reads("from a console"), Mark::Unencrypted);
    alice.send("bob", "now we know each other");
    server.push("alice", plain("from who knows whom"));
    assert_eq!(alice.reads("from who knows whom"), Mark::Unproven);

    let refused = alice.run(Command::SendUnencrypted(bob.name, "x".to_owned()));
    assert!(refused.unwrap_err().contains("ever sent to them"));
    // The server denies the keys of somebody who is known.
    server
        .world
        .lock()
        .unwrap()
        .accounts
        .get_mut(&bob.name)
        .unwrap()
        .published = None;
    alice
        .run(Command::Send(bob.name, "still encrypted".to_owned()))
        .unwrap();
    alice.sees_line("has no keys, though you know");
    let world = server.world.lock().unwrap();
    assert!(
        world
            .sends
            .iter()
            .all(|(_, bytes, _)| bytes.first() == Some(&2)),
        "only envelopes left"
    );
}

#[test]
fn a_second_login_needs_leave_and_ends_the_first() {
    let server = Double::start();
    let alice = Somebody::registered(&server, "alice");
    let mut elsewhere = Somebody::new(&server, "alice");
    let refused = elsewhere
        .login_flow()
        .log_in(alice.name, &mut answers(PASSWORD));
    let Err(LoginError::Refused(why)) = refused else {
        panic!()
    };
    assert!(why.contains("nothing was changed"), "{why}");
    // Not even when told to take over: first comes the question about identities.
    let login_flow = LoginFlow {
        take_over: true,
        ..elsewhere.login_flow()
    };
    let refused = login_flow.log_in(alice.name, &mut answers(PASSWORD));
    assert!(matches!(refused, Err(LoginError::Refused(_))));
    alice.run(Command::Fetch).unwrap();
    let yes = &mut Answers {
        yes: true,
        ..answers(PASSWORD)
    };
    let account = elsewhere.login_flow().log_in(alice.name, yes).unwrap();
    elsewhere.start(account);
    alice.sees_line("took over");
    assert!(alice.run(Command::Fetch).is_err());
}
