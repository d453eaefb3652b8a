//! What a client can ask. Both wire formats share one type, so the server's logic does not know
//! whether a person typed a request or a program sent it.

mod account;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::{Blob, ByteArray, Handle, MessageId, TextVisitor};
use super::limits;
use super::name::UserName;
use super::object;
use super::refusal::{Code, Refusal};

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
            _ => None,
        }
    }
}

/// Fields of `hello`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    /// The newest protocol version the client speaks.
    pub version: u32,
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
    /// The beginning of the names, at least [`limits::MIN_SEARCH`] characters.
    pub text: String,
    /// The last name of the previous page; this page begins after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<UserName>,
    /// The most users in the answer, up to [`limits::MAX_FOUND`].
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

/// The body of a message. The server sees which of the two it is; it can read only the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A text encrypted end to end, which is opaque here: 1 to [`limits::MAX_ENVELOPE`] bytes.
    Envelope(Blob),
    /// A text that the server and the network can read: 1 to [`limits::MAX_TEXT`] bytes.
    Plain(Box<str>),
}

impl Body {
    /// The size in bytes, as quotas count it.
    pub fn len(&self) -> usize {
        match self {
            Body::Envelope(blob) => blob.0.len(),
            Body::Plain(text) => text.len(),
        }
    }

    /// The body that the two fields of the wire hold.
    ///
    /// # Errors
    /// Both of them are there, or none.
    pub(super) fn from_fields(
        envelope: Option<Blob>,
        text: Option<Box<str>>,
    ) -> Result<Self, Refusal> {
        match (envelope, text) {
            (Some(envelope), None) => Ok(Body::Envelope(envelope)),
            (None, Some(text)) => Ok(Body::Plain(text)),
            _ => Err(Refusal::bad_request(
                "a message has either an 'envelope' or a 'text'",
            )),
        }
    }

    /// The two fields of the wire, one of them empty.
    pub(super) fn into_fields(self) -> (Option<Blob>, Option<Box<str>>) {
        match self {
            Body::Envelope(blob) => (Some(blob), None),
            Body::Plain(text) => (None, Some(text)),
        }
    }

    /// The body of a `send`, as [`from_fields`](Self::from_fields) reads it, within the bounds
    /// that a server accepts.
    pub(super) fn of_send(envelope: Option<Blob>, text: Option<Box<str>>) -> Result<Self, Refusal> {
        let body = Self::from_fields(envelope, text)?;
        match &body {
            body if body.is_empty() => Err(Refusal::bad_request("the message is empty")),
            Body::Envelope(blob) if blob.0.len() > limits::MAX_ENVELOPE => Err(Refusal::new(
                Code::TooLarge,
                "an envelope has at most 24576 bytes",
            )),
            Body::Plain(text) if text.len() > limits::MAX_TEXT => Err(Refusal::new(
                Code::TooLarge,
                "a text has at most 16384 bytes",
            )),
            Body::Envelope(_) | Body::Plain(_) => Ok(body),
        }
    }

    /// Whether it has no bytes. Such a body is never accepted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Fields of `send`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "SendFields", into = "SendFields")]
pub struct Send {
    /// The recipient.
    pub to: UserName,
    /// The message's id.
    pub mid: MessageId,
    /// The body: `envelope` or `text` on the wire.
    pub body: Body,
    /// The fingerprint of the recipient identity that the envelope was made for.
    pub identity: Option<ByteArray<32>>,
    /// Whether the message may have been sent before, on a connection that was lost. The server
    /// then looks for it in the store, too.
    pub again: bool,
    /// With `again`: the handle of a message to the same recipient that was accepted before this
    /// one was sent for the first time. Only what came later is searched.
    pub after: Option<Handle>,
}

/// The fields of `send` on the wire.
#[derive(Serialize, Deserialize)]
pub(super) struct SendFields {
    to: UserName,
    mid: MessageId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    envelope: Option<Blob>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<ByteArray<32>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    again: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<Handle>,
}

impl TryFrom<SendFields> for Send {
    type Error = Refusal;

    fn try_from(fields: SendFields) -> Result<Self, Self::Error> {
        let body = Body::of_send(fields.envelope, fields.text)?;
        Ok(Send {
            to: fields.to,
            mid: fields.mid,
            body,
            identity: fields.identity,
            again: fields.again,
            after: fields.after,
        })
    }
}

impl From<Send> for SendFields {
    fn from(send: Send) -> Self {
        let (envelope, text) = send.body.into_fields();
        SendFields {
            to: send.to,
            mid: send.mid,
            envelope,
            text,
            identity: send.identity,
            again: send.again,
            after: send.after,
        }
    }
}

/// Fields of `outcome`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// The recipient of the messages.
    pub to: UserName,
    /// The ids of messages that this account has sent, at most [`limits::MAX_IDS`].
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
    /// The ids of the messages, at most [`limits::MAX_IDS`].
    pub ids: Vec<MessageId>,
}

/// The sender of a message: a user, or the server itself, called `*`, which is no user's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sender {
    /// A user.
    User(UserName),
    /// The server, whose messages are its notices.
    Server,
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sender::User(name) => fmt::Display::fmt(name, f),
            Sender::Server => f.pad("*"),
        }
    }
}

impl Serialize for Sender {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Sender::User(name) => name.serialize(serializer),
            Sender::Server => serializer.serialize_str("*"),
        }
    }
}

impl<'de> Deserialize<'de> for Sender {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor("a user name or *", |text| match text {
            "*" => Ok(Sender::Server),
            name => name.parse::<UserName>().map(Sender::User),
        }))
    }
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
