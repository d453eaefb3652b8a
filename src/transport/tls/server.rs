//! The server's side: its certificate, and a session for each connection.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::ring::Ticketer;
use rustls::{ServerConfig, ServerConnection};

use super::{Clock, TlsError, TlsSession, certificate, provider, succession, validity};
use crate::clock;
use crate::protocol::reply::Succession;
use crate::transport::fingerprint::Fingerprint;

/// The file, in the data folder, of the certificate that the first start makes.
const OWN_CERTIFICATE: &str = "tls-cert.pem";

/// The file of that certificate's key.
const OWN_KEY: &str = "tls-key.pem";

/// The files of the one that is to replace it, while it is announced.
const NEXT_CERTIFICATE: &str = "tls-cert.next.pem";
const NEXT_KEY: &str = "tls-key.next.pem";

/// The resumption tickets that a client gets after a handshake. One is enough to connect again
/// after a lost connection.
const TICKETS: usize = 1;

/// Makes sessions with the certificate that is in use.
#[derive(Debug)]
pub struct Acceptor {
    certificate: PathBuf,
    key: PathBuf,
    /// Replaced as a whole by [`reload`](Self::reload). The lock is held only to copy or
    /// replace it.
    current: RwLock<Current>,
}

#[derive(Debug, Clone)]
struct Current {
    config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
    /// In seconds since 1970.
    end: Option<i64>,
}

impl Acceptor {
    /// The files of the certificate and of its key that the first start makes.
    pub fn own_files(data: &Path) -> Option<[PathBuf; 2]> {
        Some([data.join(OWN_CERTIFICATE), data.join(OWN_KEY)])
    }

    /// The fingerprint of the certificate that the first start has made in the folder `data`;
    /// `None` without one.
    pub fn own_fingerprint(data: &Path) -> Option<Fingerprint> {
        certificate::fingerprint_in(&data.join(OWN_CERTIFICATE))
    }

    /// Reads the operator's own certificate and key, or those in the data folder, which it
    /// makes if they are missing.
    ///
    /// # Errors
    /// The files can't be made or read, or don't belong together.
    pub fn open(data: &Path, own: Option<(&Path, &Path)>) -> Result<Option<Self>, TlsError> {
        if own.is_none() {
            let [certificate, key] = [OWN_CERTIFICATE, OWN_KEY].map(|name| data.join(name));
            certificate::make_once(&certificate, &key)?;
            finish_replacement(data)?;
        }
        Self::read(data, own)
    }

    /// Like [`open`](Self::open), but never makes a certificate.
    ///
    /// # Errors
    /// The files can't be read, or don't belong together.
    pub fn read(data: &Path, own: Option<(&Path, &Path)>) -> Result<Option<Self>, TlsError> {
        let (certificate, key) = match own {
            Some((certificate, key)) => (certificate.to_owned(), key.to_owned()),
            None => (data.join(OWN_CERTIFICATE), data.join(OWN_KEY)),
        };
        let current = load(&certificate, &key)?;
        Ok(Some(Acceptor {
            certificate,
            key,
            current: RwLock::new(current),
        }))
    }

    /// Reads the files again, for new connections; open ones continue as they are. If that
    /// fails, or what is there is not to be shown, the old certificate stays in use.
    ///
    /// # Errors
    /// As [`open`](Self::open), or what `permit` says of the fingerprint.
    pub fn reload<E: From<TlsError>>(
        &self,
        permit: impl FnOnce(Fingerprint) -> Result<(), E>,
    ) -> Result<Fingerprint, E> {
        let loaded = load(&self.certificate, &self.key)?;
        let fingerprint = loaded.fingerprint;
        permit(fingerprint)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(fingerprint)
    }

    /// Announces, in the name of the certificate in use, the one that takes its place.
    ///
    /// # Errors
    /// The files have another certificate by this time, or its key can't sign.
    pub fn announce(&self, next: Fingerprint, at: u64) -> Result<Succession, TlsError> {
        let files = certificate::read(&self.certificate, &self.key)?;
        if certificate::fingerprint(&files.chain[0]) != self.fingerprint() {
            return Err(TlsError::Replaced(self.certificate.clone()));
        }
        succession::announce(&files, next, at)
            .map_err(|source| unusable(&self.certificate, &self.key, source))
    }

