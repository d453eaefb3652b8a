//! Which of several servers on one store holds a mailbox, and which servers there are. How a mailbox goes
//! from one to another, and what they say to each other, is decided in `server`.
//!
//! A mailbox is in the memory of one server at a time, its *home*. A server claims it before it loads the
//! mailbox, and nobody else gets it until it moves it, or its *run* has ended. A store that one server has
//! alone knows no homes: every claim succeeds, and all answers are empty.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{StoreError, UserId};

/// One start of a server on a store that several may share. Later ones have greater numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct RunId(pub i64);

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    /// The mailbox is at the server that asked.
    Here {
        /// Above every number that was given in this mailbox before; each claim has numbers of its own.
        first_number: u64,
    },
    /// It is at this run, which has not ended.
    At(RunId),
}

/// Another server that uses the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its run.
    pub run: RunId,
    /// The name that its operator gave it.
    pub name: String,
    /// Where it listens for other servers, once it does.
    pub address: Option<SocketAddr>,
}

/// What is called when another server's run has ended.
pub(crate) type OnEnded = Box<dyn Fn(RunId) + Send + Sync>;

/// Reads about the servers of a store. The defaults are the answers of a store that one server has alone.
pub(crate) trait Homes {
    /// This server's run; `None` if no other server can use the store.
    fn run(&self) -> Option<RunId> {
        None
    }

    /// The other servers whose runs have not ended.
    fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        Ok(Vec::new())
    }

    /// Whether there were such when it was looked last, a second or so ago if the store is reached.
    fn has_others(&self) -> bool {
        false
    }

    /// The other run that holds a mailbox, and has not ended.
    fn home(&self, _user: UserId) -> Result<Option<RunId>, StoreError> {
        Ok(None)
    }

    /// Those of some users who have a visible session at another server.
    fn online(&self, _users: &[UserId]) -> Result<Vec<UserId>, StoreError> {
        Ok(Vec::new())
    }

    /// The address by which this machine reaches the store, if it goes over a network; the loopback address
    /// if the store is on this machine.
    fn local_address(&self) -> Option<IpAddr> {
        None
    }

    /// Tells the other servers where this one listens for them.
    ///
    /// # Errors
    /// They were not told.
    fn announce_address(&self, _at: SocketAddr) -> Result<(), StoreError> {
        Ok(())
    }

    /// Sets what is called, once for each run of another server that has ended, whoever ended it. A thread
    /// that watches the runs calls it, a second or so after that.
    fn set_on_ended(&self, _hook: OnEnded) {}
}
