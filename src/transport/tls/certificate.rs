//! Certificates and their keys, as files: made at the first start, or the operator's.

use std::io;
use std::path::Path;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use super::TlsError;
use crate::transport::fingerprint::Fingerprint;

/// A certificate chain, the server's own first, and its key.
pub(super) struct Certificate {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

/// What people compare and clients pin.
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    Fingerprint(Sha256::digest(certificate).into())
}

/// Makes a self-signed certificate where there is none yet, in place of half of
/// one: whoever calls this has judged that nobody misses it. The key is written
/// first and with mode 0600; the certificate, under its final name, comes last,
/// so that a crash in between leaves nothing that counts.
pub(super) fn make_once(certificate: &Path, key: &Path) -> Result<(), TlsError> {
    if crate::fs::has_content(certificate) && crate::fs::has_content(key) {
        return Ok(());
    }
    let failed = |what: &dyn std::fmt::Display| {
        TlsError(format!(
            "no certificate could be made in {}: {what}; make the folder writable, or give \
             --tls-cert and --tls-key",
            certificate.parent().unwrap_or(certificate).display()
        ))
    };
    let pair = KeyPair::generate().map_err(|error| failed(&error))?;
    // Clients compare the fingerprint, not the name; one has to stand there.
    let mut params =
        CertificateParams::new(vec!["secure-chat".to_owned()]).map_err(|error| failed(&error))?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Secure Chat server");
    let made = params.self_signed(&pair).map_err(|error| failed(&error))?;
    crate::fs::replace(key, 0o600, &pair.serialize_pem()).map_err(|error| failed(&error))?;
    crate::fs::replace(certificate, 0o644, &made.pem()).map_err(|error| failed(&error))
}

/// Reads a certificate chain and its key, both PEM.
pub(super) fn read(certificate: &Path, key: &Path) -> Result<Certificate, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate)
        .map_err(|error| unreadable(certificate, &error))?
        .collect();
    let chain = chain.map_err(|error| unreadable(certificate, &error))?;
    if chain.is_empty() {
        return Err(TlsError(format!(
            "there is no certificate in {}; check the file",
            certificate.display()
        )));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
    Ok(Certificate { chain, key })
}

fn unreadable(path: &Path, error: &pem::Error) -> TlsError {
    let path = path.display();
    TlsError(match error {
        pem::Error::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            format!("{path} can't be read: {error}; give the server's user the right to read it")
        }
        error => format!("{path} can't be read as PEM: {error}; check the file"),
    })
}
