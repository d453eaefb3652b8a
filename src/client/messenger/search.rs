//! Searching the history: which messages are asked for, and finding them in the vault, whether or
//! not a session runs.

use serde::{Deserialize, Serialize};

use crate::client::vault::{Result, Vault};
use crate::client::view::ViewEvent;
use crate::protocol::UserName;

/// Which messages of the history are wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct HistoryQuery {
    /// Those with this person.
    pub with: Option<UserName>,
    /// At most so many, the latest.
    pub count: Option<usize>,
    /// Those from this moment on: milliseconds since 1970.
    pub from: Option<u64>,
    /// Those behind the message whose id begins like this.
    pub behind: Option<String>,
    /// Those before the message whose id begins like this.
    pub before: Option<String>,
}

/// A message, and its place in the vault.
type Placed = (i64, ViewEvent);

/// The messages that a query asks for, the oldest first; or a sentence, if it names a person or a
/// message that the vault does not have.
///
/// # Errors
/// That they could not be read.
pub(crate) fn search(
    vault: &Vault,
    query: &HistoryQuery,
) -> Result<std::result::Result<Vec<Placed>, String>> {
    let with = match query.with {
        None => None,
        Some(with) => match vault.contact(&with) {
            Some(contact) => Some(contact.id),
            None => return Ok(Err(format!("there are no messages with {with}"))),
        },
    };
    let mut places = [None, None];
    for (place, id) in places.iter_mut().zip([&query.behind, &query.before]) {
        if let Some(id) = id {
            match vault.find_message(Some(id))? {
                Some(message) => *place = Some(message.seq),
                None => return Ok(Err(format!("there is no message with the id {id}"))),
            }
        }
    }
    let [behind, before] = places;
    let mut found = Vec::new();
    for message in vault.history(with, u32::MAX)?.into_iter().rev() {
        if found.len() >= query.count.unwrap_or(usize::MAX) {
            break;
        }
        let fits = behind.is_none_or(|seq| message.seq > seq)
            && before.is_none_or(|seq| message.seq < seq)
            && query.from.is_none_or(|from| message.at >= from);
        if fits && let Some(contact) = vault.contact_by_id(message.contact) {
            found.push((message.seq, message.event(contact)));
        }
    }
    found.reverse();
    Ok(Ok(found))
}
