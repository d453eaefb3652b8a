//! `/passwd`: changes the password of the account and of the vault. Asking the person is
//! the app's business.

use zeroize::Zeroizing;

use super::Messenger;
use super::command::CommandError;
use crate::client::login::credentials;
use crate::client::login::credentials::Credentials;
use crate::client::net::error::{CallError, said};
use crate::client::vault::PasswordKey;
use crate::client::view::ViewEvent;
use crate::protocol::reply::Done;
use crate::protocol::request::Passwd;
use crate::protocol::{ByteArray, Request};

impl Messenger {
    /// Adds the new key slot first, then asks the server, then removes the old slot:
    /// killed at any instant, the vault opens with whichever password the server accepts.
    pub(super) fn passwd(
        &mut self,
        old: &Zeroizing<String>,
        new: &Zeroizing<String>,
    ) -> Result<(), CommandError> {
        if !self.vault.opens_with(old)? {
            return Err(CommandError::Refused(
                "the old password is wrong; nothing was changed".to_owned(),
            ));
        }
        let kdf = credentials::new_kdf();
        let derived = credentials::derive(new, kdf).map_err(|error| error.to_string());
        let key = PasswordKey::derive(new, self.vault.password_cost()?);
        let (login_key, key) = match (derived, key) {
            (Ok(derived), Ok(key)) => (derived.login_key, key),
            (Err(why), _) => return Err(CommandError::Refused(why)),
            (_, Err(error)) => return Err(CommandError::Refused(error.to_string())),
        };
        let changed = Credentials { kdf, login_key };
        let Some(connection) = &mut self.server.connection else {
            return Err(CommandError::Refused(
                "there is no connection now; nothing was changed".to_owned(),
            ));
        };
        if let Err(error) = connection.hello(&mut self.events) {
            return Err(CommandError::Refused(format!(
                "{error}; nothing was changed"
            )));
        }
        self.vault.add_password(&key, kdf)?;
        let request = Request::Passwd(Passwd {
            kdf,
            login_key: ByteArray(changed.login_key.public()),
            proof: credentials::passwd_proof(
                &self.me.name,
                &self.login.credentials,
                &changed,
                &connection.challenge(),
            ),
        });
        match connection.call::<Done>(&mut self.events, &request) {
            Ok(Done {}) => {
                self.login.credentials = changed;
                self.keep_password()?;
                self.say(ViewEvent::good("the password is changed"));
                Ok(())
            }
            Err(CallError::Refused(refusal)) => {
                self.keep_password()?;
                Err(CommandError::Refused(format!(
                    "the password stays as it was: {}",
                    said(&refusal)
                )))
            }
            Err(CallError::Lost(why)) => {
                self.login.alternative = Some(changed);
                self.login.change_unknown = true;
                Err(CommandError::Refused(format!(
                    "{why}; it is not known yet whether the password was changed, and until the next login both open the vault"
                )))
            }
        }
    }
}
