//! What a server does for its peers. The links know nothing of mailboxes; who starts them brings this.

use super::message::{Call, Called, Forward};
use super::reply::PeerReply;
use crate::protocol::name::UserName;
use crate::protocol::reply::Event;
use crate::server::delivery::resend::Resends;
use crate::server::net::send_queue::flush_set::FlushSet;

/// Does what other servers ask.
pub(crate) trait Host: Send + Sync {
    /// Takes a message for a mailbox that is here. The messages of one server come in the order in which
    /// it has forwarded them, on one thread, and all that came together share `to_flush`.
    ///
    /// `again` is what is known of the messages that this sender sends again over this link.
    fn forwarded(
        &self,
        forward: Forward,
        again: &mut Resends,
        reply: PeerReply,
        to_flush: &mut FlushSet,
    );

    /// Does what a call asks. It may take seconds: each call has a thread of its own.
    fn called(&self, call: Call) -> Called;

    /// Tells a user's session of an event, if there is one.
    fn event(&self, name: UserName, event: Event, to_flush: &mut FlushSet);
}
