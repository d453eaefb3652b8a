//! The first login to an account that the operator has imported from the Python program before this
//! one. The server knows a hash of the password of then, and checks the password itself against it,
//! once; from then on the account has another one, which no server gets.
//!
//! A server that only claims this gets a password if the person agrees. It is asked for under TLS
//! alone, and never where this device has a vault of the account.

use zeroize::Zeroizing;

use super::attempt::Attempt;
use super::credentials::{Credentials, claim_request, derive, new_kdf};
use super::error::LoginError;
use super::new_password::choose_another;
use crate::protocol::reply::Welcome;

impl Attempt<'_> {
    /// Gives the password of then, and sets another one.
    ///
    /// # Errors
    /// The person does not agree or chooses no password, or the server refuses; nothing was changed.
    pub(super) fn claim(
        &mut self,
        then: &str,
    ) -> Result<(Zeroizing<String>, Credentials, Welcome), LoginError> {
        let name = self.name;
        if !self.has_certificate() {
            return Err(LoginError::Refused(format!(
                "{name} was imported from another program, so the server has to check the password of \
                 then, which is sent under TLS only; leave out --tls off, or ask the operator for a \
                 one-time code"
            )));
        }
        let question = format!(
            "The server says that {name} was imported from the Python program before this one, and that \
             nobody has logged in to it here. To check that it is yours, the server gets the password that \
             you have typed, this once; then you choose another, which it never gets. If you have used \
             {name} with this client before, or use that password elsewhere, answer no, and ask the operator \
             for a one-time code. Send the password?"
        );
        if !self.flow.claim && !self.prompt.yes(&question) {
            return Err(LoginError::Refused(format!(
                "{name} was imported from another program, and its password was not sent; ask the operator \
                 for a one-time code, or agree (in a script: --claim, and the new password in \
                 --new-password-file)"
            )));
        }
        let Some(password) = choose_another(&name, self.prompt)? else {
            return Err(LoginError::Refused(
                "there is no new password, so the one of then was not sent; type one, or name its file \
                 with --new-password-file"
                    .to_owned(),
            ));
        };
        if *password == *then {
            return Err(LoginError::Refused(
                "that is the password of then, which others may know; nothing was sent, so choose \
                 another"
                    .to_owned(),
            ));
        }
        let kdf = new_kdf();
        let login_key = derive(&password, kdf)?.login_key;
        let credentials = Credentials { kdf, login_key };
        let options = self.flow.kind.options();
        let request = claim_request(&name, then, &credentials, options);
        let welcome = self.call(&request)?;
        Ok((password, credentials, welcome))
    }
}
