//! What a server sends: the answers to requests, and events.

use serde::{Deserialize, Serialize};

use super::ids::{Blob, ByteArray, Handle, MessageId};
use super::name::UserName;
use super::refusal::Refusal;
use super::request::{Body, Identity, KdfParams, OneTimePrekey, Sender, SignedPrekey};

/// The answer to one request.
pub type Answer = Result<Reply, Refusal>;

/// The success of a request. On the wire it is the object under `ok`, and its type follows from
/// the request.
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
    /// To `invite`.
    Invited(Invited),
    /// To `personal_data`.
    PersonalData(PersonalData),
    /// To `ack`.
    Acked(Acked),
    /// To `fetch`.
    Fetched(Fetched),
    /// To `logout`, `passwd`, `delete_account` and `ping`, which return nothing.
    Done(Done),
}

/// An empty object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}

/// Which server this is, and what it accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// The name of the server's program.
    pub server: String,
    /// The newest protocol version the server speaks.
    pub version: u32,
    /// The oldest protocol version the server accepts.
    pub oldest: u32,
    /// The nonce that one proof on this connection signs.
    pub nonce: ByteArray<32>,
    /// SHA-256 of the TLS certificate, which proofs sign, too; absent over plain TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<ByteArray<32>>,
    /// The longest line that the server accepts, in bytes.
    pub max_line: usize,
    /// SHA-256 of the certificate that other servers under this address may still show, while it is being
    /// replaced by the one of this connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<ByteArray<32>>,
    /// How one leads from the certificate that the client knows to the one of this connection, if it has
    /// named one in `hello`; empty if nothing does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub successions: Vec<Succession>,
}

/// One certificate's word about the next. [`tls::follow`](crate::transport::tls::follow) checks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Succession {
    /// The certificate whose key has signed this, in DER.
    pub certificate: Blob,
    /// SHA-256 of the one that takes its place.
    pub next: ByteArray<32>,
    /// When that was announced, ms since 1970.
    pub at: u64,
    /// How it is signed: a `SignatureScheme` of RFC 8446, section 4.2.3.
    pub scheme: u16,
    /// The signature.
    pub signature: Blob,
}

/// The state of an account at login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The canonical name.
    pub name: UserName,
    /// The session's secret, by which a client whose connection broke resumes it.
    pub session: ByteArray<16>,
    /// How many envelopes are pending.
    pub envelopes: u64,
    /// How many unencrypted messages are pending.
    pub plain: u64,
    /// How many notices of the server are pending.
    pub notices: u64,
    /// The published identity, if there is one.
    pub identity: Option<Identity>,
    /// The id of the published signed prekey.
    pub signed_prekey: Option<u32>,
    /// How many one-time prekeys are left.
    pub one_time: u32,
    /// The logins of this account so far, including this one. A vault compares it with its own
    /// count to notice that a copy of it is in use elsewhere.
    pub logins: u64,
    /// The greatest generation of a vault that a login named before, unless this login
    /// named a greater one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<u64>,
    /// What that login named beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault_proof: Option<ByteArray<16>>,
    /// Random bytes that were made when the server was restored from a backup last; absent if it
    /// never was. A client that knows others publishes its keys anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<ByteArray<16>>,
    /// The settings in force.
    pub settings: AccountSettings,
}

/// An account's settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountSettings {
    /// Whether `search` finds the account.
    pub listed: bool,
    /// Whether others see when the account is online or was last seen.
    pub presence: bool,
    /// Whether unencrypted messages to the account are refused.
    pub refuse_unencrypted: bool,
    /// The users whose messages to this account are dropped.
    pub blocked: Vec<UserName>,
}

/// A page of users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchPage {
    /// The users, in alphabetical order.
    pub users: Vec<UserStatus>,
    /// Whether a further page exists.
    pub more: bool,
}

/// What one user may know of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserStatus {
    /// The user that this describes.
    pub name: UserName,
    /// Whether the user is logged in. It is `false` as well if the user hides it.
    pub online: bool,
    /// The end of the last session, in milliseconds since 1970 (UTC). It is `null` while the user
    /// is online, if there was no session, and if the user hides it.
    pub last_seen: Option<u64>,
}

/// The prekey bundle of X3DH, with which a client opens a session with a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// The user's identity.
    pub identity: Identity,
    /// Their signed prekey.
    pub signed_prekey: SignedPrekey,
    /// One of their one-time prekeys, which nobody else gets; `null` when all are used up.
    pub one_time: Option<OneTimePrekey>,
}

/// The answer to `publish`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// How many one-time prekeys the server holds for the account.
    pub one_time: u32,
}

/// Where an accepted message is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// On the server's disk.
    Stored,
    /// Acknowledged by the recipient's client.
    Delivered,
}

