//! What one vault transaction works with, and what is to be done after its commit.
//! Keeping a message and showing it is one step here; what a message means is
//! `receive`'s, `claims`' and `retry`'s.

use std::collections::{HashMap, HashSet};

use super::{Me, gaps};
use crate::client::vault::{
    Contact, DeliveryState, EncryptionStatus, MessageRecord, Result, Vault,
};
use crate::client::view::{Mark, ViewEvent};
use crate::crypto::ratchet::session_set::SessionSet;
use crate::protocol::MessageId;
use crate::protocol::reply::Incoming;
use crate::protocol::request::{Send, Sender};

/// A transaction on the vault, while messages are received or a decision of the
/// person is carried out.
pub(super) struct Batch<'a> {
    pub(super) vault: &'a mut Vault,
    pub(super) me: &'a Me,
    /// This client's clock: milliseconds since 1970.
    pub(super) now: u64,
    /// The contacts who may have to be asked to send messages again.
    pub(super) wanted_of: Vec<i64>,
    /// Whether messages that were asked for once are asked for a second time.
    pub(super) ask_again: bool,
    /// The contacts who asked for messages that only the person may release.
    pub(super) requested_by: Vec<i64>,
    /// The sessions with contacts whose messages were decrypted, by contact: read, and
    /// written, once for all messages of the transaction.
    sessions: HashMap<i64, SessionSet>,
    /// The contacts whose sessions have to be saved.
    changed: HashSet<i64>,
    /// What was said of which contact's numbers: each is said once.
    pub(super) said_of: Vec<(i64, &'static str)>,
    /// What of the contacts' messages is missing, and what was missing and is there.
    pub(super) gaps: gaps::Found,
    pub(super) effects: Effects,
}

/// What is to be done once the transaction is durable.
#[derive(Default)]
pub(super) struct Effects {
    /// What to acknowledge, by sender.
    pub(super) acks: Vec<(Sender, Vec<MessageId>)>,
    /// What was decrypted and is not confirmed yet.
    pub(super) received: Vec<Received>,
    /// The receipts to send.
    pub(super) receipts: Vec<Receipt>,
    /// What to show, in order.
    pub(super) shows: Vec<Shown>,
    /// Whether a contact was made or changed.
    pub(super) people_changed: bool,
    /// Whether there is something new to be encrypted and sent.
    pub(super) postponed: bool,
    /// The contacts whose known identity was seen while the server published another.
    pub(super) seen: Vec<i64>,
    /// Gaps that are not said yet.
    pub(super) gaps: gaps::Found,
}

/// A message that was decrypted here, by the vault's number for its sender.
pub(super) type Received = (i64, MessageId);

/// A receipt that was encrypted, to be sent after the commit.
pub(super) struct Receipt {
    pub(super) send: Send,
    pub(super) confirms: Vec<Received>,
}

/// One thing to show.
pub(super) struct Shown {
    pub(super) event: ViewEvent,
    /// The place of the message that is unread until the screen has written it.
    pub(super) unread: Option<i64>,
}

