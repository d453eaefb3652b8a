//! In place of [`tls`](self) where the crate is built without it: the same names,
//! and no value of them, so that nothing below needs to know.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::channel::{Channel, Raw, ReadOutcome};
use super::fingerprint::Fingerprint;

/// This program has no TLS.
#[derive(Debug)]
pub struct NoTls;

impl fmt::Display for NoTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this program was built without TLS; build it with the feature 'tls'")
    }
}

impl std::error::Error for NoTls {}

/// There is none.
pub struct TlsSession(Infallible);

impl TlsSession {
    pub(super) fn open(&self, _raw: &mut Raw, _into: &mut [u8]) -> io::Result<ReadOutcome> {
        match self.0 {}
    }

    pub(super) fn seal(&self, _bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self.0 {}
    }

    pub(super) fn has_pending(&self) -> bool {
        match self.0 {}
    }

    pub(super) fn close_notify(&self) {
        match self.0 {}
    }

    /// Whether the handshake still goes on.
    pub fn is_handshaking(&self) -> bool {
        match self.0 {}
    }
}

/// There is none.
#[derive(Debug)]
pub struct Acceptor(Infallible);

impl Acceptor {
    /// No certificate is made.
    pub fn own_files(_data: &Path) -> Option<[PathBuf; 2]> {
        None
    }

    /// None, as long as none is asked for.
    ///
    /// # Errors
    /// A certificate was given.
    pub fn open(_data: &Path, own: Option<(&Path, &Path)>) -> Result<Option<Self>, NoTls> {
        match own {
            Some(_) => Err(NoTls),
            None => Ok(None),
        }
    }

    /// The same.
    ///
    /// # Errors
    /// A certificate was given.
    pub fn read(data: &Path, own: Option<(&Path, &Path)>) -> Result<Option<Self>, NoTls> {
        Self::open(data, own)
    }

    /// The certificate's.
    pub fn fingerprint(&self) -> Fingerprint {
        match self.0 {}
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// Never.
    pub fn reload(&self) -> Result<Fingerprint, NoTls> {
        match self.0 {}
    }

    /// A session for a new connection.
    ///
    /// # Errors
    /// Never.
    pub fn accept(&self) -> io::Result<(TlsSession, Fingerprint)> {
        match self.0 {}
    }
}

/// There is none.
#[derive(Debug, Clone)]
pub struct Connector(Infallible);

impl Connector {
    /// None.
    ///
    /// # Errors
    /// Always.
    pub fn pinning() -> Result<Self, NoTls> {
        Err(NoTls)
    }

    /// None.
    ///
    /// # Errors
    /// Always.
    pub fn system_roots() -> Result<Self, NoTls> {
        Err(NoTls)
    }

    /// Shakes hands.
    ///
    /// # Errors
    /// Never.
    pub fn connect(
        &self,
        _stream: TcpStream,
        _host: &str,
        _limit: Duration,
    ) -> io::Result<UnverifiedPeer> {
        match self.0 {}
    }
}

/// There is none.
pub struct UnverifiedPeer(Infallible);

impl UnverifiedPeer {
    /// Its certificate's.
    pub fn fingerprint(&self) -> Fingerprint {
        match self.0 {}
    }

    /// Uses the connection.
    pub fn trust(self) -> (Channel, Raw) {
        match self.0 {}
    }
}
