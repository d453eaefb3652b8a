//! What this server does for the other servers of its store, and what it tells them. How they reach
//! each other is in `peers`, and how mailboxes go from one to another in `delivery::homes`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::delivery::homes::{NotHere, Release};
use super::delivery::resend::Resends;
use super::delivery::send::{Sending, Sent};
use super::delivery::sessions::Session;
use super::delivery::shared_mailbox::{LastRecipient, ReplyTo, SharedMailbox};
use super::delivery::{Author, Now};
use super::log;
use super::net::disconnect;
use super::net::registry::Connections;
use super::net::send_queue::flush_set::FlushSet;
use super::peers::Peers;
use super::peers::host::Host;
use super::peers::message::{Call, Called, Forward, Forwarded, PeerSession};
use super::peers::reply::PeerReply;
use super::requests::login::{end_displaced, end_session};
use super::shared::Shared;
use super::stats::Ending;
use crate::clock;
use crate::protocol::ids::ByteArray;
use crate::protocol::name::UserName;
use crate::protocol::refusal::Refusal;
use crate::protocol::reply::{Event, News};
use crate::sync::sync_channel;
use crate::transport::tls::Acceptor;

/// How long the disk has for a notice.
const NOTICE_TAKES: Duration = Duration::from_secs(10);

/// What the other servers reach.
pub(crate) struct Cluster {
    shared: Arc<Shared>,
    connections: Arc<Connections>,
}

impl Cluster {
    /// Lets the other servers of the store reach this one, and delivery reach them. `on` is where it listens
    /// for them; without it, where this machine reaches the store.
    ///
    /// # Errors
    /// It can't listen there, they can't be told, or the system has no thread to give.
    pub(crate) fn join(
        shared: &Arc<Shared>,
        connections: &Arc<Connections>,
        on: Option<SocketAddr>,
    ) -> io::Result<Option<Arc<Peers>>> {
        let Some(run) = shared.store.run() else {
            return Ok(None);
        };
        let store = Arc::clone(&shared.store);
        let stats = Arc::clone(&shared.stats);
        let rotation = Arc::clone(&shared.rotation);
        let peers = Peers::new(run, store, shared.tls.clone(), rotation, stats);
        let listener = peers.listen(on)?;
        let of_the_end = Arc::downgrade(&peers);
        shared.store.set_on_ended(Box::new(move |run| {
            if let Some(peers) = of_the_end.upgrade() {
                peers.ended(run);
            }
        }));
        shared.delivery.set_peers(Arc::clone(peers.links()));
        let host = Arc::new(Cluster {
            shared: Arc::clone(shared),
            connections: Arc::clone(connections),
        });
        let at = peers.start(listener, host)?;
        log::info(None, format_args!("other servers reach this one at {at}"));
        Ok(Some(peers))
    }

    /// Does something in a mailbox, if it is here.
    fn in_mailbox(
        &self,
        name: &UserName,
        then: impl FnOnce(&Arc<SharedMailbox>) -> Called,
    ) -> Called {
        match self.shared.delivery.mailbox(name) {
            Ok(mailbox) => then(&mailbox),
            Err(NotHere::At(_)) => Called::NotHere,
            Err(NotHere::Refused(refusal)) => Called::Answer(Err(refusal)),
        }
    }

    fn put_notice(&self, mailbox: &Arc<SharedMailbox>, news: &News) -> Called {
        let (told, taken) = sync_channel(1);
        let delivery = &self.shared.delivery;
        delivery.notify(mailbox, news, Now::read(), told);
        match taken.recv_timeout(NOTICE_TAKES) {
            Ok(Ok(())) => Called::Done,
            Ok(Err(refusal)) => Called::Answer(Err(refusal)),
            Err(_) => Called::Busy,
        }
    }

    /// Reads again which certificates the servers may show, and says which one this server shows.
    fn read_certificates(&self) -> Called {
        match self.shared.rotation.refresh() {
            Ok(()) => {
                let shown = self.shared.tls.as_deref().map(Acceptor::fingerprint);
                Called::Certificate(shown.map(|shown| ByteArray(shown.0)))
            }
            Err(_) => Called::Busy,
        }
    }

