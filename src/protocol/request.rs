//! What a client can ask. one type for both wire formats: the server's logic does
//! not know whether a person typed it or a program sent it.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::ids::{Blob, ByteArray, MessageId};
use super::limits;
use super::name::UserName;
use super::refusal::{Code, Refusal};

/// One request. Each JSON operation carries the struct of its fields; the last
/// three exist on the console only, where the server derives the login key,
/// because a person at telnet can't.
#[derive(Debug)]
pub enum Request {
    /// `hello`: versions, limits, and the nonce that the next proof signs.
    Hello(Hello),
    /// `kdf`: how a user's password becomes their login key.
    Kdf(UserRef),
    /// `register`: make an account and log in.
    Register(Register),
    /// `login`.
    Login(Login),
    /// `logout`: end the session, keep the connection.
    Logout,
    /// `search`: users whose names begin with a text.
    Search(Search),
    /// `status`: is somebody online, when were they last seen.
    Status(UserRef),
    /// `settings`: read them, and change those that are named.
    Settings(ChangeSettings),
    /// `block`: drop what a user sends from now on, without telling them.
    Block(UserRef),
    /// `unblock`.
    Unblock(UserRef),
    /// `keys`: a user's prekey bundle, to open a session with them.
    Keys(UserRef),
    /// `publish`: this device's identity and prekeys.
    Publish(Publish),
    /// `send`: one message.
    Send(Send),
    /// `outcome`: which of the ids sent to a user still wait.
    Outcome(Outcome),
    /// `ack`: messages that are safe in the client's vault.
    Ack(Ack),
    /// `fetch`: push what is pending again, from the oldest.
    Fetch(Fetch),
    /// `passwd`: a new password's salt, cost and login key.
    Passwd(Passwd),
    /// `delete_account`: for good; the name stays reserved.
    DeleteAccount(DeleteAccount),
    /// `ping`: answered at once.
    Ping,
    /// The console's `ack`: all that was shown.
    AckShown,
    /// The console's `register NAME PASSWORD`.
    PasswordRegister(PasswordLogin),
    /// The console's `login` and `takeover NAME PASSWORD`.
    PasswordLogin(PasswordLogin),
    /// The console's `passwd OLD NEW`.
    PasswordChange {
        /// The password that is valid now.
        old: Password,
        /// The one to be valid from now on.
        new: Password,
    },
}

/// A password on its way to the key derivation: wiped on drop, never shown.
pub struct Password(pub Zeroizing<String>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

fn yes() -> bool {
    true
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

/// How a password becomes keys: public, chosen by the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KdfParams {
    /// Argon2id's salt.
    pub salt: ByteArray<16>,
    /// Argon2id's memory, in KiB.
    pub memory_kib: u32,
    /// Argon2id's passes.
    pub passes: u32,
    /// Argon2id's lanes.
    pub lanes: u32,
}

/// Fields of `register`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Register {
    /// The name to take.
    pub name: UserName,
    /// The derivation of the login key.
    pub kdf: KdfParams,
    /// The login key's public half (Ed25519).
    pub login_key: ByteArray<32>,
    /// The login key's signature over the registration.
    pub proof: ByteArray<64>,
    /// What kind of session to begin.
    #[serde(flatten)]
    pub session: SessionOptions,
}

/// Fields of `login`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Login {
    /// The account to log in to.
    pub name: UserName,
    /// The login key's signature over the server's nonce.
    pub proof: ByteArray<64>,
    /// What kind of session to begin.
    #[serde(flatten)]
    pub session: SessionOptions,
}

/// What kind of session a login begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionOptions {
    /// End the account's other session, wherever it is.
    #[serde(default)]
    pub take_over: bool,
    /// The secret of the session this one continues: a client whose own
    /// connection died needs no permission to replace it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<ByteArray<16>>,
    /// Push messages as they come. `false` for scripts that only send or `fetch`.
    #[serde(default = "yes")]
    pub receive: bool,
    /// Show the account as online. `false` for scripts.
    #[serde(default = "yes")]
    pub presence: bool,
    /// The generation of the client's vault. The server keeps the greatest of an account,
    /// so that a vault which was put back from a copy learns that it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<u64>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            take_over: false,
            replaces: None,
            receive: true,
            presence: true,
            vault: None,
        }
    }
}

/// Fields of the console's ways to log in.
#[derive(Debug)]
pub struct PasswordLogin {
    /// The account to log in to.
    pub name: UserName,
    /// The password as it was typed.
    pub password: Password,
    /// End the account's other session.
    pub take_over: bool,
}

/// Fields of `search`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Search {
    /// What the names begin with, at least [`limits::MIN_SEARCH`] characters.
    pub text: String,
    /// Continue behind this name (the last of the page before).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<UserName>,
    /// How many at most, up to [`limits::MAX_FOUND`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Fields of `settings`: only what is named changes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ChangeSettings {
    /// Be found by `search`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed: Option<bool>,
    /// Let others see online and last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence: Option<bool>,
    /// Take encrypted messages only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refuse_unencrypted: Option<bool>,
}

