//! What a server says: the answers to requests, and news of its own.

use serde::{Deserialize, Serialize};

use super::ids::{ByteArray, MessageId};
use super::name::UserName;
use super::refusal::Refusal;
use super::request::{Body, Identity, KdfParams, OneTimePrekey, Sender, SignedPrekey};

/// The answer to one request.
pub type Answer = Result<Reply, Refusal>;

/// A request's success. On the wire it is the object under `ok`; which of these
/// it is follows from the request.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To `hello`.
    Greeting(Greeting),
    /// To `kdf`.
    Kdf(KdfParams),
    /// To `register` and `login`.
    Welcome(Box<Welcome>),
    /// To `search`.
    Found(SearchPage),
    /// To `status`.
    Status(UserStatus),
    /// To `settings`, `block` and `unblock`.
    Settings(AccountSettings),
    /// To `keys`.
    Bundle(Box<Bundle>),
    /// To `publish`.
    Published(Published),
    /// To `send`.
    Accepted(Accepted),
    /// To `outcome`.
    Waiting(Waiting),
    /// To `ack`.
    Acked(Acked),
    /// To `fetch`.
    Fetched(Fetched),
    /// To `logout`, `passwd`, `delete_account` and `ping`: nothing more to say.
    Done(Done),
}

/// An empty object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}

/// Who the server is and what it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// The program.
    pub server: String,
    /// The newest protocol version the server speaks.
    pub version: u32,
    /// The oldest protocol version the server accepts.
    pub oldest: u32,
    /// For one proof on this connection.
    pub nonce: ByteArray<32>,
    /// SHA-256 of the TLS certificate, bound into proofs; absent over plain TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<ByteArray<32>>,
    /// The longest line the server takes, in bytes.
    pub max_line: usize,
}

/// The state of an account at login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The canonical name.
    pub name: UserName,
    /// The session's secret: names it when a broken connection is resumed.
    pub session: ByteArray<16>,
    /// Pending envelopes.
    pub envelopes: u64,
    /// Pending unencrypted messages.
    pub plain: u64,
    /// Pending notices of the server.
    pub notices: u64,
    /// The published identity, if there is one.
    pub identity: Option<Identity>,
    /// The id of the published signed prekey.
    pub signed_prekey: Option<u32>,
    /// One-time prekeys left.
    pub one_time: u32,
    /// Logins of this account so far, this one included. A vault compares it
    /// with its own count to notice that a copy of it is in use elsewhere.
    pub logins: u64,
    /// The greatest generation of a vault that a login named before, unless this login
    /// named a greater one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<u64>,
    /// The settings in force.
    pub settings: AccountSettings,
}

/// An account's settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountSettings {
    /// Found by `search`.
    pub listed: bool,
    /// Online and last seen are visible to others.
    pub presence: bool,
    /// Unencrypted messages are refused.
    pub refuse_unencrypted: bool,
    /// Users whose messages to this account are dropped.
    pub blocked: Vec<UserName>,
}

/// A page of users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchPage {
    /// In alphabetical order.
    pub users: Vec<UserStatus>,
    /// Whether a further page exists.
    pub more: bool,
}

/// What one user may know of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserStatus {
    /// The user that this describes.
    pub name: UserName,
    /// Logged in now. `false` too where the user hides it.
    pub online: bool,
    /// The end of the last session, in milliseconds since 1970 (UTC); `null`
    /// while online, if never, and where the user hides it.
    pub last_seen: Option<u64>,
}

/// What opens a session with a user (X3DH's prekey bundle).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// The user's identity.
    pub identity: Identity,
    /// Their signed prekey.
    pub signed_prekey: SignedPrekey,
    /// One of their one-time prekeys, handed out to nobody else; `null` when used up.
    pub one_time: Option<OneTimePrekey>,
}

/// The keys the server now holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// One-time prekeys in stock.
    pub one_time: u32,
}

/// How safe a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// On the server's disk.
    Stored,
    /// Acknowledged by the recipient's client.
    Delivered,
}

