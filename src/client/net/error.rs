//! Why there is no answer from the server, or no connection to it. What follows from an
//! error (another try, the end of the session, an exit code) is decided by the callers.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::command_line::server_name;
use crate::protocol::Refusal;
use crate::protocol::json::NotAServerLine;
use crate::transport::fingerprint::Fingerprint;

/// How to get TLS back.
#[cfg(feature = "tls")]
const WITH_TLS: &str = "leave out --tls off, also in SECURE_CHAT_TLS";
#[cfg(not(feature = "tls"))]
const WITH_TLS: &str = "use a client that was built with TLS";

/// Why a request has no success to show, or why a connection ended.
#[derive(Debug, Clone)]
pub(crate) enum CallError {
    /// The server said no.
    Refused(Refusal),
    /// The connection is gone, or was never made.
    Lost(Lost),
}

/// Why a connection is gone. It is cloned to everybody who waits for an answer.
#[derive(Debug, Clone)]
pub(crate) enum Lost {
    /// There is no connection at present.
    NotConnected,
    /// No connection could be made.
    NotOpened(Arc<EndpointError>),
    /// Reading or writing failed.
    Io(Arc<io::Error>),
    /// The server closed it.
    Closed,
    /// No answer came in time.
    NoAnswer,
    /// The server sent more than may be kept while an answer is awaited.
    TooMuch,
    /// A line was longer than the protocol allows.
    LineTooLong,
    /// A line is not one of the protocol's.
    NotUnderstood(Arc<NotAServerLine>),
    /// An answer does not have its request's type.
    WrongAnswer(Arc<serde_json::Error>),
    /// The server no longer speaks this client's version of the protocol.
    ServerTooNew,
    /// The client itself has ended.
    ClientEnded,
}

/// Why no connection could be made.
#[derive(Debug)]
pub(crate) enum EndpointError {
    /// Instead of TLS came a refusal in plain text. Nothing proves who sent it.
    TurnedAway(Refusal),
    /// No address of the server accepts a connection.
    Unreachable {
        /// `HOST:PORT`.
        place: String,
        /// The last address's error.
        source: io::Error,
    },
    /// The TLS handshake failed.
    NoTls {
        /// `HOST:PORT`.
        place: String,
        /// What the handshake failed with.
        source: io::Error,
        /// Whether an earlier one succeeded.
        known: bool,
    },
    /// The server is not known to be the right one. Nothing was sent.
    Untrusted {
        /// `HOST:PORT`.
        place: String,
        /// What is wrong with it.
        why: Untrusted,
    },
}

/// Why a server is not trusted.
#[derive(Debug)]
pub(crate) enum Untrusted {
    /// It was reached with TLS before, and this client was told to do without.
    TlsOff {
        /// The file of known servers.
        path: PathBuf,
    },
    /// It was reached with TLS before, and answers with something else.
    TlsGone(io::Error),
    /// The system's roots do not vouch for it.
    Roots(io::Error),
    /// The person named another certificate.
    NotTheNamed {
        /// What the person named.
        named: Fingerprint,
        /// What the server shows.
        shown: Fingerprint,
    },
    /// The server showed another certificate before.
    Changed {
        /// What the server showed before.
        before: Fingerprint,
        /// What it shows.
        shown: Fingerprint,
    },
    /// The server shows a certificate that it has replaced.
    Retired {
        /// The one that it showed last.
        now: Fingerprint,
        /// What it shows.
        shown: Fingerprint,
        /// The file of known servers.
        path: PathBuf,
    },
    /// A link names another certificate than the one that was seen before.
    NamedByLink {
        /// What the server showed before.
        before: Fingerprint,
        /// What the link names.
        named: Fingerprint,
    },
    /// This is the first contact, and nobody confirmed the certificate.
    Unconfirmed(Fingerprint),
    /// The file of known servers can't be read or written.
    Pins {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
}

impl Untrusted {
    /// Whether the server was asked for announcements that lead to its certificate.
    fn was_asked(&self) -> bool {
        matches!(
            self,
            Untrusted::NotTheNamed { .. }
                | Untrusted::Changed { .. }
                | Untrusted::Retired { .. }
                | Untrusted::NamedByLink { .. }
        )
    }
}

/// A refusal's sentence in quotation marks: the words of a server that may be hostile,
/// never this program's own. Marks inside it are replaced, so that its end can be seen.
pub(crate) fn said(refusal: &Refusal) -> String {
    format!("the server says \"{}\"", refusal.message.replace('"', "'"))
}

/// The error without its number, where the system's kind says enough.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        kind @ (io::ErrorKind::ConnectionRefused
        | io::ErrorKind::TimedOut
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable) => kind.to_string(),
        _ => error.to_string(),
    }
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        CallError::Lost(Lost::Io(Arc::new(error)))
    }
}

impl From<Lost> for CallError {
    fn from(lost: Lost) -> Self {
        CallError::Lost(lost)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Refused(refusal) => f.write_str(&said(refusal)),
            CallError::Lost(lost) => lost.fmt(f),
        }
    }
}