/// A message that arrives, or that was held and is tried again.
pub(super) struct Arrival<'m> {
    pub(super) contact: Contact,
    pub(super) message: &'m Incoming,
    /// The place at which the history shows the message as held.
    pub(super) held_at: Option<i64>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(vault: &'a mut Vault, me: &'a Me, now: u64) -> Self {
        Batch {
            vault,
            me,
            now,
            wanted_of: Vec::new(),
            ask_again: false,
            requested_by: Vec::new(),
            sessions: HashMap::new(),
            changed: HashSet::new(),
            said_of: Vec::new(),
            gaps: gaps::Found::default(),
            effects: Effects::default(),
        }
    }

    /// Takes the sessions with a contact, as they are at this moment of the transaction.
    /// Whoever takes them gives them back with [`keep_sessions`](Self::keep_sessions).
    pub(super) fn take_sessions(&mut self, contact: i64) -> Result<Option<SessionSet>> {
        match self.sessions.remove(&contact) {
            Some(sessions) => Ok(Some(sessions)),
            None => self.vault.conversation(contact),
        }
    }

    /// Keeps sessions for the next message; if they have changed, they are saved before the
    /// transaction ends.
    pub(super) fn keep_sessions(&mut self, contact: i64, sessions: SessionSet, changed: bool) {
        self.sessions.insert(contact, sessions);
        if changed {
            self.changed.insert(contact);
        }
    }

    /// Forgets the sessions with a contact whose identity is replaced.
    pub(super) fn drop_sessions(&mut self, contact: i64) {
        self.sessions.remove(&contact);
        self.changed.remove(&contact);
    }

    /// Saves the sessions that have changed; the last step of the transaction. Gives what
    /// follows the commit.
    pub(super) fn finish(mut self) -> Result<Effects> {
        let (now, later) = self.gaps.settle(self.me.after_restore);
        for (place, event) in now {
            let unread = None;
            self.effects.shows.insert(place, Shown { event, unread });
        }
        self.effects.gaps = later;
        for contact in self.changed {
            if let Some(sessions) = self.sessions.get(&contact) {
                self.vault.save_conversation(contact, sessions)?;
            }
        }
        Ok(self.effects)
    }

    /// Says, before what is shown from here on, that messages of a contact are missing, unless others
    /// explain it.
    pub(super) fn find_gap(&mut self, contact: &Contact, count: u64) {
        let place = self.effects.shows.len();
        self.gaps.gap(contact, count, place);
    }

    pub(super) fn ack(&mut self, from: Sender, mid: MessageId) {
        let acks = &mut self.effects.acks;
        match acks.iter_mut().find(|(sender, _)| *sender == from) {
            Some((_, ids)) => ids.push(mid),
            None => acks.push((from, vec![mid])),
        }
    }

    pub(super) fn wants(&mut self, contact: i64) {
        if !self.wanted_of.contains(&contact) {
            self.wanted_of.push(contact);
        }
    }

    pub(super) fn show(&mut self, event: ViewEvent) {
        let unread = None;
        self.effects.shows.push(Shown { event, unread });
    }

    /// Shows the message at `seq`, which counts as unread until it is on the screen.
    pub(super) fn show_message(&mut self, seq: i64, event: ViewEvent) -> Result<()> {
        let unread = Some(seq);
        self.effects.shows.push(Shown { event, unread });
        self.vault.mark_unread(seq)
    }

    /// Keeps a message in the history and shows it; gives its place.
    pub(super) fn keep(
        &mut self,
        arrival: &Arrival,
        record: MessageRecord,
        mark: Mark,
    ) -> Result<i64> {
        let Arrival {
            contact, message, ..
        } = arrival;
        let seq = self.save(arrival, &record)?;
        self.show_message(
            seq,
            shown(contact, message.mid, message.at, record.text, mark, ""),
        )?;
        Ok(seq)
    }

    /// Puts a message into the history, or in the place at which it was held; gives its place.
    fn save(&mut self, arrival: &Arrival, record: &MessageRecord) -> Result<i64> {
        let Arrival {
            contact, message, ..
        } = arrival;
        match arrival.held_at {
            Some(seq) => self.vault.save_message(seq, record).map(|()| seq),
            None => self
                .vault
                .add_message(contact.id, &message.mid, message.at, record),
        }
    }

    /// Keeps a message that could not be decrypted, with the reason.
    pub(super) fn keep_undecryptable(&mut self, arrival: &Arrival, why: &str) -> Result<()> {
        let mark = Mark::Undecryptable(why.to_owned());
        self.keep(arrival, undecryptable(arrival, why), mark)
            .map(drop)
    }

    /// Keeps it for the history alone: it is not shown and does not count as unread.
    pub(super) fn keep_quietly_undecryptable(
        &mut self,
        arrival: &Arrival,
        why: &str,
    ) -> Result<()> {
        let record = MessageRecord {
            is_quiet: true,
            ..undecryptable(arrival, why)
        };
        self.save(arrival, &record).map(drop)
    }
}

fn undecryptable(arrival: &Arrival, why: &str) -> MessageRecord {
    MessageRecord {
        form: EncryptionStatus::Undecryptable(why.to_owned()),
        ..received(arrival.message)
    }
}

/// The record of a message that arrived, before anything is known of its content.
pub(super) fn received(message: &Incoming) -> MessageRecord {
    MessageRecord {
        stored_at: Some(message.at),
        ..MessageRecord::new(EncryptionStatus::Encrypted, DeliveryState::Received)
    }
}

/// A contact's message as the screen shows it.
pub(super) fn shown(
    contact: &Contact,
    id: MessageId,
    at: u64,
    text: String,
    mark: Mark,
    state: &'static str,
) -> ViewEvent {
    ViewEvent::Message {
        name: contact.name,
        outgoing: false,
        text,
        at,
        mark,
        state,
        id,
        verified: contact.verified,
        failed: None,
        listed: false,
    }
}
