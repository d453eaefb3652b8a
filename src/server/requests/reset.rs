//! Setting another password after the operator has reset it, with the code that the operator hands
//! out. A client proves the code with a signature; from the console it arrives as it was typed.

use super::auth::{check_cost, check_password, check_proof, credentials, new_kdf, wrong_login};
use super::login::{NOBODY, check_enabled};
use super::settings::check_no_client;
use super::{Handler, Response};
use crate::crypto::account::login_proof::Purpose;
use crate::crypto::account::reset::ResetCode;
use crate::protocol::ids::ByteArray;
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::request::{Password, Reset, SessionOptions};
use crate::server::delivery::Now;
use crate::server::delivery::refusals::read_failed;
use crate::store;
use crate::store::{Account, Change, Changed, NewLogin};

impl Handler {
    /// Sets a client's new login key, and logs it in.
    pub(super) fn reset(&mut self, request: &Reset, now: Now) -> Response {
        self.log_in(request.name, &request.session, now, |handler| {
            let challenge = handler.challenge()?;
            check_cost(&request.kdf)?;
            let pending = handler.pending_reset(&request.name)?;
            let key = pending.as_ref().map_or(ByteArray(NOBODY), |(_, it)| it.key);
            let purpose = Purpose::Reset(credentials(&request.kdf, &request.login_key));
            let proven = check_proof(&key, &purpose, &request.name, &challenge, &request.proof);
            match (pending, proven) {
                (Some((account, _)), Ok(())) => handler.finish_reset(
                    &account,
                    NewLogin {
                        user: account.id,
                        proven: key,
                        kdf: request.kdf,
                        login_key: request.login_key,
                    },
                    now,
                ),
                _ => Err(wrong_login()),
            }
        })
    }

    /// Sets a console's new password, and logs it in.
    pub(super) fn password_reset(
        &mut self,
        name: UserName,
        code: &Password,
        password: &Password,
        now: Now,
    ) -> Response {
        self.log_in(name, &SessionOptions::default(), now, |handler| {
            check_password(password)?;
            let code = ResetCode::parse(&code.0)
                .map_err(|error| Refusal::bad_request(error.to_string()))?;
            let proven = ByteArray(code.key().public());
            let pending = handler.pending_reset(&name)?;
            let Some((account, _)) = pending.filter(|(_, it)| it.key == proven) else {
                return Err(wrong_login());
            };
            check_no_client(&account)?;
            let kdf = new_kdf()?;
            let derived = handler.derive(password, &kdf, now)?;
            let new = NewLogin {
                user: account.id,
                proven,
                kdf,
                login_key: ByteArray(derived.login_key.public()),
            };
            // It has waited for its turn, and a client may have made keys meanwhile.
            check_no_client(&handler.account(&name)?)?;
            handler.finish_reset(&account, new, now)
        })
    }

    /// An account whose password was reset.
    fn pending_reset(&self, name: &UserName) -> Result<Option<(Account, store::Reset)>, Refusal> {
        let store = &self.shared.store;
        let Some(account) = store.account(name).map_err(read_failed)? else {
            return Ok(None);
        };
        let reset = store.reset(account.id).map_err(read_failed)?;
        Ok(reset.map(|reset| (account, reset)))
    }

    /// Sets the login key of an account whose code was proven, and uses the code up.
    fn finish_reset(&self, account: &Account, new: NewLogin, now: Now) -> Result<Account, Refusal> {
        check_enabled(account)?;
        let change = Change::FinishReset(new, now.millis);
        match self.shared.writer.change(change)? {
            Changed::Done => self.account(&account.name),
            Changed::Expired => Err(Refusal::new(
                Code::WrongLogin,
                "this code has expired; ask the operator for another",
            )),
            _ => Err(wrong_login()),
        }
    }
}
