//! The server's side: its certificate, and a session for each connection.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::ring::Ticketer;
use rustls::{ServerConfig, ServerConnection};

use super::{Clock, TlsError, TlsSession, certificate, provider, validity};
use crate::clock;
use crate::transport::fingerprint::Fingerprint;

/// The file, in the data folder, of the certificate that the first start makes.
const OWN_CERTIFICATE: &str = "tls-cert.pem";

/// The file of that certificate's key.
const OWN_KEY: &str = "tls-key.pem";

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
            certificate::make_once(&data.join(OWN_CERTIFICATE), &data.join(OWN_KEY))?;
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
    /// fails, the old certificate stays in use.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn reload(&self) -> Result<Fingerprint, TlsError> {
        let loaded = load(&self.certificate, &self.key)?;
        let fingerprint = loaded.fingerprint;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(fingerprint)
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

fn load(certificate: &Path, key: &Path) -> Result<Current, TlsError> {
    let files = certificate::read(certificate, key)?;
    let fingerprint = certificate::fingerprint(&files.chain[0]);
    let end = validity::not_after(&files.chain[0]);
    let unusable = |source| TlsError::Unusable {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        source,
    };
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
