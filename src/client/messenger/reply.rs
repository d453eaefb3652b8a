//! `/reply`: finds who wrote last. What somebody typed for one person must not go to another who
//! wrote in that moment, so two who wrote at the same time are told apart by the person.

use super::Messenger;
use super::command::CommandError;
use crate::client::vault::HistoryEntry;
use crate::clock;
use crate::protocol::{MessageId, UserName};

/// How many of the latest messages `/reply` looks at for one that was received.
const REPLY_LOOKS_BACK: u32 = 200;

/// For how long after a message `/reply` is refused if somebody else wrote before it: as long as
/// somebody takes to notice it while typing.
const REPLY_AMBIGUOUS_MS: u64 = 5000;

impl Messenger {
    /// `/reply TEXT`
    pub(super) fn reply(&mut self, text: String) -> Result<MessageId, CommandError> {
        let mut received = self.vault.history(None, REPLY_LOOKS_BACK)?;
        received.retain(|message| !message.record.outgoing);
        let name = |message: &HistoryEntry| {
            let contact = self.vault.contact_by_id(message.contact)?;
            Some(contact.name)
        };
        let Some((last, whom)) = received.last().and_then(|last| Some((last, name(last)?))) else {
            return Err(CommandError::Refused(
                "nobody has written lately; use /msg NAME TEXT".to_owned(),
            ));
        };
        let others = received.iter().rev();
        let other = others
            .clone()
            .find(|message| message.contact != last.contact)
            .and_then(name);
        // The first message of theirs since the other wrote is the one that may surprise.
        let begun = others
            .take_while(|message| message.contact == last.contact)
            .last()
            .map_or(last.at, |first| first.at);
        let is_recent = clock::unix_ms().saturating_sub(begun) < REPLY_AMBIGUOUS_MS;
        match other {
            Some(other) if is_recent => Err(CommandError::Refused(ambiguous(whom, other))),
            _ => self.send(&whom, text),
        }
    }
}

fn ambiguous(last: UserName, other: UserName) -> String {
    format!(
        "{last} has just written, after {other}; say whom you mean: /msg {last} TEXT or /msg {other} TEXT"
    )
}
