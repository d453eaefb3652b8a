//! What is forgotten after a while, as the operator says: when people were last seen, and mail that nobody
//! fetches; and old copies of the database. Once an hour, and when the settings change, the thread looks through all of it, a part at a
//! time, so that nobody waits for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::delivery::expiry::Removal;
use super::shared::Shared;
use super::{log, old_copies};
use crate::clock;
use crate::store::expiry::{FIRST, Key, Look, Step, Stepped};
use crate::store::{Change, Changed, UserId};
use crate::sync;

/// The pause between two parts of a look, and how often the stop is noticed.
const PAUSE: Duration = Duration::from_millis(200);

/// The pause between two looks.
const BETWEEN: Duration = Duration::from_secs(3600);

/// The stack of the thread, in bytes.
const STACK: usize = 128 * 1024;

/// So often it is tried to remove mail from a mailbox that is in use, before the next look.
const TRIES: u32 = 5;

/// How long it is kept that a message has expired, in ms: a year.
const KEEP_EXPIRED: u64 = 365 * 24 * 3600 * 1000;

/// Starts the thread `retention`.
///
/// # Errors
/// The system has no thread to give.
pub(super) fn start(shared: Arc<Shared>, stopping: Arc<AtomicBool>) -> io::Result<()> {
    let run = move || {
        let mut seen = Timer::default();
        let mut mail = Timer::default();
        let mut expired = Timer::default();
        let mut copies = Timer::default();
        let (mut after_account, mut mailboxes, mut after_expired) =
            (NOBODY, Mailboxes::default(), FIRST);
        while !stopping.load(Ordering::Acquire) {
            let config = shared.config();
            if let Some(before) = seen.due(config.keep_last_seen) {
                seen.continues(forget_seen(&shared, &mut after_account, before));
            }
            if let Some(before) = mail.due(config.keep_mail) {
                mail.continues(mailboxes.step(&shared, before));
            }
            if let Some(before) = expired.due(Some(Duration::from_millis(KEEP_EXPIRED))) {
                expired.continues(forget_expired(&shared, &mut after_expired, before));
            }
            if let Some(before) = copies.due(Some(old_copies::KEPT)) {
                old_copies::remove(&config.data, before);
                copies.continues(false);
            }
            sync::sleep(PAUSE);
        }
    };
    sync::spawn("retention", Some(STACK), run).map(|_| ())
}

/// Before the first account.
const NOBODY: UserId = UserId(0);

/// When the next part of a look is due.
#[derive(Default)]
struct Timer {
    keep: Option<Duration>,
    /// `None` while a look goes on.
    next: Option<Instant>,
}

impl Timer {
    /// Before which time, in ms since 1970, something is to be forgotten, if it is time to look.
    fn due(&mut self, keep: Option<Duration>) -> Option<u64> {
        if self.keep != keep {
            *self = Timer { keep, next: None };
        }
        let waits = self.next.is_some_and(|next| clock::now() < next);
        let keep = keep.filter(|_| !waits)?;
        Some(clock::unix_ms().saturating_sub(keep.as_millis() as u64))
    }

    fn continues(&mut self, goes_on: bool) {
        self.next = (!goes_on).then(|| clock::now() + BETWEEN);
    }
}

/// Forgets a part. Returns whether there is more.
fn forget_seen(shared: &Shared, after: &mut UserId, before: u64) -> bool {
    let change = Change::ForgetSeen(*after, before);
    let (next, more) = match shared.writer.change(change) {
        Ok(Changed::LookedUpTo(last)) => (last, true),
        // It was the last part, or the disk is full: the next look begins anew.
        _ => (NOBODY, false),
    };
    *after = next;
    more
}

/// Forgets a part of what is left of expired mail. Returns whether there is more.
fn forget_expired(shared: &Shared, after: &mut Key, before: u64) -> bool {
    let change = Change::Expiry(Step::Forget(*after, before));
    let (next, more) = match shared.writer.change(change) {
        Ok(Changed::Expiry(Stepped::Forgotten(Some(last)))) => (last, true),
        _ => (FIRST, false),
    };
    *after = next;
    more
}

/// A look through the mailboxes.
#[derive(Default)]
struct Mailboxes {
    /// Up to this one, all were dealt with.
    after: Option<UserId>,
    /// How often the next one was in use.
    tries: u32,
    removed: u64,
}

impl Mailboxes {
    /// Looks at some, and removes a part of what one of them has kept for too long. Returns whether
    /// there is more.
    fn step(&mut self, shared: &Shared, before: u64) -> bool {
        let looked = shared.store.due(self.after.unwrap_or(NOBODY), before);
        match looked {
            Ok(Look::Found(due)) => {
                let recipient = due.recipient;
                match shared.delivery.remove_expired(due) {
                    Ok(Removal::Removed(count)) => {
                        self.removed += count;
                        self.tries = 0;
                        true
                    }
                    Ok(Removal::InUse) if self.tries < TRIES => {
                        self.tries += 1;
                        true
                    }
                    Ok(Removal::InUse) => {
                        self.go_on_behind(recipient);
                        true
                    }
                    Err(_) => self.end(),
                }
            }
            Ok(Look::UpTo(last)) => {
                self.go_on_behind(last);
                true
            }
            Ok(Look::End) | Err(_) => self.end(),
        }
    }

    fn go_on_behind(&mut self, mailbox: UserId) {
        self.after = Some(mailbox);
        self.tries = 0;
    }

    fn end(&mut self) -> bool {
        if self.removed > 0 {
            log::info(
                None,
                format_args!(
                    "messages that waited longer than --keep-mail says and were removed: {}",
                    self.removed
                ),
            );
        }
        *self = Mailboxes::default();
        false
    }
}
