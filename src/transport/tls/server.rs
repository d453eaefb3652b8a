//! The server's side: its certificate, and a session for each connection.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::ring::Ticketer;
use rustls::{ServerConfig, ServerConnection};

use super::{TlsError, TlsSession, certificate, provider};
use crate::transport::fingerprint::Fingerprint;

/// The certificate made at the first start, in the data folder.
const OWN_CERTIFICATE: &str = "tls-cert.pem";

/// Its key.
const OWN_KEY: &str = "tls-key.pem";

/// Tickets for resumption that a client gets after a handshake: one is enough
/// for a client that connects again after a lost connection.
const TICKETS: usize = 1;

/// Makes sessions with the certificate that counts now.
#[derive(Debug)]
pub struct Acceptor {
    certificate: PathBuf,
    key: PathBuf,
    /// Replaced as a whole by [`reload`](Self::reload). Held only to copy it.
    current: RwLock<Current>,
}

#[derive(Debug, Clone)]
struct Current {
    config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
}

impl Acceptor {
    /// The files of the certificate that is made at the first start: certificate
    /// and key.
    pub fn own_files(data: &Path) -> Option<[PathBuf; 2]> {
        Some([data.join(OWN_CERTIFICATE), data.join(OWN_KEY)])
    }

    /// With the operator's own certificate and key, or those in the data folder,
    /// which are made at the first start.
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

    /// Reads the files again, for connections from now on; open ones go on. If
    /// that fails, the certificate so far stays.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn reload(&self) -> Result<Fingerprint, TlsError> {
        let fresh = load(&self.certificate, &self.key)?;
        let fingerprint = fresh.fingerprint;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
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

    /// A session for a new connection, and the fingerprint of the certificate
    /// that its client sees.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn accept(&self) -> io::Result<(TlsSession, Fingerprint)> {
        let Current {
            config,
            fingerprint,
        } = self.current();
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok((TlsSession::new(connection), fingerprint))
    }
}

fn load(certificate: &Path, key: &Path) -> Result<Current, TlsError> {
    let files = certificate::read(certificate, key)?;
    let fingerprint = certificate::fingerprint(&files.chain[0]);
    let unusable = |source| TlsError::Unusable {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        source,
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(files.chain, files.key)
        .map_err(unusable)?;
    // Tickets are sealed under keys of this configuration: no memory a client, and
    // a new certificate ends them, so that a resumed session never names the old.
    config.ticketer = Ticketer::new().map_err(unusable)?;
    config.send_tls13_tickets = TICKETS;
    Ok(Current {
        config: Arc::new(config),
        fingerprint,
    })
}
