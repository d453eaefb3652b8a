//! What the person can ask of a session, and how it answers. Whoever carries
//! commands to the messenger needs this file only.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::protocol::UserName;
use crate::protocol::request::ChangeSettings;

/// What a command came to: nothing to add, or what failed.
pub(crate) type CommandResult = Result<(), String>;

/// What the person can ask of a session.
pub enum Command {
    /// One encrypted message.
    Send(UserName, String),
    /// One that the server can read.
    SendUnencrypted(UserName, String),
    /// Online, last seen.
    Status(UserName),
    /// Names that begin with a text.
    Search(String),
    /// What waits on the server.
    Fetch,
    /// Everyone known.
    Contacts,
    /// The last messages.
    History(Option<UserName>),
    /// The safety number; or that it was compared.
    Verify(UserName, bool),
    /// A changed identity is fine.
    Accept(UserName),
    /// It is not, or what it asks for is not to be sent.
    Reject(UserName),
    /// All about one message.
    Info(Option<String>),
    /// Read or change settings.
    Settings(ChangeSettings),
    /// Drop what somebody sends.
    Block(UserName),
    /// Take it again.
    Unblock(UserName),
    /// From the old password to the new.
    Passwd(Zeroizing<String>, Zeroizing<String>),
    /// Wait until everything sent is answered.
    Settle(Duration),
    /// End the session.
    Logout,
}
