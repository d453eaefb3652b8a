//! What follows when the server was restored from a backup, or its machine put back: messages that it
//! had accepted since may be lost, and nobody but the recipient's client knows which arrived.
//!
//! So everything that no receipt of the recipient's client covers is sent again: once for each
//! restore, in the transaction that takes note of it, and only to the identity that it went to. It
//! goes as an answer to a retry request does (`retry`), which a client that has the message already
//! takes note of and does not show. A server that claims restores without end gets each message
//! twice at most, encrypted.

use super::Trust;
use super::batch::Batch;
use super::identity::fingerprint;
use super::retry;
use crate::client::vault::{DeliveryState, Result};
use crate::client::view::{ViewEvent, plural};

/// How many messages are looked through, the latest ones.
const LOOK_BACK: u32 = 5000;

/// Has the messages sent again that the server may have lost.
pub(super) fn send_uncovered(batch: &mut Batch) -> Result<()> {
    if batch.me.trust == Trust::Always {
        return Ok(());
    }
    let mut count = 0;
    let elsewhere = batch.vault.device()?.sent_elsewhere;
    for message in batch.vault.history(None, LOOK_BACK)? {
        let accepted = matches!(
            message.record.state,
            DeliveryState::Stored | DeliveryState::Delivered
        );
        if message.seq <= elsewhere || !accepted || !retry::may_go_again(&message, batch.now) {
            continue;
        }
        let contact = batch.vault.contact_by_id(message.contact);
        let known = contact.and_then(|contact| contact.identity);
        let Some(identity) = known.map(|identity| fingerprint(&identity)) else {
            continue;
        };
        if message.record.identity == Some(identity) {
            count += 1;
            retry::send_again(batch, message, identity)?;
        }
    }
    if count > 0 {
        batch.effects.postponed = true;
        batch.show(ViewEvent::quiet(format!(
            "{count} {} of yours, which no client has confirmed, {} sent again; who has {} already sees nothing",
            plural(count, "message", "messages"),
            plural(count, "is", "are"),
            plural(count, "it", "them"),
        )));
    }
    Ok(())
}
