//! The thread that owns the vault, the keys and the connection while one is
//! logged in. Commands and server lines come in, displays go out.
//!
//! What arrives together is processed together: one vault transaction for all
//! messages that are there, then their acknowledgements, then the screen. The
//! order is the promise: commit before the ciphertext leaves, commit before the ack.
//! It prints nothing itself and asks nobody anything.
//!
//! | File | What it does |
//! | --- | --- |
//! | `account` | what a login hands over |
//! | `aging` | when keys grow older, and signed prekeys are replaced |
//! | `arrivals` | sorts the server's lines that arrive together |
//! | `batch` | the context of one vault transaction, and what follows its commit |
//! | `browse` | `/history`, `/find`, `/info`, `/delete`, `/keep` |
//! | `claims` | messages under another identity than the known one |
//! | `command` | what the person can ask for |
//! | `confirmations` | receipts that one client sends the other |
//! | `encrypt` | encrypts, and checks that this client wrote what asks to be sent |
//! | `findings`, `gaps` | says what the numbers of a conversation show; when it says what is missing |
//! | `held` | `/outbox`: messages that wait here |
//! | `expired` | messages that the server removed because they waited for too long |
//! | `identity` | converts identities between wire and cryptography |
//! | `log_upkeep` | empties the vault's log in time |
//! | `missed` | what arrives after a login, as a block with its progress |
//! | `passwd` | changes of the password and of the recovery code |
//! | `people` | `/who`, `/search`, `/contacts`, `/block` and others about people |
//! | `personal_data` | `/what-the-server-knows` |
//! | `postponed` | messages that wait for a session, a connection or a decision |
//! | `prekeys` | publishes the keys that others need |
//! | `queries` | runs commands |
//! | `receipts` | what became of sent messages |
//! | `receive` | an arriving message, from its bytes to the history; pins who writes first |
//! | `reconnect` | logins, lost connections, the clock |
//! | `renewal` | new sessions with somebody who is known, and their causes |
//! | `reply` | `/reply`: who wrote last |
//! | `restored` | what a restored server may have lost |
//! | `retention` | deletes what is older than messages are kept |
//! | `retry` | asks for messages again, and answers such requests |
//! | `script_queries` | what scripts ask for, answered in values |
//! | `session_handle` | a running session, as others hold it |
//! | `session_kind` | what a session is for |
//! | `send` | from a typed text to the server's answer |
//! | `trust` | pins the identity of whoever one writes to first, offers other ones, starts sessions |
//! | `verification` | `/verify`, `/accept`, `/reject`, `/renew` |

pub(crate) mod account;
mod aging;
mod arrivals;
mod batch;
mod browse;
mod claims;
pub(crate) mod command;
mod confirmations;
mod encrypt;
mod expired;
mod findings;
mod gaps;
mod held;
pub(crate) mod identity;
pub(crate) mod introduction;
mod log_upkeep;
mod missed;
mod passwd;
mod people;
mod personal_data;
mod postponed;
mod prekeys;
mod queries;
mod receipts;
mod receive;
mod reconnect;
mod renewal;
mod reply;
mod restored;
mod retention;
mod retry;
mod script_queries;
mod send;
mod session_handle;
pub(crate) mod session_kind;
mod trust;
mod verification;

use super::view::{Display, End, Person, ViewEvent, Written};

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use self::account::Account;
use self::aging::Aging;
use self::arrivals::{Arrivals, Mail};
use self::batch::{Batch, Effects};
use self::command::{Asker, WindowOutput};
use self::confirmations::Confirmations;
use self::gaps::Gaps;
use self::log_upkeep::LogUpkeep;
use self::missed::Missed;
use self::passwd::PasswordChange;
pub(crate) use self::people::contact_view;
use self::prekeys::PrekeyUpkeep;
use self::retention::Retention;
use self::send::Awaited;
pub(crate) use self::session_handle::{SessionHandle, SessionPort};
use self::session_kind::SessionKind;
use super::login::credentials::Credentials;
use super::net::connection::Connection;
use super::net::endpoint::Endpoint;
use super::net::error::said;
use super::net::event_queue::{EventQueue, QueuedEvent};
use super::vault;
use super::vault::Vault;
use crate::clock;
use crate::crypto::keys::IdentityKeys;
use crate::crypto::message::associated_data::AssociatedData;
use crate::crypto::os_rng;
use crate::protocol::json::ServerLine;
use crate::protocol::reply::{Accepted, Event, Incoming, Welcome};
use crate::protocol::{ByteArray, Code, UserName};
use rand::Rng;

