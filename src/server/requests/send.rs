//! Sending a message, and asking what became of it.

use super::{Handler, Response, check_length, not_logged_in};
use crate::protocol::limits;
use crate::protocol::refusal::Refusal;
use crate::protocol::reply::Answer;
use crate::protocol::request::{Outcome, Send};
use crate::server::delivery::Now;
use crate::server::delivery::forward::Submitting;
use crate::server::net::send_queue::flush_set::FlushSet;

impl Handler {
    pub(super) fn send(
        &mut self,
        request_id: Option<u64>,
        send: Send,
        now: Now,
        to_flush: &mut FlushSet,
    ) -> Response {
        match self.deliver(request_id, send, now, to_flush) {
            Ok(None) => Response::Later,
            Ok(Some(answer)) => Response::Now(answer),
            Err(refusal) => Response::Now(Err(refusal)),
        }
    }

    fn deliver(
        &mut self,
        request_id: Option<u64>,
        send: Send,
        now: Now,
        to_flush: &mut FlushSet,
    ) -> Result<Option<Answer>, Refusal> {
        let logged_in = self.logged_in.as_mut().ok_or_else(not_logged_in)?;
        logged_in.check()?;
        let delivery = &self.shared.delivery;
        let routes = &mut logged_in.routes;
        let destination = match &mut logged_in.destination {
            Some(destination) if destination.name() == send.to => destination,
            destination => destination.insert(delivery.destination_by(routes, &send.to)?),
        };
        let user = logged_in.session.user;
        let submitting = Submitting {
            session: &logged_in.session,
            request_id,
            now,
            resends: &mut logged_in.resends,
            budget: &|rows| self.shared.limits.look_up(user, rows, now.instant),
        };
        Ok(delivery.submit(destination, routes, send, submitting, to_flush))
    }

    pub(super) fn outcome(&self, outcome: &Outcome, now: Now) -> Answer {
        let session = &self.logged_in()?.session;
        check_length(outcome.ids.len(), limits::MAX_IDS)?;
        let limits = &self.shared.limits;
        let budget = |rows| limits.look_up(session.user, rows, now.instant);
        let delivery = &self.shared.delivery;
        delivery.outcome(session.author(), outcome, &budget)
    }
}