    /// Makes, in the folder `data`, the certificate that is to take the place of the one there, unless
    /// that was done.
    ///
    /// # Errors
    /// It can't be made, or what is there can't be used.
    pub fn make_next(data: &Path) -> Result<Fingerprint, TlsError> {
        finish_replacement(data)?;
        let [certificate, key] = next_files(data);
        certificate::make_once(&certificate, &key)?;
        Ok(load(&certificate, &key)?.fingerprint)
    }

    /// Puts the certificate that [`make_next`](Self::make_next) has made in the place of the one before.
    ///
    /// # Errors
    /// The files can't be moved. [`open`](Self::open) goes on where it was cut off.
    pub fn put_next_in_place(data: &Path) -> Result<(), TlsError> {
        let [certificate, key] = next_files(data);
        // In this order what a crash leaves is told from a key that was lost.
        put(&key, &data.join(OWN_KEY))?;
        put(&certificate, &data.join(OWN_CERTIFICATE))
    }

    /// The fingerprint of a certificate that a server could use.
    ///
    /// # Errors
    /// The files can't be read, or don't belong together.
    pub fn fingerprint_of(certificate: &Path, key: &Path) -> Result<Fingerprint, TlsError> {
        Ok(load(certificate, key)?.fingerprint)
    }

    fn current(&self) -> Current {
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The fingerprint of the certificate in use, which clients pin.
    pub fn fingerprint(&self) -> Fingerprint {
        self.current().fingerprint
    }

    /// When the certificate in use ends, in seconds since 1970 (UTC), if it says so.
    pub fn certificate_end(&self) -> Option<i64> {
        self.current().end
    }

    /// A session for a new connection, and the fingerprint of the certificate
    /// that its client sees.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn accept(&self) -> io::Result<(TlsSession, Fingerprint)> {
        let Current {
            config,
            fingerprint,
            ..
        } = self.current();
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok((TlsSession::new(connection), fingerprint))
    }
}

fn next_files(data: &Path) -> [PathBuf; 2] {
    [NEXT_CERTIFICATE, NEXT_KEY].map(|name| data.join(name))
}

/// Puts a file in another one's place, for good.
fn put(from: &Path, to: &Path) -> Result<(), TlsError> {
    let put = fs::rename(from, to).and_then(|()| crate::fs::sync_name(to));
    put.map_err(|error| TlsError::NotPut(from.to_owned(), error))
}

/// Completes what a crash has cut off between the two steps of
/// [`put_next_in_place`](Acceptor::put_next_in_place).
fn finish_replacement(data: &Path) -> Result<(), TlsError> {
    let [next, next_key] = next_files(data);
    let (own, key) = (data.join(OWN_CERTIFICATE), data.join(OWN_KEY));
    let begun = crate::fs::has_content(&next) && !crate::fs::has_content(&next_key);
    match begun && load(&own, &key).is_err() && load(&next, &key).is_ok() {
        true => put(&next, &own),
        false => Ok(()),
    }
}

fn unusable(certificate: &Path, key: &Path, source: rustls::Error) -> TlsError {
    TlsError::Unusable {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        source,
    }
}

fn load(certificate: &Path, key: &Path) -> Result<Current, TlsError> {
    let files = certificate::read(certificate, key)?;
    let fingerprint = certificate::fingerprint(&files.chain[0]);
    let end = validity::not_after(&files.chain[0]);
    let unusable = |source| unusable(certificate, key, source);
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(Clock))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(files.chain, files.key)
        .map_err(unusable)?;
    // Tickets are sealed under keys of this configuration, so they cost the server no memory,
    // and a new certificate invalidates them: no session is resumed under the old one.
    // rustls reads the system's clock for them, and panics before 1970.
    if clock::unix_ms() > 0 {
        config.ticketer = Ticketer::new().map_err(unusable)?;
        config.send_tls13_tickets = TICKETS;
    }
    Ok(Current {
        config: Arc::new(config),
        fingerprint,
        end,
    })
}
