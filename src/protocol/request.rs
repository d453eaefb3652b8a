//! What a client can ask. Both wire formats share one type, so the server's logic does not know
//! whether a person typed a request or a program sent it.
//!
//! # Adding an operation
//!
//! 1. Here: a variant of [`Request`], the struct of its fields, and a line in
//!    [`names_somebody`](Request::names_somebody).
//! 2. Its answer: a variant of [`Reply`](super::reply::Reply), unless
//!    [`Done`](super::reply::Done) is enough; a new way to refuse it: a
//!    [`Code`](super::refusal::Code).
//! 3. The JSON format: `parse_op` and `write_request` in `json`, and an example in its tests.
//! 4. The console: a row in `TABLE` of `console/commands` and its parsing, or a name in `JSON_ONLY`;
//!    how the answer is shown, in `console`.
//! 5. The server: a file in `server/requests` or a function in one of them, a row in that folder's
//!    table and a line in its `dispatch`; `is_quick` in `server/net/connection/lines` if nothing waits
//!    for its answer. What it writes is a `Change` in `store`.
//! 6. The client: a function in `client/messenger` that sends it.
//! 7. `docs/PROTOCOL.md`, whose table of operations a test compares with this one.

mod account;

use serde::{Deserialize, Serialize};

use super::ids::{ByteArray, Handle, MessageId};
pub use super::message::{Body, Send, Sender};
use super::name::UserName;
use super::object;

pub use self::account::{
    Claim, DeleteAccount, KdfParams, Login, Passwd, Password, PasswordLogin, Register, Reset,
    SessionOptions,
};

/// One request. Each JSON operation carries a struct of its fields. `AckShown` and the
/// `Password` requests exist on the console only, where the server derives the login key because
/// a person at telnet can't.
#[derive(Debug)]
pub enum Request {
    /// `hello`: versions, limits, and the nonce that the next proof signs.
    Hello(Hello),
    /// `kdf`: how a user's password is turned into their login key.
    Kdf(UserRef),
    /// `available`: whether an account of this name may be made.
    Available(UserRef),
    /// `register`: make an account and log in.
    Register(Box<Register>),
    /// `login`: begin a session with an account that exists.
    Login(Login),
    /// `logout`: end the session, keep the connection.
    Logout,
    /// `search`: find users whose names begin with a text.
    Search(Search),
    /// `status`: whether a user is online, and when they were last seen.
    Status(UserRef),
    /// `settings`: read the settings, and change those that are named.
    Settings(ChangeSettings),
    /// `block`: drop what a user sends from here on, without telling them.
    Block(UserRef),
    /// `unblock`: accept messages from a user again.
    Unblock(UserRef),
    /// `keys`: get a user's prekey bundle, to open a session with them.
    Keys(UserRef),
    /// `publish`: publish this device's identity and prekeys.
    Publish(Publish),
    /// `send`: send one message.
    Send(Send),
    /// `outcome`: ask which of the messages sent to a user still wait.
    Outcome(Outcome),
    /// `ack`: acknowledge messages that are safe in the client's vault.
    Ack(Ack),
    /// `fetch`: push the pending messages again, beginning with the oldest.
    Fetch(Fetch),
    /// `passwd`: set a new password's salt, cost and login key.
    Passwd(Passwd),
    /// `reset`: set another password with the operator's code, and log in.
    Reset(Box<Reset>),
    /// `claim`: set the first password of an imported account with the one of then, and log in.
    Claim(Box<Claim>),
    /// `invite`: make an invitation, where the operator lets members do that.
    Invite,
    /// `personal_data`: what the server holds about this account.
    PersonalData(AfterRow),
    /// `delete_account`: delete the account for good; its name stays reserved.
    DeleteAccount(DeleteAccount),
    /// `ping`: get an answer at once.
    Ping,
    /// The console's `ack`: acknowledge all that was shown.
    AckShown,
    /// The console's `register NAME PASSWORD`.
    PasswordRegister(PasswordLogin),
    /// The console's `login` and `takeover NAME PASSWORD`.
    PasswordLogin(PasswordLogin),
    /// The console's `reset NAME CODE PASSWORD`.
    PasswordReset {
        /// The account.
        name: UserName,
        /// The operator's code, as it was typed.
        code: Password,
        /// The password that it sets.
        password: Password,
    },
    /// The console's `passwd OLD NEW`.
    PasswordChange {
        /// The present password.
        old: Password,
        /// The password that replaces it.
        new: Password,
    },
}

