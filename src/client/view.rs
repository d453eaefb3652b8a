//! What the messenger shows the person, as values. The terminal decides how they look, and makes
//! the texts in them harmless.

use std::path::PathBuf;
use std::sync::mpsc::Sender;

use serde::{Deserialize, Deserializer, Serialize};

use crate::protocol::reply::{DataRow, UserStatus, Withheld};
use crate::protocol::{MessageId, UserName};

/// The kind of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tone {
    /// Something worked.
    Good,
    /// Something failed.
    Bad,
    /// Something to be careful about.
    Warning,
    /// Something was asked for or has happened.
    Plain,
    /// A remark.
    Quiet,
}

/// What a reader has to know about a message before they trust it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mark {
    /// Nothing; it was encrypted.
    None,
    /// The server and the network could read it.
    Unencrypted,
    /// It was not encrypted, although the sender's identity is known: anybody at the server could
    /// have written it.
    Unproven,
    /// It could not be decrypted, for this reason.
    Undecryptable(String),
    /// It came under another identity than the known one, which is not accepted.
    Held,
    /// It came under the first identity of somebody new, which is not accepted.
    HeldNew,
}

/// The state of a message, one of [`STATES`].
pub(crate) type StateWord = &'static str;

/// An event to show. Between processes of one person it travels as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ViewEvent {
    /// A line by the client itself.
    Line(Tone, String),
    /// A message that was sent or received.
    Message {
        /// The other side.
        name: UserName,
        /// Whether this account sent it.
        outgoing: bool,
        /// Its text.
        text: String,
        /// Milliseconds since 1970.
        at: u64,
        /// What to know about it.
        mark: Mark,
        /// How far a sent message got, or how a received one came.
        #[serde(deserialize_with = "known_state")]
        state: StateWord,
        /// Its id.
        id: MessageId,
        /// Whether the other side's identity had been verified by hand then.
        verified: bool,
        /// Why a sent message was given up.
        failed: Option<String>,
        /// Whether it is listed with its id, so that a command can name it.
        listed: bool,
    },
    /// A message of this account's own, which is safe in the vault and goes out. A person sees
    /// later how far it got, at the same place.
    Sent {
        /// The recipient.
        to: UserName,
        /// Its text.
        text: String,
        /// Milliseconds since 1970.
        at: u64,
        /// Its id.
        id: MessageId,
        /// Whether the server and the network can read it.
        unencrypted: bool,
    },
    /// Sent messages were accepted by the server, were delivered as it says, or received as the
    /// recipient has proven.
    Receipt {
        /// The recipient.
        to: UserName,
        /// "stored", "delivered" or "received"; "expired" or "not sent" for one that was removed by
        /// the server or given up, of which a line of its own says why.
        #[serde(deserialize_with = "known_state")]
        state: StateWord,
        /// The messages.
        ids: Vec<MessageId>,
        /// Milliseconds since 1970.
        at: u64,
    },
    /// A text as a QR code, where a terminal is wide enough.
    QrCode(String),
    /// Somebody's status.
    Status(UserStatus),
    /// Somebody whom this account has written to or heard from.
    Contact {
        /// Their name.
        name: UserName,
        /// Whether an identity of theirs is known.
        known: bool,
        /// Whether it was verified by hand.
        verified: bool,
        /// Whether another identity waits to be accepted.
        changed: bool,
        /// Whether they are blocked, as far as this client was told.
        blocked: bool,
        /// How many of their messages no client has shown, or the person has not turned to.
        unread: u64,
        /// How many of their messages were dropped, since they came under a rejected identity.
        dropped: u64,
    },
    /// The number that shows whether two people know the same identities of each other.
    SafetyNumber {
        /// The other side.
        name: UserName,
        /// 60 digits, in groups and lines.
        number: String,
        /// Whether the person has confirmed it.
        verified: bool,
    },
    /// An account was made.
    Registered {
        /// Its name.
        name: UserName,
        /// The file that has its recovery code; `None` if that was shown.
        recovery_file: Option<PathBuf>,
    },
    /// How many messages and receipts wait on the server.
    Waiting(u64),
    /// A row that the server holds about this account.
    ServerRow(DataRow),
    /// Rows about this account that the server does not show.
    Withheld(Withheld),
}

impl ViewEvent {
    /// Whether it warns or reports a failure.
    pub(crate) fn is_warning(&self) -> bool {
        matches!(self, ViewEvent::Line(Tone::Bad | Tone::Warning, _))
    }

    /// Whether it is what a command was asked for, and not a remark about it.
    pub(crate) fn is_data(&self) -> bool {
        match self {
            ViewEvent::Line(..)
            | ViewEvent::Receipt { .. }
            | ViewEvent::Sent { .. }
            | ViewEvent::QrCode(_) => false,
            ViewEvent::Message { .. }
            | ViewEvent::Status(_)
            | ViewEvent::Contact { .. }
            | ViewEvent::SafetyNumber { .. }
            | ViewEvent::Registered { .. }
            | ViewEvent::Waiting(_)
            | ViewEvent::ServerRow(_)
            | ViewEvent::Withheld(_) => true,
        }
    }

