//! How two servers begin a connection: TLS where this server has it, then the proofs of
//! [`peer_proof`](crate::crypto::peer_proof), whose bytes are
//!
//! | who | bytes |
//! | --- | --- |
//! | the connecting server | version (1), its nonce (32), its run (8), the run that it means (8), proof (32) |
//! | the accepting server | its nonce (32), proof (32) |
//! | the connecting server | proof (32) |
//!
//! The accepting server says nothing to anybody without the store's secret, and closes the connection.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;

use super::wire;
use crate::clock;
use crate::crypto::os_rng;
use crate::crypto::peer_proof::{PROOF_LEN, PeerHandshake, Step};
use crate::store::homes::RunId;
use crate::store::lease::Lease;
use crate::transport::buffer::{ReadBuffer, ReadOutcome};
use crate::transport::channel::Channel;
use crate::transport::connector::Connector;
use crate::transport::fingerprint::Fingerprint;
use crate::transport::socket::Socket;
use crate::transport::tls::Acceptor;
/// How long a machine has to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);

/// How long the rest may take.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 5 });

/// How long the system keeps what a peer's machine does not acknowledge.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// Bytes of the first message.
const HELLO: usize = 1 + 32 + 8 + 8 + PROOF_LEN;

/// Bytes of its answer.
const ACCEPT: usize = 32 + PROOF_LEN;

/// What this server needs to know another one.
pub(super) struct Us {
    /// Its run.
    pub run: RunId,
    /// The store's secret.
    pub secret: [u8; 32],
    /// Without it nothing is written.
    pub lease: Lease,
    /// With it, all connections are under TLS.
    pub tls: Option<Arc<Acceptor>>,
    /// Whether another server may show a certificate, the first, where this one shows the second.
    pub may_show: Box<dyn Fn(Fingerprint, Fingerprint) -> bool + Send + Sync>,
}

/// A channel whose other end is known, with what was read of it already.
pub(super) type Known = (Channel, ReadBuffer);

/// Connects to a run at an address.
///
/// # Errors
/// It can't be reached, or is not who it should be.
pub(super) fn connect(
    us: &Us,
    connector: Option<&Connector>,
    to: RunId,
    at: SocketAddr,
) -> io::Result<Known> {
    let stream = TcpStream::connect_timeout(&at, CONNECT)?;
    let deadline = clock::now() + HANDSHAKE;
    let (channel, mut raw, fingerprint) = match (&us.tls, connector) {
        (Some(acceptor), Some(connector)) => {
            let peer = connector.connect(stream, &at.ip().to_string(), HANDSHAKE)?;
            let fingerprint = peer.fingerprint();
            if !(us.may_show)(fingerprint, acceptor.fingerprint()) {
                return Err(wrong("its certificate is not one of this server's"));
            }
            let (channel, raw) = peer.trust();
            (channel, raw, Some(fingerprint.0))
        }
        _ => (
            Channel::new(Socket::new(stream)?),
            ReadBuffer::default(),
            None,
        ),
    };
    channel.socket().set_unacknowledged_limit(UNACKNOWLEDGED)?;
    let mut handshake = PeerHandshake {
        version: wire::VERSION,
        connecting: us.run.0,
        accepting: to.0,
        connecting_nonce: nonce(),
        accepting_nonce: [0; 32],
        fingerprint,
    };
    let hello = handshake.prove(&us.secret, Step::Hello);
    let hello = [
        &[handshake.version][..],
        &handshake.connecting_nonce,
        &handshake.connecting.to_be_bytes(),
        &handshake.accepting.to_be_bytes(),
        &hello,
    ];
    write(us, &channel, &hello.concat())?;
    let accept: [u8; ACCEPT] = read(&channel, &mut raw, deadline)?;
    let (nonce, proof) = split(&accept);
    handshake.accepting_nonce = nonce;
    if !handshake.verify(&us.secret, Step::Accept, &proof) {
        return Err(wrong("it has not proven that it is on the same database"));
    }
    let confirm = handshake.prove(&us.secret, Step::Confirm);
    write(us, &channel, &confirm)?;
    Ok((channel, raw))
}

