//! The beginning and the end of an account.

use std::sync::Arc;

use super::auth::{check_cost, check_password, check_proof, credentials, new_kdf, wrong_login};
use super::login::end_displaced;
use super::{Handler, Response};
use crate::crypto::account::invitation::digest;
use crate::crypto::account::login_proof::Purpose;
use crate::protocol::ids::ByteArray;
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::{Answer, Done, Reply};
use crate::protocol::request::{DeleteAccount, PasswordLogin, Register, SessionOptions};
use crate::server::config::Registration;
use crate::server::delivery::Now;
use crate::server::delivery::refusals::read_failed;
use crate::server::delivery::sessions::Session;
use crate::server::delivery::shared_mailbox::SharedMailbox;
use crate::server::shared::Shared;
use crate::server::stats::Ending;
use crate::store::{Account, Change, Changed, NewAccount};

impl Handler {
    /// Says whether an account of this name may be made, so that a person hears that before they
    /// think of a password. It has the limit of `register`, so that names can't be tried in numbers.
    pub(super) fn available(&mut self, name: UserName, now: Now) -> Answer {
        self.check_logged_out()?;
        self.admit_account(&name, None, now)?;
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
            handler.admit_account(name, register.invitation, now)?;
            handler.create_account(NewAccount {
                name: *name,
                kdf: register.kdf,
                login_key: register.login_key,
                created: now.millis,
                invitation: register.invitation.map(|code| ByteArray(digest(&code.0))),
            })
        })
    }

    /// Makes an account from the console's password, and logs it in.
    pub(super) fn password_register(&mut self, login: &PasswordLogin, now: Now) -> Response {
        self.log_in(login.name, &SessionOptions::default(), now, |handler| {
            check_password(&login.password)?;
            // A taken name is the usual reason to fail, so it is checked before the
            // expensive derivation.
            handler.admit_account(&login.name, None, now)?;
            let kdf = new_kdf()?;
            let derived = handler.derive(&login.password, &kdf, now)?;
            let login_key = ByteArray(derived.login_key.public());
            handler.create_account(NewAccount {
                name: login.name,
                kdf,
                login_key,
                created: now.millis,
                invitation: None,
            })
        })
    }

    /// Decides whether an account of this name may be made, and counts it.
    fn admit_account(
        &self,
        name: &UserName,
        invitation: Option<ByteArray<16>>,
        now: Now,
    ) -> Result<(), Refusal> {
        match (self.shared.config().registration, invitation) {
            (Registration::Closed, _) => {
                return Err(Refusal::new(
                    Code::RegistrationClosed,
                    "this server makes no new accounts; ask its operator",
                ));
            }
            (Registration::Invite, None) => {
                return Err(Refusal::new(
                    Code::InvitationRequired,
                    "this server makes accounts by invitation only; ask its operator or a member for a \
                     link, and open it with `client join LINK`",
                ));
            }
            _ => {}
        }
        match self.shared.store.account(name).map_err(read_failed)? {
            Some(_) => Err(name_taken(name)),
            None if self.admitted.as_ref() == Some(name) => Ok(()),
            None => self.shared.limits.register(self.network, now.instant),
        }
    }

    fn create_account(&self, new: NewAccount) -> Result<Account, Refusal> {
        let name = new.name;
        match self.shared.writer.change(Change::Register(new))? {
            Changed::Registered(_) => self.account(&name),
            Changed::Unknown => Err(bad_invitation(
                "this server does not know the invitation: it was taken back, expired long ago, or is \
                 another server's; ask for a new one",
            )),
            Changed::UsedUp => Err(bad_invitation(
                "this invitation was used already, so it makes no further account; ask for a new one",
            )),
            Changed::Expired => Err(bad_invitation(
                "this invitation has expired; ask for a new one",
            )),
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
        let mailbox = Arc::clone(&self.logged_in()?.mailbox);
        let own = self.logged_in.as_ref().map(|it| it.session.id);
        let ended = remove_account(
            &self.shared,
            &account,
            Some(account.login_key),
            Some(&mailbox),
        )?;
        let others = ended.as_deref().filter(|ended| Some(ended.id) != own);
        end_displaced(others, Ending::Revoked);
        self.leave(now);
        Ok(Reply::Done(Done {}))
    }
}

/// Deletes an account for good, and returns its session, which the caller has to end. If a login
/// key is `proven`, it must still be the account's. `mailbox` is its mailbox, unless that is
/// damaged.
pub(crate) fn remove_account(
    shared: &Shared,
    account: &Account,
    proven: Option<ByteArray<32>>,
    mailbox: Option<&SharedMailbox>,
) -> Result<Option<Arc<Session>>, Refusal> {
    // The mailbox refuses messages before it is deleted. A message that was accepted
    // in between would stay behind for nobody.
    let refuse = |deleted| {
        if let Some(mailbox) = mailbox {
            mailbox.lock().recipient.deleted = deleted;
        }
    };
    refuse(true);
    let user = account.id;
    let deleted = match shared.writer.change(Change::Delete { user, proven }) {
        Ok(Changed::OtherLogin) => Err(wrong_login()),
        changed => changed.map(drop),
    };
    deleted.inspect_err(|_| refuse(false))?;
    Ok(shared.sessions.credentials_changed(&account.name, None))
}

fn bad_invitation(message: &'static str) -> Refusal {
    Refusal::new(Code::BadInvitation, message)
}

fn name_taken(name: &UserName) -> Refusal {
    Refusal::new(
        Code::NameTaken,
        format!("the name {name} is taken; choose another"),
    )
}
