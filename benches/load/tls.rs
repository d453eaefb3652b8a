//! TLS as the load speaks it: any certificate is taken, because the server under
//! measurement made its own a moment ago. No example for a client.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};
use sha2::{Digest, Sha256};

/// A TLS session and its socket.
pub(crate) type Session = StreamOwned<ClientConnection, Wide>;

/// A socket that is read in large pieces: the library asks for 4 KiB at a time,
/// and the load should cost as little as it can.
pub(crate) struct Wide(BufReader<TcpStream>);

impl Wide {
    /// The socket.
    pub(crate) fn socket(&self) -> &TcpStream {
        self.0.get_ref()
    }
}

impl Read for Wide {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Wide {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_ref().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

static CONFIG: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(TakeAny(Arc::clone(&provider)));
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Arc::new(config)
});

/// Does the handshake, so that the server's certificate is known afterwards.
pub(crate) fn shake_hands(socket: TcpStream) -> io::Result<Session> {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::clone(&CONFIG), name).map_err(io::Error::other)?;
    let mut session = StreamOwned::new(connection, Wide(BufReader::with_capacity(65536, socket)));
    while session.conn.is_handshaking() {
        session.conn.complete_io(&mut session.sock)?;
    }
    session.flush()?;
    Ok(session)
}

/// SHA-256 of the server's certificate.
pub(crate) fn fingerprint(session: &Session) -> Vec<u8> {
    let chain = session.conn.peer_certificates();
    let own = chain.and_then(|chain| chain.first());
    Sha256::digest(own.expect("a certificate")).to_vec()
}

/// Takes any certificate; that its key signed the handshake is still checked,
/// because that costs time a real client spends, too.
#[derive(Debug)]
struct TakeAny(Arc<CryptoProvider>);

impl ServerCertVerifier for TakeAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
