//! Where a user's mailbox is, when several servers share a store: at one of them at a time, its *home*.
//!
//! A mailbox is claimed before it is loaded. Its owner's login brings it to the server that they log in
//! to, so that the owner's session and the mailbox are always at one place. The home lets it go once
//! the owner's earlier session has ended and all that it has accepted is on disk. A server that
//! has died lets go of all by the end of its lease, for which whoever needs one of them waits.
//!
//! Mail for a mailbox elsewhere is passed on by [`forward`](super::forward).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Delivery;
use super::mailbox::TurnedAway;
use super::refusals::{already_online, elsewhere, read_failed, unknown_user};
use super::sessions::{NotInserted, Precedence, Session};
use super::shared_mailbox::SharedMailbox;
use crate::clock;
use crate::protocol::name::UserName;
use crate::protocol::refusal::Refusal;
use crate::protocol::reply::News;
use crate::server::peers::links::Links;
use crate::server::peers::message::{Call, Called, Unreachable};
use crate::store::homes::{Home, Node, RunId};
use crate::store::{Account, Change, Changed, UserId};
use crate::sync;

/// How long a mailbox elsewhere is waited for: a little longer than a lease and its margin last.
pub(super) const PATIENCE: Duration = Duration::from_secs(12);

/// The pause between two attempts to reach another server, or to claim what it had.
pub(super) const RETRY: Duration = Duration::from_millis(100);

/// How long a server has to let a mailbox go.
const RELEASE: Duration = Duration::from_secs(5);

/// How often it is looked whether a mailbox can go. Its last messages are written within some milliseconds.
const LOOK: Duration = Duration::from_millis(2);

/// How long it is believed where a mailbox was found.
const SEEN: Duration = Duration::from_millis(200);

/// So many mailboxes are kept in mind, some hundred KiB.
const MAX_SEEN: usize = 10_000;

/// Why a mailbox is not in this server's memory.
#[derive(Debug)]
pub(crate) enum NotHere {
    /// It can't be had.
    Refused(Refusal),
    /// Another server has it.
    At(RunId),
}

impl From<Refusal> for NotHere {
    fn from(refusal: Refusal) -> Self {
        NotHere::Refused(refusal)
    }
}

impl From<NotHere> for Refusal {
    fn from(not_here: NotHere) -> Self {
        match not_here {
            NotHere::Refused(refusal) => refusal,
            NotHere::At(_) => elsewhere(),
        }
    }
}

/// What a server does with a mailbox that another one wants.
#[derive(Debug)]
pub(crate) enum Release {
    /// It has let it go.
    Done {
        /// Who was turned away, which is in memory only.
        turned_away: TurnedAway,
        /// A session was displaced.
        displaced: bool,
    },
    /// The owner is logged in, and may not be displaced.
    Online,
    /// It does not have it.
    NotHere,
    /// It was still in use after some seconds.
    Busy,
}

/// Where mailboxes were found lately, and where they have gone from here, for what may miss its aim.
#[derive(Debug, Default)]
pub(super) struct HomesSeen(HashMap<UserName, Seen>);

#[derive(Debug)]
struct Seen {
    home: Option<RunId>,
    at: Instant,
    /// This server has let it go to there.
    released: bool,
}

impl Seen {
    fn is_fresh(&self, now: Instant) -> bool {
        // Others believe for as long that it is here, and what they send then is under way for a moment.
        let lasts = if self.released { 2 * SEEN } else { SEEN };
        now.saturating_duration_since(self.at) < lasts
    }
}

impl HomesSeen {
    fn get(&self, name: &UserName, now: Instant) -> Option<&Seen> {
        self.0.get(name).filter(|seen| seen.is_fresh(now))
    }

    /// Where this server has let a mailbox go a moment ago.
    fn released(&self, name: &UserName, now: Instant) -> Option<RunId> {
        let seen = self.get(name, now).filter(|seen| seen.released);
        seen.and_then(|seen| seen.home)
    }

