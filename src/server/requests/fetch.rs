//! Receiving: acknowledging messages, and fetching pending ones once more.

use super::{Handler, check_length};
use crate::protocol::limits;
use crate::protocol::reply::{Answer, Reply};
use crate::protocol::request::{Ack, Fetch};
use crate::server::net::send_queue::flush_set::FlushSet;

/// At most this many messages answer one `fetch` of a session that fetches.
const MAX_FETCH: usize = 500;

impl Handler {
    pub(super) fn ack(&self, ack: &Ack, to_flush: &mut FlushSet) -> Answer {
        let logged_in = self.logged_in()?;
        check_length(ack.ids.len(), limits::MAX_IDS)?;
        let delivery = &self.shared.delivery;
        let acked = delivery.ack(&logged_in.session, &logged_in.mailbox, ack, to_flush);
        Ok(Reply::Acked(acked))
    }

    /// Acknowledges all that the console has shown.
    pub(super) fn ack_shown(&self, to_flush: &mut FlushSet) -> Answer {
        let logged_in = self.logged_in()?;
        let delivery = &self.shared.delivery;
        let acked = delivery.ack_shown(&logged_in.session, &logged_in.mailbox, to_flush);
        Ok(Reply::Acked(acked))
    }

    pub(super) fn fetch(&self, fetch: &Fetch, to_flush: &mut FlushSet) -> Answer {
        let logged_in = self.logged_in()?;
        let (session, mailbox) = (&logged_in.session, &logged_in.mailbox);
        let delivery = &self.shared.delivery;
        if !self.envelopes {
            // A person who asks for more on the console has seen what was shown, and is not to
            // be shown it again.
            return Ok(Reply::Fetched(
                delivery.fetch_next(session, mailbox, to_flush),
            ));
        }
        let limit = fetch.limit.unwrap_or(MAX_FETCH).min(MAX_FETCH);
        let fetched = delivery.fetch(session, mailbox, limit, to_flush);
        Ok(Reply::Fetched(fetched))
    }
}
