//! Passing a session's messages on to the server that has their recipient's mailbox.
//!
//! The order in which one session writes to one recipient is kept: its messages go over one link, and while one
//! of them has no answer, the session uses no other. If the link breaks, it is not known what
//! became of them, so the session's connection ends, as it does when a server crashes: the client connects again and sends
//! once more, in order, what has no answer. If the mailbox has moved, the peer returns them, and a thread
//! sends them the right way, while later ones wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::homes::{NotHere, PATIENCE};
use super::refusals::{elsewhere, session_over};
use super::resend::Resends;
use super::send::{Sending, Sent};
use super::sessions::Session;
use super::shared_mailbox::{LastRecipient, ReplyTo};
use super::{Budget, Delivery, Now};
use crate::clock;
use crate::protocol::name::UserName;
use crate::protocol::refusal::Refusal;
use crate::protocol::reply::Answer;
use crate::protocol::request::Send;
use crate::server::net::send_queue::flush_set::FlushSet;
use crate::server::peers::link::Link;
use crate::server::peers::message::{Forward, Forwarded, OnForwarded};
use crate::server::stats::Ending;
use crate::store::homes::RunId;
use crate::sync;
use crate::sync::{Condvar, Mutex};

/// The stack of the thread that sends returned messages another way, in bytes.
const STACK: usize = 256 * 1024;

/// Where the mailbox is that a session writes to.
pub(crate) enum Destination {
    /// In this server's memory.
    Here(LastRecipient),
    /// At another server.
    Elsewhere(UserName, RunId),
}

impl Destination {
    /// Whose mailbox it is.
    pub(crate) fn name(&self) -> UserName {
        match self {
            Destination::Here(last) => last.mailbox().name,
            Destination::Elsewhere(name, _) => *name,
        }
    }
}

/// What a `send` of a session brings with it beside the message.
pub(crate) struct Submitting<'a> {
    /// The session.
    pub session: &'a Arc<Session>,
    /// The request's id, if it has one.
    pub request_id: Option<u64>,
    /// When it came.
    pub now: Now,
    /// What the session knows of the messages that it sends again.
    pub resends: &'a mut Resends,
    /// What looking for them may cost.
    pub budget: Budget<'a>,
}

/// A session's ways to mailboxes at other servers, by recipient. Those on which nothing is in flight are
/// forgotten, so there are no more than the session has messages without an answer.
#[derive(Default)]
pub(crate) struct Routes(HashMap<UserName, Arc<Route>>);

/// One session's way to one mailbox.
#[derive(Default)]
struct Route {
    /// Guards what is in flight. Nothing else is locked under it.
    state: Mutex<RouteState>,
    /// Notified when returned messages have gone another way.
    settled: Condvar,
}

#[derive(Default)]
struct RouteState {
    /// The link that they are on, and how many there are.
    link: Option<(RunId, Arc<Link>)>,
    in_flight: usize,
    /// Messages that the peer has returned, with their requests' ids, in order.
    returned: Vec<(Option<u64>, Send)>,
    /// The mailbox has left the peer.
    moved: bool,
    /// A thread sends returned messages another way.
    settling: bool,
    /// The link broke with messages on it, so the session's connection is about to end.
    lost: bool,
}