    fn note(&mut self, name: UserName, home: Option<RunId>, at: Instant, released: bool) {
        // What was read while the mailbox was let go is older than that.
        if !released && self.released(&name, at).is_some() {
            return;
        }
        if self.0.len() >= MAX_SEEN {
            self.0.clear();
        }
        let seen = Seen { home, at, released };
        self.0.insert(name, seen);
    }

    fn forget(&mut self, name: &UserName) {
        self.0.remove(name);
    }
}

impl Delivery {
    /// Sets how other servers are reached. Nothing is claimed without it.
    pub(crate) fn set_peers(&self, peers: Arc<Links>) {
        let _once = self.peers.set(peers);
    }

    /// How other servers are reached, if there can be any.
    pub(crate) fn peers(&self) -> Option<&Arc<Links>> {
        self.peers.get()
    }

    /// Claims a mailbox that is about to be loaded. Returns its owner, and the least number that its next
    /// message may have.
    ///
    /// # Errors
    /// There is no such user, another server has the mailbox, or the store failed.
    pub(super) fn claim(&self, name: &UserName) -> Result<(Account, u64), NotHere> {
        let account = self.account(name)?;
        if self.peers().is_none() {
            return Ok((account, 0));
        }
        // Mostly this is the answer, and costs no write.
        if let Some(run) = self.store.home(account.id).map_err(read_failed)? {
            return Err(NotHere::At(run));
        }
        match self.writer.change(Change::ClaimHome(account.id))? {
            // Its last home may have changed the account until it let the mailbox go.
            Changed::Home(Home::Here { first_number }) => Ok((self.account(name)?, first_number)),
            Changed::Home(Home::At(run)) => Err(NotHere::At(run)),
            _ => Err(elsewhere().into()),
        }
    }

    /// Asks all other servers, one after the other. Those that can't be reached are left out.
    pub(crate) fn call_all(&self, call: &Call) -> Vec<(Node, Result<Called, Unreachable>)> {
        let (Some(peers), Ok(nodes)) = (self.peers(), self.store.nodes()) else {
            return Vec::new();
        };
        let ask = |node: Node| {
            let called = peers.call(node.run, call, RELEASE);
            (node, called)
        };
        nodes.into_iter().map(ask).collect()
    }

    /// Puts a notice into the mailbox of a user at another server.
    pub(crate) fn notify_at(&self, run: RunId, name: UserName, news: News) -> Result<(), Refusal> {
        let call = Call::Notice { name, news };
        match self.peers().map(|peers| peers.call(run, &call, PATIENCE)) {
            Some(Ok(Called::Done)) => Ok(()),
            Some(Ok(Called::Answer(Err(refusal)))) => Err(refusal),
            _ => Err(elsewhere()),
        }
    }

    /// Shows the other servers whether a session's user is online, if the session lets that be seen. Nobody
    /// waits for it.
    pub(crate) fn show_online(&self, session: &Session, online: bool) {
        if self.peers().is_some() && session.present {
            drop(self.writer.submit(Change::Online(session.user, online)));
        }
    }

