//! Keys: handing out prekey bundles and publishing them. The server checks what
//! every contact would check, and can do nothing else with them.

use super::{Handler, too_many};
use crate::crypto::keys;
use crate::crypto::keys::PrekeyBundle;
use crate::protocol::limits;
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::{Answer, Event, Published, Reply};
use crate::protocol::request::Publish;
use crate::server::delivery::sessions::Session;
use crate::server::delivery::shared_mailbox::SharedMailbox;
use crate::server::delivery::{Now, fingerprint, store_failed, unknown_user};
use crate::store::{Change, Changed};

/// Fewer one-time prekeys than this, and their owner is told.
const FEW_PREKEYS: u32 = 20;

impl Handler {
    pub(super) fn keys(&self, session: &Session, name: UserName, now: Now) -> Answer {
        let limits = &self.shared.limits;
        limits.ask_for_keys(session.user, now.instant)?;
        let account = self.shared.store.account(&name).map_err(store_failed)?;
        let account = account.ok_or_else(|| unknown_user(&name))?;
        let one_time = limits.take_prekey(session.user, account.id, now.instant);
        let take = |one_time| {
            let of = account.id;
            self.shared
                .writer
                .change(Change::TakeBundle { of, one_time })
        };
        let taken = match take(one_time) {
            // One-time prekeys that are damaged are as good as used up.
            Err(refusal) if one_time && refusal.code == Code::Damaged => take(false),
            taken => taken,
        };
        match taken? {
            Changed::Bundle(bundle, left) => {
                if left < FEW_PREKEYS
                    && bundle.one_time.is_some()
                    && let Some(owner) = self.shared.sessions.find(&name)
                {
                    owner
                        .send_queue
                        .event(&Event::PrekeysLow { one_time: left });
                    owner.send_queue.flush();
                }
                Ok(Reply::Bundle(bundle))
            }
            _ => Err(Refusal::new(
                Code::NoKeys,
                format!("{name} has no client with keys yet, so nothing can be encrypted to them"),
            )),
        }
    }

    pub(super) fn publish(
        &self,
        session: &Session,
        own: &SharedMailbox,
        publish: Publish,
    ) -> Answer {
        too_many(publish.one_time.len(), limits::MAX_ONE_TIME_PREKEYS)?;
        let published = check_keys(&publish)?;
        match self
            .shared
            .writer
            .change(Change::Publish(session.user, Box::new(publish)))?
        {
            Changed::Published(one_time) => {
                own.lock().recipient.identity = Some(published);
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

/// Checks what every contact would check, so that a broken client hears of it
/// first. Returns the identity's fingerprint.
fn check_keys(publish: &Publish) -> Result<[u8; 32], Refusal> {
    let bad = || {
        Refusal::new(
            Code::BadKey,
            "the identity is not valid, or the prekey is not signed by it",
        )
    };
    let fingerprint = fingerprint(&publish.identity).ok_or_else(bad)?;
    let bundle = PrekeyBundle {
        identity: keys::PublicIdentity::from_bytes(&publish.identity.to_bytes())
            .map_err(|_| bad())?,
        signed_prekey: keys::SignedPrekey {
            id: publish.signed_prekey.id,
            key: publish.signed_prekey.key.0,
            signature: publish.signed_prekey.signature.0,
        },
        one_time: None,
    };
    bundle.verify().map_err(|_| bad())?;
    Ok(fingerprint)
}