/// How many arrivals share one transaction at most, so that a long backlog is
/// shown and acknowledged in steps.
const BATCH: usize = 256;

/// How often the clock is looked at when nothing arrives.
const TICK: Duration = Duration::from_secs(1);

/// How long what the server accepted, or the person was shown, may wait to be
/// written down with something else: commands of a script follow each other faster.
const SOON: Duration = Duration::from_millis(20);

/// How new identities are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Trust {
    /// The first identity seen is pinned, and a change must be accepted by hand.
    #[default]
    FirstUse,
    /// Changes are accepted, too, with a warning; never for somebody verified.
    Always,
    /// Nobody is trusted until accepted or verified by hand.
    Never,
}

/// Who we are.
pub(super) struct Me {
    pub(super) name: UserName,
    pub(super) keys: IdentityKeys,
    pub(super) trust: Trust,
    /// The age of the vault, by which keys expire ([`Vault::age`]), in milliseconds.
    pub(super) age: u64,
    /// The server has gone back in time since this session began, or before it.
    pub(super) after_restore: bool,
}

impl Me {
    /// What the encryption of a message that arrived is bound to.
    fn context_of<'a>(&'a self, message: &'a Incoming) -> AssociatedData<'a> {
        AssociatedData {
            message_id: message.mid.0,
            sender: message.from.as_str(),
            recipient: self.name.as_str(),
        }
    }
}

/// The state of the thread.
pub(super) struct Messenger {
    me: Me,
    vault: Vault,
    events: EventQueue,
    display: Arc<dyn Display>,
    login: LoginState,
    server: ServerState,
    outbox: OutboxProgress,
    screen: ScreenProgress,
    prekeys: PrekeyUpkeep,
    log: LogUpkeep,
    aging: Aging,
    retention: Retention,
    missed: Option<Missed>,
    gaps: Gaps,
    /// The blocked contacts of whom the person was told that no answer comes.
    told_blocked: Vec<UserName>,
    /// When the connection was lost: milliseconds since 1970.
    lost_at: Option<u64>,
    confirmations: Confirmations,
    /// Contacts of whom something waits because the server publishes another
    /// identity, and who are to be looked up once more.
    look_again: Vec<i64>,
    /// Who waits until everything that was sent is answered, and until when.
    awaiting_answers: Vec<(Asker, Instant)>,
    /// Whom what is said concerns.
    audience: Audience,
    over: bool,
}

/// Whom what is said concerns.
enum Audience {
    /// Everybody: it is news.
    All,
    /// The client's own person or script, whose command is run.
    Own,
    /// The window whose command is run.
    Window(WindowOutput),
}

/// What logs in, now and after a lost connection.
struct LoginState {
    endpoint: Endpoint,
    credentials: Credentials,
    /// A change of the password that no login has proven or refuted yet.
    change: Option<PasswordChange>,
    /// The secret of this session, by which the next login replaces it.
    session: ByteArray<16>,
    /// The server's answer to the first login, until the thread has begun.
    welcome: Option<Box<Welcome>>,
    /// The person wants this identity to replace the published one.
    new_identity: bool,
    /// What the session is for.
    kind: SessionKind,
}

/// The connection, and what is known of the server at its other end.
struct ServerState {
    connection: Option<Connection>,
    /// When to try again without a connection, and how long to wait after that.
    retry_at: Instant,
    retry_delay: Duration,
    heard_at: Instant,
    pinged: bool,
    awaited: HashMap<u64, Awaited>,
}

/// How far the outbox has been sent, and what the server said to it.
#[derive(Default)]
struct OutboxProgress {
    /// The outbox has been sent up to this place on this connection.
    sent_through: i64,
    /// Up to this place it may have been sent on an earlier one.
    again_through: i64,
    /// Behind this place, nothing was sent since the login.
    posted_through: i64,
    /// When to send again what the server could not take.
    resend_at: Option<Instant>,
    /// Accepted by the server, to be written down with the next transaction.
    accepted: Vec<(i64, Accepted)>,
    /// Messages given up since the person last asked.
    failed: usize,
}

/// Which messages have reached the screen, to be written down with the next
/// transaction. Each place goes through once, so what waits is bounded by what the
/// screen has written since the last one.
struct ScreenProgress {
    written: Receiver<i64>,
    /// Where the screen reports the places of messages that it has written.
    reports: Sender<i64>,
    /// The screen may have something to report.
    is_writing: bool,
}

