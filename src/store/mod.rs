//! What must not be lost: accounts, public keys and pending messages.
//!
//! [`Store`] is the contract. Its methods are facts of the protocol, not queries, and each
//! says what survives a crash once it has returned. A store knows no session, no socket
//! and no clock.
//!
//! | file | what |
//! | --- | --- |
//! | this one | the contract, and the values that go in and out |
//! | `access` | accounts as the operator lists them, resets, invitations and bans |
//! | `error` | why a store fails |
//! | [`expiry`] | mail that waited for too long |
//! | [`homes`] | which of several servers holds a mailbox |
//! | [`lease`] | until when a server may act for its users |
//! | [`journal`] | what a restore must not undo |
//! | `migrate` | from a SQLite file into a database |
//! | [`personal_data`] | what a store holds about a person |
//! | [`purge`] | what a deleted account has left with others |
//! | `tally` | what is pending, in numbers |
//! | [`successions`] | what the server's certificates have announced of each other |
//! | [`sqlite`] | a store in one SQLite file |
//! | `postgres` | a store in a PostgreSQL database, with the feature of that name |
//! | `no_database` | what stands for its address without that feature |
//! | `pool` | the connections that read |

mod access;
mod error;
pub(crate) mod expiry;
#[allow(dead_code, reason = "delivery has yet to use it")]
pub(crate) mod homes;
pub(crate) mod journal;
pub(crate) mod lease;
#[cfg(feature = "postgres")]
pub(crate) mod migrate;
#[cfg(not(feature = "postgres"))]
mod no_database;
pub(crate) mod personal_data;
#[cfg(feature = "postgres")]
mod pool;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
pub(crate) mod purge;
pub(crate) mod sqlite;
pub(crate) mod successions;
mod tally;

#[cfg(test)]
mod conformance;

use self::access::REMEMBERED;
pub(crate) use self::access::{Ban, Invitation, ListedAccount, ListedInvitation, Reset};
pub(crate) use self::error::StoreError;
#[cfg(not(feature = "postgres"))]
pub(crate) use self::no_database::StoreAddress;
#[cfg(feature = "postgres")]
pub(crate) use self::postgres::StoreAddress;
pub(crate) use self::tally::{Summary, Tally};

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::expiry::ExpiredMail;
use self::homes::{Home, Homes, RunId};
use self::lease::Lease;
use self::personal_data::{After, Person, PersonalPage, Section};
use self::purge::Traces;
use self::successions::Successions;
use crate::protocol::ids::{ByteArray, MessageId};
use crate::protocol::name::UserName;
use crate::protocol::reply::{Bundle, Succession};
use crate::protocol::request::{Body, Identity, KdfParams, Publish, Sender};

/// An account's number; 0 stands for the server itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct UserId(pub i64);

impl UserId {
    /// The sender of notices.
    pub(crate) const SERVER: UserId = UserId(0);
}

/// One account as it was when it was read. Deleted accounts are not found.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    /// The account's number.
    pub id: UserId,
    /// The canonical name.
    pub name: UserName,
    /// How its login key is derived.
    pub kdf: KdfParams,
    /// The public login key.
    pub login_key: ByteArray<32>,
    /// Logins so far.
    pub logins: u64,
    /// End of the last visible session, ms since 1970.
    pub last_seen: Option<u64>,
    /// The settings that are yes or no.
    pub flags: Flags,
    /// The published identity.
    pub identity: Option<Identity>,
    /// The published signed prekey's id.
    pub signed_prekey: Option<u32>,
    /// How many one-time prekeys are left.
    pub one_time: u32,
    /// The operator has disabled it.
    pub disabled: bool,
    /// What an imported account's password is checked against, once.
    pub verifier: Option<ByteArray<32>>,
}

/// An account's settings that are yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flags {
    /// The account is found by search.
    pub listed: bool,
    /// Others see whether the user is online and when they were last seen.
    pub presence: bool,
    /// Unencrypted messages are refused.
    pub refuse_unencrypted: bool,
}

/// One row of a search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SearchHit {
    /// The user's number.
    pub user: UserId,
    /// The user's name.
    pub name: UserName,
    /// Whether others may see the user's presence.
    pub presence: bool,
    /// End of the last visible session, ms since 1970.
    pub last_seen: Option<u64>,
}

/// An accepted message, in memory or read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// The message's place in its mailbox.
    pub number: u64,
    /// The sender's number.
    pub sender: UserId,
    /// The sender's name, or [`Sender::Server`] for a notice, whose body is JSON.
    pub from: Sender,
    /// The message's id, which is unique for its sender.
    pub mid: MessageId,
    /// When the message was accepted, ms since 1970.
    pub at: u64,
    /// The text or the envelope.
    pub body: Body,
}

