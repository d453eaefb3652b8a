//! Who is logged in: the session table, with one session per account.
//!
//! It knows nothing of mailboxes; `delivery` attaches a session to its mailbox.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Author;
use super::mailbox::SessionId;
use crate::clock;
use crate::protocol::ids::ByteArray;
use crate::protocol::name::UserName;
use crate::server::net::send_queue::SendQueue;
use crate::store::UserId;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// One logged-in connection.
pub(crate) struct Session {
    /// The session's number.
    pub id: SessionId,
    /// The user's name.
    pub name: UserName,
    /// The user's number.
    pub user: UserId,
    /// Lets the same client replace the session after its connection died.
    pub secret: ByteArray<16>,
    /// The connection's send queue.
    pub send_queue: Arc<SendQueue>,
    /// Others see the user as online; scripts choose not to be seen.
    pub present: bool,
    /// When it began, ms since 1970.
    pub since: u64,
    /// It was replaced or removed, and its connection may not act for the account.
    over: AtomicBool,
}

impl Session {
    /// The user as a sender.
    pub(crate) fn author(&self) -> Author {
        Author {
            user: self.user,
            name: self.name,
        }
    }

    /// Whether it was replaced or removed.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

/// What a new session may do to the account's session before it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Precedence {
    /// Nothing: the new session is refused.
    Yield,
    /// Replace it if it has this secret.
    Resume(ByteArray<16>),
    /// Replace it.
    TakeOver,
}

impl Precedence {
    fn permits(self, displaced: &Session) -> bool {
        match self {
            Precedence::Yield => false,
            Precedence::Resume(secret) => displaced.secret == secret,
            Precedence::TakeOver => true,
        }
    }
}

/// Why a login did not become a session. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotInserted {
    /// The account has a session that may not be replaced.
    OnlineElsewhere,
    /// The credentials of some account have changed since the login was judged: judge it again.
    Outdated,
}

/// A login, about to become a session.
pub(crate) struct Candidate {
    /// The user's name.
    pub name: UserName,
    /// The user's number.
    pub user: UserId,
    /// A new random secret.
    pub secret: ByteArray<16>,
    /// The connection's send queue.
    pub send_queue: Arc<SendQueue>,
    /// Others see the user as online.
    pub present: bool,
    /// [`Sessions::version`] as it was just before the account was read.
    pub version: u64,
}

/// The session table.
#[derive(Default)]
pub(crate) struct Sessions {
    /// Sessions by account. Held for single operations that leave the table whole, with
    /// no other lock taken and no I/O.
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    by_name: HashMap<UserName, Arc<Session>>,
    last: u64,
    /// How often the credentials of any account have changed.
    version: u64,
}

impl Sessions {
    /// Counts the changes of credentials. Ask before reading the account that a login is judged
    /// by.
    pub(crate) fn version(&self) -> u64 {
        self.table.lock().version
    }

    /// Call it once a password's change or an account's deletion is committed: a login that was
    /// judged before is judged again, and the account's session, unless its number is `keep`,
    /// is removed and returned for the caller to end.
    pub(crate) fn credentials_changed(
        &self,
        name: &UserName,
        keep: Option<SessionId>,
    ) -> Option<Arc<Session>> {
        let mut table = self.table.lock();
        table.version += 1;
        if Some(table.by_name.get(name)?.id) == keep {
            return None;
        }
        let session = table.by_name.remove(name)?;
        session.over.store(true, Ordering::Release);
        Some(session)
    }

    /// Adds a session, and returns it with the session that it displaced, which the caller
    /// has to end.
    ///
    /// # Errors
    /// The account has a session that may not be replaced, or the login is to be judged again.
    pub(crate) fn insert(
        &self,
        candidate: Candidate,
        precedence: Precedence,
    ) -> Result<(Arc<Session>, Option<Arc<Session>>), NotInserted> {
        let mut table = self.table.lock();
        if table.version != candidate.version {
            return Err(NotInserted::Outdated);
        }
        table.last += 1;
        let session = Arc::new(Session {
            id: SessionId(table.last),
            name: candidate.name,
            user: candidate.user,
            secret: candidate.secret,
            send_queue: candidate.send_queue,
            present: candidate.present,
            since: clock::unix_ms(),
            over: AtomicBool::new(false),
        });
        match table.by_name.entry(candidate.name) {
            Entry::Vacant(place) => {
                place.insert(Arc::clone(&session));
                Ok((session, None))
            }
            Entry::Occupied(mut place) => {
                if !precedence.permits(place.get()) {
                    return Err(NotInserted::OnlineElsewhere);
                }
                let displaced = place.insert(Arc::clone(&session));
                displaced.over.store(true, Ordering::Release);
                Ok((session, Some(displaced)))
            }
        }
    }

