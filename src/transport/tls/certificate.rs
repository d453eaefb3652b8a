//! The files of a certificate and its key: made at the first start, or given by the operator.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use data_encoding::BASE64;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::{TlsError, small_file};
use crate::transport::fingerprint::Fingerprint;

/// More than any chain of certificates has.
const MOST_BYTES: u64 = 1024 * 1024;

/// How long a pipe in place of a file has.
const READ_TIME: Duration = Duration::from_secs(5);

/// A certificate chain, the server's own first, and its key.
pub(super) struct Certificate {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

/// The fingerprint that people compare and clients pin.
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    Fingerprint::of(certificate)
}

/// Makes a self-signed certificate and its key, unless both exist. One without the other is
/// replaced: the caller has decided that nobody misses it. The key is written first and with
/// mode 0600, the certificate last, so that a crash in between leaves no certificate.
pub(super) fn make_once(certificate: &Path, key: &Path) -> Result<(), TlsError> {
    if crate::fs::has_content(certificate) && crate::fs::has_content(key) {
        return Ok(());
    }
    make(certificate, key).map_err(|error| {
        let folder = certificate.parent().unwrap_or(certificate);
        TlsError::NotMade(folder.to_owned(), error)
    })
}

fn make(certificate: &Path, key: &Path) -> Result<(), Box<dyn Error + Send + Sync>> {
    let pair = KeyPair::generate()?;
    // Clients compare the fingerprint and ignore the name, but a certificate must have one.
    let mut params = CertificateParams::new(vec!["secure-chat".to_owned()])?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Secure Chat server");
    let made = params.self_signed(&pair)?;
    let secret = Zeroizing::new(pem_of("PRIVATE KEY", pair.serialized_der()));
    crate::fs::replace(key, 0o600, &secret)?;
    crate::fs::replace(certificate, 0o644, &pem_of("CERTIFICATE", made.der()))?;
    Ok(())
}

/// The textual form of what is in DER (RFC 7468): base64 in lines of 64 characters.
fn pem_of(label: &str, der: &[u8]) -> String {
    let mut pem = format!("-----BEGIN {label}-----\n");
    // 48 bytes are 64 characters.
    for line in der.chunks(48) {
        pem.push_str(&BASE64.encode(line));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

/// Reads a certificate chain and its key, both PEM.
pub(super) fn read(certificate: &Path, key: &Path) -> Result<Certificate, TlsError> {
    let chain = read_file(certificate)
        .and_then(|pem| CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>())
        .map_err(|error| TlsError::Unreadable(certificate.to_owned(), error))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(certificate.to_owned()));
    }
    let key = read_file(key)
        .and_then(|pem| PrivateKeyDer::from_pem_slice(&pem))
        .map_err(|error| TlsError::Unreadable(key.to_owned(), error))?;
    Ok(Certificate { chain, key })
}

/// The fingerprint of the certificate in a file; `None` if there is none.
pub(super) fn fingerprint_in(certificate: &Path) -> Option<Fingerprint> {
    let pem = read_file(certificate).ok()?;
    let first = CertificateDer::pem_slice_iter(&pem).next()?.ok()?;
    Some(fingerprint(&first))
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, pem::Error> {
    small_file::read_small(path, MOST_BYTES, READ_TIME).map_err(pem::Error::Io)
}