/// A message's place in a mailbox, without the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The message's number.
    pub number: u64,
    /// The sender's number.
    pub sender: UserId,
    /// The message's id.
    pub mid: MessageId,
}

/// Bounds of one page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageBounds {
    /// Only numbers above this.
    pub after: u64,
    /// Only numbers below this.
    pub before: u64,
    /// At most this many messages.
    pub messages: usize,
    /// Look at no more than this many, those that are left out among them.
    pub rows: usize,
    /// Stop once the bodies have this many bytes.
    pub bytes: usize,
    /// Read envelopes too; otherwise they are left out.
    pub envelopes: bool,
}

/// Part of a mailbox, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page {
    /// The messages.
    pub messages: Vec<Message>,
    /// The number of the last message that was looked at; 0 if there was none.
    pub end: u64,
    /// Whether these are all messages within the bounds.
    pub complete: bool,
}

/// An account to be made.
#[derive(Debug, Clone)]
pub(crate) struct NewAccount {
    /// The name to take.
    pub name: UserName,
    /// How its login key is derived.
    pub kdf: KdfParams,
    /// The public login key.
    pub login_key: ByteArray<32>,
    /// The time of the request, ms since 1970.
    pub created: u64,
    /// SHA-256 of the code of the invitation that it uses up, if it needs one.
    pub invitation: Option<ByteArray<32>>,
}

/// Another login key for an account.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewLogin {
    /// The account.
    pub user: UserId,
    /// The key that the change was proven with: the account's, or the one of its reset.
    pub proven: ByteArray<32>,
    /// How the new one is derived.
    pub kdf: KdfParams,
    /// The new one.
    pub login_key: ByteArray<32>,
}

/// The generation of a client's vault, as a login names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VaultGeneration {
    /// It grows with every change of the vault.
    pub number: u64,
    /// What the client recognises it by; none from earlier clients.
    pub proof: Option<ByteArray<16>>,
}

/// A change of accounts or keys.
#[allow(dead_code, reason = "delivery has yet to use homes")]
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Make an account.
    Register(NewAccount),
    /// Count a login, which may tell the generation of the client's vault.
    CountLogin(UserId, Option<VaultGeneration>),
    /// A visible session ended at this time, ms since 1970.
    Seen(UserId, u64),
    /// Forget, of some accounts behind this one, when they were last seen if that is before this
    /// time, ms since 1970.
    ForgetSeen(UserId, u64),
    /// Replace identity and prekeys, or add to them.
    Publish(UserId, Box<Publish>),
    /// Hand out a user's prekey bundle.
    ClaimBundle {
        /// The user.
        of: UserId,
        /// Whether to remove a one-time prekey and hand it out too, if one is left.
        one_time: bool,
    },
    /// Replace the flags.
    SetFlags(UserId, Flags),
    /// Let the first user block the second one, or with `false` unblock them.
    Block(UserId, UserId, bool),
    /// Replace the password's derivation and login key, unless the proven one is the account's
    /// no more.
    SetLogin(NewLogin),
    /// Take the login key away from an account, and let the code of a reset set another.
    Reset(UserId, Reset),
    /// Do that: replace the derivation and the login key of an account that was reset with the
    /// proven key, unless the code has expired at this time, ms since 1970.
    FinishReset(NewLogin, u64),
    /// Replace the derivation and the login key of an imported account with the proven verifier,
    /// which is erased.
    Claim(NewLogin),
    /// Disable an account, or enable it again.
    Disable(UserId, bool),
    /// Delete an account's keys, mail and blocks; its name stays taken.
    Delete {
        /// The account.
        user: UserId,
        /// The login key by which its owner has proven the request. If it is not the account's
        /// any more, nothing changes.
        proven: Option<ByteArray<32>>,
    },
    /// Purge some of what a deleted account has left: messages, by their places, and blocks of it, by
    /// those who block it.
    Purge(UserId, Vec<expiry::Key>, Vec<UserId>),
    /// Give the name of a deleted account to a new one, once all that it had left was purged.
    Reuse(UserId, NewAccount),
    /// Store an invitation, unless its inviter has this many others that still work.
    Invite(Invitation, u32),
    /// Take an invitation back; one that does not work any more is forgotten.
    Revoke(i64),
    /// Take no connection from a network, since this time, ms since 1970.
    Ban(String, u64),
    /// Take connections from a banned network again.
    LiftBan(String),
    /// Keep what a certificate has announced of the next one.
    Announce(Box<Succession>),
    /// All servers show the certificate that was announced last.
    EndSuccession,
    /// Remove mail that waited for too long, or change what is kept of it.
    Expiry(expiry::Step),
    /// Take a mailbox to this server, unless another one has it whose run has not ended.
    ClaimHome(UserId),
    /// Pass a mailbox on to another run, once this server has it in memory no more.
    MoveHome(UserId, RunId),
    /// Tell the other servers whether a user has a visible session, if the mailbox is at this one.
    Online(UserId, bool),
}

