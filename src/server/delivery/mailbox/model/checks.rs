//! What has to be true of the model's world: after every step, and at the end.

use super::*;

impl World {
    /// What the mailbox counts as pending is what is pending, it knows whose answer
    /// is still open, and nothing gets to the disk ahead of what came before it.
    pub(super) fn check_state(&self) {
        let in_memory = self.mailbox.unwritten.iter();
        let in_memory = in_memory.filter(|u| u.progress.is_needed()).count();
        let on_disk = self
            .disk
            .keys()
            .filter(|n| !self.mailbox.is_acknowledged(**n))
            .count();
        let deferred = |u: &&Unwritten<_>| matches!(u.progress, Progress::Deferred(_));
        let mut unwritten = self.mailbox.unwritten.iter();
        assert!(
            unwritten
                .by_ref()
                .skip_while(|u| !deferred(u))
                .all(|u| deferred(&u))
        );
        let pending = self.mailbox.pending().messages();
        assert_eq!(pending, (in_memory + on_disk) as u64);
        for (sender, unanswered) in self.unanswered.iter().enumerate() {
            for sequence in unanswered {
                let waits = self.mailbox.is_pending(user(sender), id(*sequence));
                assert_eq!(waits, Some(true));
            }
        }
    }

    /// Nothing was lost, nothing came twice, and all of it came in order.
    pub(super) fn check(&self) {
        assert!(
            self.unanswered.iter().all(Vec::is_empty),
            "every sender has its answers"
        );
        assert!(self.retried.iter().all(BTreeSet::is_empty));
        assert!(self.disk.is_empty(), "all was acknowledged");
        assert_eq!(self.mailbox.pending(), Tally::default());
        assert_eq!((self.mailbox.deferred_bytes, self.mailbox.due), (0, 0));
        let mut last = HashMap::new();
        let shown: HashSet<_> = self.shown.iter().collect();
        assert_eq!(shown.len(), self.shown.len(), "nothing is shown twice");
        for sender in 0..2 {
            let from = Sender::User(name(sender));
            for sequence in 1..=self.sent[sender] {
                let accepted = self.accepted.contains(&(sender, sequence));
                let dropped = self.dropped.contains(&(from, id(sequence)));
                assert!(
                    !accepted || dropped || shown.contains(&(from, sequence)),
                    "{sequence} was lost"
                );
            }
            for (_, sequence) in self.shown.iter().filter(|(by, _)| *by == from) {
                // One that came while its sender was blocked, and once more later, has no place.
                let came_blocked = self.blocked.contains(&(from, id(*sequence)));
                if !self.refused.contains(&(sender, *sequence)) && !came_blocked {
                    let before = last.insert(from, *sequence);
                    assert!(before < Some(*sequence), "order: {:?}", self.shown);
                }
            }
        }
    }
}
