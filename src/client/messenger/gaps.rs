//! Gaps in the numbers of what a contact sent, and when they are said.
//!
//! A message that a restored server has lost is sent again under another number, so its own stays
//! missing although its words are there. Such a gap is no news. Whoever wrote many sends them one behind
//! the other, so a gap waits for a moment while messages come that were sent again and never came
//! before: each of them fills one place. What is left of it then is said. Without such messages, and
//! unless this client has learned of a restore itself, a gap is said at once, before the message that
//! shows it.

use std::time::{Duration, Instant};

use super::Messenger;
use crate::client::vault::Contact;
use crate::client::view::{ViewEvent, plural};
use crate::protocol::UserName;

/// How long a gap waits for the next message that fills it. They come one right behind the other.
const HOLD: Duration = Duration::from_secs(5);

/// Messages of a contact that are missing for the first time.
pub(super) struct Gap {
    contact: i64,
    name: UserName,
    count: u64,
    was_blocked: bool,
    /// How many the server says it has removed, because they waited for too long.
    removed: u64,
}

impl Gap {
    fn event(&self) -> ViewEvent {
        let Gap { name, count, .. } = self;
        let messages = plural(*count, "message", "messages");
        let have = plural(*count, "has", "have");
        let line = format!("{count} {messages} from {name} {have} not arrived");
        match (self.was_blocked, self.removed) {
            // The server drops what somebody sends who is blocked, and neither side is told.
            (true, _) => ViewEvent::quiet(format!("{line}; {name} was blocked meanwhile")),
            (false, 0) => ViewEvent::warning(line),
            (false, removed) => ViewEvent::warning(format!(
                "{line}; the server says that it removed {removed} of {name}'s, messages or receipts, which waited \
                 for you too long"
            )),
        }
    }
}

/// What a transaction finds.
#[derive(Default)]
pub(super) struct Found {
    /// Each gap, with its place among what the transaction shows.
    gaps: Vec<(usize, Gap)>,
    /// Whose messages were sent again and never came before, once for each.
    filled: Vec<i64>,
}

impl Found {
    /// Takes note of a gap, to be said at this place.
    pub(super) fn gap(&mut self, contact: &Contact, count: u64, place: usize) {
        let gap = Gap {
            contact: contact.id,
            name: contact.name,
            count,
            was_blocked: contact.was_blocked,
            removed: contact.missed,
        };
        self.gaps.push((place, gap));
    }

    /// Takes note of a message that was sent again and never came before.
    pub(super) fn fill(&mut self, contact: i64) {
        self.filled.push(contact);
    }

    /// Separates what is to be said at once, the last first, from what may be filled. After a
    /// restore, everything may.
    pub(super) fn settle(mut self, after_restore: bool) -> (Vec<(usize, ViewEvent)>, Found) {
        let gaps = std::mem::take(&mut self.gaps);
        let (waiting, now): (Vec<_>, Vec<_>) = gaps
            .into_iter()
            .partition(|(_, gap)| after_restore || self.filled.contains(&gap.contact));
        self.gaps = waiting;
        let now = now.into_iter().rev();
        (now.map(|(place, gap)| (place, gap.event())).collect(), self)
    }
}

/// The gaps that wait.
#[derive(Default)]
pub(super) struct Gaps(Vec<Waiting>);

struct Waiting {
    gap: Gap,
    until: Instant,
}

impl Gaps {
    /// Takes in what a transaction has found and not said.
    pub(super) fn take(&mut self, found: Found, now: Instant) {
        let until = now + HOLD;
        let gaps = found.gaps.into_iter();
        self.0.extend(gaps.map(|(_, gap)| Waiting { gap, until }));
        for contact in found.filled {
            let mut of_contact = self.0.iter_mut().filter(|it| it.gap.contact == contact);
            if let Some(waiting) = of_contact.find(|it| it.gap.count > 0) {
                waiting.gap.count -= 1;
                waiting.until = until;
            }
        }
        self.0.retain(|waiting| waiting.gap.count > 0);
    }

    /// What is to be said by this time, or at the end.
    pub(super) fn due(&mut self, now: Option<Instant>) -> Vec<ViewEvent> {
        let is_due = |waiting: &mut Waiting| now.is_none_or(|now| now >= waiting.until);
        let due = self.0.extract_if(.., is_due);
        due.map(|waiting| waiting.gap.event()).collect()
    }
}

impl Messenger {
    /// Says what is missing and was not filled by this time, or at the end.
    pub(super) fn say_gaps(&mut self, now: Option<Instant>) {
        for event in self.gaps.due(now) {
            self.say(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn gap(contact: i64, count: u64) -> Gap {
        Gap {
            contact,
            name: "alice".parse().unwrap(),
            count,
            was_blocked: false,
            removed: 0,
        }
    }

    fn found(gaps: Vec<Gap>, filled: &[i64]) -> Found {
        Found {
            gaps: gaps.into_iter().enumerate().collect(),
            filled: filled.to_owned(),
        }
    }

    #[test]
    fn a_gap_waits_only_for_what_may_fill_it() {
        let (now, later) = found(vec![gap(1, 2), gap(2, 3)], &[2]).settle(false);
        assert_eq!(now.len(), 1, "nothing came again from the first");
        assert_eq!((now[0].0, later.gaps.len()), (0, 1));
        let (now, later) = found(vec![gap(1, 2), gap(2, 3)], &[]).settle(true);
        assert_eq!((now.len(), later.gaps.len()), (0, 2));
    }

    #[test]
    fn what_is_not_filled_is_said_when_no_more_comes() {
        let start = clock::now();
        let mut gaps = Gaps::default();
        gaps.take(found(vec![gap(1, 3), gap(2, 1)], &[1]), start);
        let soon = start + HOLD / 2;
        // Of the other contact nothing is missing.
        gaps.take(found(Vec::new(), &[1, 3]), soon);
        assert_eq!(gaps.due(Some(soon)), []);
        assert_eq!(gaps.due(Some(start + HOLD)), [gap(2, 1).event()]);
        assert_eq!(gaps.due(Some(soon + HOLD)), [gap(1, 1).event()]);
        assert_eq!(gaps.due(None), []);
        gaps.take(found(vec![gap(1, 1)], &[1, 1]), start);
        assert_eq!(gaps.due(None), [], "it is filled");
    }
}