impl Change {
    /// The account that is changed; `None` if it does not exist yet.
    pub(crate) fn user(&self) -> Option<UserId> {
        match self {
            Change::Register(_)
            | Change::ForgetSeen(..)
            | Change::Invite(..)
            | Change::Revoke(_)
            | Change::Ban(..)
            | Change::LiftBan(_)
            | Change::Announce(_)
            | Change::EndSuccession
            | Change::Expiry(_) => None,
            Change::CountLogin(user, _)
            | Change::Seen(user, _)
            | Change::Publish(user, _)
            | Change::ClaimHome(user)
            | Change::MoveHome(user, _)
            | Change::Online(user, _)
            | Change::ClaimBundle { of: user, .. }
            | Change::SetFlags(user, _)
            | Change::Block(user, ..)
            | Change::Reset(user, _)
            | Change::Disable(user, _)
            | Change::Purge(user, ..)
            | Change::Reuse(user, _)
            | Change::Delete { user, .. } => Some(*user),
            Change::SetLogin(new) | Change::FinishReset(new, _) | Change::Claim(new) => {
                Some(new.user)
            }
        }
    }
}

/// The outcome of a change.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Changed {
    /// The change was made.
    Done,
    /// Nothing changed, because the password has changed since the request was proven.
    OtherLogin,
    /// The account was made.
    Registered(UserId),
    /// The name was taken before.
    NameTaken,
    /// No such invitation, ban or reset is there, no such home, or no succession under way; nothing changed.
    Unknown,
    /// The invitation is used up, or the inviter has as many as permitted; nothing changed.
    UsedUp,
    /// The invitation or the code has expired; nothing changed.
    Expired,
    /// The invitation is stored under this number.
    Invited(i64),
    /// The change was made up to this account, and there are more.
    LookedUpTo(UserId),
    /// What was done about mail that waited for too long.
    Expiry(expiry::Stepped),
    /// Where the mailbox is.
    Home(Home),
    /// The keys are published; this many one-time prekeys are left.
    Published(u32),
    /// Another identity is published; nothing changed.
    OtherIdentity,
    /// The bundle and, if it has a one-time prekey, how many of those are left.
    Bundle(Box<Bundle>, u32),
    /// The user has published no keys.
    NoKeys,
    /// The login was counted.
    Login {
        /// How many logins there were, with this one.
        logins: u64,
        /// The greatest generation of a vault that was told before, unless this login told
        /// a greater one.
        vault: Option<VaultGeneration>,
    },
}

/// What one transaction does: changes first, then messages, then acknowledgements, each
/// in order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Changes of accounts and keys.
    pub changes: Vec<Change>,
    /// Messages accepted, with their mailbox.
    pub messages: Vec<(UserId, Arc<Message>)>,
    /// Numbers of acknowledged messages, with their mailbox. A number may be missing there.
    pub acknowledged: Vec<(UserId, RangeInclusive<u64>)>,
}

/// The contract. Reads see all that [`commit`](Store::commit) has returned for.
pub(crate) trait Store: ExpiredMail + Homes + Traces + Send + Sync {
    /// An account by name; `None` if there is none or it was deleted.
    fn account(&self, name: &UserName) -> Result<Option<Account>, StoreError>;

    /// Accounts, deleted ones included, whose names come after `after`, in order.
    fn accounts(
        &self,
        after: Option<&UserName>,
        limit: usize,
    ) -> Result<Vec<ListedAccount>, StoreError>;

    /// An account in that list, by name.
    fn listed_account(&self, name: &UserName) -> Result<Option<ListedAccount>, StoreError>;

    /// The reset of an account whose code was not used yet; it may have expired.
    fn reset(&self, user: UserId) -> Result<Option<Reset>, StoreError>;

    /// Invitations whose numbers come after `after`, in order, also those that do not work any more.
    fn invitations(&self, after: i64, limit: usize) -> Result<Vec<ListedInvitation>, StoreError>;

    /// Counts a wrong login for a name, whether or not an account has it, and returns how many of that name
    /// are remembered, `most` at most; one is forgotten in each `forgiven_after`. Power may be lost with the
    /// last ones. `None` from a store that one server has alone: it remembers them itself.
    fn count_guess(
        &self,
        _name: &UserName,
        _forgiven_after: Duration,
        _most: u32,
    ) -> Result<Option<u32>, StoreError> {
        Ok(None)
    }