impl Request {
    /// The other user whom the request is about, if it may find out whether there is one.
    pub fn names_somebody(&self) -> Option<UserName> {
        match self {
            Request::Status(user) | Request::Keys(user) => Some(user.name),
            Request::Block(user) | Request::Unblock(user) => Some(user.name),
            Request::Send(send) => Some(send.to),
            Request::Outcome(outcome) => Some(outcome.to),
            // A name in these is the asker's own, or they have a limit of their own.
            Request::Hello(_)
            | Request::Kdf(_)
            | Request::Available(_)
            | Request::Register(_)
            | Request::Login(_)
            | Request::Logout
            | Request::Search(_)
            | Request::Settings(_)
            | Request::Publish(_)
            | Request::Ack(_)
            | Request::Fetch(_)
            | Request::Passwd(_)
            | Request::Reset(_)
            | Request::Claim(_)
            | Request::Invite
            | Request::PersonalData(_)
            | Request::DeleteAccount(_)
            | Request::Ping
            | Request::AckShown
            | Request::PasswordRegister(_)
            | Request::PasswordLogin(_)
            | Request::PasswordReset { .. }
            | Request::PasswordChange { .. } => None,
        }
    }
}

/// Fields of `hello`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    /// The newest protocol version the client speaks.
    pub version: u32,
    /// SHA-256 of the certificate that the client knows in place of the one that it was shown. The answer
    /// has what leads from the one to the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<ByteArray<32>>,
}

/// Fields of the operations that name one user.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UserRef {
    /// The user that the operation concerns.
    pub name: UserName,
}

/// Fields of `search`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Search {
    /// The beginning of the names, at least [`MIN_SEARCH`](super::limits::MIN_SEARCH) characters.
    pub text: String,
    /// The last name of the previous page; this page begins after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<UserName>,
    /// The most users in the answer, up to [`MAX_FOUND`](super::limits::MAX_FOUND).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Fields of `settings`. A setting that is `None` stays as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ChangeSettings {
    /// Whether `search` finds the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed: Option<bool>,
    /// Whether others see when the account is online or was last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence: Option<bool>,
    /// Whether unencrypted messages to the account are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refuse_unencrypted: Option<bool>,
}

/// A device's public identity. Contacts pin both keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The Ed25519 key that signs prekeys.
    pub signing: ByteArray<32>,
    /// The X25519 key that takes part in X3DH.
    pub dh: ByteArray<32>,
}

impl Identity {
    /// The form that `crypto` takes: `Ed25519 (32) || X25519 (32)`.
    pub fn to_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.signing.0);
        bytes[32..].copy_from_slice(&self.dh.0);
        bytes
    }

    /// The identity whose [`to_bytes`](Self::to_bytes) are these. Whether the keys are usable is
    /// checked in `crypto`.
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        Identity {
            signing: ByteArray(std::array::from_fn(|i| bytes[i])),
            dh: ByteArray(std::array::from_fn(|i| bytes[32 + i])),
        }
    }
}

/// A signed prekey's public half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPrekey {
    /// The id that its owner has chosen.
    pub id: u32,
    /// The X25519 key.
    pub key: ByteArray<32>,
    /// The signature by the identity's signing key.
    pub signature: ByteArray<64>,
}

/// A one-time prekey's public half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneTimePrekey {
    /// The id that its owner has chosen.
    pub id: u32,
    /// The X25519 key.
    pub key: ByteArray<32>,
}

/// Fields of `publish`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Publish {
    /// This device's identity.
    #[serde(deserialize_with = "object::one")]
    pub identity: Identity,
    /// The signed prekey that others are to use from here on.
    #[serde(deserialize_with = "object::one")]
    pub signed_prekey: SignedPrekey,
    /// The one-time prekeys to add.
    #[serde(deserialize_with = "object::many")]
    pub one_time: Vec<OneTimePrekey>,
    /// Removes the one-time prekeys published before.
    #[serde(default)]
    pub replace: bool,
    /// Replaces another identity that is published for this account. Without it, the request of
    /// another device is refused (`identity_changed`).
    #[serde(default)]
    pub new_identity: bool,
}

/// Fields of `outcome`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// The recipient of the messages.
    pub to: UserName,
    /// The ids of messages that this account has sent, at most [`MAX_IDS`](super::limits::MAX_IDS).
    pub ids: Vec<MessageId>,
    /// The handles of those messages, in the order of `ids`; `null`, or none at the end, for a
    /// message whose handle is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handles: Vec<Option<Handle>>,
}

/// Fields of `ack`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ack {
    /// The sender of the messages; `*` for the server's notices.
    pub from: Sender,
    /// The ids of the messages, at most [`MAX_IDS`](super::limits::MAX_IDS).
    pub ids: Vec<MessageId>,
}

/// Fields of `fetch`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Fetch {
    /// The most messages for a session with `receive: false`; the server may send fewer. Other
    /// sessions get all of them, as fast as they acknowledge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Fields of `personal_data`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AfterRow {
    /// The `next` of the answer before; the first rows without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}
