//! TLS as a real client speaks it, with the library's own channel. Any certificate
//! is taken: the server under measurement made its own a moment ago.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::LazyLock;
use std::time::Duration;

use secure_chat::transport::channel::{Channel, Raw, Received};
use secure_chat::transport::fingerprint::Fingerprint;
use secure_chat::transport::tls::Connector;

/// How long a handshake or a write may take.
const PATIENCE: Duration = Duration::from_secs(30);

static CONNECTOR: LazyLock<Connector> = LazyLock::new(|| Connector::pinning().unwrap());

/// A TLS session and its socket.
pub(crate) struct Session {
    channel: Channel,
    raw: Raw,
    /// The server's certificate's.
    pub(crate) fingerprint: Fingerprint,
}

impl Session {
    /// Does the handshake.
    pub(crate) fn begin(socket: TcpStream) -> io::Result<Self> {
        let stranger = CONNECTOR.connect(socket, "localhost", PATIENCE)?;
        let fingerprint = stranger.fingerprint();
        let (channel, raw) = stranger.trust();
        Ok(Session {
            channel,
            raw,
            fingerprint,
        })
    }

    /// The socket below.
    pub(crate) fn socket(&self) -> &TcpStream {
        self.channel.socket().stream()
    }
}

impl Read for Session {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.channel.read(&mut self.raw, into)? {
                Received::Bytes(count) => return Ok(count),
                Received::Nothing => {}
                Received::End => return Ok(0),
            }
        }
    }
}

impl Write for Session {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.channel.write_all(bytes, PATIENCE)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
