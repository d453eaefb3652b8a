//! What must not be lost: accounts, public keys and mail that waits.
//!
//! [`Store`] is a contract. Its methods are facts of the protocol, not queries;
//! each says what survives a crash once it has returned. It knows no session,
//! no socket and no clock. `sqlite` keeps it in one file.

pub(crate) mod sqlite;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::protocol::ids::{ByteArray, MessageId};
use crate::protocol::name::UserName;
use crate::protocol::reply::Bundle;
use crate::protocol::request::{Body, Identity, KdfParams, Publish, Sender};

/// An account's number; 0 stands for the server itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct UserId(pub i64);

impl UserId {
    /// The sender of notices.
    pub(crate) const SERVER: UserId = UserId(0);
}

/// One account, as it is at the moment of asking. Deleted ones are not found.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    /// Its number.
    pub id: UserId,
    /// Its canonical name.
    pub name: UserName,
    /// How its login key is derived.
    pub kdf: KdfParams,
    /// The public login key.
    pub login_key: ByteArray<32>,
    /// Logins so far.
    pub logins: u64,
    /// End of the last visible session, ms since 1970.
    pub last_seen: Option<u64>,
    /// The flags.
    pub flags: Flags,
    /// The published identity.
    pub identity: Option<Identity>,
    /// The published signed prekey's id.
    pub signed_prekey: Option<u32>,
    /// One-time prekeys in stock.
    pub one_time: u32,
}

/// An account's settings that are yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flags {
    /// Found by search.
    pub listed: bool,
    /// Online and last seen are visible.
    pub presence: bool,
    /// Unencrypted messages are refused.
    pub refuse_unencrypted: bool,
}

/// One row of a search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SearchHit {
    /// Who.
    pub name: UserName,
    /// Whether others may see presence.
    pub presence: bool,
    /// End of the last visible session.
    pub last_seen: Option<u64>,
}

/// An accepted message, in memory or read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its place in the mailbox.
    pub number: u64,
    /// Who sent it.
    pub sender: UserId,
    /// The same, by name; [`Sender::Server`] for a notice, whose body is JSON.
    pub from: Sender,
    /// Scoped to the sender.
    pub mid: MessageId,
    /// When it was accepted, ms since 1970.
    pub at: u64,
    /// What it carries.
    pub body: Body,
}

/// What waits in a mailbox from one sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    /// Envelopes.
    pub envelopes: u64,
    /// Unencrypted messages.
    pub plain: u64,
    /// Notices.
    pub notices: u64,
    /// Bytes of all their bodies.
    pub bytes: u64,
}

/// A mailbox, summed up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Summary {
    /// The highest number in use; 0 when empty.
    pub last: u64,
    /// By sender.
    pub tallies: Vec<(UserId, Tally)>,
}

/// Bounds of one page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageBounds {
    /// Only numbers above this.
    pub after: u64,
    /// Only numbers below this.
    pub before: u64,
    /// At most so many messages.
    pub messages: usize,
    /// Stop once the bodies have reached so many bytes.
    pub bytes: usize,
    /// Read envelopes too; without it they are passed over.
    pub envelopes: bool,
}

/// Part of a mailbox, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page {
    /// The messages.
    pub messages: Vec<Message>,
    /// Nothing else lies within the bounds.
    pub complete: bool,
}

/// A new account's values.
#[derive(Debug, Clone)]
pub(crate) struct NewAccount {
    /// The name to take.
    pub name: UserName,
    /// How its login key is derived.
    pub kdf: KdfParams,
    /// The public login key.
    pub login_key: ByteArray<32>,
    /// Now, ms since 1970.
    pub created: u64,
}

/// A change of accounts or keys.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Make an account.
    Register(NewAccount),
    /// Count a login.
    CountLogin(UserId),
    /// A visible session ended.
    Seen(UserId, u64),
    /// Replace identity and prekeys, or add to them.
    Publish(UserId, Box<Publish>),
    /// Hand out a bundle, and with it, if asked to, a one-time prekey for good.
    ClaimBundle {
        /// Whose.
        of: UserId,
        /// With a one-time prekey, if there is one left.
        one_time: bool,
    },
    /// New flags.
    SetFlags(UserId, Flags),
    /// Block, or with `false` unblock.
    Block(UserId, UserId, bool),
    /// A new password's derivation and key.
    SetLogin(UserId, KdfParams, ByteArray<32>),
    /// Delete an account's keys, mail and blocks; its name stays taken.
    Delete(UserId),
}