/// A device's public identity: both keys are pinned by contacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Ed25519, signs prekeys.
    pub signing: ByteArray<32>,
    /// X25519, takes part in X3DH.
    pub dh: ByteArray<32>,
}

impl Identity {
    /// `Ed25519 (32) || X25519 (32)`, as the cryptography takes it.
    pub fn to_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.signing.0);
        bytes[32..].copy_from_slice(&self.dh.0);
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) gives; whether the keys are usable
    /// is for the cryptography to say.
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
    /// Chosen by the owner.
    pub id: u32,
    /// X25519.
    pub key: ByteArray<32>,
    /// By the identity's signing key.
    pub signature: ByteArray<64>,
}

/// A one-time prekey's public half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneTimePrekey {
    /// Chosen by the owner.
    pub id: u32,
    /// X25519.
    pub key: ByteArray<32>,
}

/// Fields of `publish`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Publish {
    /// This device's identity.
    pub identity: Identity,
    /// The signed prekey others are to use from now on.
    pub signed_prekey: SignedPrekey,
    /// One-time prekeys to add, or to begin anew with.
    pub one_time: Vec<OneTimePrekey>,
    /// Forget the one-time prekeys published before.
    #[serde(default)]
    pub replace: bool,
    /// Replace another identity published for this account. Without it a
    /// device that lost track is refused (`identity_changed`).
    #[serde(default)]
    pub new_identity: bool,
}

/// What a message consists of. The server sees which of the two it is, and no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Encrypted end to end; opaque here. 1 to [`limits::MAX_ENVELOPE`] bytes.
    Envelope(Blob),
    /// Readable by the server and the network. 1 to [`limits::MAX_TEXT`] bytes.
    Plain(Box<str>),
}

impl Body {
    /// The content's size in bytes, as quotas count it.
    pub fn len(&self) -> usize {
        match self {
            Body::Envelope(blob) => blob.0.len(),
            Body::Plain(text) => text.len(),
        }
    }

    /// The body of a `send`: exactly one of the two fields, within its bounds.
    pub(super) fn from_wire(
        envelope: Option<Blob>,
        text: Option<Box<str>>,
    ) -> Result<Self, Refusal> {
        let body = match (envelope, text) {
            (Some(envelope), None) => Body::Envelope(envelope),
            (None, Some(text)) => Body::Plain(text),
            _ => {
                return Err(Refusal::bad_request(
                    "a message has either an 'envelope' or a 'text'",
                ));
            }
        };
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

    /// Whether there is nothing in it; such a body is never accepted.
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
    /// The content: `envelope` or `text` on the wire.
    pub body: Body,
    /// The fingerprint of the recipient identity that an envelope was made for.
    pub identity: Option<ByteArray<32>>,
    /// This may have been sent before, on a connection that was lost: look for
    /// it in the store too.
    pub again: bool,
}

/// `send` as it stands on the wire.
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
}

impl TryFrom<SendFields> for Send {
    type Error = Refusal;

    fn try_from(fields: SendFields) -> Result<Self, Self::Error> {
        let body = Body::from_wire(fields.envelope, fields.text)?;
        Ok(Send {
            to: fields.to,
            mid: fields.mid,
            body,
            identity: fields.identity,
            again: fields.again,
        })
    }
}

impl From<Send> for SendFields {
    fn from(send: Send) -> Self {
        let (envelope, text) = match send.body {
            Body::Envelope(blob) => (Some(blob), None),
            Body::Plain(text) => (None, Some(text)),
        };
        SendFields {
            to: send.to,
            mid: send.mid,
            envelope,
            text,
            identity: send.identity,
            again: send.again,
        }
    }
}

/// Fields of `outcome`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// To whom the messages went.
    pub to: UserName,
    /// Ids this account sent, at most [`limits::MAX_IDS`].
    pub ids: Vec<MessageId>,
}

/// Fields of `ack`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ack {
    /// Who sent the messages; `*` for the server's notices.
    pub from: Sender,
    /// At most [`limits::MAX_IDS`].
    pub ids: Vec<MessageId>,
}

/// Who a message is from: a user, or the server itself (`*`, which no user can be called).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sender {
    /// A user.
    User(UserName),
    /// The server: its notices.
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
        struct SenderVisitor;
        impl serde::de::Visitor<'_> for SenderVisitor {
            type Value = Sender;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a user name or *")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Sender, E> {
                match text {
                    "*" => Ok(Sender::Server),
                    name => name.parse().map(Sender::User).map_err(E::custom),
                }
            }
        }
        deserializer.deserialize_str(SenderVisitor)
    }
}

/// Fields of `fetch`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Fetch {
    /// How many messages at most, for a session with `receive: false`; the
    /// server bounds it further. Other sessions get all, as window space allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Fields of `passwd`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Passwd {
    /// The new derivation.
    pub kdf: KdfParams,
    /// The new login key's public half.
    pub login_key: ByteArray<32>,
    /// The old login key's signature over the change.
    pub proof: ByteArray<64>,
}

/// Fields of `delete_account`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteAccount {
    /// The login key's signature over the deletion.
    pub proof: ByteArray<64>,
}
