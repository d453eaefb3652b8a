//! Where the answer to a forwarded message goes.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::connection::PeerConnection;
use super::message::{Forward, Forwarded};
use super::wire;
use crate::protocol::name::UserName;
use crate::store::UserId;
use crate::sync::Mutex;

/// A link on which more ways were given up ends, and the next one begins without.
const MAX_RETURNED: usize = 10_000;

/// Answers one forwarded message, from any thread. If all clones are dropped instead, the link breaks, so that
/// the sender's client learns that it has to ask again.
#[derive(Clone)]
pub(crate) struct PeerReply(Arc<Owed>);

struct Owed {
    to: Arc<PeerConnection>,
    id: u64,
    way: Way,
    returned: Arc<Returned>,
    answered: AtomicBool,
}

/// A sender's number and a recipient.
type Way = (UserId, UserName);

/// The ways on which a message was not taken because its mailbox is not here. Those that follow are not
/// taken either, also if the mailbox has come back meanwhile, until their sender's server has heard of it: or
/// they would overtake the ones before.
#[derive(Debug, Default)]
pub(super) struct Returned(Mutex<HashSet<Way>>);

impl Returned {
    /// Whether a message is on one of these ways.
    pub(super) fn includes(&self, forward: &Forward) -> bool {
        let mut ways = self.0.lock();
        let way = (forward.sender, forward.send.to);
        match forward.first {
            true => {
                ways.remove(&way);
                false
            }
            false => ways.contains(&way),
        }
    }
}

impl PeerReply {
    /// For the message that has come with this id.
    pub(super) fn new(
        to: &Arc<PeerConnection>,
        id: u64,
        forward: &Forward,
        returned: &Arc<Returned>,
    ) -> Self {
        PeerReply(Arc::new(Owed {
            to: Arc::clone(to),
            id,
            way: (forward.sender, forward.send.to),
            returned: Arc::clone(returned),
            answered: AtomicBool::new(false),
        }))
    }

    /// Answers, unless another clone has. It never blocks; the answers of a link leave in the order of
    /// these calls.
    pub(crate) fn answer(self, forwarded: Forwarded) {
        let Owed { to, id, .. } = &*self.0;
        if self.0.answered.swap(true, Ordering::AcqRel) {
            return;
        }
        if forwarded == Forwarded::NotHere {
            let mut ways = self.0.returned.0.lock();
            ways.insert(self.0.way);
            if ways.len() > MAX_RETURNED {
                to.close();
            }
        }
        match forwarded {
            // There is no such answer: the link breaks instead.
            Forwarded::Lost => to.close(),
            forwarded => to.answer(|queue| wire::write_answer(queue, *id, &forwarded)),
        }
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if !*self.answered.get_mut() {
            self.to.close();
        }
    }
}

impl fmt::Debug for PeerReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerReply({})", self.0.id)
    }
}