impl Error for CallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            CallError::Refused(_) => None,
            CallError::Lost(lost) => lost.source(),
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lost::NotConnected => "there is no connection now",
            Lost::NotOpened(error) => return error.fmt(f),
            Lost::Io(error) => return write!(f, "the connection is lost: {error}"),
            Lost::Closed => "the server closed the connection",
            Lost::NoAnswer => "the server does not answer",
            Lost::TooMuch => "the server sent too much instead of an answer",
            Lost::LineTooLong => "the server sent a line that is too long",
            Lost::NotUnderstood(error) => return error.fmt(f),
            Lost::WrongAnswer(error) => {
                return write!(f, "the server's answer is not understood: {error}");
            }
            Lost::ServerTooNew => {
                "the server speaks only newer versions of the protocol; update this client"
            }
            Lost::ClientEnded => "the client is done",
        })
    }
}

impl Error for Lost {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Lost::NotOpened(error) => Some(&**error),
            Lost::Io(error) => Some(&**error),
            Lost::WrongAnswer(error) => Some(&**error),
            Lost::NotUnderstood(error) => error.source(),
            _ => None,
        }
    }
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointError::TurnedAway(refusal) => write!(
                f,
                "{}, without TLS, so nothing proves who says it",
                said(refusal)
            ),
            EndpointError::Unreachable { place, source } => {
                write!(f, "no connection to {place} ({})", reason(source))
            }
            EndpointError::NoTls {
                place,
                source,
                known,
            } => {
                let before = match known {
                    true => {
                        ", and it has before: somebody may be between you and the server, or it \
                         has a fault; nothing was sent"
                    }
                    false => "",
                };
                let reason = reason(source);
                write!(
                    f,
                    "{place} answers, but not with TLS as it should ({reason}){before}"
                )
            }
            EndpointError::Untrusted { place, why } if why.was_asked() => {
                write!(f, "nothing but a greeting was sent to {place}: {why}")
            }
            EndpointError::Untrusted { place, why } => {
                write!(f, "nothing was sent to {place}: {why}")
            }
        }
    }
}

impl Error for EndpointError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            EndpointError::TurnedAway(_) => None,
            EndpointError::Unreachable { source, .. } | EndpointError::NoTls { source, .. } => {
                Some(source)
            }
            EndpointError::Untrusted { why, .. } => Some(why),
        }
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Untrusted::TlsOff { path } => write!(
                f,
                "it was reached with TLS before, and is not spoken to without it: {WITH_TLS}. Only \
                 if its operator says, on another way than this one, that it has given up TLS, \
                 delete its line in {}",
                path.display()
            ),
            Untrusted::TlsGone(error) => write!(
                f,
                "it was reached with TLS before, and REFUSES it or speaks without ({error}). \
                 Somebody may be between you and the server. Ask its operator, on another way than \
                 this one, what happened to it"
            ),
            Untrusted::Roots(error) => write!(
                f,
                "the system's roots do not vouch for it ({error}); if its certificate is one \
                 that the server made itself, leave out --tls system-roots"
            ),
            Untrusted::NotTheNamed { named, shown } => write!(
                f,
                "its certificate is not the one you named. Named: {}. Shown: {}. Ask the \
                 operator what '{} fingerprint' prints there",
                named.groups(),
                shown.groups(),
                server_name()
            ),
            Untrusted::Changed { before, shown } => write!(
                f,
                "it shows ANOTHER CERTIFICATE than before. Somebody may be between you and the \
                 server, or it was installed anew. Before: {}. Now: {}. Ask the operator what \
                 '{} fingerprint' prints there, on another way than this one; if it is the \
                 new one, connect once with --fingerprint and those digits",
                before.groups(),
                shown.groups(),
                server_name()
            ),
            Untrusted::Retired { now, shown, path } => write!(
                f,
                "it shows a CERTIFICATE THAT IT HAS REPLACED. Somebody may have its old key, and be between \
                 you and the server, or an old backup of it was restored. Replaced: {}. Since then: {}. Ask \
                 the operator, on another way than this one; only if it is right, delete the server's line \
                 in {}",
                shown.groups(),
                now.groups(),
                path.display()
            ),
            Untrusted::NamedByLink { before, named } => write!(
                f,
                "the link names ANOTHER CERTIFICATE of it than the one that is known here. Somebody else may \
                 have made the link, or the server was installed anew. Known: {}. In the link: {}. Ask the \
                 operator what '{} fingerprint' prints there, on another way than this one; if it is the new \
                 one, connect once with --fingerprint and those digits",
                before.groups(),
                named.groups(),
                server_name()
            ),
            Untrusted::Unconfirmed(shown) => write!(
                f,
                "its certificate is not known here. Its fingerprint: {}. If that is what '{} \
                 fingerprint' prints there, use --fingerprint, or say yes on a terminal",
                shown.groups(),
                server_name()
            ),
            Untrusted::Pins { path, source } => write!(
                f,
                "{} can't be used ({source}); mend the file, or name the certificate with \
                 --fingerprint",
                path.display()
            ),
        }
    }
}

impl Error for Untrusted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Untrusted::Roots(source)
            | Untrusted::TlsGone(source)
            | Untrusted::Pins { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operating_systems_error_is_found_below_the_sentence() {
        let refused = EndpointError::Unreachable {
            place: "a:1".to_owned(),
            source: io::ErrorKind::ConnectionRefused.into(),
        };
        let error = CallError::Lost(Lost::NotOpened(Arc::new(refused)));
        assert_eq!(
            error.to_string(),
            "no connection to a:1 (connection refused)"
        );
        let mut cause: &dyn Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let io = cause.downcast_ref::<io::Error>().unwrap();
        assert_eq!(io.kind(), io::ErrorKind::ConnectionRefused);
    }
}
