//! What a client is told when a mailbox or an account can't be used, and what the log
//! says about it.

use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::server::log;
use crate::store::StoreError;

/// What the store holds of a mailbox or an account is damaged.
pub(crate) fn damaged() -> Refusal {
    Refusal::new(
        Code::Damaged,
        "what the server keeps of this mailbox or account is damaged; tell the operator, who has \
         to mend it or to restore a backup",
    )
}

/// No account has this name.
pub(crate) fn unknown_user(name: &UserName) -> Refusal {
    Refusal::new(
        Code::UnknownUser,
        format!("there is no user called {name}; search for the name"),
    )
}

/// A message that is sent again was removed, because it waited for too long.
pub(super) fn has_expired() -> Refusal {
    Refusal::new(
        Code::Expired,
        "the recipient did not fetch this message for longer than the server keeps mail, so it was \
         removed; send it anew",
    )
}

/// The mailbox is at another server, which could not be reached in time.
pub(super) fn elsewhere() -> Refusal {
    Refusal::new(
        Code::Storage,
        "another server of this database has the mailbox and can't be reached at the moment; try again \
         in some seconds",
    )
}

/// The account has a session that may not be replaced.
pub(crate) fn already_online(name: &UserName) -> Refusal {
    Refusal::new(
        Code::AlreadyOnline,
        format!("{name} is logged in elsewhere; log out there, or take the session over"),
    )
}

/// The session was replaced, or its account disabled, reset or removed.
pub(crate) fn session_over() -> Refusal {
    Refusal::new(
        Code::NotLoggedIn,
        "this session was ended, by another login or by the operator; log in again",
    )
}

/// A read failed. Logs why.
pub(crate) fn read_failed(error: StoreError) -> Refusal {
    log::error(None, format_args!("a read failed: {error}"));
    match error {
        StoreError::Damaged(_) => damaged(),
        StoreError::Full | StoreError::Locked(_) | StoreError::Failed(_) => Refusal::new(
            Code::Storage,
            "the server could not read its database; try again later, and tell the operator",
        ),
    }
}

/// Logs why a wrong login could not be counted. It is refused like any other.
pub(crate) fn log_uncounted(error: &StoreError) {
    log::error(
        None,
        format_args!("a wrong login could not be counted: {error}"),
    );
}

/// A transaction failed, so that nothing of it was stored.
pub(super) fn write_failed(error: &StoreError) -> Refusal {
    let text = match error {
        StoreError::Damaged(_) => return damaged(),
        StoreError::Full => {
            "the server's disk is full, nothing was stored; try again later, and tell the operator"
        }
        StoreError::Locked(_) | StoreError::Failed(_) => {
            "the server could not store this; try again later, and tell the operator"
        }
    };
    Refusal::new(Code::Storage, text)
}