    /// All banned networks.
    fn bans(&self) -> Result<Vec<Ban>, StoreError>;

    /// What the server's certificates have announced of each other.
    fn successions(&self) -> Result<Successions, StoreError>;

    /// SHA-256 of the certificate that all servers of the store show, if there may be several.
    fn face(&self) -> Result<Option<[u8; 32]>, StoreError> {
        Ok(None)
    }

    /// Whether one account blocks another.
    fn blocks(&self, user: UserId, whom: UserId) -> Result<bool, StoreError>;

    /// Listed accounts whose names begin with `prefix` and come after `after`,
    /// in order. Who blocks `asker` is not shown as present.
    fn search(
        &self,
        asker: UserId,
        prefix: &str,
        after: Option<&UserName>,
        limit: usize,
    ) -> Result<Vec<SearchHit>, StoreError>;

    /// The users that an account blocks, in order of names, without deleted ones.
    fn blocked(&self, user: UserId) -> Result<Vec<UserName>, StoreError>;

    /// What is pending in a mailbox. Takes time in proportion to that.
    fn summary(&self, recipient: UserId) -> Result<Summary, StoreError>;

    /// A part of a mailbox. No transaction outlives the call.
    fn page(&self, recipient: UserId, bounds: PageBounds) -> Result<Page, StoreError>;

    /// The message that has a number in a mailbox.
    fn message(&self, recipient: UserId, number: u64) -> Result<Option<Message>, StoreError>;

    /// The places in use among some numbers of a mailbox.
    fn places(&self, recipient: UserId, numbers: &[u64]) -> Result<Vec<Place>, StoreError>;

    /// At most `limit` places of a mailbox behind a number, in order.
    fn places_after(
        &self,
        recipient: UserId,
        number: u64,
        limit: usize,
    ) -> Result<Vec<Place>, StoreError>;

    /// Some rows about a person, of those behind `after`. It looks at no more than `limit` rows; the
    /// section ends where the answer names no further place.
    fn personal_data(
        &self,
        person: Person<'_>,
        section: Section,
        after: After,
        limit: usize,
    ) -> Result<PersonalPage, StoreError>;

    /// Above every number that was given before the store was opened, in any mailbox. Mailboxes
    /// begin here, so that a number never comes again after its message was deleted.
    fn first_number(&self) -> u64;

    /// Random bytes that were made when the store was restored from a backup last; `None` if it
    /// never was.
    fn epoch(&self) -> Option<[u8; 16]>;

    /// 32 random bytes that were made with the database. The answers about users that do
    /// not exist are derived from them, so that they stay the same.
    fn secret(&self) -> [u8; 32];

    /// What the store is set to promise less than [`commit`](Self::commit) does, a sentence each, as it was found
    /// lately. Nothing, unless others have a say in that.
    fn weaknesses(&self) -> Vec<String> {
        Vec::new()
    }

    /// Until when this server may act for the users: for ever, unless several servers may want the store.
    fn lease(&self) -> Lease {
        Lease::for_ever()
    }

    /// Does all of a batch in one transaction, or nothing of it. Once it has
    /// returned, the batch survives a crash and a power cut.
    ///
    /// # Errors
    /// Nothing was done, and the same batch may be tried again; after
    /// [`StoreError::Damaged`] best in parts, to find what it is that is damaged.
    fn commit(&self, batch: &Batch) -> Result<Vec<Changed>, StoreError>;

    /// Does a small part of what nobody waits for: removes mail of deleted accounts, and gives
    /// free space back to the disk. Returns whether there is more of it.
    ///
    /// # Errors
    /// It is left undone, and nothing else is lost.
    fn reclaim(&self) -> Result<bool, StoreError>;

    /// Whether what was committed takes so much more room than it needs that [`fold`](Self::fold) is
    /// due. Never, where the database sees to that itself, as PostgreSQL does.
    fn wants_folding(&self) -> bool;

    /// Makes ready for [`fold`](Self::fold), in the thread that commits. Only a longer log is due once more.
    fn prepare_folding(&self, _beside_mail: bool) {}

    /// Brings what was committed to its final place, which takes as long as writing it. Accounts may be changed
    /// meanwhile, from another thread. With `beside_mail` mail may be, too, and what that commits is left to do.
    ///
    /// # Errors
    /// It is left undone for the moment, and nothing is lost.
    fn fold(&self, beside_mail: bool) -> Result<(), StoreError>;

    /// Closes the store. Afterwards a copy of the one file is a copy of everything, and
    /// reads fail. It does not wait long for reads that are under way.
    ///
    /// # Errors
    /// Everything that was committed is safe, but not all of it is in one file.
    fn close(&self) -> Result<(), StoreError>;
}
