//! The first login to an account that was imported from the Python program before this one: its
//! owner gives the password of then, once, and the login key of another one.
//!
//! This is the only request in which a client sends a password. Of that program there is only a hash
//! without a salt, which others may know, so a proof that is made from the hash would prove nothing.

use super::auth::{check_cost, wrong_login};
use super::login::check_enabled;
use super::{Handler, Response};
use crate::crypto::original;
use crate::protocol::ids::ByteArray;
use crate::protocol::limits::MAX_PASSWORD;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::request::{Claim, Password};
use crate::server::delivery::Now;
use crate::server::delivery::refusals::read_failed;
use crate::store::{Account, Change, Changed, NewLogin};

impl Handler {
    /// Checks the password of then, sets the new login key in its place, and logs in.
    pub(super) fn claim(&mut self, claim: &Claim, now: Now) -> Response {
        self.log_in(claim.name, &claim.session, now, |handler| {
            handler.check_claim(claim)?;
            let store = &handler.shared.store;
            let account = store.account(&claim.name).map_err(read_failed)?;
            // What nobody has costs as much as what somebody has.
            let account = account.filter(|account| account.verifier.is_some());
            let kdf = account
                .as_ref()
                .map_or_else(|| handler.fake_kdf(&claim.name), |account| account.kdf);
            let hash = Password(original::password_hash(&claim.password.0));
            let derived = handler.derive(&hash, &kdf, now)?;
            let proven = ByteArray(derived.login_key.public());
            match account {
                Some(account) if account.verifier == Some(proven) => {
                    check_enabled(&account)?;
                    handler.finish_claim(&account, proven, claim)
                }
                _ => Err(wrong_login()),
            }
        })
    }

    fn check_claim(&self, claim: &Claim) -> Result<(), Refusal> {
        if self.certificate.is_empty() {
            return Err(Refusal::new(
                Code::TlsRequired,
                "the password of an imported account is taken under TLS only; connect with it, or ask the \
                 operator for a code",
            ));
        }
        if claim.password.0.len() > MAX_PASSWORD {
            return Err(wrong_login());
        }
        check_cost(&claim.kdf)
    }

    fn finish_claim(
        &self,
        account: &Account,
        proven: ByteArray<32>,
        claim: &Claim,
    ) -> Result<Account, Refusal> {
        let change = Change::Claim(NewLogin {
            user: account.id,
            proven,
            kdf: claim.kdf,
            login_key: claim.login_key,
        });
        match self.shared.writer.change(change)? {
            Changed::Done => self.account(&account.name),
            _ => Err(wrong_login()),
        }
    }
}
