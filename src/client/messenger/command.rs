//! What the person can ask of a session, and how it answers. Whoever carries
//! commands to the messenger needs this file only.

use std::fmt;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, SyncSender};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::client::net::error::CallError;
use crate::client::vault::{BrowseError, VaultError};
pub(crate) use crate::client::vault::{FindBefore, FindFrom, HistoryQuery};
use crate::client::view::ViewEvent;
use crate::crypto::account::recovery::RecoveryCode;
use crate::protocol::request::ChangeSettings;
use crate::protocol::{MessageId, UserName};

/// How a command ended.
pub(crate) type CommandResult = Result<Answer, CommandFailure>;

/// Why a command was not carried out, as the person hears it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommandFailure {
    /// A sentence.
    pub why: String,
    /// Whether the reason is that there is no connection.
    pub disconnected: bool,
}

impl fmt::Display for CommandFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl From<String> for CommandFailure {
    fn from(why: String) -> Self {
        CommandFailure {
            why,
            disconnected: false,
        }
    }
}

/// What a command is answered with, besides what it shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// It was done.
    Done,
    /// The message is in the vault, under this id.
    Sent(MessageId),
    /// A message that was asked for; `None` if there is none.
    Message(Option<Box<ViewEvent>>),
    /// Messages, the oldest first, each with its place in the vault.
    Messages(Vec<(i64, ViewEvent)>),
    /// A place in the vault, behind which messages are asked for.
    Place(i64),
    /// How many messages came from the server, and how many wait there.
    Fetched {
        /// Came.
        came: usize,
        /// Wait still.
        waiting: u64,
    },
}

/// Who asked for a command, and where its result is awaited.
pub(crate) struct Asker {
    /// Where the result is awaited.
    pub done: SyncSender<CommandResult>,
    /// The window that asked; `None` for the client's own person or script.
    pub window: Option<WindowOutput>,
}

/// Another process that works through this one: its number, and what its command shows.
#[derive(Clone)]
pub(crate) struct WindowOutput {
    /// The window's number.
    pub number: u64,
    /// Takes what the command shows.
    pub shows: Sender<ViewEvent>,
}

/// Why a command about somebody else is refused if it names the account itself.
pub(crate) const THAT_IS_YOU: &str = "that is you; name somebody else";

/// Why a command was not carried out.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// For this reason, a sentence for the person. The session goes on.
    Refused(String),
    /// There is no connection, or it was lost before the answer came. The session goes on.
    Disconnected(String),
    /// The vault failed, which ends the session.
    Vault(VaultError),
}

impl From<String> for CommandError {
    fn from(why: String) -> Self {
        CommandError::Refused(why)
    }
}

impl From<VaultError> for CommandError {
    fn from(error: VaultError) -> Self {
        CommandError::Vault(error)
    }
}

impl From<CallError> for CommandError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Lost(_) => CommandError::Disconnected(error.to_string()),
            CallError::Refused(_) => CommandError::Refused(error.to_string()),
        }
    }
}

impl From<BrowseError> for CommandError {
    fn from(error: BrowseError) -> Self {
        match error {
            BrowseError::Vault(error) => CommandError::Vault(error),
            other => CommandError::Refused(other.to_string()),
        }
    }
}

/// Which of the messages that wait here are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WhichMessages {
    /// All of them.
    All,
    /// The one whose id begins like this.
    One(String),
}

/// What `/settings` changes.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SettingsChange {
    /// Settings of the account, which the server keeps.
    Account(ChangeSettings),
    /// Whether this device sends receipts.
    Receipts(bool),
}

/// The recovery code after a change of the vault's key.
pub(crate) enum NextCode {
    /// The one so far, which the person typed.
    Kept(RecoveryCode),
    /// A new one, in this new file, or on the screen.
    New(Option<PathBuf>),
}

