//! Keys: handing out prekey bundles and publishing them. The server checks what every
//! contact would check, and can do nothing else with them.

use super::{Handler, check_length};
use crate::crypto::keys::{PrekeyBundle, PublicIdentity, PublicSignedPrekey};
use crate::protocol::limits;
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::{Answer, Event, Published, Reply};
use crate::protocol::request::Publish;
use crate::server::delivery::Now;
use crate::server::delivery::recipient::public_identity;
use crate::server::net::send_queue::flush_set::FlushSet;
use crate::store::{Change, Changed};

/// When fewer one-time prekeys than this are left, their owner is told.
const FEW_PREKEYS: u32 = 20;

impl Handler {
    pub(super) fn keys(&self, name: UserName, now: Now) -> Answer {
        let user = self.logged_in()?.session.user;
        let limits = &self.shared.limits;
        limits.ask_for_keys(user, now.instant)?;
        let account = self.account(&name)?;
        let one_time = limits.grant_prekey(user, account.id, now.instant);
        let claim = |one_time| {
            let of = account.id;
            let writer = &self.shared.writer;
            writer.change(Change::ClaimBundle { of, one_time })
        };
        let claimed = match claim(one_time) {
            // One-time prekeys that are damaged are as good as used up.
            Err(refusal) if one_time && refusal.code == Code::Damaged => claim(false),
            claimed => claimed,
        };
        match claimed? {
            Changed::Bundle(bundle, left) => {
                if left < FEW_PREKEYS && bundle.one_time.is_some() {
                    let low = Event::PrekeysLow { one_time: left };
                    let mut to_flush = FlushSet::default();
                    self.shared
                        .delivery
                        .tell(account.id, name, low, &mut to_flush);
                    to_flush.flush();
                }
                Ok(Reply::Bundle(bundle))
            }
            _ => Err(Refusal::new(
                Code::NoKeys,
                format!("{name} has no client with keys yet, so nothing can be encrypted to them"),
            )),
        }
    }

    pub(super) fn publish(&self, publish: Publish) -> Answer {
        let logged_in = self.logged_in()?;
        check_length(publish.one_time.len(), limits::MAX_ONE_TIME_PREKEYS)?;
        let published = check_keys(&publish)?;
        let change = Change::Publish(logged_in.session.user, Box::new(publish));
        match self.shared.writer.change(change)? {
            Changed::Published(one_time) => {
                let fingerprint = published.fingerprint();
                logged_in.mailbox.lock().recipient.identity = Some(fingerprint);
                Ok(Reply::Published(Published { one_time }))
            }
            _ => Err(Refusal::new(
                Code::IdentityChanged,
                "another identity is published for this account; replace it only if that device \
                 is gone",
            )),
        }
    }
}

/// Checks what every contact would check, so that a broken client learns of it first.
/// Returns the identity.
fn check_keys(publish: &Publish) -> Result<PublicIdentity, Refusal> {
    let bad = || {
        Refusal::new(
            Code::BadKey,
            "the identity is not valid, or the prekey is not signed by it",
        )
    };
    let bundle = PrekeyBundle {
        identity: public_identity(&publish.identity).ok_or_else(bad)?,
        signed_prekey: PublicSignedPrekey {
            id: publish.signed_prekey.id,
            key: publish.signed_prekey.key.0,
            signature: publish.signed_prekey.signature.0,
        },
        one_time: None,
    };
    bundle.verify().map_err(|_| bad())?;
    Ok(bundle.identity)
}
