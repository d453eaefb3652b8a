//! How messages of one's own look that go out, and the mark beside each that says how far it got.

use super::{Look, Style, Text, paint};
use crate::client::view::{Mark, Tone, ViewEvent};
use crate::protocol::MessageId;

/// Appends a message of one's own that goes out, with room for a [`mark`].
pub(super) fn sent(text: &mut Text, event: &ViewEvent, look: Look) {
    let ViewEvent::Sent {
        to,
        text: words,
        at,
        unencrypted,
        ..
    } = event
    else {
        return;
    };
    let room = " ".repeat(MARK_WIDTH - 1);
    text.say(Tone::Quiet, format!("{} …{room} you > ", look.time(*at)));
    text.put(Style::Person(*to), to.as_str());
    if *unencrypted {
        text.say(Tone::Warning, " [UNENCRYPTED]");
    }
    text.say(Tone::Plain, format!(": {words}"));
}

/// A message of one's own as [`sent`] shows it, and its id; `None` for anything else.
pub(in crate::client::terminal) fn as_sent(event: &ViewEvent) -> Option<(MessageId, ViewEvent)> {
    let ViewEvent::Message {
        name,
        outgoing: true,
        text,
        at,
        mark,
        id,
        ..
    } = event
    else {
        return None;
    };
    let sent = ViewEvent::Sent {
        to: *name,
        text: text.clone(),
        at: *at,
        id: *id,
        unencrypted: *mark == Mark::Unencrypted,
    };
    Some((*id, sent))
}

/// The column at which [`sent`] leaves room for a mark: behind the hour, the minute and a blank.
pub(in crate::client::terminal) const MARK_COLUMN: usize = 6;

/// The columns of a mark.
const MARK_WIDTH: usize = 3;

/// How far a message of one's own got, as it is shown beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::client::terminal) struct ProgressMark {
    /// A later state has a higher rank. What the server says may come after what the recipient
    /// has proven.
    pub(in crate::client::terminal) rank: u8,
    /// Three columns with their colour.
    pub(in crate::client::terminal) drawn: String,
}

/// The mark of a state.
pub(in crate::client::terminal) fn mark(state: &str, look: Look) -> ProgressMark {
    // Only what is received is proven; the rest is the server's word.
    let (rank, mark, tone) = match state {
        "stored" => (1, "✓  ", Tone::Quiet),
        "expired" => (2, "✗  ", Tone::Bad),
        "delivered" => (3, "✓✓ ", Tone::Quiet),
        "received" => (4, "✓✓✓", Tone::Good),
        _ => (5, "✗  ", Tone::Bad),
    };
    let row = vec![(Style::Tone(tone), mark.to_owned())];
    let drawn = paint(&[row], look.colours);
    ProgressMark {
        rank,
        drawn: drawn.trim_end_matches('\n').to_owned(),
    }
}