    /// Removes the account's session, if there is one and `precedence` permits it, and returns it for the
    /// caller to end.
    ///
    /// # Errors
    /// It may not be displaced.
    pub(crate) fn displace(
        &self,
        name: &UserName,
        precedence: Precedence,
    ) -> Result<Option<Arc<Session>>, NotInserted> {
        let mut table = self.table.lock();
        let Entry::Occupied(place) = table.by_name.entry(*name) else {
            return Ok(None);
        };
        if !precedence.permits(place.get()) {
            return Err(NotInserted::OnlineElsewhere);
        }
        let displaced = place.remove();
        displaced.over.store(true, Ordering::Release);
        Ok(Some(displaced))
    }

    /// Removes exactly this session. A session that ends late never removes its successor.
    pub(crate) fn remove(&self, session: &Session) {
        let mut table = self.table.lock();
        session.over.store(true, Ordering::Release);
        if let Entry::Occupied(place) = table.by_name.entry(session.name)
            && place.get().id == session.id
        {
            place.remove();
        }
    }

    /// All sessions.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.table.lock().by_name.values().cloned().collect()
    }

    /// How many sessions there are.
    pub(crate) fn count(&self) -> usize {
        self.table.lock().by_name.len()
    }

    /// The account's session.
    pub(crate) fn find(&self, name: &UserName) -> Option<Arc<Session>> {
        self.table.lock().by_name.get(name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::store::lease::Lease;
    use crate::transport::socket::Socket;

    fn candidate(name: &str, secret: u8) -> Candidate {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        Candidate {
            name: name.parse().unwrap(),
            user: UserId(1),
            secret: ByteArray([secret; 16]),
            send_queue: Arc::new(SendQueue::new(
                Socket::new(stream).unwrap(),
                Arc::default(),
                Lease::for_ever(),
            )),
            present: true,
            version: 0,
        }
    }

    #[test]
    fn one_login_per_account() {
        let sessions = Sessions::default();
        let (first, none) = sessions
            .insert(candidate("bob", 1), Precedence::Yield)
            .unwrap();
        assert!(none.is_none());
        assert!(
            sessions
                .insert(candidate("bob", 2), Precedence::Yield)
                .is_err()
        );
        let wrong = Precedence::Resume(ByteArray([9; 16]));
        assert!(sessions.insert(candidate("bob", 2), wrong).is_err());
        assert!(!first.is_over());
        let right = Precedence::Resume(ByteArray([1; 16]));
        let (second, displaced) = sessions.insert(candidate("bob", 2), right).unwrap();
        assert_eq!(displaced.unwrap().id, first.id);
        assert!(first.is_over() && !second.is_over());
        let (third, _) = sessions
            .insert(candidate("bob", 3), Precedence::TakeOver)
            .unwrap();
        assert!(third.id > second.id);
    }

    #[test]
    fn a_change_of_credentials_ends_other_sessions_and_outdates_logins() {
        let sessions = Sessions::default();
        let (first, _) = sessions
            .insert(candidate("bob", 1), Precedence::Yield)
            .unwrap();
        assert!(
            sessions
                .credentials_changed(&first.name, Some(first.id))
                .is_none()
        );
        assert!(!first.is_over(), "the one that changed it stays");
        let inserted = sessions.insert(candidate("bob", 2), Precedence::TakeOver);
        assert_eq!(inserted.err(), Some(NotInserted::Outdated));
        let mut judged_again = candidate("bob", 2);
        judged_again.version = sessions.version();
        let (second, _) = sessions.insert(judged_again, Precedence::TakeOver).unwrap();
        let ended = sessions.credentials_changed(&first.name, Some(first.id));
        assert_eq!(ended.map(|ended| ended.id), Some(second.id));
        assert!(second.is_over() && sessions.find(&first.name).is_none());
    }

    #[test]
    fn a_late_end_spares_the_successor() {
        let sessions = Sessions::default();
        let (first, _) = sessions
            .insert(candidate("bob", 1), Precedence::Yield)
            .unwrap();
        let (second, _) = sessions
            .insert(candidate("bob", 2), Precedence::TakeOver)
            .unwrap();
        sessions.remove(&first);
        assert_eq!(sessions.find(&second.name).unwrap().id, second.id);
        sessions.remove(&second);
        assert!(sessions.table.lock().by_name.is_empty());
    }
}
