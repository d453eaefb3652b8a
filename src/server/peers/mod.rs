//! Servers on one store, as they speak to each other. A mailbox is in the memory of one server at a time;
//! what others have for it goes there over a *link*, and the answer comes back on it.
//!
//! What a message or a call means is decided in `delivery` and above; here it only travels. Each server has
//! a connection of its own to each server that it has something for, on which it asks and the other one
//! answers.
//!
//! | file | what |
//! | --- | --- |
//! | here | what the rest of the server uses |
//! | [`message`] | what is asked and answered |
//! | [`host`] | what this server does for others |
//! | [`reply`] | where the answer to a message goes |
//! | `links`, `link` | the links to others; one link with its requests |
//! | `listener`, `serving` | who connects to this one; what it is answered |
//! | `connection` | what waits to be written, on either end |
//! | `handshake` | how two servers know each other |
//! | `frames`, `wire`, `answer` | the bytes |
//!
//! Rules for changes here:
//! 1. Whatever happens, a forwarded message is answered once: by the other server, or as lost. It
//!    is never sent again.
//! 2. Nothing is written while this server's lease does not hold.
//! 3. Messages over one link are handled in the order in which they were forwarded.

mod answer;
mod connection;
mod frames;
mod handshake;
pub(crate) mod host;
pub(crate) mod link;
pub(crate) mod links;
mod listener;
pub(crate) mod message;
pub(crate) mod reply;
mod serving;
mod wire;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use self::frames::{FrameBuffer, TooLong};
use self::handshake::Us;
use self::host::Host;
use self::links::Links;
use self::listener::Listener;
use self::serving::Served;
use super::rotation::Rotation;
use super::stats::Stats;
use crate::store::Store;
use crate::store::homes::{Homes, RunId};
use crate::sync::atomic::AtomicUsize;
use crate::transport::socket;
use crate::transport::tls::Acceptor;

/// The other servers on this store.
pub(crate) struct Peers {
    homes: Arc<dyn Homes + Send + Sync>,
    links: Arc<Links>,
    listener: Arc<Listener>,
    stats: Arc<Stats>,
}

impl Peers {
    /// For the server whose run this is. It knows nobody yet. With `tls`, all links are under TLS, and all
    /// servers show a certificate that `rotation` permits.
    pub(crate) fn new(
        run: RunId,
        store: Arc<dyn Store>,
        tls: Option<Arc<Acceptor>>,
        rotation: Arc<Rotation>,
        stats: Arc<Stats>,
    ) -> Arc<Self> {
        let us = Us {
            run,
            secret: store.secret(),
            lease: store.lease(),
            tls,
            may_show: Box::new(move |shown, ours| rotation.permits_by_store(shown, ours)),
        };
        Self::over(us, store, stats)
    }

    /// The same with the two parts of the store that it needs.
    fn over(us: Us, homes: Arc<dyn Homes + Send + Sync>, stats: Arc<Stats>) -> Arc<Self> {
        let us = Arc::new(us);
        let links = Links::new(Arc::clone(&us), Arc::clone(&homes), Arc::clone(&stats));
        Arc::new(Peers {
            homes,
            links: Arc::new(links),
            listener: Arc::new(Listener::new(us)),
            stats,
        })
    }

    /// Listens for other servers: on a free port of the address by which this machine reaches the store,
    /// unless another one is named.
    ///
    /// # Errors
    /// The address is taken, not ours, or not permitted.
    pub(crate) fn listen(&self, on: Option<SocketAddr>) -> io::Result<TcpListener> {
        socket::listen(on.unwrap_or_else(|| SocketAddr::new(self.own_address(), 0)))
    }

    fn own_address(&self) -> IpAddr {
        let local = self.homes.local_address();
        local.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// Accepts other servers from here on, for which `host` does what they ask, and tells them where to
    /// find this one.
    ///
    /// # Errors
    /// The system has no thread, or the store was not told.
    pub(crate) fn start(
        &self,
        listener: TcpListener,
        host: Arc<dyn Host>,
    ) -> io::Result<SocketAddr> {
        let mut at = listener.local_addr()?;
        if at.ip().is_unspecified() {
            at.set_ip(self.own_address());
        }
        let served = Served {
            host,
            calls: Arc::new(AtomicUsize::new(0)),
            stats: Arc::clone(&self.stats),
        };
        self.listener.start(listener, served)?;
        self.homes
            .announce_address(at)
            .map_err(|error| io::Error::other(error.to_string()))?;
        Ok(at)
    }

    /// The links to the other servers.
    pub(crate) fn links(&self) -> &Arc<Links> {
        &self.links
    }

    /// Breaks the link to a run that has ended: all that is under way there is lost.
    pub(crate) fn ended(&self, run: RunId) {
        self.links.ended(run);
        self.listener.ended(run);
    }

    /// Ends all links once what waits has left, each within `limit`, and accepts nothing more.
    pub(crate) fn stop(&self, limit: Duration) {
        self.listener.stop(limit);
        self.links.stop(limit);
    }
}

/// Takes bytes as another server may send them, in any pieces, of either direction. Returns whether each frame
/// in them that means something can be written and read again without a change.
pub fn peer_frames_read_back(bytes: &[u8]) -> bool {
    let mut frames = FrameBuffer::new(wire::MAX_REQUEST);
    let mut rest = bytes;
    while !rest.is_empty() {
        let space = frames.space();
        // A piece of a size that the bytes themselves choose.
        let piece = usize::from(rest[0]).clamp(1, rest.len().min(space.len()));
        space[..piece].copy_from_slice(&rest[..piece]);
        rest = &rest[piece..];
        frames.filled(piece);
        loop {
            match frames.next() {
                Ok(Some(frame)) if !wire::reads_back(frame) => return false,
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(TooLong) => return true,
            }
        }
    }
    true
}

#[cfg(test)]
mod tests;
