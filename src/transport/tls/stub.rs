//! The types of `tls` for a build without it. None of them has a value, so no other file
//! needs to know which build it is in.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::protocol::reply::Succession;
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

/// Nothing leads from one certificate to another, since there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFollowed;

impl fmt::Display for NotFollowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        TlsError.fmt(f)
    }
}

impl std::error::Error for NotFollowed {}

/// Fails.
///
/// # Errors
/// Always.
pub fn follow(
    _trusted: Fingerprint,
    _shown: Fingerprint,
    _steps: &[Succession],
) -> Result<Vec<Fingerprint>, NotFollowed> {
    Err(NotFollowed)
}

/// A TLS session, of which this build has none.
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

    /// Whether the handshake is still under way.
    pub fn is_handshaking(&self) -> bool {
        match self.0 {}
    }
}

/// The server's side of TLS, which this build does not have.
#[derive(Debug)]
pub struct Acceptor(Infallible);

impl Acceptor {
    /// This build makes no certificate.
    pub fn own_files(_data: &Path) -> Option<[PathBuf; 2]> {
        None
    }

    /// Returns nothing, since there is no certificate.
    pub fn own_fingerprint(_data: &Path) -> Option<Fingerprint> {
        None
    }

    /// Returns nothing, since a server without TLS needs no certificate.
    ///
    /// # Errors
    /// A certificate was given.
    pub fn open(_data: &Path, own: Option<(&Path, &Path)>) -> Result<Option<Self>, TlsError> {
        match own {
            Some(_) => Err(TlsError),
            None => Ok(None),
        }
    }

    /// Returns nothing, like [`open`](Self::open).
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

    /// When the certificate ends, in seconds since 1970 (UTC).
    pub fn certificate_end(&self) -> Option<i64> {
        match self.0 {}
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// Never.
    pub fn reload<E: From<TlsError>>(
        &self,
        _permit: impl FnOnce(Fingerprint) -> Result<(), E>,
    ) -> Result<Fingerprint, E> {
        match self.0 {}
    }

    /// Announces another certificate.
    ///
    /// # Errors
    /// Never.
    pub fn announce(&self, _next: Fingerprint, _at: u64) -> Result<Succession, TlsError> {
        match self.0 {}
    }

    /// Fails.
    ///
    /// # Errors
    /// Always.
    pub fn make_next(_data: &Path) -> Result<Fingerprint, TlsError> {
        Err(TlsError)
    }

    /// Fails.
    ///
    /// # Errors
    /// Always.
    pub fn put_next_in_place(_data: &Path) -> Result<(), TlsError> {
        Err(TlsError)
    }

    /// Fails.
    ///
    /// # Errors
    /// Always.
    pub fn fingerprint_of(_certificate: &Path, _key: &Path) -> Result<Fingerprint, TlsError> {
        Err(TlsError)
    }

    /// A session for a new connection.
    ///
    /// # Errors
    /// Never.
    pub fn accept(&self) -> io::Result<(TlsSession, Fingerprint)> {
        match self.0 {}
    }
}

/// The client's side of TLS, which this build does not have.
#[derive(Debug, Clone)]
pub struct ClientTls(Infallible);

impl ClientTls {
    /// Fails.
    ///
    /// # Errors
    /// Always.
    pub fn pinning() -> Result<Self, TlsError> {
        Err(TlsError)
    }

    /// Fails.
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
