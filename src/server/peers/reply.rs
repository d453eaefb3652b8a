//! Where the answer to a forwarded message goes.

use std::fmt;
use std::sync::Arc;

use super::connection::PeerConnection;
use super::message::Forwarded;
use super::wire;

/// Answers one forwarded message, from any thread. If it is dropped instead, the link breaks, so that the
/// sender's client learns that it has to ask again.
pub(crate) struct PeerReply {
    to: Arc<PeerConnection>,
    id: u64,
    answered: bool,
}

impl PeerReply {
    /// For the message that has come with this id.
    pub(super) fn new(to: &Arc<PeerConnection>, id: u64) -> Self {
        PeerReply {
            to: Arc::clone(to),
            id,
            answered: false,
        }
    }

    /// Answers. It never blocks; the answers of a link leave in the order of these calls.
    pub(crate) fn answer(mut self, forwarded: Forwarded) {
        self.answered = true;
        match forwarded {
            // There is no such answer: the link breaks instead.
            Forwarded::Lost => self.to.close(),
            forwarded => self
                .to
                .answer(|queue| wire::write_answer(queue, self.id, &forwarded)),
        }
    }
}

impl Drop for PeerReply {
    fn drop(&mut self) {
        if !self.answered {
            self.to.close();
        }
    }
}

impl fmt::Debug for PeerReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerReply({})", self.id)
    }
}
