//! Who may come: accounts as the operator lists them, resets of passwords, invitations to make an account,
//! and banned networks, as they are stored.

use super::UserId;
use crate::protocol::ids::ByteArray;
use crate::protocol::name::UserName;

/// How long an invitation that has expired is remembered, in ms: whoever tries it is told why it
/// does not work.
pub(super) const REMEMBERED: u64 = 30 * 24 * 3600 * 1000;

/// An invitation as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Invitation {
    /// SHA-256 of its code.
    pub code: ByteArray<32>,
    /// Who made it; [`UserId::SERVER`] for the operator.
    pub inviter: UserId,
    /// When it was made, ms since 1970.
    pub created: u64,
    /// Until when it works, ms since 1970.
    pub expires: u64,
    /// How many accounts it may still make.
    pub uses: u32,
}

/// An invitation in a list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListedInvitation {
    /// Its number.
    pub id: i64,
    /// The name of who made it, if that is an account that still exists.
    pub inviter: Option<UserName>,
    /// What is stored.
    pub invitation: Invitation,
}

/// A banned network, as text, and since when, ms since 1970.
pub(crate) type Ban = (String, u64);

/// A row of the list of accounts, deleted ones included.
#[derive(Debug, Clone)]
pub(crate) struct ListedAccount {
    /// The account's number.
    pub id: UserId,
    /// The name.
    pub name: UserName,
    /// When it was made, ms since 1970.
    pub created: u64,
    /// It was deleted, and its name is reserved.
    pub deleted: bool,
    /// The operator has disabled it.
    pub disabled: bool,
    /// Until when the code of a reset works, ms since 1970; `None` if its password was not reset.
    pub reset_until: Option<u64>,
    /// Logins so far.
    pub logins: u64,
    /// End of the last visible session, ms since 1970.
    pub last_seen: Option<u64>,
    /// A client has published keys for it.
    pub has_keys: bool,
    /// It was imported, and its owner has not logged in yet.
    pub is_unclaimed: bool,
}

/// A reset whose code was not used yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reset {
    /// The public key that the code leads to.
    pub key: ByteArray<32>,
    /// Until when it works, ms since 1970.
    pub expires: u64,
}
