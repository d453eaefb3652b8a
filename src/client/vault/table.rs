//! The tables of the vault, and how the values of each are protected.
//!
//! A table of the next version joins here and in `schema.sql`. Nothing else has to know
//! it: [`rows`](super::rows) checks every table of [`Table::ALL`] at opening.

use std::fmt;

/// A table of values under numbers. Its own number goes into what the root sums up, so it
/// never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    State = 1,
    Contacts = 2,
    Sessions = 3,
    SignedPrekeys = 4,
    OneTimePrekeys = 5,
    /// Too large to be checked at opening: `message_chunks` says which rows it has.
    Messages = 6,
    MessageChunks = 7,
    SeenIds = 8,
    Unread = 9,
    ControlMessages = 10,
    Wanted = 11,
    Outbox = 12,
    Unsent = 13,
    WaitingEnvelopes = 14,
    /// Readable without the vault key, and with columns of its own: `key_slots.rs`.
    KeySlots = 15,
}

impl Table {
    /// All but `root`.
    pub(super) const ALL: [Table; 15] = [
        Table::State,
        Table::Contacts,
        Table::Sessions,
        Table::SignedPrekeys,
        Table::OneTimePrekeys,
        Table::Messages,
        Table::MessageChunks,
        Table::SeenIds,
        Table::Unread,
        Table::ControlMessages,
        Table::Wanted,
        Table::Outbox,
        Table::Unsent,
        Table::WaitingEnvelopes,
        Table::KeySlots,
    ];

    /// Its name in the schema, which is also part of what each value is bound to.
    pub(super) fn name(self) -> &'static str {
        match self {
            Table::State => "state",
            Table::Contacts => "contacts",
            Table::Sessions => "sessions",
            Table::SignedPrekeys => "signed_prekeys",
            Table::OneTimePrekeys => "one_time_prekeys",
            Table::Messages => "messages",
            Table::MessageChunks => "message_chunks",
            Table::SeenIds => "seen_ids",
            Table::Unread => "unread",
            Table::ControlMessages => "control_messages",
            Table::Wanted => "wanted",
            Table::Outbox => "outbox",
            Table::Unsent => "unsent",
            Table::WaitingEnvelopes => "waiting_envelopes",
            Table::KeySlots => "key_slots",
        }
    }

    /// Whether all of it is read when the vault is opened.
    pub(super) fn is_small(self) -> bool {
        !matches!(
            self,
            Table::Messages | Table::MessageChunks | Table::SeenIds | Table::KeySlots
        )
    }

    /// Whether its values are encrypted. The others hold nothing but numbers and hashes,
    /// and have a MAC alone, which costs a fifth.
    pub(super) fn is_encrypted(self) -> bool {
        match self {
            Table::MessageChunks
            | Table::SeenIds
            | Table::Unread
            | Table::Unsent
            | Table::KeySlots => false,
            Table::State
            | Table::Contacts
            | Table::Sessions
            | Table::SignedPrekeys
            | Table::OneTimePrekeys
            | Table::Messages
            | Table::ControlMessages
            | Table::Wanted
            | Table::Outbox
            | Table::WaitingEnvelopes => true,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
