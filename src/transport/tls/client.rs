//! The client's side: sessions, and how they check a server's certificate.
//!
//! With pins, TLS itself proves only that the server has its certificate's key. The caller
//! decides by the fingerprint whether it is the right certificate.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::{Clock, TlsError, TlsSession, certificate, provider};
use crate::transport::fingerprint::Fingerprint;

/// Makes sessions with servers. It keeps the tickets that resume a session, so a client that
/// connects again should use the same one.
#[derive(Debug, Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
}

impl ClientTls {
    /// Accepts any certificate, for a caller that compares fingerprints.
    ///
    /// # Errors
    /// Never in practice: the cipher suites are built in.
    pub fn pinning() -> Result<Self, TlsError> {
        let provider = provider();
        let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
        let config = ClientConfig::builder_with_details(provider, Arc::new(Clock))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Provider)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(ClientTls {
            config: Arc::new(config),
        })
    }

    /// Accepts a certificate that the system's roots vouch for and that has the server's name.
    ///
    /// # Errors
    /// The system has no roots.
    pub fn system_roots() -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        let (added, _) =
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if added == 0 {
            return Err(TlsError::NoRoots);
        }
        let config = ClientConfig::builder_with_details(provider(), Arc::new(Clock))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Provider)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(ClientTls {
            config: Arc::new(config),
        })
    }

    /// A session with `host`, whose handshake has not begun.
    ///
    /// # Errors
    /// `host` is neither a host name nor an IP address.
    pub(in crate::transport) fn session(&self, host: &str) -> io::Result<TlsSession> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "this is no host's name"))?;
        let connection =
            ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        Ok(TlsSession::new(connection))
    }
}

impl TlsSession {
    /// The fingerprint of the certificate that the peer has shown.
    pub(in crate::transport) fn certificate_shown(&self) -> Option<Fingerprint> {
        let connection = self.lock();
        let shown = connection.peer_certificates()?.first()?;
        Some(certificate::fingerprint(shown))
    }
}

/// Accepts any certificate whose key has signed the handshake.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
