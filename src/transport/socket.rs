//! TCP sockets: listening, reading with a timeout, writing without blocking, closing from
//! another thread, and what a failed accept means. Who reads and writes is decided above.

#[cfg(test)]
pub(crate) mod memory;

use crate::clock;
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, send, sockopt};
use rustix::process::Resource;

/// The silence after which the kernel probes whether the peer's machine is alive.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// The time between two of these probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// How many probes may stay unanswered before the connection ends.
const KEEPALIVE_PROBES: u32 = 4;

/// How many connections may wait to be accepted: after a restart, all clients come at once. The
/// system may allow fewer (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// A connected stream that several threads use. One of them reads; each may write without
/// blocking, and close.
#[derive(Debug)]
pub struct Socket {
    end: End,
}

/// What carries the bytes.
#[derive(Debug)]
enum End {
    Tcp(TcpStream),
    /// A double whose waits a scheduler decides.
    #[cfg(test)]
    Memory(memory::ServerEnd),
}

/// What is known of a peer without reading what it has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// It may send more.
    Open,
    /// It sends no more (or we read no more), and may still read.
    HalfClosed,
    /// The connection is at its end in both directions.
    Gone,
}

/// The event that reports that the peer has closed its sending side. Only Linux has one;
/// elsewhere, a read finds out.
#[cfg(target_os = "linux")]
const SENDS_NO_MORE: PollFlags = PollFlags::RDHUP;
#[cfg(not(target_os = "linux"))]
const SENDS_NO_MORE: PollFlags = PollFlags::empty();

/// The result of an attempt to write.
#[derive(Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// This many bytes, at least one, were written.
    Some(usize),
    /// Nothing was written: the kernel's buffer is full.
    Full,
}

impl Socket {
    /// Prepares a connected stream: no delay for small writes, keep-alive.
    ///
    /// # Errors
    /// The peer has left already.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(&stream, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(&stream, KEEPALIVE_PROBES)?;
        Ok(Socket {
            end: End::Tcp(stream),
        })
    }

    /// The stream, for settings that have no function here.
    pub fn stream(&self) -> &TcpStream {
        match &self.end {
            End::Tcp(stream) => stream,
            #[cfg(test)]
            End::Memory(_) => unreachable!("the callers look at the end first"),
        }
    }

    /// Ends the connection when the peer's machine has acknowledged nothing of what was written
    /// for `limit`. Without it the system goes on for a quarter of an hour, and asks nobody
    /// whether it still lives while something is unacknowledged. Elsewhere than on Linux there is
    /// no such limit.
    ///
    /// # Errors
    /// The peer is gone already.
    pub fn set_unacknowledged_limit(&self, limit: Duration) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        {
            let millis = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
            sockopt::set_tcp_user_timeout(self.stream(), millis)?;
        }
        #[cfg(not(target_os = "linux"))]
        let _unused = limit;
        Ok(())
    }

    /// Reads the bytes that are there, or waits for some until the timeout.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] after the timeout; any other ends the connection.
    #[cfg_attr(test, track_caller)]
    pub fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        #[cfg(test)]
        if let End::Memory(memory) = &self.end {
            return memory.read(into);
        }
        loop {
            match self.stream().read(into) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                other => return other,
            }
        }
    }

    /// Sets how long a read waits. With `None` it waits for ever.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        #[cfg(test)]
        if let End::Memory(memory) = &self.end {
            return memory.set_read_timeout(timeout);
        }
        // The system understands zero as "for ever".
        let timeout = timeout.map(|timeout| timeout.max(Duration::from_millis(1)));
        self.stream().set_read_timeout(timeout)
    }

    /// Writes as much as the kernel takes at once.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<WriteOutcome> {
        #[cfg(test)]
        if let End::Memory(memory) = &self.end {
            return memory.try_write(bytes);
        }
        loop {
            match send(
                self.stream(),
                bytes,
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            ) {
                Ok(count) => return Ok(WriteOutcome::Some(count)),
                Err(Errno::AGAIN) => return Ok(WriteOutcome::Full),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until there is something to read, which the end of the stream is, too. Returns
    /// `false` after `limit`.
    ///
    /// # Errors
    /// The wait itself failed.
    #[cfg_attr(test, track_caller)]
    pub fn wait_readable(&self, limit: Duration) -> io::Result<bool> {
        #[cfg(test)]
        if let End::Memory(memory) = &self.end {
            return memory.wait_readable(limit);
        }
        wait(self.stream(), PollFlags::IN, limit)
    }

    /// Waits until a write can succeed or fail at once. Returns `false` after `limit`.
    ///
    /// # Errors
    /// The wait itself failed.
    #[cfg_attr(test, track_caller)]
    pub fn wait_writable(&self, limit: Duration) -> io::Result<bool> {
        #[cfg(test)]
        if let End::Memory(memory) = &self.end {
            return memory.wait_writable(limit);
        }
        wait(self.stream(), PollFlags::OUT, limit)
    }

    /// Waits until the peer's state differs from `known`, for at most `limit`, and returns the
    /// state. It reads nothing, and unread bytes do not end the wait.
    #[cfg_attr(test, track_caller)]
    pub fn watch_peer(&self, known: PeerState, limit: Duration) -> PeerState {
        #[cfg(test)]
        if let End::Memory(memory) = &self.end {
            return memory.watch_peer(known, limit);
        }
        let interest = match known {
            PeerState::Open => SENDS_NO_MORE,
            PeerState::HalfClosed | PeerState::Gone => PollFlags::empty(),
        };
        let deadline = clock::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(clock::now());
            let mut fds = [PollFd::new(self.stream(), interest)];
            let Ok(timeout) = Timespec::try_from(left) else {
                return known;
            };
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => return known,
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(_) => return PeerState::Gone,
            }
            let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
            return match fds[0].revents().intersects(gone) {
                true => PeerState::Gone,
                false => PeerState::HalfClosed,
            };
        }
    }

    /// Ends the connection in both directions, and with it each read and write that waits on any
    /// thread.
    pub fn close(&self) {
        #[cfg(test)]
        if let End::Memory(memory) = &self.end {
            return memory.close(Shutdown::Both);
        }
        // It fails only if the connection has ended already.
        let _ = self.stream().shutdown(Shutdown::Both);
    }

    /// Ends the reading side only: the reader sees the end, and writes continue.
    pub fn close_reading(&self) {
        #[cfg(test)]
        if let End::Memory(memory) = &self.end {
            return memory.close(Shutdown::Read);
        }
        let _ = self.stream().shutdown(Shutdown::Read);
    }

    /// Tells the peer that nothing more will be written.
    pub fn close_writing(&self) {
        #[cfg(test)]
        if let End::Memory(memory) = &self.end {
            return memory.close(Shutdown::Write);
        }
        let _ = self.stream().shutdown(Shutdown::Write);
    }
}

