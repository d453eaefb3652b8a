//! The client's exit codes, and which failure of a login leads to which. The command line's help
//! lists them.

use crate::client::login::LoginError;
use crate::client::net::error::{CallError, EndpointError};
use crate::protocol::Code;

/// Something failed.
pub(super) const FAILED: u8 = 1;
/// The command line is wrong. Clap uses the same number.
pub(super) const WRONG_USAGE: u8 = 2;
/// The server or the person refused the login, or the password is wrong.
pub(super) const REFUSED: u8 = 3;
/// The server could not be reached, or takes no connections at present.
pub(super) const UNREACHABLE: u8 = 4;
/// The vault could not be used.
pub(super) const VAULT: u8 = 5;
/// The server's certificate is not trusted.
pub(super) const UNTRUSTED: u8 = 6;
/// The output could not be written.
pub(super) const UNWRITTEN: u8 = 7;

/// The exit code after a login that failed.
pub(super) fn of_login(error: &LoginError) -> u8 {
    match error {
        LoginError::Call(CallError::Refused(refusal)) => match refusal.code {
            Code::TlsRequired | Code::ServerFull | Code::TimedOut | Code::ShuttingDown => {
                UNREACHABLE
            }
            _ => REFUSED,
        },
        LoginError::Refused(_)
        | LoginError::Derive(_)
        | LoginError::Thread(_)
        | LoginError::WrongPassword => REFUSED,
        LoginError::Endpoint(EndpointError::Untrusted { .. }) => UNTRUSTED,
        LoginError::Endpoint(_)
        | LoginError::Call(CallError::Lost(_))
        | LoginError::Unpublished(_) => UNREACHABLE,
        LoginError::Vault(_) => VAULT,
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
