//! What the person can ask of a session, and how it answers. Whoever carries
//! commands to the messenger needs this file only.

use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::crypto::account::recovery::RecoveryCode;
use crate::protocol::UserName;
use crate::protocol::request::ChangeSettings;

/// How a command ended: an error is a sentence for the person.
pub(crate) type CommandResult = Result<(), String>;

/// The recovery code after a change of the vault's key.
pub(crate) enum NextCode {
    /// The one so far, which the person typed.
    Kept(RecoveryCode),
    /// A new one, in this new file, or on the screen.
    New(Option<PathBuf>),
}

/// What the person can ask of a session.
pub(crate) enum Command {
    /// Send an encrypted message.
    Send(UserName, String),
    /// Send a message that the server can read.
    SendUnencrypted(UserName, String),
    /// Show whether somebody is online, or when they were last seen.
    Status(UserName),
    /// Show the accounts whose names begin with a text.
    Search(String),
    /// Get the messages that wait on the server.
    Fetch,
    /// List the contacts.
    Contacts,
    /// Show the last messages, with one contact or with all.
    History(Option<UserName>),
    /// Show the safety number; with `true`, the person has compared it.
    Verify(UserName, bool),
    /// Accept another identity of a contact.
    Accept(UserName),
    /// Reject another identity of a contact, or what the known one asks for.
    Reject(UserName),
    /// Show all about the latest message, or the one whose id begins like this.
    Info(Option<String>),
    /// Change settings of the account, and show them.
    Settings(ChangeSettings),
    /// Refuse what somebody sends.
    Block(UserName),
    /// Receive from somebody again.
    Unblock(UserName),
    /// Change the password, and the vault's key with it.
    Passwd {
        /// The password so far.
        old: Zeroizing<String>,
        /// The one to come.
        new: Zeroizing<String>,
        /// The recovery code to come.
        code: NextCode,
    },
    /// Make a new recovery code, which ends the one so far.
    NewRecoveryCode {
        /// The password.
        password: Zeroizing<String>,
        /// The new file for the code; `None` for the screen.
        file: Option<PathBuf>,
    },
    /// Wait until the server has answered for everything sent, no longer than this.
    Settle(Duration),
    /// End the session and the thread.
    Logout,
}