    /// Reads the banned networks again, and ends connections from them.
    fn read_bans(&self) -> Called {
        let Ok(bans) = self.shared.store.bans() else {
            return Called::Busy;
        };
        self.shared.limits.set_bans(&bans);
        for network in bans.iter().filter_map(|(network, _)| network.parse().ok()) {
            self.connections.end_from(network, &disconnect::banned());
        }
        Called::Done
    }
}

/// The sessions at this server, as it tells other servers and its operator of them.
pub(crate) fn sessions_here(shared: &Shared, connections: &Connections) -> Vec<PeerSession> {
    let peers = connections.peers();
    let sessions = shared.sessions.all();
    let row = |session: &Arc<Session>| PeerSession {
        name: session.name,
        address: peers
            .get(&Arc::as_ptr(&session.send_queue))
            .map(ToString::to_string),
        since: session.since,
        shown: session.present,
    };
    sessions.iter().map(row).collect()
}

/// Ends a session that had to make room for one at another server, or for an operator's act.
fn end(session: &Session, why: Option<&Refusal>) {
    match why {
        None => end_displaced(Some(session), Ending::Replaced),
        Some(why) => end_session(session, why.clone()),
    }
}

impl Host for Cluster {
    fn forwarded(
        &self,
        forward: Forward,
        again: &mut Resends,
        reply: PeerReply,
        to_flush: &mut FlushSet,
    ) {
        let delivery = &self.shared.delivery;
        let mailbox = match delivery.mailbox(&forward.send.to) {
            Ok(mailbox) => mailbox,
            Err(NotHere::At(_)) => return reply.answer(Forwarded::NotHere),
            Err(NotHere::Refused(refusal)) => {
                return reply.answer(Forwarded::Answer(Err(refusal)));
            }
        };
        let author = Author {
            user: forward.sender,
            name: forward.from,
        };
        let now = Now::read();
        let limits = &self.shared.limits;
        let sending = Sending {
            author,
            reply_to: ReplyTo::Peer(author.user, reply.clone()),
            session: None,
            undecided: None,
            now,
            resends: again,
            budget: &|rows| limits.look_up(author.user, rows, now.instant),
        };
        let mut last = LastRecipient::new(mailbox);
        match delivery.send(&mut last, forward.send, sending, to_flush) {
            Sent::Later => {}
            Sent::Now(answer) => reply.answer(Forwarded::Answer(answer)),
            Sent::Elsewhere(..) => reply.answer(Forwarded::NotHere),
        }
    }

    fn called(&self, call: Call) -> Called {
        let delivery = &self.shared.delivery;
        match call {
            Call::Outcome {
                sender,
                from,
                outcome,
            } => self.in_mailbox(&outcome.to, |mailbox| {
                let author = Author {
                    user: sender,
                    name: from,
                };
                let limits = &self.shared.limits;
                let now = clock::now();
                let budget = |rows| limits.look_up(author.user, rows, now);
                Called::Answer(delivery.outcome_in(mailbox, author, &outcome, &budget))
            }),
            Call::Release {
                name,
                to,
                precedence,
                why,
            } => {
                let end = |session: &Session| end(session, why.as_ref());
                match delivery.release(&name, to, precedence, end) {
                    Ok(Release::Done {
                        turned_away,
                        displaced,
                    }) => Called::Released {
                        turned_away,
                        displaced,
                    },
                    Ok(Release::Online) => Called::OnlineElsewhere,
                    Ok(Release::NotHere) => Called::NotHere,
                    Ok(Release::Busy) | Err(_) => Called::Busy,
                }
            }
            Call::Notice { name, news } => {
                self.in_mailbox(&name, |mailbox| self.put_notice(mailbox, &news))
            }
            Call::BansChanged => self.read_bans(),
            Call::TellExpired { name } => {
                let session = self.shared.sessions.find(&name);
                match session {
                    None => Called::NotHere,
                    Some(session) => self.in_mailbox(&name, |mailbox| {
                        delivery.tell_expired(session.user, mailbox, Now::read());
                        Called::Done
                    }),
                }
            }
            Call::Sessions => Called::Sessions(sessions_here(&self.shared, &self.connections)),
            Call::Certificates => self.read_certificates(),
            Call::Ping => Called::Done,
        }
    }

    fn event(&self, name: UserName, event: Event, to_flush: &mut FlushSet) {
        self.shared.delivery.tell_passed_on(name, event, to_flush);
    }
}