/// What the person can ask of a session. Other processes of the same person may ask for it through
/// the control socket, except for what is skipped here.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    /// Send an encrypted message, and answer with its id.
    Send(UserName, String),
    /// Send a message that the server can read.
    SendUnencrypted(UserName, String),
    /// Send an encrypted message to whoever wrote last.
    Reply(String),
    /// Show whether somebody is online, or when they were last seen.
    Status(UserName),
    /// Show who of the contacts is online, or of all whose names begin with a text.
    Who(Option<String>),
    /// Show all accounts whose names begin with a text.
    Search(String),
    /// Get the messages that wait on the server.
    Fetch,
    /// List the contacts.
    Contacts,
    /// Show a page of the history.
    History(HistoryQuery),
    /// Show the messages that have a text.
    Find(HistoryQuery),
    /// Delete the message whose id begins like this from this device.
    Delete(String),
    /// Delete all messages with somebody from this device.
    DeleteAll(UserName),
    /// Keep messages for so many days, or for ever, from here on.
    Keep(Option<u32>),
    /// Show for how long messages are kept.
    ShowKept,
    /// List the messages that wait here.
    Outbox,
    /// Give up messages that wait here and have not left.
    CancelHeld(WhichMessages),
    /// `/outbox again ID|all`
    SendExpiredAgain(WhichMessages),
    /// Show the safety number; with `true`, the person has compared it.
    Verify(UserName, bool),
    /// Accept another identity of a contact.
    Accept(UserName),
    /// Reject another identity of a contact, or what the known one asks for.
    Reject(UserName),
    /// Make an invitation, and show its link.
    Invite,
    /// Tell who made the invitation with this link who has joined, and take on their identity.
    Introduce(String),
    /// Start a new session with a contact, which goes on from none.
    Renew(UserName),
    /// Show all about the latest message, or the one whose id begins like this.
    Info(Option<String>),
    /// Change settings of the account or of this device, and show them.
    Settings(SettingsChange),
    /// Refuse what somebody sends.
    Block(UserName),
    /// Receive from somebody again.
    Unblock(UserName),
    /// Show who is blocked.
    Blocked,
    /// Show what the server holds about this account.
    WhatTheServerKnows,
    /// Connect anew.
    Reconnect,
    /// Delete the account on the server, and end the session.
    #[serde(skip)]
    DeleteAccount {
        /// The password, which must open the vault, if a person was asked for it.
        password: Option<Zeroizing<String>>,
    },
    /// Change the password, and the vault's key with it.
    #[serde(skip)]
    Passwd {
        /// The password so far.
        old: Zeroizing<String>,
        /// The one to come.
        new: Zeroizing<String>,
        /// The recovery code to come.
        code: NextCode,
    },
    /// Make a new recovery code, which ends the one so far.
    #[serde(skip)]
    NewRecoveryCode {
        /// The password.
        password: Zeroizing<String>,
        /// The new file for the code; `None` for the screen.
        file: Option<PathBuf>,
    },
    /// Wait until the server has answered for everything sent, no longer than this.
    AwaitAnswers(Duration),
    /// Answer with the place of the latest message, or of the one whose id begins like this.
    PlaceOf(Option<String>),
    /// Answer with received messages, at most so many: those that are unread, and those behind
    /// a place, read or not.
    Received {
        /// The place; `None` for unread ones only.
        after: Option<i64>,
        /// At most so many.
        limit: usize,
    },
    /// Note that the messages at these places were read.
    MarkRead(Vec<i64>),
    /// Answer with earlier messages.
    Earlier(HistoryQuery),
    /// Answer with a message that was sent to somebody.
    Sent(UserName, MessageId),
    /// Get at most so many of the messages that wait on the server, and answer how many came
    /// and how many wait still.
    FetchSome(usize),
    /// End the session and the thread.
    #[serde(skip)]
    Logout,
    /// End the session for another process on this machine, which takes the account over.
    #[serde(skip)]
    Yield,
}
