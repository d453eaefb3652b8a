//! Answers between servers: those that a request of one server to another can have. On a client's wire the
//! type of an answer follows from its request; here it says itself what it is.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::{Accepted, Answer, Done, Reply, Waiting};

#[derive(Serialize, Deserialize)]
enum Named {
    Accepted(Accepted),
    Waiting(Waiting),
    Done,
    Refused(Refusal),
}

/// Writes an answer.
pub(super) fn serialize<S: Serializer>(answer: &Answer, serializer: S) -> Result<S::Ok, S::Error> {
    let named = match answer {
        Ok(Reply::Accepted(accepted)) => Named::Accepted(*accepted),
        Ok(Reply::Waiting(waiting)) => Named::Waiting(waiting.clone()),
        Ok(Reply::Done(Done {})) => Named::Done,
        // Nothing that a server asks of another is answered by one of the other replies.
        Ok(_) => Named::Refused(Refusal::new(
            Code::Internal,
            "the server can't answer this; its operator should report it",
        )),
        Err(refusal) => Named::Refused(refusal.clone()),
    };
    named.serialize(serializer)
}

/// Reads an answer.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Answer, D::Error> {
    Ok(match Named::deserialize(deserializer)? {
        Named::Accepted(accepted) => Ok(Reply::Accepted(accepted)),
        Named::Waiting(waiting) => Ok(Reply::Waiting(waiting)),
        Named::Done => Ok(Reply::Done(Done {})),
        Named::Refused(refusal) => Err(refusal),
    })
}