impl Messenger {
    fn new(account: Account, trust: Trust, display: Arc<dyn Display>) -> Self {
        let now = clock::now();
        let (reports, written) = channel();
        Messenger {
            me: Me {
                name: account.name,
                keys: account.keys,
                trust,
                age: 0,
                after_restore: false,
            },
            vault: account.vault,
            events: account.events,
            display,
            login: LoginState {
                endpoint: account.endpoint,
                credentials: account.credentials,
                change: None,
                session: account.welcome.session,
                welcome: Some(account.welcome),
                new_identity: account.new_identity,
                kind: account.kind,
            },
            server: ServerState {
                connection: Some(account.connection),
                retry_at: now,
                retry_delay: reconnect::FIRST_DELAY,
                heard_at: now,
                pinged: false,
                awaited: HashMap::new(),
            },
            outbox: OutboxProgress::default(),
            screen: ScreenProgress {
                written,
                reports,
                is_writing: false,
            },
            prekeys: PrekeyUpkeep::default(),
            log: LogUpkeep::new(now),
            aging: Aging::new(now),
            retention: Retention::new(now),
            missed: None,
            gaps: Gaps::default(),
            told_blocked: Vec::new(),
            lost_at: None,
            confirmations: Confirmations::default(),
            look_again: Vec::new(),
            awaiting_answers: Vec::new(),
            audience: Audience::All,
            over: false,
        }
    }

    fn run(&mut self) {
        let begun = self.begin();
        self.end_on_failure(begun);
        while !self.over {
            let patience = match self.outbox.accepted.is_empty() && !self.screen.is_writing {
                true => TICK,
                false => SOON,
            };
            let done = match self.events.next(clock::now() + patience) {
                Some(input) => self.process(input),
                None => self.save_progress(),
            };
            self.end_on_failure(done);
            let done = self.tick();
            self.end_on_failure(done);
        }
        self.say_gaps(None);
        // What the screen has yet to write would be shown again otherwise.
        self.display.finish_writing();
        let done = self.save_progress();
        self.end_on_failure(done);
        for (asker, _) in self.awaiting_answers.drain(..) {
            let over = "the session is over".to_owned();
            let _gone = asker.done.send(Err(over.into()));
        }
    }

    /// A vault that fails ends the session: nothing may be acknowledged or sent
    /// that is not safe in it.
    fn end_on_failure(&mut self, done: vault::Result<()>) {
        if let Err(error) = done {
            self.end(End::Vault(error.to_string()));
        }
    }

    pub(super) fn end(&mut self, end: End) {
        if !self.over {
            self.say_gaps(None);
            self.over = true;
            self.server.connection = None;
            self.display.ended(end);
        }
    }

    /// Shows an event to whom it concerns.
    pub(super) fn say(&self, event: ViewEvent) {
        match &self.audience {
            Audience::All => self.display.event(event),
            Audience::Own => self.display.answer(event),
            Audience::Window(output) => {
                // A script's standard error may be read by nobody.
                if event.is_warning() {
                    self.display.answer(event.clone());
                }
                let _gone = output.shows.send(event);
            }
        }
    }

    pub(super) fn publish_people(&self) {
        let person = |contact: &vault::Contact| Person {
            name: contact.name,
            verified: contact.verified,
            blocked: contact.blocked,
        };
        self.display
            .people(self.vault.contacts().iter().map(person).collect());
    }

    /// Processes an arrival and those right behind it.
    fn process(&mut self, first: QueuedEvent) -> vault::Result<()> {
        let mut arrivals = Arrivals::default();
        let mut next = Some(first);
        while let Some(input) = next {
            match input {
                QueuedEvent::Command(command, asker) => {
                    // What arrived before the command is dealt with before it.
                    self.process_arrivals(&mut arrivals)?;
                    self.command(command, asker)?;
                    return Ok(());
                }
                QueuedEvent::Server(number, line) => {
                    let current = self.server.connection.as_ref().map(Connection::number);
                    if current == Some(number) && !arrivals.sort(line) {
                        break;
                    }
                }
            }
            next = if arrivals.count < BATCH {
                self.events.ready()
            } else {
                None
            };
        }
        self.process_arrivals(&mut arrivals)
    }

