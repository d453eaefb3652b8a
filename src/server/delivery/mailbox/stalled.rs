//! Senders of whose messages one could not be stored.
//!
//! A client sends the next messages before it hears that one was refused. If those were taken,
//! the refused one, sent again, would come behind them. What counts for people is the order of
//! sending, so a sender's later messages are refused, too, until the first refused one is sent
//! again. That ends after a while, for a sender that has given it up.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::protocol::ids::MessageId;
use crate::protocol::refusal::{Code, Refusal};
use crate::store::UserId;

/// How long the first refused message is waited for. A client that is told to try again does so
/// within seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who has to send something again first; or, for one sender, to whom. It is bounded: only those with an
/// unanswered message when something failed are in it.
#[derive(Debug)]
pub(in crate::server::delivery) struct Stalled<K> {
    senders: HashMap<K, (MessageId, Instant)>,
}

impl<K> Default for Stalled<K> {
    fn default() -> Self {
        Stalled {
            senders: HashMap::new(),
        }
    }
}

impl<K: Eq + Hash> Stalled<K> {
    /// A message was refused. The first one of a sender counts.
    pub(in crate::server::delivery) fn begin(&mut self, sender: K, first: MessageId, now: Instant) {
        self.end_overdue(now);
        self.senders
            .entry(sender)
            .or_insert((first, now + PATIENCE));
    }

    /// Whether a sender has to send something again.
    pub(super) fn concerns(&self, sender: K) -> bool {
        self.senders.contains_key(&sender)
    }

    /// Whether a sender may send this message. The one that is waited for ends the wait.
    pub(in crate::server::delivery) fn may_send(
        &mut self,
        sender: K,
        mid: MessageId,
        now: Instant,
    ) -> bool {
        match self.senders.get(&sender) {
            Some((first, until)) if *first != mid && now < *until => false,
            Some(_) => {
                self.senders.remove(&sender);
                true
            }
            None => true,
        }
    }

    /// Whether nobody has to be waited for.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.senders.values().all(|(_, until)| *until <= now)
    }

    fn end_overdue(&mut self, now: Instant) {
        self.senders.retain(|_, (_, until)| *until > now);
    }
}

impl<R> super::Mailbox<R> {
    /// A message was refused before it could be decided about it, and its sender is to send it again: later
    /// ones have to wait for that.
    pub(crate) fn stall(&mut self, sender: UserId, mid: MessageId, now: Instant) {
        self.stalled.begin(sender, mid, now);
    }
}

/// A sender has to send an earlier message again first.
pub(in crate::server::delivery) fn overtakes() -> Refusal {
    Refusal::new(
        Code::Storage,
        "an earlier message of yours to the same recipient could not be stored; send that one again \
         first, then this one",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_refused_message_is_waited_for_and_not_for_ever() {
        let (now, mut stalled) = (Instant::now(), Stalled::default());
        let [one, two, three] = [1, 2, 3].map(|id| MessageId([id; 16]));
        stalled.begin(UserId(1), one, now);
        stalled.begin(UserId(1), two, now);
        assert!(!stalled.may_send(UserId(1), three, now) && !stalled.may_send(UserId(1), two, now));
        assert!(stalled.may_send(UserId(2), three, now), "others go on");
        assert!(stalled.may_send(UserId(1), one, now) && stalled.may_send(UserId(1), two, now));
        stalled.begin(UserId(1), one, now);
        assert!(stalled.concerns(UserId(1)) && !stalled.is_over(now));
        let later = now + PATIENCE;
        assert!(stalled.is_over(later) && stalled.may_send(UserId(1), three, later));
    }
}