/// Accepts a connection. Returns the run whose server has made it.
///
/// # Errors
/// It is a stranger's, or takes too long.
pub(super) fn accept(us: &Us, stream: TcpStream) -> io::Result<(Known, RunId)> {
    let deadline = clock::now() + HANDSHAKE;
    stream.set_nonblocking(false)?;
    let channel = Channel::new(Socket::new(stream)?);
    let mut raw = ReadBuffer::default();
    channel.socket().set_unacknowledged_limit(UNACKNOWLEDGED)?;
    let fingerprint = match &us.tls {
        Some(acceptor) => {
            let (session, fingerprint) = acceptor.accept()?;
            channel.begin_tls(session);
            Some(fingerprint.0)
        }
        None => None,
    };
    let hello: [u8; HELLO] = read(&channel, &mut raw, deadline)?;
    let (mut handshake, proof) = read_hello(&hello);
    handshake.fingerprint = fingerprint;
    if handshake.version != wire::VERSION || handshake.accepting != us.run.0 {
        return Err(wrong("it is of another version, or means another server"));
    }
    if !handshake.verify(&us.secret, Step::Hello, &proof) {
        return Err(wrong("it does not know the database"));
    }
    handshake.accepting_nonce = nonce();
    let accept = handshake.prove(&us.secret, Step::Accept);
    write(us, &channel, &[handshake.accepting_nonce, accept].concat())?;
    let confirm: [u8; PROOF_LEN] = read(&channel, &mut raw, deadline)?;
    if !handshake.verify(&us.secret, Step::Confirm, &confirm) {
        return Err(wrong("it has repeated what another one said"));
    }
    Ok(((channel, raw), RunId(handshake.connecting)))
}

fn read_hello(hello: &[u8; HELLO]) -> (PeerHandshake, [u8; PROOF_LEN]) {
    let mut place = 0;
    let mut next = |count: usize| {
        place += count;
        &hello[place - count..place]
    };
    let version = next(1)[0];
    let connecting_nonce = std::array::from_fn({
        let nonce = next(32);
        move |at| nonce[at]
    });
    let mut number = || {
        let bytes = next(8);
        i64::from_be_bytes(std::array::from_fn(|at| bytes[at]))
    };
    let (connecting, accepting) = (number(), number());
    let proof = next(PROOF_LEN);
    let handshake = PeerHandshake {
        version,
        connecting,
        accepting,
        connecting_nonce,
        accepting_nonce: [0; 32],
        fingerprint: None,
    };
    (handshake, std::array::from_fn(|at| proof[at]))
}

fn split(accept: &[u8; ACCEPT]) -> ([u8; 32], [u8; PROOF_LEN]) {
    let nonce = std::array::from_fn(|at| accept[at]);
    (nonce, std::array::from_fn(|at| accept[32 + at]))
}

fn nonce() -> [u8; 32] {
    let mut nonce = [0; 32];
    os_rng().fill_bytes(&mut nonce);
    nonce
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, what)
}

fn limit_read(channel: &Channel, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(clock::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    channel.socket().set_read_timeout(Some(left))
}

fn read<const N: usize>(
    channel: &Channel,
    raw: &mut ReadBuffer,
    deadline: Instant,
) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        limit_read(channel, deadline)?;
        let read = channel.read(raw, &mut bytes[filled..])?;
        // The handshake of TLS itself.
        if channel.has_pending() {
            channel.write_all(&[], HANDSHAKE)?;
        }
        match read {
            ReadOutcome::Bytes(count) => filled += count,
            ReadOutcome::TlsOnly => {}
            ReadOutcome::End => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "it closed the connection during the handshake",
                ));
            }
        }
    }
    Ok(bytes)
}

/// Writes, unless this server may say nothing at the moment.
fn write(us: &Us, channel: &Channel, bytes: &[u8]) -> io::Result<()> {
    match us.lease.holds() {
        true => channel.write_all(bytes, HANDSHAKE),
        false => Err(io::Error::other("this server has no lease at the moment")),
    }
}
