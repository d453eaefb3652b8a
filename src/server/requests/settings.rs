//! A user's own settings, blocks and password.

use super::auth::{check_cost, check_password, check_proof, credentials, new_kdf, wrong_login};
use super::login::end_displaced;
use super::{Handler, not_logged_in};
use crate::crypto::account::login_proof::Purpose;
use crate::protocol::ids::ByteArray;
use crate::protocol::limits;
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::{AccountSettings, Answer, Done, Reply};
use crate::protocol::request::{ChangeSettings, KdfParams, Passwd, Password};
use crate::server::delivery::Now;
use crate::server::delivery::refusals::read_failed;
use crate::server::stats::Ending;
use crate::store::{Account, Change, Changed, Flags, NewLogin};

impl Handler {
    pub(super) fn settings_of(&self, account: &Account) -> Result<AccountSettings, Refusal> {
        let Flags {
            listed,
            presence,
            refuse_unencrypted,
        } = account.flags;
        let blocked = self.shared.store.blocked(account.id);
        Ok(AccountSettings {
            listed,
            presence,
            refuse_unencrypted,
            blocked: blocked.map_err(read_failed)?,
        })
    }

    /// The account of the session.
    fn own_account(&self) -> Result<Account, Refusal> {
        let name = self.logged_in()?.session.name;
        let account = self.shared.store.account(&name).map_err(read_failed)?;
        account.ok_or_else(not_logged_in)
    }

    /// Changes the settings that are named, and returns all of them.
    pub(super) fn settings(&self, change: &ChangeSettings) -> Answer {
        let mailbox = &self.logged_in()?.mailbox;
        let mut account = self.own_account()?;
        let before = account.flags;
        account.flags = Flags {
            listed: change.listed.unwrap_or(before.listed),
            presence: change.presence.unwrap_or(before.presence),
            refuse_unencrypted: change
                .refuse_unencrypted
                .unwrap_or(before.refuse_unencrypted),
        };
        if account.flags != before {
            let change = Change::SetFlags(account.id, account.flags);
            self.shared.writer.change(change)?;
            let mut state = mailbox.lock();
            state.recipient.refuse_unencrypted = account.flags.refuse_unencrypted;
            state.recipient.presence = account.flags.presence;
        }
        self.settings_of(&account).map(Reply::Settings)
    }

    /// Blocks a user or, with `block` false, unblocks them.
    pub(super) fn block(&self, name: UserName, block: bool) -> Answer {
        let mailbox = &self.logged_in()?.mailbox;
        let account = self.own_account()?;
        let other = self.account(&name)?;
        if block && other.id == account.id {
            return Err(Refusal::new(Code::BadRequest, "that is you; block others"));
        }
        let settings = self.settings_of(&account)?;
        if block && settings.blocked.len() >= limits::MAX_BLOCKED {
            return Err(Refusal::new(
                Code::TooLarge,
                "you block 1,000 users, which is the most; unblock one first",
            ));
        }
        let change = Change::Block(account.id, other.id, block);
        self.shared.writer.change(change)?;
        let mut state = mailbox.lock();
        if block {
            state.recipient.blocked.insert(name);
        } else {
            state.recipient.blocked.remove(&name);
        }
        drop(state);
        self.settings_of(&account).map(Reply::Settings)
    }

    /// Changes the key that a client logs in with.
    pub(super) fn passwd(&mut self, passwd: &Passwd, now: Now) -> Answer {
        let name = self.logged_in()?.session.name;
        let challenge = self.challenge()?;
        check_cost(&passwd.kdf)?;
        let account = self.account(&name)?;
        let purpose = Purpose::Passwd(credentials(&passwd.kdf, &passwd.login_key));
        let key = &account.login_key;
        let proven = check_proof(key, &purpose, &name, &challenge, &passwd.proof);
        let proven = proven.map_err(|_| wrong_login());
        self.count_failure(proven, name, now)?;
        self.set_login(&account, passwd.kdf, passwd.login_key)
    }

    /// Replaces the login key of the session's account, unless another change of it was quicker,
    /// and ends a session that has begun with the old one meanwhile.
    fn set_login(&self, account: &Account, kdf: KdfParams, login_key: ByteArray<32>) -> Answer {
        let session = self.logged_in()?.session.id;
        let change = Change::SetLogin(NewLogin {
            user: account.id,
            proven: account.login_key,
            kdf,
            login_key,
        });
        if self.shared.writer.change(change)? == Changed::OtherLogin {
            return Err(wrong_login());
        }
        let sessions = &self.shared.sessions;
        let displaced = sessions.credentials_changed(&account.name, Some(session));
        end_displaced(displaced.as_deref(), Ending::Revoked);
        Ok(Reply::Done(Done {}))
    }

    /// Changes the password from the console.
    pub(super) fn password_change(&mut self, old: &Password, new: &Password, now: Now) -> Answer {
        let name = self.logged_in()?.session.name;
        check_password(new)?;
        let account = self.authenticate(&name, old, now);
        let account = self.count_failure(account, name, now)?;
        check_no_client(&account)?;
        let kdf = new_kdf()?;
        let derived = self.derive(new, &kdf, now)?;
        let login_key = ByteArray(derived.login_key.public());
        // It has waited for its turn, and the session or the account may have changed meanwhile.
        self.logged_in()?;
        let account = self.unchanged(&account)?;
        check_no_client(&account)?;
        self.set_login(&account, kdf, login_key)
    }
}

/// Refuses to change a password behind the back of a client.
pub(super) fn check_no_client(account: &Account) -> Result<(), Refusal> {
    match account.identity {
        None => Ok(()),
        Some(_) => Err(Refusal::new(
            Code::UseJson,
            "this account has a client, whose vault must learn the new password too; \
             change it there: with /passwd, or with the operator's code instead of the password",
        )),
    }
}