fn wait(fd: &impl std::os::fd::AsFd, flags: PollFlags, limit: Duration) -> io::Result<bool> {
    let mut fds = [PollFd::new(fd, flags)];
    let limit = Timespec::try_from(limit).map_err(|_| io::ErrorKind::InvalidInput)?;
    match poll(&mut fds, Some(&limit)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Listens on an address.
///
/// # Errors
/// The address is taken, not ours, or not permitted.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    // The standard library has chosen a queue of 128. A second call only resizes it.
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Waits until one of these listeners has a connection. Returns the places of those that have;
/// none after `limit`.
///
/// # Errors
/// The wait itself failed.
pub fn wait_for_connections(listeners: &[TcpListener], limit: Duration) -> io::Result<Vec<usize>> {
    let mut fds: Vec<PollFd<'_>> = listeners
        .iter()
        .map(|listener| PollFd::new(listener, PollFlags::IN))
        .collect();
    let limit = Timespec::try_from(limit).map_err(|_| io::ErrorKind::InvalidInput)?;
    match poll(&mut fds, Some(&limit)) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    }
    let ready = fds.iter().enumerate();
    let ready = ready.filter(|(_, fd)| !fd.revents().is_empty());
    Ok(ready.map(|(place, _)| place).collect())
}

/// Waits until a listener has a connection. Returns `false` after `limit`.
///
/// # Errors
/// The wait itself failed.
pub fn wait_for_connection(listener: &impl std::os::fd::AsFd, limit: Duration) -> io::Result<bool> {
    wait(listener, PollFlags::IN, limit)
}

/// What a failed accept means for the loop around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcceptError {
    /// One connection failed, or there is none; accept the next.
    Harmless,
    /// Descriptors or memory have run out, or the cause is unknown; pause before the next.
    NoResource,
}

