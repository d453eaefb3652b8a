//! The client's exit codes, and which failure of a login leads to which. The command line's help
//! lists them.

use crate::client::login::LoginError;
use crate::client::net::error::{CallError, EndpointError};
use crate::client::vault::ExportError;
use crate::protocol::Code;

/// Something failed.
pub(super) const FAILED: u8 = 1;
/// The command line is wrong. Clap uses the same number.
pub(super) const WRONG_USAGE: u8 = 2;
/// The server or the person refused the login, or the password is wrong.
pub(super) const REFUSED: u8 = 3;
/// The server could not be reached, or takes no connections at present.
pub(super) const UNREACHABLE: u8 = 4;
/// The vault, or an export of one, could not be used.
pub(super) const VAULT: u8 = 5;
/// The server's certificate is not trusted.
pub(super) const UNTRUSTED: u8 = 6;
/// The output could not be written.
pub(super) const UNWRITTEN: u8 = 7;

/// The server, the recipient's identity or a rule says no to what a command asks for.
pub(super) const DECLINED: u8 = 8;
/// The message is kept here and goes out later.
pub(super) const WAITS: u8 = 9;
/// The time was over.
pub(super) const TIMED_OUT: u8 = 10;

/// What each code means, for `client exit-codes`; a test compares the pages with it.
pub(super) const MEANINGS: &[(&str, &str)] = &[
    ("0", "everything was done"),
    ("1", "something failed"),
    ("2", "wrong usage"),
    ("3", "the login was refused, or a password is wrong"),
    ("4", "no connection"),
    ("5", "the vault, or an export, can't be used"),
    ("6", "not the right server"),
    ("7", "the output could not be written"),
    (
        "8",
        "declined: an unknown name, no keys, an identity, a text that is too long",
    ),
    ("9", "the message waits here and goes out at a later login"),
    ("10", "the time was over"),
    ("128 + N", "signal N ended it"),
];

/// The exit code after a login that failed.
pub(super) fn of_login(error: &LoginError) -> u8 {
    match error {
        LoginError::Call(CallError::Refused(refusal)) => match refusal.code {
            Code::TlsRequired | Code::ServerFull | Code::TimedOut | Code::ShuttingDown => {
                UNREACHABLE
            }
            _ => REFUSED,
        },
        LoginError::NotFound(_) => DECLINED,
        LoginError::Refused(_)
        | LoginError::NameTaken(_)
        | LoginError::Derive(_)
        | LoginError::Thread(_)
        | LoginError::WrongPassword => REFUSED,
        LoginError::Endpoint(EndpointError::Untrusted { .. }) => UNTRUSTED,
        LoginError::Endpoint(_)
        | LoginError::Call(CallError::Lost(_))
        | LoginError::Unpublished(_) => UNREACHABLE,
        LoginError::Export(_, ExportError::WrongPassphrase) => REFUSED,
        LoginError::Vault(_)
        | LoginError::Occupied(_)
        | LoginError::Export(..)
        | LoginError::NoExport(..) => VAULT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Refusal;

    #[test]
    fn a_refused_connection_is_no_refused_login() {
        let code = |code| {
            let refusal = Refusal::new(code, "so says the server".to_owned());
            of_login(&CallError::Refused(refusal).into())
        };
        assert_eq!(code(Code::WrongLogin), REFUSED);
        assert_eq!(code(Code::ServerFull), UNREACHABLE);
        assert_eq!(code(Code::TlsRequired), UNREACHABLE);
        assert_eq!(of_login(&LoginError::WrongPassword), REFUSED);
    }
}
