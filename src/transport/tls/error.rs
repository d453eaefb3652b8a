//! What is in the way of TLS. Each error is a sentence that says what to do next, and keeps
//! the error below it as its source.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use rustls::pki_types::pem;

/// Why TLS can't be used.
#[derive(Debug)]
pub enum TlsError {
    /// The built-in cipher suites do not fit TLS 1.3.
    Provider(rustls::Error),
    /// The system has no root certificates.
    NoRoots,
    /// No certificate could be made in this folder.
    NotMade(PathBuf, Box<dyn Error + Send + Sync>),
    /// A file can't be moved to the place where it is to be used.
    NotPut(PathBuf, io::Error),
    /// The file has another certificate than the one in use.
    Replaced(PathBuf),
    /// The file has no certificate in it.
    NoCertificate(PathBuf),
    /// The file can't be read.
    Unreadable(PathBuf, pem::Error),
    /// The certificate and the key can't be used together.
    Unusable {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Provider(error) => error.fmt(f),
            TlsError::NoRoots => f.write_str(
                "this system has no root certificates; install ca-certificates, or pin the \
                 server with --fingerprint",
            ),
            TlsError::NotMade(folder, error) => write!(
                f,
                "no certificate could be made in {}: {error}; make the folder writable, or give \
                 --tls-cert and --tls-key",
                folder.display()
            ),
            TlsError::NotPut(file, error) => write!(
                f,
                "{} can't be put in its place: {error}; make the folder writable, and say it again",
                file.display()
            ),
            TlsError::Replaced(file) => write!(
                f,
                "{} has another certificate than the one that the server shows; send it SIGHUP, or put the \
                 old one back",
                file.display()
            ),
            TlsError::NoCertificate(file) => write!(
                f,
                "there is no certificate in {}; check the file",
                file.display()
            ),
            TlsError::Unreadable(file, error) => {
                let file = file.display();
                match error {
                    pem::Error::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        write!(
                            f,
                            "{file} can't be read: {error}; give the server's user the right to \
                             read it"
                        )
                    }
                    error => write!(f, "{file} can't be read as PEM: {error}; check the file"),
                }
            }
            TlsError::Unusable {
                certificate,
                key,
                source,
            } => write!(
                f,
                "{} and {} can't be used: {source}; check that they belong together",
                certificate.display(),
                key.display()
            ),
        }
    }
}

impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // It is shown as it is, so what is below it is below this.
            TlsError::Provider(error) => error.source(),
            TlsError::NotMade(_, error) => Some(error.as_ref()),
            TlsError::Unreadable(_, pem::Error::Io(error)) => Some(error),
            TlsError::Unreadable(_, error) => Some(error),
            TlsError::Unusable { source, .. } => Some(source),
            TlsError::NotPut(_, error) => Some(error),
            TlsError::NoRoots | TlsError::NoCertificate(_) | TlsError::Replaced(_) => None,
        }
    }
}