/// Classifies a failed accept by its error number, because the standard library's kinds do not
/// tell these apart (accept(2), "Error handling").
pub fn judge_accept_error(error: &io::Error) -> AcceptError {
    let Some(errno) = Errno::from_io_error(error) else {
        return AcceptError::NoResource;
    };
    match errno {
        Errno::AGAIN
        | Errno::INTR
        | Errno::CONNABORTED
        | Errno::PROTO
        | Errno::PERM
        | Errno::NETDOWN
        | Errno::NOPROTOOPT
        | Errno::HOSTDOWN
        | Errno::HOSTUNREACH
        | Errno::OPNOTSUPP
        | Errno::NETUNREACH
        | Errno::TIMEDOUT => AcceptError::Harmless,
        _ => AcceptError::NoResource,
    }
}

/// Raises the limit of open descriptors to `wanted`, or as far as is allowed, and returns the
/// limit in force.
pub fn raise_descriptor_limit(wanted: u64) -> u64 {
    raise_limit(Resource::Nofile, wanted)
}

/// The same for the threads of this process's user, all programs together. The system does not
/// count root's.
pub fn raise_thread_limit(wanted: u64) -> u64 {
    match rustix::process::geteuid().is_root() {
        true => u64::MAX,
        false => raise_limit(Resource::Nproc, wanted),
    }
}

fn raise_limit(resource: Resource, wanted: u64) -> u64 {
    use rustix::process::{getrlimit, setrlimit};
    let mut limit = getrlimit(resource);
    let current = limit.current.unwrap_or(u64::MAX);
    if current >= wanted {
        return current;
    }
    let mut higher = limit;
    higher.current = Some(wanted);
    higher.maximum = limit.maximum.map(|maximum| maximum.max(wanted));
    if setrlimit(resource, higher).is_ok() {
        return wanted;
    }
    // Without the right to raise the hard limit, go up to it.
    limit.current = limit.maximum;
    match setrlimit(resource, limit) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(_) => current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Arc;

    fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        (Socket::new(server).unwrap(), client)
    }

    #[test]
    fn a_write_that_does_not_fit_does_not_block() {
        let (socket, _client) = pair();
        let block = [0; 65536];
        while socket.try_write(&block).unwrap() != WriteOutcome::Full {}
        assert!(!socket.wait_writable(Duration::from_millis(10)).unwrap());
    }

    #[test]
    fn a_read_times_out_and_goes_on() {
        let (socket, mut client) = pair();
        socket
            .set_read_timeout(Some(Duration::from_millis(10)))
            .unwrap();
        let mut byte = [0; 1];
        let error = socket.read(&mut byte).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        client.write_all(b"x").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        assert_eq!(socket.read(&mut byte).unwrap(), 1);
    }

    #[test]
    fn closing_wakes_a_reader_on_another_thread() {
        let (socket, _client) = pair();
        let socket = Arc::new(socket);
        let reader = {
            let socket = Arc::clone(&socket);
            std::thread::spawn(move || socket.read(&mut [0; 1]))
        };
        socket.close();
        assert_eq!(reader.join().unwrap().unwrap(), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_peer_is_watched_past_what_it_has_sent() {
        let (socket, mut client) = pair();
        client.write_all(b"unread").unwrap();
        let short = Duration::from_millis(20);
        let long = Duration::from_secs(10);
        let state = socket.watch_peer(PeerState::Open, short);
        assert_eq!(state, PeerState::Open);
        client.shutdown(Shutdown::Write).unwrap();
        let state = socket.watch_peer(state, long);
        assert_eq!(state, PeerState::HalfClosed);
        assert_eq!(socket.watch_peer(state, short), PeerState::HalfClosed);
        // A peer that has left answers the first byte with a reset.
        drop(client);
        socket.try_write(b"x").unwrap();
        assert_eq!(socket.watch_peer(state, long), PeerState::Gone);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_not_acknowledged_has_a_limit() {
        let (socket, _client) = pair();
        let limit = Duration::from_secs(150);
        socket.set_unacknowledged_limit(limit).unwrap();
        let set = sockopt::tcp_user_timeout(socket.stream()).unwrap();
        assert_eq!(set, 150_000);
    }

    #[test]
    fn accept_errors_are_told_apart() {
        let judge = |errno: Errno| judge_accept_error(&errno.into());
        assert_eq!(judge(Errno::MFILE), AcceptError::NoResource);
        assert_eq!(judge(Errno::CONNABORTED), AcceptError::Harmless);
        assert_eq!(judge(Errno::NOMEM), AcceptError::NoResource);
    }
}
