//! The beginning and the end of an account.

use super::auth::{check_cost, check_password, check_proof, credentials, new_kdf, wrong_login};
use super::login::end_displaced;
use super::{Handler, Response};
use crate::crypto::account::login_proof::Purpose;
use crate::protocol::ids::ByteArray;
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::{Answer, Done, Reply};
use crate::protocol::request::{DeleteAccount, KdfParams, PasswordLogin, Register, SessionOptions};
use crate::server::delivery::Now;
use crate::server::delivery::refusals::read_failed;
use crate::server::stats::Ending;
use crate::store::{Account, Change, Changed, NewAccount};

impl Handler {
    /// Says whether an account of this name may be made, so that a person hears that before they
    /// think of a password. It has the limit of `register`, so that names can't be tried in numbers.
    pub(super) fn available(&mut self, name: UserName, now: Now) -> Answer {
        self.check_logged_out()?;
        self.admit_account(&name, now)?;
        self.admitted = Some(name);
        Ok(Reply::Done(Done {}))
    }

    /// Makes an account from a client's login key, and logs it in.
    pub(super) fn register(&mut self, register: &Register, now: Now) -> Response {
        self.log_in(register.name, &register.session, now, |handler| {
            let challenge = handler.challenge()?;
            check_cost(&register.kdf)?;
            let purpose = Purpose::Register(credentials(&register.kdf, &register.login_key));
            let (key, name) = (&register.login_key, &register.name);
            check_proof(key, &purpose, name, &challenge, &register.proof).map_err(|_| {
                Refusal::new(
                    Code::BadKey,
                    "the registration is not signed by its own login key",
                )
            })?;
            handler.admit_account(name, now)?;
            handler.create_account(*name, register.kdf, register.login_key, now)
        })
    }

    /// Makes an account from the console's password, and logs it in.
    pub(super) fn password_register(&mut self, login: &PasswordLogin, now: Now) -> Response {
        self.log_in(login.name, &SessionOptions::default(), now, |handler| {
            check_password(&login.password)?;
            // A taken name is the usual reason to fail, so it is checked before the
            // expensive derivation.
            handler.admit_account(&login.name, now)?;
            let kdf = new_kdf()?;
            let derived = handler.derive(&login.password, &kdf, now)?;
            let login_key = ByteArray(derived.login_key.public());
            handler.create_account(login.name, kdf, login_key, now)
        })
    }

    /// Decides whether an account of this name may be made, and counts it.
    fn admit_account(&self, name: &UserName, now: Now) -> Result<(), Refusal> {
        if !self.shared.config.registration {
            return Err(Refusal::new(
                Code::RegistrationClosed,
                "this server makes no new accounts; ask its operator",
            ));
        }
        match self.shared.store.account(name).map_err(read_failed)? {
            Some(_) => Err(name_taken(name)),
            None if self.admitted.as_ref() == Some(name) => Ok(()),
            None => self.shared.limits.register(self.network, now.instant),
        }
    }

    fn create_account(
        &self,
        name: UserName,
        kdf: KdfParams,
        login_key: ByteArray<32>,
        now: Now,
    ) -> Result<Account, Refusal> {
        let account = NewAccount {
            name,
            kdf,
            login_key,
            created: now.millis,
        };
        match self.shared.writer.change(Change::Register(account))? {
            Changed::Registered(_) => self.account(&name),
            _ => Err(name_taken(&name)),
        }
    }

    pub(super) fn delete_account(&mut self, delete: &DeleteAccount, now: Now) -> Answer {
        let name = self.logged_in()?.session.name;
        let challenge = self.challenge()?;
        let account = self.account(&name)?;
        let key = &account.login_key;
        let proven = check_proof(key, &Purpose::Delete, &name, &challenge, &delete.proof);
        let proven = proven.map_err(|_| wrong_login());
        self.count_failure(proven, name, now)?;
        // The mailbox refuses messages before it is deleted. A message that was accepted
        // in between would stay behind for nobody.
        let mailbox = &self.logged_in()?.mailbox;
        mailbox.lock().recipient.deleted = true;
        let deleted = self.shared.writer.change(Change::Delete(account.id));
        if deleted.is_err() {
            mailbox.lock().recipient.deleted = false;
        }
        deleted?;
        let own = self.logged_in.as_ref().map(|it| it.session.id);
        let ended = self.shared.sessions.credentials_changed(&name, None);
        let others = ended.as_deref().filter(|ended| Some(ended.id) != own);
        end_displaced(others, Ending::Revoked);
        self.leave(now);
        Ok(Reply::Done(Done {}))
    }
}

fn name_taken(name: &UserName) -> Refusal {
    Refusal::new(
        Code::NameTaken,
        format!("the name {name} is taken; choose another"),
    )
}
