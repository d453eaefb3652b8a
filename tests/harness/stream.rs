//! One connection to a server, in clear or under TLS. One thread uses it at a time;
//! to end it from another, clone its [`socket`](Stream::socket).

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
#[cfg(feature = "tls")]
use std::sync::LazyLock;
use std::time::Duration;

#[cfg(feature = "tls")]
use secure_chat::transport::connector::Connector;

#[cfg(feature = "tls")]
use super::PATIENCE;
#[cfg(feature = "tls")]
use super::secured::Secured;

/// A connection.
pub enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<Secured>),
}

impl Stream {
    /// Connects; under TLS the handshake is done when this returns.
    pub fn connect(address: SocketAddr, tls: bool) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        Self::over(socket, tls)
    }

    /// Connects from another address of this machine, so that limits per address
    /// tell it apart; gives up after a while, which bounds later writes as well.
    pub fn connect_from(
        from: Ipv4Addr,
        to: SocketAddr,
        patience: Duration,
    ) -> io::Result<TcpStream> {
        use rustix::net::sockopt::{Timeout, set_socket_timeout};
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddrV4::new(from, 0))?;
        // On Linux it bounds connecting, too.
        set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
        connect(&socket, &to)?;
        Ok(socket.into())
    }

    /// Over a connected socket.
    pub fn over(socket: TcpStream, tls: bool) -> io::Result<Self> {
        match tls {
            false => Ok(Stream::Plain(socket)),
            #[cfg(feature = "tls")]
            true => {
                // One for all, as a client's: it keeps the tickets.
                static CONNECTOR: LazyLock<Connector> =
                    LazyLock::new(|| Connector::pinning().unwrap());
                let secured = Secured::begin(&CONNECTOR, socket, PATIENCE)?;
                Ok(Stream::Tls(Box::new(secured)))
            }
            #[cfg(not(feature = "tls"))]
            true => panic!("built without the feature tls"),
        }
    }

    /// The socket below: for time limits, buffers and the end, not for bytes.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Stream::Tls(session) => session.socket(),
        }
    }

    /// What a login's proof is bound to: the SHA-256 of the server's certificate, or
    /// nothing in clear.
    pub fn certificate(&self) -> Vec<u8> {
        match self {
            Stream::Plain(_) => Vec::new(),
            #[cfg(feature = "tls")]
            Stream::Tls(session) => session.fingerprint.0.to_vec(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(into),
            #[cfg(feature = "tls")]
            Stream::Tls(session) => session.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.write(bytes),
            #[cfg(feature = "tls")]
            Stream::Tls(session) => session.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(_) => Ok(()),
            #[cfg(feature = "tls")]
            Stream::Tls(session) => session.flush(),
        }
    }
}
