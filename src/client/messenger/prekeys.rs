//! Publishes the keys that others need to start a session: a signed prekey, replaced every
//! week, and one-time prekeys. With the signed one all one-time prekeys are replaced, so
//! that each is withdrawn at some time and its private half is not kept for ever.
//!
//! Making and erasing private halves is the vault's.

use std::time::{Duration, Instant};

use super::Messenger;
use super::identity::wire_identity;
use crate::client::net::error::{CallError, said};
use crate::client::vault::Result;
use crate::client::view::{End, ViewEvent};
use crate::clock;
use crate::crypto::keys::SignedPrekeySecret;
use crate::protocol::reply::{Published, Welcome};
use crate::protocol::request::{OneTimePrekey, Publish, SignedPrekey};
use crate::protocol::{ByteArray, Request, limits};

/// How long a signed prekey is published: a week.
const ROTATION_MS: u64 = 7 * 24 * 3600 * 1000;

/// Below this many one-time prekeys on the server, more are published.
const FEW_PREKEYS: u32 = 50;

/// How long after prekeys were published a server's word that they run out is
/// not acted on: each time costs a hundred keys that are kept. An honest server
/// hands out half of them in this time at most.
const REPLENISH_AFTER: Duration = Duration::from_secs(600);

/// When to publish more one-time prekeys.
#[derive(Default)]
pub(super) struct PrekeyUpkeep {
    /// How many the server has left, if it said that they run out.
    pub(super) few: Option<u32>,
    /// When prekeys were published the last time.
    published_at: Option<Instant>,
}

impl Messenger {
    /// Whether prekeys are published under this identity that were not made here:
    /// by a copy of this vault, or before it was imported. It is the server's word.
    pub(super) fn foreign_prekeys(&self, welcome: &Welcome) -> Result<bool> {
        let mine = wire_identity(&self.me.keys.public());
        match welcome.signed_prekey {
            Some(id) if welcome.identity == Some(mine) => Ok(!self.vault.has_signed(id)),
            _ => Ok(false),
        }
    }

    /// Whether the published prekeys prove that a copy of this device was used: they are
    /// signed by its identity, and this vault has never had or seen them. Says so once for
    /// each; no server can bring that about.
    pub(super) fn copy_is_proven(&mut self) -> Result<bool> {
        let Ok(bundle) = self.bundle(&self.me.name.clone()) else {
            return Ok(false);
        };
        let id = bundle.signed_prekey().id;
        let mut device = self.vault.device()?;
        let known = device.signed_ids.contains(&id) || self.vault.has_signed(id);
        if known || *bundle.identity() != self.me.keys.public() {
            return Ok(false);
        }
        device.signed_ids.push(id);
        self.vault.transact(|vault| vault.save_device(&device))?;
        Ok(true)
    }

    /// Publishes what the server lacks of this device's keys: all of them if it went back in time,
    /// since it may have handed them out before.
    pub(super) fn keep_published(&mut self, welcome: &Welcome, went_back: bool) -> Result<()> {
        let mine = wire_identity(&self.me.keys.public());
        let anew = welcome.identity != Some(mine);
        if anew && welcome.identity.is_some() && !self.login.new_identity {
            self.end(End::ShutOut(
                "another device has published a new identity for this account; log in again to decide which one counts"
                    .to_owned(),
            ));
            return Ok(());
        }
        if welcome.one_time < FEW_PREKEYS {
            self.prekeys.few = Some(welcome.one_time);
        }
        // One-time prekeys of a copy are of no use with a signed prekey of ours, and the
        // copy is to see that this device was used.
        let replace = anew || went_back || self.foreign_prekeys(welcome)?;
        let (signed, is_new) = self.signed_prekey(replace)?;
        if is_new || welcome.signed_prekey != Some(signed.public().id) {
            self.publish(&signed, 0, true)?;
        }
        self.replenish(clock::now())
    }

    /// The newest signed prekey, made now if the one so far was published for a week or is
    /// to be replaced for another reason; and whether it was made now.
    fn signed_prekey(&mut self, replace: bool) -> Result<(SignedPrekeySecret, bool)> {
        let now = clock::unix_ms();
        let since = self.vault.signed_since(now)?;
        let is_due = since.is_none_or(|since| now.saturating_sub(since) >= ROTATION_MS);
        match self.vault.newest_signed()? {
            Some((signed, _)) if !replace && !is_due => Ok((signed, false)),
            _ => Ok((self.vault.make_signed(&self.me.keys, now)?, true)),
        }
    }

    /// Replaces the prekeys on a long connection, after a week.
    pub(super) fn rotate_prekeys(&mut self) -> Result<()> {
        if self.over {
            return Ok(());
        }
        match self.signed_prekey(false)? {
            (signed, true) => self.publish(&signed, 0, true),
            (_, false) => Ok(()),
        }
    }

    /// Publishes more prekeys, if the server said that they run out, and did not
    /// say so just before.
    pub(super) fn replenish(&mut self, now: Instant) -> Result<()> {
        let published = self.prekeys.published_at;
        if published.is_some_and(|at| now.saturating_duration_since(at) < REPLENISH_AFTER) {
            return Ok(());
        }
        if let Some(left) = self.prekeys.few
            && let Some((signed, _)) = self.vault.newest_signed()?
        {
            self.publish(&signed, left as usize, false)?;
        }
        Ok(())
    }

    /// Publishes the signed prekey, with as many one-time prekeys as make the stock full.
    fn publish(&mut self, signed: &SignedPrekeySecret, stock: usize, replace: bool) -> Result<()> {
        if replace {
            self.vault.withdraw_one_time(self.me.age)?;
        }
        let wanted = limits::ONE_TIME_PREKEYS.saturating_sub(stock);
        let one_time = self.vault.make_one_time(wanted)?;
        let public = signed.public();
        let request = Request::Publish(Publish {
            identity: wire_identity(&self.me.keys.public()),
            signed_prekey: SignedPrekey {
                id: public.id,
                key: ByteArray(public.key),
                signature: ByteArray(public.signature),
            },
            one_time: one_time
                .iter()
                .map(|prekey| OneTimePrekey {
                    id: prekey.public().id,
                    key: ByteArray(prekey.public().key),
                })
                .collect(),
            replace,
            new_identity: replace && self.login.new_identity,
        });
        match self.call::<Published>(&request) {
            Ok(_) => {
                self.login.new_identity = false;
                self.prekeys.few = None;
                self.prekeys.published_at = Some(clock::now());
            }
            // The next login finishes it; a lost connection says so itself.
            Err(CallError::Lost(_)) => {}
            Err(CallError::Refused(refusal)) => {
                // Asking again at once would fail again; the next login does.
                self.prekeys.few = None;
                self.say(ViewEvent::warning(format!(
                    "your keys could not be published, so others may not be able to write to \
                     you: {}",
                    said(&refusal)
                )));
            }
        }
        Ok(())
    }
}