/// A message was accepted, so it will reach its recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Whether it is stored or already delivered.
    pub state: MessageState,
    /// When the server accepted it, in milliseconds since 1970 (UTC).
    pub at: u64,
    /// For `outcome` and for later messages' `after`; absent from an older server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<Handle>,
}

/// Which of the messages that were asked for are still pending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The ids of those that are pending. The others were delivered, or never accepted.
    pub waiting: Vec<MessageId>,
    /// The ids of those that waited for too long and were removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expired: Vec<MessageId>,
}

/// An invitation that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited {
    /// The code that makes one account; absent where accounts need none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ByteArray<16>>,
    /// Until when it works, in milliseconds since 1970 (UTC).
    pub expires: u64,
}

/// Some of what the server holds about an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonalData {
    /// The rows.
    pub rows: Vec<DataRow>,
    /// What there is besides, and is not shown; named with the last rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<Withheld>,
    /// Where to go on; absent with the last rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A row of one of the server's tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRow {
    /// The table.
    pub table: String,
    /// What the row is to the account.
    pub relation: String,
    /// Its columns. Bytes are in hexadecimal; what is not shown is `{"bytes":COUNT}`.
    pub values: serde_json::Map<String, serde_json::Value>,
}

/// Rows that are not shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withheld {
    /// The table.
    pub table: String,
    /// What the rows are to the account.
    pub relation: String,
    /// Why they are not shown.
    pub why: String,
}

/// How many of the ids were acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acked {
    /// How many messages were pending and are deleted.
    pub acked: usize,
    /// How many ids this session does not know: acknowledged before, or never pushed to it.
    pub unknown: usize,
}

/// The answer to `fetch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// How many messages were pushed before this answer.
    pub sent: usize,
    /// How many pending messages are not pushed yet. They follow as the session acknowledges; on
    /// the console, envelopes count here, too.
    pub waiting: u64,
}

/// What the server sends without being asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A message, pending until its id is acknowledged.
    Message(Incoming),
    /// The server's own message, pending until it is acknowledged with `from: "*"`.
    Notice(Notice),
    /// The recipient has acknowledged messages that this account sent.
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
    /// Another login took this session over. The client must not reconnect by itself.
    Replaced {},
    /// The server asks whether the client is there. Any line is an answer.
    Ping {},
    /// The server is shutting down and ends the connection. Accepted messages are safe.
    ShuttingDown {},
    /// On the console only: envelopes are pending that a JSON client can read.
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
    /// The sender, by the server's word.
    pub from: UserName,
    /// Its id, scoped to the sender.
    pub mid: MessageId,
    /// When the server accepted it, in milliseconds since 1970 (UTC).
    pub at: u64,
    /// The body: `envelope` or `text` on the wire.
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
    type Error = Refusal;

    fn try_from(fields: IncomingFields) -> Result<Self, Self::Error> {
        let body = Body::from_fields(fields.envelope, fields.text)?;
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
        let (envelope, text) = message.body.into_fields();
        IncomingFields {
            from: message.from,
            mid: message.mid,
            at: message.at,
            envelope,
            text,
        }
    }
}

/// A message of the server itself, as durable as a user's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Its id, which is acknowledged with `from: "*"`.
    pub mid: MessageId,
    /// When it was written, in milliseconds since 1970 (UTC).
    pub at: u64,
    /// The content of the notice.
    #[serde(flatten)]
    pub news: News,
}

/// The content of a notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub enum News {
    /// Messages were refused because the mailbox, or a sender's share of it, was full.
    TurnedAway {
        /// The senders of those messages, at most 100 names.
        names: Vec<UserName>,
        /// How many messages were refused.
        count: u64,
    },
    /// What the operator announces to everybody.
    Announcement {
        /// The text.
        text: String,
    },
    /// Messages that the account sent waited longer than the operator keeps mail, and were removed.
    Expired {
        /// Their recipient.
        to: UserName,
        /// Their ids, at most 500.
        ids: Vec<MessageId>,
    },
    /// Messages to the account were removed for that reason.
    Missed {
        /// Their senders, at most 100.
        from: Vec<MissedFrom>,
        /// How many messages there were in all.
        count: u64,
    },
    /// A notice of a newer server.
    #[serde(other)]
    Unknown,
}

/// Messages of one sender that were removed before their recipient got them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissedFrom {
    /// The sender.
    pub name: UserName,
    /// How many messages.
    pub count: u64,
}

impl From<Incoming> for Event {
    fn from(message: Incoming) -> Self {
        Event::Message(message)
    }
}

impl Incoming {
    /// The sender, as an `ack` names them.
    pub fn sender(&self) -> Sender {
        Sender::User(self.from)
    }
}