    /// Those of some users who are to be seen online at other servers.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) fn online_elsewhere(&self, users: &[UserId]) -> Result<Vec<UserId>, Refusal> {
        match self.peers() {
            None => Ok(Vec::new()),
            Some(_) => self.store.online(users).map_err(read_failed),
        }
    }

    /// The other server that has a user's mailbox, as it was a moment ago.
    pub(super) fn home_of(&self, user: UserId, name: &UserName) -> Option<RunId> {
        let now = clock::now();
        if let Some(seen) = self.homes_seen.lock().get(name, now) {
            return seen.home;
        }
        // A receipt is not worth an error.
        let home = self.store.home(user).ok()?;
        self.homes_seen.lock().note(*name, home, now, false);
        home
    }

    /// Where a mailbox is that this server has let go a moment ago, when others may still take it for its home.
    pub(super) fn released_to(&self, name: &UserName) -> Option<RunId> {
        self.homes_seen.lock().released(name, clock::now())
    }

    fn account(&self, name: &UserName) -> Result<Account, Refusal> {
        let account = self.store.account(name).map_err(read_failed)?;
        account.ok_or_else(|| unknown_user(name))
    }

    /// A user's mailbox, brought here if another server has it, and whether a session of the owner's there
    /// was displaced: if `precedence` permits it, it is told `why`, or that another login has replaced it.
    ///
    /// # Errors
    /// There is no such user, they are online elsewhere, or the mailbox could not be had in time.
    pub(crate) fn bring_here(
        &self,
        name: &UserName,
        precedence: Precedence,
        why: Option<&Refusal>,
    ) -> Result<(Arc<SharedMailbox>, bool), Refusal> {
        let deadline = clock::now() + PATIENCE;
        let mut turned_away = TurnedAway::default();
        let mut displaced = false;
        loop {
            let run = match self.mailbox(name) {
                Ok(mailbox) => {
                    mailbox.lock().machine.turned_away().add(turned_away);
                    return Ok((mailbox, displaced));
                }
                Err(NotHere::Refused(refusal)) => return Err(refusal),
                Err(NotHere::At(run)) => run,
            };
            match self.ask_to_release(run, name, precedence, why) {
                Ok(Called::Released {
                    turned_away: more,
                    displaced: ended,
                }) => {
                    turned_away.add(more);
                    displaced |= ended;
                    continue;
                }
                Ok(Called::OnlineElsewhere) => return Err(already_online(name)),
                Ok(_) | Err(Unreachable) => {}
            }
            self.pause(deadline)?;
        }
    }

    fn ask_to_release(
        &self,
        run: RunId,
        name: &UserName,
        precedence: Precedence,
        why: Option<&Refusal>,
    ) -> Result<Called, Unreachable> {
        let peers = self.peers().ok_or(Unreachable)?;
        // From here on nothing is passed on to where the mailbox comes from.
        self.homes_seen.lock().forget(name);
        let to = peers.run();
        let call = Call::Release {
            name: *name,
            to,
            precedence,
            why: why.cloned(),
        };
        peers.call(run, &call, 2 * RELEASE)
    }

    /// Waits for a moment before something that another server has is tried again.
    ///
    /// # Errors
    /// It was waited for long enough.
    pub(super) fn pause(&self, deadline: Instant) -> Result<(), Refusal> {
        if clock::now() >= deadline {
            return Err(elsewhere());
        }
        sync::sleep(RETRY);
        Ok(())
    }

    /// Lets a user's mailbox go to another server's run. `end` ends the session that is displaced.
    pub(crate) fn release(
        &self,
        name: &UserName,
        to: RunId,
        precedence: Precedence,
        end: impl Fn(&Session),
    ) -> Result<Release, Refusal> {
        let deadline = clock::now() + RELEASE;
        let mut displaced = false;
        loop {
            match self.sessions.displace(name, precedence) {
                Err(NotInserted::OnlineElsewhere) => return Ok(Release::Online),
                Ok(Some(session)) => {
                    displaced = true;
                    end(&session);
                }
                _ => {}
            }
            if let Some((opening, turned_away)) = self.take_out(name) {
                let moved = self.move_home(name, to);
                if matches!(moved, Ok(true)) {
                    return Ok(Release::Done {
                        turned_away,
                        displaced,
                    });
                }
                // It is counted in memory only, until its notice can be stored.
                if !turned_away.is_empty()
                    && let Ok(mailbox) = self.load(&opening)
                {
                    mailbox.lock().machine.turned_away().add(turned_away);
                }
                return moved.map(|_| Release::NotHere);
            }
            if clock::now() >= deadline {
                return Ok(Release::Busy);
            }
            sync::sleep(LOOK);
        }
    }

    fn move_home(&self, name: &UserName, to: RunId) -> Result<bool, Refusal> {
        let account = self.account(name)?;
        let moved = self.writer.change(Change::MoveHome(account.id, to))? == Changed::Done;
        if moved {
            let mut seen = self.homes_seen.lock();
            seen.note(*name, Some(to), clock::now(), true);
        }
        Ok(moved)
    }
}
