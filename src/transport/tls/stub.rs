//! The names of [`tls`](self) for a build without it. No value of them exists, so that
//! nothing else needs to know which build it is.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::transport::buffer::{ReadBuffer, ReadOutcome};
use crate::transport::fingerprint::Fingerprint;

/// This program was built without TLS.
#[derive(Debug)]
pub struct TlsError;

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this program was built without TLS; build it with the feature 'tls'")
    }
}

impl std::error::Error for TlsError {}

/// No session exists.
pub struct TlsSession(Infallible);

impl TlsSession {
    pub(super) fn open(&self, _raw: &mut ReadBuffer, _into: &mut [u8]) -> io::Result<ReadOutcome> {
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

    pub(in crate::transport) fn certificate_shown(&self) -> Option<Fingerprint> {
        match self.0 {}
    }

    /// Whether the handshake still goes on.
    pub fn is_handshaking(&self) -> bool {
        match self.0 {}
    }
}

/// No acceptor exists.
#[derive(Debug)]
pub struct Acceptor(Infallible);

impl Acceptor {
    /// No certificate is made.
    pub fn own_files(_data: &Path) -> Option<[PathBuf; 2]> {
        None
    }

    /// Nothing, unless a certificate is given.
    ///
    /// # Errors
    /// A certificate was given.
    pub fn open(_data: &Path, own: Option<(&Path, &Path)>) -> Result<Option<Self>, TlsError> {
        match own {
            Some(_) => Err(TlsError),
            None => Ok(None),
        }
    }

    /// The same as [`open`](Self::open).
    ///
    /// # Errors
    /// A certificate was given.
    pub fn read(data: &Path, own: Option<(&Path, &Path)>) -> Result<Option<Self>, TlsError> {
        Self::open(data, own)
    }

    /// The fingerprint of the certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        match self.0 {}
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// Never.
    pub fn reload(&self) -> Result<Fingerprint, TlsError> {
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

/// No client side exists.
#[derive(Debug, Clone)]
pub struct ClientTls(Infallible);

impl ClientTls {
    /// Refused.
    ///
    /// # Errors
    /// Always.
    pub fn pinning() -> Result<Self, TlsError> {
        Err(TlsError)
    }

    /// Refused.
    ///
    /// # Errors
    /// Always.
    pub fn system_roots() -> Result<Self, TlsError> {
        Err(TlsError)
    }

    pub(in crate::transport) fn session(&self, _host: &str) -> io::Result<TlsSession> {
        match self.0 {}
    }
}
