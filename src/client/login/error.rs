//! Why a login, a registration or the move of a vault failed. The exit code that follows
//! is the app's business.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::credentials::DeriveError;
use crate::client::net::error::{CallError, EndpointError, Lost};
use crate::client::vault::{ExportError, VaultError};
use crate::protocol::Code;

/// Why there is no session.
#[derive(Debug)]
pub(crate) enum LoginError {
    /// A rule or the person's own answer prevents it; the sentence says which.
    Refused(String),
    /// The account to be made has a name that is taken; the sentence says so.
    NameTaken(String),
    /// The vault has no such person or message.
    NotFound(String),
    /// The server refused a request, or the connection was lost.
    Call(CallError),
    /// There is no connection, or none to the right server.
    Endpoint(EndpointError),
    /// The server demands a derivation of the password that is not acceptable.
    Derive(DeriveError),
    /// Neither a password nor a recovery code opens the vault.
    WrongPassword,
    /// The vault can't be opened, made or used.
    Vault(VaultError),
    /// The client that has the vault does not let this one work through it; the sentence says
    /// which and why.
    Occupied(String),
    /// The file of an export can't be read.
    NoExport(PathBuf, io::Error),
    /// The file gives no export.
    Export(PathBuf, ExportError),
    /// The session has no thread to run on.
    Thread(io::Error),
    /// The vault was imported, but the new keys were not published; the sentence says why.
    Unpublished(String),
}

impl LoginError {
    /// Whether another process has the account's vault, and that one's control socket.
    pub(crate) fn holder(&self) -> Option<Option<&Path>> {
        match self {
            // Without a process, it is SQLite that says so, and nothing explains it.
            LoginError::Vault(VaultError::InUse {
                pid: Some(_),
                socket,
                ..
            }) => Some(socket.as_deref()),
            _ => None,
        }
    }

    /// Whether the server says that the account was imported, and waits for its owner.
    pub(super) fn is_imported(&self) -> bool {
        let LoginError::Call(CallError::Refused(refusal)) = self else {
            return false;
        };
        refusal.code == Code::Imported
    }

    /// Whether there is no connection for a reason that may pass: a server that starts anew or is
    /// full, or a network that is down.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            LoginError::Endpoint(EndpointError::Unreachable { .. }) => true,
            LoginError::Endpoint(EndpointError::TurnedAway(refusal))
            | LoginError::Call(CallError::Refused(refusal)) => matches!(
                refusal.code,
                Code::ServerFull | Code::TimedOut | Code::ShuttingDown
            ),
            LoginError::Call(CallError::Lost(lost)) => {
                matches!(lost, Lost::Io(_) | Lost::Closed | Lost::NoAnswer)
            }
            _ => false,
        }
    }

    /// Whether no server answers at the address.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(
            self,
            LoginError::Endpoint(EndpointError::Unreachable { .. })
        )
    }

    /// Whether a name or a password was refused that the person may have mistyped.
    pub(crate) fn is_slip(&self) -> bool {
        match self {
            LoginError::NameTaken(_) => true,
            LoginError::Call(CallError::Refused(refusal)) => refusal.code == Code::WrongLogin,
            _ => false,
        }
    }
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ADVICE: &str = "check the address and that the server runs";
        match self {
            LoginError::Refused(why)
            | LoginError::NotFound(why)
            | LoginError::NameTaken(why)
            | LoginError::Occupied(why) => f.write_str(why),
            LoginError::Call(CallError::Refused(refusal)) if refusal.code == Code::TlsRequired => {
                let said = crate::client::net::error::said(refusal);
                write!(
                    f,
                    "{said}. Leave out --tls off, and this client connects with TLS"
                )
            }
            LoginError::Call(error @ CallError::Refused(_)) => error.fmt(f),
            LoginError::Call(error @ CallError::Lost(_)) => write!(f, "{error}; {ADVICE}"),
            LoginError::Endpoint(
                error @ (EndpointError::Unreachable { .. } | EndpointError::NoTls { .. }),
            ) => write!(f, "{error}; {ADVICE}"),
            LoginError::Endpoint(error) => error.fmt(f),
            LoginError::Derive(error) => error.fmt(f),
            LoginError::WrongPassword => f.write_str(
                "the password does not open the vault on this machine; try again. If it was changed \
                 elsewhere or reset, the password before or the recovery code opens the vault \
                 (in a script: that one in --password-file, the new one in --new-password-file)",
            ),
            LoginError::Vault(error) => error.fmt(f),
            LoginError::Export(path, error) => write!(f, "{}: {error}", path.display()),
            LoginError::NoExport(path, error) => write!(f, "{}: {error}", path.display()),
            LoginError::Thread(error) => write!(f, "no thread for the session: {error}"),
            LoginError::Unpublished(why) => write!(f, "{why}; {ADVICE}"),
        }
    }
}

impl Error for LoginError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            LoginError::Refused(_)
            | LoginError::NotFound(_)
            | LoginError::NameTaken(_)
            | LoginError::Occupied(_)
            | LoginError::WrongPassword
            | LoginError::Unpublished(_) => None,
            LoginError::Call(error) => Some(error),
            LoginError::Endpoint(error) => Some(error),
            LoginError::Derive(error) => Some(error),
            LoginError::Vault(error) => Some(error),
            LoginError::Export(_, error) => Some(error),
            LoginError::NoExport(_, error) | LoginError::Thread(error) => Some(error),
        }
    }
}

impl From<VaultError> for LoginError {
    fn from(error: VaultError) -> Self {
        LoginError::Vault(error)
    }
}

impl From<CallError> for LoginError {
    fn from(error: CallError) -> Self {
        LoginError::Call(error)
    }
}

impl From<EndpointError> for LoginError {
    fn from(error: EndpointError) -> Self {
        LoginError::Endpoint(error)
    }
}

impl From<DeriveError> for LoginError {
    fn from(error: DeriveError) -> Self {
        LoginError::Derive(error)
    }
}
