//! The client's TLS handshake with a server, over a real socket.
//!
//! A finished handshake yields an [`UnverifiedPeer`], which can be asked one question that has no secret,
//! and be sent nothing else. The caller checks its fingerprint and only then takes the channel.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::time::Duration;

use super::buffer::{ReadBuffer, ReadOutcome};
use super::channel::Channel;
use super::fingerprint::Fingerprint;
use super::socket::Socket;
use super::tls::{ClientTls, TlsError, TlsSession};
use crate::clock;
use crate::protocol::line_buffer::{LineBuffer, TooLong};

/// The most bytes that are read of a refusal in plain text.
const MAX_TEXT: usize = 4096;

/// How long each part of it may take to arrive.
const TEXT_TIME: Duration = Duration::from_secs(1);

/// A server answered the TLS handshake with text: the beginning of it, which need not be whole.
#[derive(Debug)]
pub struct NotTls(pub Vec<u8>);

impl fmt::Display for NotTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer is not TLS")
    }
}

impl std::error::Error for NotTls {}

/// Connects to servers. One that is used again resumes its sessions.
#[derive(Debug, Clone)]
pub struct Connector {
    tls: ClientTls,
}

/// A server that has completed the handshake and whose fingerprint nobody has checked yet.
pub struct UnverifiedPeer {
    channel: Channel,
    raw: ReadBuffer,
    fingerprint: Fingerprint,
}

impl Connector {
    /// Accepts any certificate, for a caller that compares fingerprints.
    ///
    /// # Errors
    /// This program was built without TLS.
    pub fn pinning() -> Result<Self, TlsError> {
        ClientTls::pinning().map(|tls| Connector { tls })
    }

    /// Accepts a certificate that the system's roots vouch for and that has the server's name.
    ///
    /// # Errors
    /// The system has no roots, or this program was built without TLS.
    pub fn system_roots() -> Result<Self, TlsError> {
        ClientTls::system_roots().map(|tls| Connector { tls })
    }

    /// Shakes hands with `host` on a connected stream. `limit` bounds the whole handshake.
    ///
    /// # Errors
    /// The peer speaks no TLS, its certificate is refused, or it takes too long.
    pub fn connect(
        &self,
        stream: TcpStream,
        host: &str,
        limit: Duration,
    ) -> io::Result<UnverifiedPeer> {
        let session = self.tls.session(host)?;
        let channel = Channel::new(Socket::new(stream)?);
        channel.begin_tls(session);
        let mut raw = ReadBuffer::default();
        shake_hands(&channel, &mut raw, limit).map_err(|error| match text_in(&channel) {
            Some(text) => io::Error::new(io::ErrorKind::InvalidData, NotTls(text)),
            None => error,
        })?;
        channel.socket().set_read_timeout(None)?;
        let shown = channel.session().and_then(TlsSession::certificate_shown);
        let fingerprint =
            shown.ok_or_else(|| io::Error::other("the server shows no certificate"))?;
        Ok(UnverifiedPeer {
            channel,
            raw,
            fingerprint,
        })
    }
}

fn shake_hands(channel: &Channel, raw: &mut ReadBuffer, limit: Duration) -> io::Result<()> {
    let deadline = clock::now() + limit;
    let mut begun = false;
    loop {
        if channel.has_pending() {
            channel.write_all(&[], limit)?;
        }
        if !channel.session().is_some_and(TlsSession::is_handshaking) {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(clock::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        channel.socket().set_read_timeout(Some(left))?;
        // The byte stays unread, so that `text_in` finds the whole line.
        let mut byte = [0];
        if !begun {
            match channel.socket().stream().peek(&mut byte) {
                Ok(1..) if is_text(byte[0]) => return Err(io::ErrorKind::InvalidData.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // The read below reports anything else.
                Ok(_) | Err(_) => {}
            }
        }
        begun = true;
        // The server sends no data before the handshake is done, so this reads into no room.
        match channel.read(raw, &mut []) {
            Ok(ReadOutcome::End) => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "it closed the connection during the TLS handshake",
                ));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                // TLS asks for an alert that tells the server why. We leave in any case.
                let _told = channel.write_all(&[], Duration::from_secs(1));
                return Err(error);
            }
        }
    }
}

/// Reads the line of a server that did not answer with TLS. A server that refuses a connection
/// at once does so in text, because it does not know yet what its client speaks.
fn text_in(channel: &Channel) -> Option<Vec<u8>> {
    let socket = channel.socket();
    socket.set_read_timeout(Some(TEXT_TIME)).ok()?;
    let mut text = vec![0; MAX_TEXT];
    let mut length = 0;
    while length < text.len() && !text[..length].contains(&b'\n') {
        match socket.read(&mut text[length..]) {
            Ok(0) | Err(_) => break,
            Ok(count) => length += count,
        }
    }
    text.truncate(length);
    is_text(*text.first()?).then_some(text)
}

/// Whether a console or JSON line can begin with this byte. No TLS record does.
fn is_text(first: u8) -> bool {
    matches!(first, b'-' | b'{')
}

impl UnverifiedPeer {
    /// The fingerprint of its certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Sends a line that has no secret in it, since nobody knows who reads it, and reads the line that
    /// answers it, of fewer than `most` bytes.
    ///
    /// # Errors
    /// The answer takes longer than `limit`, is too long, or is more than a line.
    pub fn ask(&mut self, line: &[u8], most: usize, limit: Duration) -> io::Result<Vec<u8>> {
        let deadline = clock::now() + limit;
        self.channel.write_all(line, limit)?;
        let mut buffer = LineBuffer::new(most);
        let answer = loop {
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.channel.socket().set_read_timeout(Some(left))?;
            match self.channel.read(&mut self.raw, buffer.space()) {
                Ok(ReadOutcome::End) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(ReadOutcome::TlsOnly) => {}
                Ok(ReadOutcome::Bytes(count)) => buffer.filled(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            match buffer.next_line() {
                Some(Ok(line)) => break line.to_vec(),
                Some(Err(TooLong)) => return Err(io::ErrorKind::InvalidData.into()),
                None => {}
            }
        };
        self.channel.socket().set_read_timeout(None)?;
        // What follows would be lost to the reader of the channel.
        match buffer.rest().is_empty() {
            true => Ok(answer),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// The connection, and what was read of it already. Call it once the fingerprint is known to
    /// be right.
    pub fn trust(self) -> (Channel, ReadBuffer) {
        (self.channel, self.raw)
    }
}