/// A message was accepted: from here on it reaches its recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Whether it is stored or already delivered.
    pub state: MessageState,
    /// When the server took it, in milliseconds since 1970 (UTC).
    pub at: u64,
}

/// Which of the ids asked for are still pending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The others are gone: delivered, or never accepted.
    pub waiting: Vec<MessageId>,
}

/// How many of the ids were pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acked {
    /// Now gone.
    pub acked: usize,
    /// Not known to this session: acknowledged before, or not its own.
    pub unknown: usize,
}

/// What a fetch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// Messages pushed ahead of this answer.
    pub sent: usize,
    /// Pending messages not pushed yet. Those a session can receive follow as
    /// it acknowledges; the console counts envelopes here too.
    pub waiting: u64,
}

/// What the server sends without being asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A message, pending until its id is acknowledged.
    Message(Incoming),
    /// The server's own message, pending until acknowledged with `from: "*"`.
    Notice(Notice),
    /// Messages this account sent have been acknowledged by the recipient.
    Delivered {
        /// The recipient.
        to: UserName,
        /// The ids of those messages.
        ids: Vec<MessageId>,
    },
    /// One-time prekeys are running out: publish more.
    PrekeysLow {
        /// How many are left.
        one_time: u32,
    },
    /// Another login took this session over; do not reconnect by yourself.
    Replaced {},
    /// Are you there? Any line is an answer.
    Ping {},
    /// The server is shutting down and ends the connection; accepted messages are safe.
    ShuttingDown {},
    /// Console only: envelopes wait that a JSON client can read.
    EnvelopesWait {
        /// How many.
        count: u64,
    },
    /// An event of a newer server.
    #[serde(other)]
    Unknown,
}

/// A message that arrives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "IncomingFields", into = "IncomingFields")]
pub struct Incoming {
    /// Who sent it, as the server says.
    pub from: UserName,
    /// Its id, scoped to the sender.
    pub mid: MessageId,
    /// When the server took it, in milliseconds since 1970 (UTC).
    pub at: u64,
    /// `envelope` or `text` on the wire.
    pub body: Body,
}

#[derive(Serialize, Deserialize)]
struct IncomingFields {
    from: UserName,
    mid: MessageId,
    at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    envelope: Option<super::ids::Blob>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<Box<str>>,
}

impl TryFrom<IncomingFields> for Incoming {
    type Error = &'static str;

    fn try_from(fields: IncomingFields) -> Result<Self, Self::Error> {
        let body = match (fields.envelope, fields.text) {
            (Some(envelope), None) => Body::Envelope(envelope),
            (None, Some(text)) => Body::Plain(text),
            _ => return Err("a message has either an 'envelope' or a 'text'"),
        };
        Ok(Incoming {
            from: fields.from,
            mid: fields.mid,
            at: fields.at,
            body,
        })
    }
}

impl From<Incoming> for IncomingFields {
    fn from(message: Incoming) -> Self {
        let (envelope, text) = match message.body {
            Body::Envelope(blob) => (Some(blob), None),
            Body::Plain(text) => (None, Some(text)),
        };
        IncomingFields {
            from: message.from,
            mid: message.mid,
            at: message.at,
            envelope,
            text,
        }
    }
}

/// The server's own durable news.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Its id, to be acknowledged with `from: "*"`.
    pub mid: MessageId,
    /// When it was written, in milliseconds since 1970 (UTC).
    pub at: u64,
    /// The content of the notice.
    #[serde(flatten)]
    pub news: News,
}

/// What a notice can say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub enum News {
    /// Messages were turned away because the mailbox, or a sender's share, was full.
    TurnedAway {
        /// The senders of those messages, at most 100 names.
        names: Vec<UserName>,
        /// How many messages in all.
        count: u64,
    },
    /// A notice of a newer server.
    #[serde(other)]
    Unknown,
}

impl From<Incoming> for Event {
    fn from(message: Incoming) -> Self {
        Event::Message(message)
    }
}

impl Incoming {
    /// The sender as an `ack` names them.
    pub fn sender(&self) -> Sender {
        Sender::User(self.from)
    }
}