    /// A line of [`Tone::Good`].
    pub(crate) fn good(text: impl Into<String>) -> Self {
        ViewEvent::Line(Tone::Good, text.into())
    }

    /// A line of [`Tone::Bad`].
    pub(crate) fn bad(text: impl Into<String>) -> Self {
        ViewEvent::Line(Tone::Bad, text.into())
    }

    /// A line of [`Tone::Warning`].
    pub(crate) fn warning(text: impl Into<String>) -> Self {
        ViewEvent::Line(Tone::Warning, text.into())
    }

    /// A line of [`Tone::Plain`].
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        ViewEvent::Line(Tone::Plain, text.into())
    }

    /// A line of [`Tone::Quiet`].
    pub(crate) fn quiet(text: impl Into<String>) -> Self {
        ViewEvent::Line(Tone::Quiet, text.into())
    }
}

/// The states of messages.
const STATES: &[StateWord] = &[
    "",
    "again",
    "waiting",
    "stored",
    "delivered",
    "received",
    "expired",
    "not sent",
    "under way",
    "held",
];

fn known_state<'de, D: Deserializer<'de>>(from: D) -> Result<StateWord, D::Error> {
    let word = String::deserialize(from)?;
    let known = STATES.iter().find(|state| **state == word);
    known
        .copied()
        .ok_or_else(|| serde::de::Error::custom("not the state of a message"))
}

/// What to say of a message that was given up.
pub(super) fn not_sent(to: &UserName, why: &str) -> String {
    format!("the message to {to} was not sent: {why}")
}

/// How far a change of the vault's key is.
pub(super) fn rotation_progress(done: u64, total: u64) -> ViewEvent {
    let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
    ViewEvent::quiet(format!("encrypting the vault anew: {percent} %"))
}

/// The singular or the plural form, by a count.
pub(super) fn plural<'a>(count: u64, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

/// Somebody whom the prompt and completion know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Person {
    /// Their name.
    pub name: UserName,
    /// Whether their identity was verified by hand.
    pub verified: bool,
    /// Whether they are blocked, as far as this client was told.
    pub blocked: bool,
}

/// Why a session ended by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    /// The server refuses this client: the account was taken over, is logged in
    /// elsewhere, or has another password or identity.
    ShutOut(String),
    /// The vault can't be trusted to keep what arrives.
    Vault(String),
    /// The client on this machine that this one worked through has ended, or ended it.
    Gone(String),
}

/// What changed about a session, for the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SessionChange {
    /// Whether there is a connection.
    Connected(bool),
    /// How far long work is: so many of so many; `None` when it is done.
    Progress(Option<(u64, u64)>),
    /// A message with somebody was deleted from this device; without an id, all with them were.
    Deleted(UserName, Option<MessageId>),
}

/// Tells the messenger that the whole of a message has reached the screen. Only then does the
/// vault count it as read.
#[derive(Debug)]
pub(crate) struct Written {
    seq: i64,
    to: Sender<i64>,
}

impl Written {
    pub(super) fn new(seq: i64, to: &Sender<i64>) -> Self {
        Written {
            seq,
            to: to.clone(),
        }
    }

    /// For a message that another process counts as read.
    pub(super) fn elsewhere() -> Self {
        let (to, _) = std::sync::mpsc::channel();
        Written { seq: 0, to }
    }

    /// Reports that the message was written and flushed.
    pub(crate) fn note(self) {
        // A session that has ended shows the message again at the next login.
        let _ended = self.to.send(self.seq);
    }
}

/// The display of the messenger, which calls it from its own thread.
pub(crate) trait Display: Send + Sync {
    /// Shows an event.
    fn event(&self, event: ViewEvent);
    /// Shows an event that answers the person's own command, and concerns no other window.
    fn answer(&self, event: ViewEvent) {
        self.event(event);
    }
    /// Shows a message that was sent from the window of this number, or from here (`None`), to
    /// all others.
    fn sent(&self, _event: ViewEvent, _window: Option<u64>) {}
    /// Shows a message that is unread until `written` says otherwise.
    fn show_unread(&self, event: ViewEvent, written: Written);
    /// Says that all which waited at the login was shown. Whoever asks for messages by itself shows
    /// them later, so it leaves that out.
    fn all_came(&self, event: ViewEvent) {
        self.event(event);
    }
    /// Wakes whoever asks for messages by itself: something may have come.
    fn woken(&self) {}
    /// Waits, for a limited time, until everything that was shown is written.
    fn finish_writing(&self);
    /// Replaces the people whom the prompt and completion know.
    fn people(&self, people: Vec<Person>);
    /// Reports a change that the prompt shows. A script has no prompt.
    fn session_changed(&self, _change: SessionChange) {}
    /// Reports that the session has ended by itself.
    fn ended(&self, end: End);
}