/// How a message comes to its route.
enum Way<'a> {
    /// From its session: it waits for those that were returned.
    Session(&'a mut Routes),
    /// It was returned, and goes ahead of those that wait. Its session counts it already.
    Returned(&'a Arc<Route>),
}

impl Routes {
    /// The run that messages to `name` are on their way to, if there are any: what comes after them has to
    /// take the same way.
    fn run(&self, name: &UserName) -> Option<RunId> {
        let state = self.0.get(name)?.state.lock();
        let busy = state.in_flight > 0 || state.settling || !state.returned.is_empty();
        state.link.as_ref().filter(|_| busy).map(|(run, _)| *run)
    }

    fn to(&mut self, name: UserName) -> &Arc<Route> {
        if !self.0.contains_key(&name) {
            self.0.retain(|_, route| {
                let state = route.state.lock();
                state.in_flight > 0 || state.settling
            });
        }
        self.0.entry(name).or_default()
    }
}

impl Delivery {
    /// Where a session's next message to a user goes: where those before it went that have no answer, or
    /// where the mailbox is.
    ///
    /// # Errors
    /// There is no such user, the mailbox is damaged, or the store failed.
    pub(crate) fn destination_by(
        &self,
        routes: &Routes,
        name: &UserName,
    ) -> Result<Destination, Refusal> {
        match routes.run(name) {
            Some(run) => Ok(Destination::Elsewhere(*name, run)),
            None => self.destination(name),
        }
    }

    /// Where a user's mailbox is. It is loaded here if no other server has it.
    fn destination(&self, name: &UserName) -> Result<Destination, Refusal> {
        match self.mailbox(name) {
            Ok(mailbox) => Ok(Destination::Here(LastRecipient::new(mailbox))),
            Err(NotHere::At(run)) => Ok(Destination::Elsewhere(*name, run)),
            Err(NotHere::Refused(refusal)) => Err(refusal),
        }
    }

    /// Submits a session's message to its recipient's mailbox, wherever that is. Returns the answer, or
    /// `None` if it comes later.
    pub(crate) fn submit(
        self: &Arc<Self>,
        destination: &mut Destination,
        routes: &mut Routes,
        send: Send,
        submitting: Submitting<'_>,
        to_flush: &mut FlushSet,
    ) -> Option<Answer> {
        self.submit_by(
            Way::Session(routes),
            destination,
            send,
            submitting,
            to_flush,
        )
    }

    fn submit_by(
        self: &Arc<Self>,
        mut way: Way<'_>,
        destination: &mut Destination,
        mut send: Send,
        submitting: Submitting<'_>,
        to_flush: &mut FlushSet,
    ) -> Option<Answer> {
        let deadline = clock::now() + PATIENCE;
        let to = send.to;
        let Submitting {
            session,
            request_id,
            now,
            resends,
            budget,
        } = submitting;
        loop {
            let run = match destination {
                Destination::Here(last) => {
                    let sending = Sending {
                        author: session.author(),
                        reply_to: ReplyTo::Session {
                            sender: session.user,
                            send_queue: Arc::clone(&session.send_queue),
                            request_id,
                        },
                        session: Some(session),
                        undecided: match way {
                            Way::Session(_) => Some(&session.send_queue),
                            Way::Returned(_) => None,
                        },
                        now,
                        resends,
                        budget,
                    };
                    match self.send(last, send, sending, to_flush) {
                        Sent::Later => return None,
                        Sent::Now(answer) => return Some(answer),
                        Sent::Elsewhere(run, back) => {
                            *destination = Destination::Elsewhere(to, run);
                            send = *back;
                            continue;
                        }
                    }
                }
                Destination::Elsewhere(_, run) => *run,
            };
            send = match self.pass_on(&mut way, run, session, request_id, send, now) {
                Ok(None) => return None,
                Ok(Some(back)) => *back,
                Err(refusal) => return Some(Err(refusal)),
            };
            match self.look_again(&to, run, deadline) {
                Ok(found) => *destination = found,
                Err(refusal) => return Some(Err(refusal)),
            }
        }
    }

    /// Where a mailbox is that could not be reached at `run`. Waits for a moment if it is still there.
    fn look_again(
        &self,
        name: &UserName,
        run: RunId,
        deadline: Instant,
    ) -> Result<Destination, Refusal> {
        let destination = self.destination(name)?;
        if matches!(&destination, Destination::Elsewhere(_, at) if *at == run) {
            self.pause(deadline)?;
        }
        Ok(destination)
    }

    /// Passes a message on to a run. Returns the message if it has to be looked again for where the
    /// mailbox is.
    fn pass_on(
        self: &Arc<Self>,
        way: &mut Way<'_>,
        run: RunId,
        session: &Arc<Session>,
        request_id: Option<u64>,
        send: Send,
        now: Now,
    ) -> Result<Option<Box<Send>>, Refusal> {
        let route = match way {
            Way::Session(routes) => Arc::clone(routes.to(send.to)),
            Way::Returned(route) => Arc::clone(route),
        };
        let waits = matches!(way, Way::Session(_));
        let Some((link, first)) = self.enter(&route, run, waits)? else {
            return Ok(Some(Box::new(send)));
        };
        // It may have waited for seconds, and a session that was replaced does nothing more.
        if session.is_over() {
            route.give_up();
            return Err(session_over());
        }
        let forward = Forward {
            sender: session.user,
            from: session.name,
            send: send.clone(),
            at: now.millis,
            first,
        };
        if waits {
            session.send_queue.expect_answer();
        }
        let done = self.on_forwarded(route, Arc::clone(session), request_id, send);
        match link.forward(&forward, done) {
            Ok(()) => self.stats.taken.add(1),
            // Those before it are lost or late, so the client has to send this one after them.
            Err(done) => done(Forwarded::Lost, &mut FlushSet::default()),
        }
        Ok(None)
    }

    /// Takes a place on a route to a run. Returns the link, and whether nothing else is in flight there;
    /// `None` if the mailbox has moved, or the run can't be reached.
    ///
    /// # Errors
    /// An earlier message was lost.
    fn enter(
        &self,
        route: &Route,
        run: RunId,
        waits: bool,
    ) -> Result<Option<(Arc<Link>, bool)>, Refusal> {
        let mut state = route.state.lock();
        while waits && (state.settling || !state.returned.is_empty()) {
            state = route.settled.wait(state);
        }
        if state.lost {
            return Err(elsewhere());
        }
        if std::mem::take(&mut state.moved) && waits {
            return Ok(None);
        }
        if let Some((_, link)) = &state.link
            && state.in_flight > 0
        {
            let link = Arc::clone(link);
            state.in_flight += 1;
            return Ok(Some((link, false)));
        }
        drop(state);
        // Nobody else begins to use the route meanwhile: of its session's thread and the one that
        // sends returned messages, one waits for the other.
        let Some(Ok(link)) = self.peers().map(|peers| peers.get(run)) else {
            return Ok(None);
        };
        let mut state = route.state.lock();
        state.link = Some((run, Arc::clone(&link)));
        state.in_flight += 1;
        Ok(Some((link, true)))
    }

    /// What happens to a message that was passed on, once the peer has answered.
    fn on_forwarded(
        self: &Arc<Self>,
        route: Arc<Route>,
        session: Arc<Session>,
        request_id: Option<u64>,
        send: Send,
    ) -> OnForwarded {
        let delivery = Arc::downgrade(self);
        Box::new(move |forwarded, to_flush| {
            let reroutes = route.leave(&forwarded, request_id, send);
            let send_queue = &session.send_queue;
            match forwarded {
                Forwarded::Answer(answer) => {
                    send_queue.late_answer(request_id, &answer);
                    to_flush.add(send_queue);
                }
                Forwarded::NotHere => {}
                Forwarded::Lost => send_queue.end_for(Ending::PeerLost),
            }
            if let Some(delivery) = delivery.upgrade()
                && reroutes
            {
                delivery.start_rerouting(route, session);
            }
        })
    }

    /// Starts a thread that sends returned messages to where their recipient's mailbox is.
    fn start_rerouting(self: Arc<Self>, route: Arc<Route>, session: Arc<Session>) {
        let send_queue = Arc::clone(&session.send_queue);
        let settling = Settling(route);
        let spawned = sync::spawn("reroute", Some(STACK), move || {
            while let Some(returned) = settling.0.take_returned() {
                self.reroute(&settling.0, returned, &session);
            }
        });
        if spawned.is_err() {
            send_queue.end_for(Ending::NoThread);
        }
    }

    fn reroute(
        self: &Arc<Self>,
        route: &Arc<Route>,
        returned: Vec<(Option<u64>, Send)>,
        session: &Arc<Session>,
    ) {
        let mut resends = Resends::default();
        let mut to_flush = FlushSet::default();
        let mut destination = None;
        for (request_id, send) in returned {
            if route.state.lock().lost || session.is_over() {
                return; // The client sends the rest again.
            }
            let submitting = Submitting {
                session,
                request_id,
                now: Now::read(),
                resends: &mut resends,
                // What is searched is bounded by what was in flight.
                budget: &|_| Ok(()),
            };
            let to = send.to;
            let found = destination.take().map_or_else(|| self.destination(&to), Ok);
            let answer = match found {
                Ok(mut found) => {
                    let way = Way::Returned(route);
                    let answer = self.submit_by(way, &mut found, send, submitting, &mut to_flush);
                    destination = Some(found);
                    answer
                }
                Err(refusal) => Some(Err(refusal)),
            };
            if let Some(answer) = answer {
                session.send_queue.late_answer(request_id, &answer);
                to_flush.add(&session.send_queue);
            }
        }
        to_flush.flush();
    }
}

impl Route {
    /// Notes what became of a message. Returns whether those that were returned are to be sent another
    /// way, by whoever called.
    fn leave(&self, forwarded: &Forwarded, request_id: Option<u64>, send: Send) -> bool {
        let mut state = self.state.lock();
        state.in_flight -= 1;
        match forwarded {
            Forwarded::Answer(_) => {}
            Forwarded::NotHere if state.lost => {}
            Forwarded::NotHere => {
                state.moved = true;
                state.returned.push((request_id, send));
            }
            Forwarded::Lost => {
                // The client sends all of them again, in order.
                state.lost = true;
                state.returned.clear();
                self.settled.notify_all();
            }
        }
        if state.in_flight > 0 || state.returned.is_empty() || state.settling {
            return false;
        }
        state.settling = true;
        true
    }

    /// Gives a place up: the session sends nothing more on this route.
    fn give_up(&self) {
        let mut state = self.state.lock();
        state.in_flight -= 1;
        state.lost = true;
        state.returned.clear();
        drop(state);
        self.settled.notify_all();
    }

    /// Takes what was returned, once nothing is in flight; with `None` the route is settled.
    fn take_returned(&self) -> Option<Vec<(Option<u64>, Send)>> {
        let mut state = self.state.lock();
        if state.in_flight > 0 || state.returned.is_empty() {
            state.settling = false;
            self.settled.notify_all();
            return None;
        }
        Some(std::mem::take(&mut state.returned))
    }
}

/// The thread that settles a route. However it ends, its session does not wait for it any more.
struct Settling(Arc<Route>);

impl Drop for Settling {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        if state.settling {
            state.settling = false;
            state.lost = true;
            state.returned.clear();
        }
        drop(state);
        self.0.settled.notify_all();
    }
}
