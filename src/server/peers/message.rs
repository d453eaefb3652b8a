//! What servers on one store ask each other, and what they answer. How it looks on the way is in
//! [`wire`](super::wire).

use serde::{Deserialize, Serialize};

use super::answer;
use crate::protocol::ids::ByteArray;
use crate::protocol::name::UserName;
use crate::protocol::refusal::Refusal;
use crate::protocol::reply::{Answer, Event, News};
use crate::protocol::request;
use crate::server::delivery::mailbox::TurnedAway;
use crate::server::delivery::sessions::Precedence;
use crate::server::net::send_queue::flush_set::FlushSet;
use crate::store::UserId;
use crate::store::homes::RunId;

/// A message on its way to the server that holds its recipient's mailbox.
#[derive(Debug, Clone)]
pub(crate) struct Forward {
    /// The sender's number.
    pub sender: UserId,
    /// The sender's name.
    pub from: UserName,
    /// The request, as the sender's client made it.
    pub send: request::Send,
    /// When it came to the sender's server, ms since 1970.
    pub at: u64,
    /// No other message of this sender to this recipient is under way on the link.
    pub first: bool,
}

/// What became of a [`Forward`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Forwarded {
    /// The mailbox's server has decided: [`Reply::Accepted`](crate::protocol::reply::Reply::Accepted), or why
    /// not.
    Answer(Answer),
    /// The mailbox is not at that server. Nothing was done.
    NotHere,
    /// The link broke, and nobody knows whether the message was accepted.
    Lost,
}

/// Gets what became of a [`Forward`], once, on a thread that holds no lock. It must not block.
pub(crate) type OnForwarded = Box<dyn FnOnce(Forwarded, &mut FlushSet) + Send>;

/// What a server may ask of another one besides taking a message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Call {
    /// Tell what became of messages in a mailbox that is there.
    Outcome {
        /// The number of who asks.
        sender: UserId,
        /// The name of who asks.
        from: UserName,
        /// The request.
        outcome: request::Outcome,
    },
    /// Pass a mailbox on, whose owner logs in elsewhere.
    Release {
        /// The owner.
        name: UserName,
        /// The run that is to have it.
        to: RunId,
        /// What the login may do to the owner's session.
        precedence: Precedence,
        /// What the session is told; without it, that another login has replaced it.
        why: Option<Refusal>,
    },
    /// Put a notice into a mailbox that is there.
    Notice {
        /// The owner.
        name: UserName,
        /// The content.
        news: News,
    },
    /// The banned networks have changed in the store: read them again.
    BansChanged,
    /// Tell a user of messages that have expired.
    TellExpired {
        /// The user.
        name: UserName,
    },
    /// List the sessions.
    Sessions,
    /// The certificates that may be shown have changed in the store: read them again, and say which one is
    /// shown.
    Certificates,
    /// Answer.
    Ping,
}

/// The answer to a [`Call`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Called {
    /// What the asking client is answered.
    Answer(#[serde(with = "answer")] Answer),
    /// The mailbox is not at that server.
    NotHere,
    /// The mailbox belongs to the other run from here on.
    Released {
        /// Who was turned away from it and is in memory only.
        turned_away: TurnedAway,
        /// A session of the owner was ended there.
        displaced: bool,
    },
    /// The owner has a session there that may not be replaced.
    OnlineElsewhere,
    /// Nothing was done; it may be asked again later.
    Busy,
    /// The sessions.
    Sessions(Vec<PeerSession>),
    /// SHA-256 of the certificate that is shown, if one is.
    Certificate(Option<ByteArray<32>>),
    /// It was done.
    Done,
}

/// A session at another server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerSession {
    /// The user.
    pub name: UserName,
    /// The client's address.
    pub address: Option<String>,
    /// When it began, ms since 1970.
    pub since: u64,
    /// Others see the user as online.
    pub shown: bool,
}

/// An event for a user's session at another server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub name: UserName,
    pub event: Event,
}

/// No link to the other server could be made, or it broke, or the answer did not come in time. What was
/// asked may have been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreachable;
