//! A connection under TLS that one thread reads and writes like a stream of std. It is the library's
//! own channel, so tests and benches do what a real client does. It accepts any certificate.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use secure_chat::transport::buffer::{ReadBuffer, ReadOutcome};
use secure_chat::transport::channel::Channel;
use secure_chat::transport::connector::Connector;
use secure_chat::transport::fingerprint::Fingerprint;

/// The connection.
pub(crate) struct Secured {
    channel: Channel,
    raw: ReadBuffer,
    /// The fingerprint of the server's certificate.
    pub(crate) fingerprint: Fingerprint,
    patience: Duration,
}

impl Secured {
    /// Does the handshake. `patience` is how long that, and later a write, may take.
    pub(crate) fn begin(
        connector: &Connector,
        socket: TcpStream,
        patience: Duration,
    ) -> io::Result<Self> {
        let stranger = connector.connect(socket, "localhost", patience)?;
        let fingerprint = stranger.fingerprint();
        let (channel, raw) = stranger.trust();
        Ok(Secured {
            channel,
            raw,
            fingerprint,
            patience,
        })
    }

    /// The socket below: for time limits, buffers and the end, not for bytes.
    pub(crate) fn socket(&self) -> &TcpStream {
        self.channel.socket().stream()
    }
}

impl Read for Secured {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.channel.read(&mut self.raw, into)? {
                ReadOutcome::Bytes(count) => return Ok(count),
                ReadOutcome::TlsOnly => {}
                ReadOutcome::End => return Ok(0),
            }
        }
    }
}

impl Write for Secured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.channel.write_all(bytes, self.patience)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