    /// One transaction for the messages, then the acks, then the screen; then
    /// what else arrived, in order.
    fn process_arrivals(&mut self, arrivals: &mut Arrivals) -> vault::Result<()> {
        let arrivals = std::mem::take(arrivals);
        let mut postponed = false;
        if arrivals.count > 0 {
            self.server.heard_at = clock::now();
            self.server.pinged = false;
        }
        if !arrivals.mail.is_empty() {
            let due = self.take_due();
            let accepted = std::mem::take(&mut self.outbox.accepted);
            let (me, now) = (&self.me, clock::unix_ms());
            let shown: Vec<i64> = self.screen.written.try_iter().collect();
            let effects = self.vault.transact(|vault| {
                vault.mark_read(&shown)?;
                send::save_accepted(vault, &accepted)?;
                let mut batch = Batch::new(vault, me, now);
                for mail in &arrivals.mail {
                    match mail {
                        Mail::Message(message) => receive::receive_message(&mut batch, message)?,
                        Mail::Notice(notice) => receive::receive_notice(&mut batch, notice)?,
                    }
                }
                retry::ask_for_all(&mut batch)?;
                if let Some(due) = due {
                    confirmations::confirm(&mut batch, due)?;
                }
                batch.finish()
            })?;
            self.aging.arrived(arrivals.mail.len());
            postponed = effects.postponed;
            let shown = effects.shows.iter().filter(|show| show.unread.is_some());
            let shown = shown.count();
            self.carry_out(effects);
            self.note_missed(arrivals.mail.len(), shown);
        }
        for line in arrivals.others {
            match line {
                ServerLine::Answer(Some(id), answer) => match self.server.awaited.remove(&id) {
                    Some(Awaited::Send(sent)) => self.answered(&sent, answer)?,
                    Some(Awaited::Receipt(confirms)) => self.answered_receipt(confirms, answer),
                    Some(Awaited::Quiet(what)) => {
                        if let Err(refusal) = answer {
                            self.say(ViewEvent::warning(format!(
                                "{what} failed: {}",
                                said(&refusal)
                            )));
                        }
                    }
                    None => {}
                },
                ServerLine::Answer(None, Err(refusal)) if ends_session(refusal.code) => {
                    self.end(End::ShutOut(said(&refusal)));
                }
                ServerLine::Answer(None, Err(refusal)) => {
                    self.say(ViewEvent::warning(said(&refusal)));
                }
                ServerLine::Answer(None, Ok(_)) => {}
                ServerLine::Event(event) => self.event(*event)?,
            }
        }
        if let Some(why) = arrivals.lost {
            self.lost(&why);
        }
        match postponed {
            true => self.send_postponed(),
            false => self.pump(),
        }
    }

    /// Does what follows a transaction that is durable.
    fn carry_out(&mut self, effects: Effects) {
        for (from, ids) in effects.acks {
            self.acknowledge(from, ids);
        }
        self.send_receipts(effects.receipts);
        self.confirmations.add(effects.received);
        if effects.people_changed {
            self.publish_people();
        }
        for contact in effects.seen {
            self.look_again(contact);
        }
        self.gaps.take(effects.gaps, clock::now());
        for shown in effects.shows {
            match shown.unread {
                Some(seq) => self.show_message(shown.event, seq),
                None => self.say(shown.event),
            }
        }
    }

    /// Shows a message that is unread until the screen has written it.
    fn show_message(&mut self, event: ViewEvent, seq: i64) {
        self.screen.is_writing = true;
        let written = Written::new(seq, &self.screen.reports);
        self.display.show_unread(event, written);
    }

    fn event(&mut self, event: Event) -> vault::Result<()> {
        match event {
            Event::Delivered { to, ids } => self.delivered(&to, &ids)?,
            Event::PrekeysLow { one_time } => {
                self.prekeys.few = Some(one_time);
                self.replenish(clock::now())?;
            }
            Event::Replaced {} => self.end(End::ShutOut(
                "this account was logged in from elsewhere, and that login took over; log in again to take it back"
                    .to_owned(),
            )),
            Event::Ping {} => {
                if let Some(connection) = &mut self.server.connection {
                    connection.pong();
                }
            }
            Event::ShuttingDown {} => {
                self.say(ViewEvent::warning("the server is shutting down; what was accepted is safe"));
            }
            // Messages and notices were sorted out before; the rest is the console's,
            // or a newer server's.
            Event::Message(_) | Event::Notice(_) | Event::EnvelopesWait { .. } | Event::Unknown => {}
        }
        Ok(())
    }
}

/// Whether the operator has ended the session with this code, so that another login is the
/// person's decision.
fn ends_session(code: Code) -> bool {
    matches!(
        code,
        Code::AccountDisabled | Code::SessionEnded | Code::Banned
    )
}

/// 128 random bits.
pub(super) fn random_id() -> [u8; 16] {
    let mut id = [0; 16];
    os_rng().fill_bytes(&mut id);
    id
}

#[cfg(test)]
mod tests;