impl Change {
    /// Whose account it changes; `None` for one that does not exist yet.
    pub(crate) fn user(&self) -> Option<UserId> {
        match self {
            Change::Register(_) => None,
            Change::CountLogin(user)
            | Change::Seen(user, _)
            | Change::Publish(user, _)
            | Change::ClaimBundle { of: user, .. }
            | Change::SetFlags(user, _)
            | Change::Block(user, ..)
            | Change::SetLogin(user, ..)
            | Change::Delete(user) => Some(*user),
        }
    }
}

/// What a change came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Changed {
    /// Done; nothing to add.
    Done,
    /// The account exists now.
    Registered(UserId),
    /// The name was taken before.
    NameTaken,
    /// One-time prekeys in stock.
    Published(u32),
    /// Another identity is published; nothing changed.
    OtherIdentity,
    /// The bundle and, if a one-time prekey is handed out with it, how many are left.
    Bundle(Box<Bundle>, u32),
    /// Nothing is published.
    NoKeys,
    /// Logins, this one included.
    Logins(u64),
}

/// What one transaction does. Changes come first, then messages, then
/// acknowledgements, each in order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Changes of accounts and keys.
    pub changes: Vec<Change>,
    /// Messages accepted, with their mailbox.
    pub messages: Vec<(UserId, Arc<Message>)>,
    /// Numbers acknowledged, with their mailbox. Numbers that are not there are fine.
    pub acknowledged: Vec<(UserId, RangeInclusive<u64>)>,
}

/// Why the store failed. Nothing of the batch was done.
#[derive(Debug, Clone)]
pub(crate) enum StoreError {
    /// The disk is full.
    Full,
    /// What was asked for, or something that the batch had to touch, is damaged or
    /// contradicts itself; the store as a whole works. Trying again does not help.
    Damaged(String),
    /// Anything else, with what is known about it.
    Failed(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Full => f.write_str("the disk is full"),
            StoreError::Damaged(why) => write!(f, "the database is damaged here: {why}"),
            StoreError::Failed(why) => write!(f, "the database failed: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}

/// The contract. Reads see all that [`commit`](Store::commit) has returned for.
pub(crate) trait Store: Send + Sync {
    /// An account by name; `None` if there is none or it was deleted.
    fn account(&self, name: &UserName) -> Result<Option<Account>, StoreError>;

    /// Listed accounts whose names begin with `prefix` and come after `after`,
    /// in order.
    fn search(
        &self,
        prefix: &str,
        after: Option<&UserName>,
        limit: usize,
    ) -> Result<Vec<SearchHit>, StoreError>;

    /// Whom an account blocks, in order of names.
    fn blocked(&self, user: UserId) -> Result<Vec<UserName>, StoreError>;

    /// What waits in a mailbox. Takes time in proportion to it.
    fn summary(&self, recipient: UserId) -> Result<Summary, StoreError>;

    /// Part of a mailbox. No transaction outlives the call.
    fn page(&self, recipient: UserId, bounds: PageBounds) -> Result<Page, StoreError>;

    /// Which of a sender's ids wait in a mailbox, with their numbers and bodies'
    /// digests left to the caller. Reads the whole mailbox.
    fn find(
        &self,
        recipient: UserId,
        sender: UserId,
        ids: &[MessageId],
    ) -> Result<Vec<Message>, StoreError>;

    /// 32 random bytes made with the database, behind stable fake answers.
    fn secret(&self) -> [u8; 32];

    /// Does all of a batch in one transaction, or nothing of it. Once it has
    /// returned, the batch survives a crash and a power cut.
    ///
    /// # Errors
    /// Nothing was done, and the same batch may be tried again; after
    /// [`StoreError::Damaged`] best in parts, to find what it is that is damaged.
    fn commit(&self, batch: &Batch) -> Result<Vec<Changed>, StoreError>;

    /// The end: afterwards a copy of the one file is a copy of everything. Reads fail
    /// from here on. Takes a moment, not the time of a commit for each that waits.
    ///
    /// # Errors
    /// All that was committed is safe, but not in one file.
    fn close(&self) -> Result<(), StoreError>;
}
