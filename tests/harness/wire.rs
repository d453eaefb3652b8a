//! One connection to the server, as lines of text and as raw bytes: in the open,
//! or under TLS.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;
use super::stream::Stream;

/// A connection. Reads panic when nothing comes for [`PATIENCE`].
pub struct Wire {
    reader: BufReader<Stream>,
}

impl Wire {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Self {
        Wire::try_connect(address).expect("the server listens")
    }

    /// Connects to a server that may be dead.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let wire = Wire::over(Stream::connect(address, false)?)?;
        wire.stream().set_write_timeout(Some(PATIENCE))?;
        Ok(wire)
    }

    /// Connects and shakes hands.
    #[cfg(feature = "tls")]
    pub fn connect_tls(address: SocketAddr) -> Self {
        let stream = Stream::connect(address, true).expect("the server listens");
        Wire::over(stream).unwrap()
    }

    fn over(stream: Stream) -> io::Result<Self> {
        stream.socket().set_read_timeout(Some(PATIENCE))?;
        Ok(Wire {
            reader: BufReader::new(stream),
        })
    }

    /// The SHA-256 of the certificate that the server showed, or nothing in clear.
    pub fn certificate(&self) -> Vec<u8> {
        self.reader.get_ref().certificate()
    }

    /// The socket itself, where there is no TLS. What the server said already may
    /// be buffered here.
    pub fn stream(&self) -> &TcpStream {
        match self.reader.get_ref() {
            Stream::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            Stream::Tls(_) => panic!("this connection's bytes are TLS's"),
        }
    }

    /// Sends bytes that the server has to take.
    pub fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).expect("the server reads");
    }

    /// Sends bytes to a server that may close the connection meanwhile.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Whether a line is here already.
    pub fn has_line(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }

    /// The next line without its end; `None` when the server closed, or died
    /// in the middle of a line.
    pub fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        match self.reader.read_until(b'\n', &mut line) {
            Ok(_) if line.last() != Some(&b'\n') => None,
            Ok(_) => {
                let text = String::from_utf8(line).expect("the server sends UTF-8");
                Some(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            Err(error) if ended(&error) => None,
            Err(error) => panic!("no line came: {error}"),
        }
    }

    /// All that comes until the server closes.
    pub fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        match self.reader.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if ended(&error) => {}
            Err(error) => panic!("the server does not close: {error}"),
        }
        String::from_utf8(bytes).expect("the server sends UTF-8")
    }
}

/// A reset is an end too: the server closed with bytes of ours unread.
fn ended(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}
