//! What became of a message: the first copy of one that is sent again, and `outcome`.
//!
//! The one mail table has no index on ids, and no request may read a whole mailbox for one. A
//! message whose handle the sender names is found by its place. One that was never answered has
//! no handle: it is looked for among the ids above the handle of an earlier message, or from the
//! beginning where the sender names none. That is done in short reads, of which the store runs
//! one at a time, and each row is paid for out of the account's budget. What was read is kept
//! for the session's next requests, so that a whole outbox costs one pass.
//!
//! Reading on from where the last read ended misses nothing: a mailbox's messages reach the
//! store in order of their numbers, and what is not there yet is remembered in memory.

use std::collections::{HashMap, HashSet};

use super::homes::{NotHere, PATIENCE};
use super::mailbox::Discretion;
use super::refusals::elsewhere;
use super::shared_mailbox::SharedMailbox;
use super::{Author, Budget, Delivery};
use crate::protocol::ids::{Handle, MessageId};
use crate::protocol::refusal::Refusal;
use crate::protocol::reply::{Answer, Reply, Waiting};
use crate::protocol::request::Outcome;
use crate::server::peers::message::{Call, Called};
use crate::store::homes::RunId;
use crate::store::{Message, Place, StoreError, UserId};

/// At most so many rows are read at once: few enough that whoever waits for the disk's cache
/// or a reading connection hardly notices.
const ROWS: usize = 1000;

/// A session keeps at most so many ids, some hundred KiB; an honest client seldom has more than
/// some hundred messages without an answer.
const MAX_IDS: usize = 4096;

/// What a session's searches have found so far, by recipient.
#[derive(Debug, Default)]
pub(crate) struct Resends {
    windows: HashMap<UserId, Window>,
}

/// The sender's messages in a part of a mailbox.
#[derive(Debug, Default)]
struct Window {
    /// Above this number,
    begin: u64,
    /// and up to this one, all are known.
    end: u64,
    numbers: HashMap<MessageId, u64>,
}

impl Resends {
    /// The window of a mailbox, so that it covers what comes after `after` as far as it was read.
    fn window(&mut self, recipient: UserId, after: u64) -> &mut Window {
        let windows = self.windows.values();
        if windows.map(|window| window.numbers.len()).sum::<usize>() + self.windows.len() > MAX_IDS
        {
            // Whoever resends in order does not need what lies behind.
            self.windows.retain(|other, _| *other == recipient);
            self.windows.values_mut().for_each(Window::forget);
        }
        let window = self.windows.entry(recipient).or_default();
        if after < window.begin || after > window.end {
            *window = Window {
                begin: after,
                end: after,
                ..Window::default()
            };
        }
        window
    }
}

impl Window {
    fn forget(&mut self) {
        self.begin = self.end;
        self.numbers = HashMap::new();
    }

    fn add(&mut self, sender: UserId, places: &[Place]) {
        let own = places.iter().filter(|place| place.sender == sender);
        for place in own {
            self.numbers.entry(place.mid).or_insert(place.number);
        }
        if let Some(last) = places.last() {
            self.end = last.number;
        }
    }
}

impl Delivery {
    /// The first copy of a message that its sender sends again, if it is still in the store.
    /// `after` is the handle of an earlier message.
    ///
    /// # Errors
    /// The store failed, or the budget is used up: what was read until then is kept.
    pub(super) fn first_copy(
        &self,
        author: Author,
        mailbox: &SharedMailbox,
        mid: MessageId,
        after: Option<Handle>,
        resends: &mut Resends,
        budget: Budget<'_>,
    ) -> Result<Option<Message>, Refusal> {
        let next = {
            let state = mailbox.lock();
            if !state.machine.holds_any_of(author.user) {
                return Ok(None);
            }
            state.machine.next_number()
        };
        // A number that this mailbox has yet to give comes from before its database was replaced
        // by a backup.
        let after = after
            .and_then(|handle| mailbox.number_in(author.user, handle))
            .filter(|number| *number < next)
            .unwrap_or(0);
        let number = loop {
            let window = resends.window(mailbox.user, after);
            if let Some(number) = window.numbers.get(&mid) {
                break *number;
            }
            let places = self.read_on(mailbox, window.end, budget)?;
            window.add(author.user, &places);
            if places.len() < ROWS {
                match window.numbers.get(&mid) {
                    Some(number) => break *number,
                    None => return Ok(None),
                }
            }
        };
        let stored = self.store.message(mailbox.user, number);
        let stored = stored.map_err(|error| mailbox.read_failed(error))?;
        // It may have been acknowledged since it was read.
        Ok(stored.filter(|stored| stored.sender == author.user && stored.mid == mid))
    }

    /// Whether a message that is sent again was accepted before, waited for too long and was removed.
    ///
    /// # Errors
    /// The store failed, or the budget is used up.
    pub(super) fn has_expired(
        &self,
        author: Author,
        mailbox: &SharedMailbox,
        mid: MessageId,
        after: Option<Handle>,
        budget: Budget<'_>,
    ) -> Result<bool, Refusal> {
        let after = after.and_then(|handle| mailbox.number_in(author.user, handle));
        let wanted = HashSet::from([mid]);
        let read = self.read_expired(mailbox, budget);
        let found = search(author.user, wanted, after.unwrap_or(0), read)?;
        Ok(!found.is_empty())
    }

    /// Tells which of the ids that the author sent are still pending, and which have
    /// expired, as far as the recipient lets that be seen.
    ///
    /// # Errors
    /// There is no such recipient, the store failed, or the budget is used up.
    pub(crate) fn outcome(&self, author: Author, outcome: &Outcome, budget: Budget<'_>) -> Answer {
        match self.mailbox(&outcome.to) {
            Ok(mailbox) => self.outcome_in(&mailbox, author, outcome, budget),
            Err(NotHere::At(run)) => self.outcome_at(run, author, outcome),
            Err(NotHere::Refused(refusal)) => Err(refusal),
        }
    }

    /// The same, of a mailbox that is in memory.
    pub(crate) fn outcome_in(
        &self,
        mailbox: &SharedMailbox,
        author: Author,
        outcome: &Outcome,
        budget: Budget<'_>,
    ) -> Answer {
        let mut waiting = HashSet::new();
        let (mut numbers, mut without_handle) = (HashMap::new(), HashSet::new());
        let state = mailbox.lock();
        if state.recipient.discretion(&author.name, &mailbox.name) != Discretion::Open {
            return Ok(Reply::Waiting(Waiting {
                waiting: outcome.ids.clone(),
                expired: Vec::new(),
            }));
        }
        let holds_any = state.machine.holds_any_of(author.user);
        let handles = outcome
            .handles
            .iter()
            .copied()
            .chain(std::iter::repeat(None));
        for (mid, handle) in outcome.ids.iter().zip(handles) {
            let number = handle.and_then(|handle| mailbox.number_in(author.user, handle));
            match (state.machine.is_pending(author.user, *mid), number) {
                (Some(true), _) => drop(waiting.insert(*mid)),
                (Some(false), _) => {}
                (None, Some(number)) => drop(numbers.insert(number, *mid)),
                (None, None) => drop(without_handle.insert(*mid)),
            }
        }
        drop(state);
        let mut found = Vec::new();
        if holds_any {
            let places = |numbers: &[u64]| self.store.places(mailbox.user, numbers);
            found = at_places(author, mailbox, &numbers, budget, places)?;
            let read = |end| self.read_on(mailbox, end, budget);
            found.extend(search(author.user, without_handle.clone(), 0, read)?);
        }
        let state = mailbox.lock();
        found.retain(|place| !state.machine.is_acknowledged(place.number));
        drop(state);
        waiting.extend(found.into_iter().map(|place| place.mid));
        // Looked for afterwards, so that what is removed meanwhile is found in one of the two.
        numbers.retain(|_, mid| !waiting.contains(mid));
        without_handle.retain(|mid| !waiting.contains(mid));
        let places = |numbers: &[u64]| self.store.expired(mailbox.user, numbers);
        let mut expired = at_places(author, mailbox, &numbers, budget, places)?;
        let read = self.read_expired(mailbox, budget);
        expired.extend(search(author.user, without_handle, 0, read)?);
        let expired: HashSet<MessageId> = expired.into_iter().map(|place| place.mid).collect();
        let of = |some: &HashSet<MessageId>| {
            let ids = outcome.ids.iter().copied();
            ids.filter(|mid| some.contains(mid)).collect()
        };
        Ok(Reply::Waiting(Waiting {
            waiting: of(&waiting),
            expired: of(&expired),
        }))
    }

    /// The same, of a mailbox that another server has.
    fn outcome_at(&self, run: RunId, author: Author, outcome: &Outcome) -> Answer {
        let call = Call::Outcome {
            sender: author.user,
            from: author.name,
            outcome: outcome.clone(),
        };
        let called = self.peers().map(|peers| peers.call(run, &call, PATIENCE));
        match called {
            Some(Ok(Called::Answer(answer))) => answer,
            _ => Err(elsewhere()),
        }
    }

    /// Reads the places that follow a number and from which messages were removed, and pays for them.
    fn read_expired<'a>(
        &'a self,
        mailbox: &'a SharedMailbox,
        budget: Budget<'a>,
    ) -> impl Fn(u64) -> Result<Vec<Place>, Refusal> + 'a {
        move |after| {
            budget(1)?;
            let places = self.store.expired_after(mailbox.user, after, ROWS);
            let places = places.map_err(|error| mailbox.read_failed(error))?;
            // As in `read_on`.
            let _ = budget(places.len());
            Ok(places)
        }
    }

    /// Reads the places that follow a number, and pays for them.
    fn read_on(
        &self,
        mailbox: &SharedMailbox,
        after: u64,
        budget: Budget<'_>,
    ) -> Result<Vec<Place>, Refusal> {
        budget(1)?;
        let places = self.store.places_after(mailbox.user, after, ROWS);
        let places = places.map_err(|error| mailbox.read_failed(error))?;
        // What was read is used; if it was more than there was, the next read is refused.
        let _ = budget(places.len());
        Ok(places)
    }
}

/// Which of the sender's messages are at the places that their handles name, as `read` finds them.
fn at_places(
    author: Author,
    mailbox: &SharedMailbox,
    numbers: &HashMap<u64, MessageId>,
    budget: Budget<'_>,
    read: impl Fn(&[u64]) -> Result<Vec<Place>, StoreError>,
) -> Result<Vec<Place>, Refusal> {
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    budget(numbers.len())?;
    let asked: Vec<u64> = numbers.keys().copied().collect();
    let mut places = read(&asked).map_err(|error| mailbox.read_failed(error))?;
    places.retain(|place| {
        place.sender == author.user && numbers.get(&place.number) == Some(&place.mid)
    });
    Ok(places)
}

/// Looks behind a number for messages of a sender whose handles are not known, in what `read` gives.
fn search(
    sender: UserId,
    mut wanted: HashSet<MessageId>,
    mut end: u64,
    read: impl Fn(u64) -> Result<Vec<Place>, Refusal>,
) -> Result<Vec<Place>, Refusal> {
    let mut found = Vec::new();
    while !wanted.is_empty() {
        let places = read(end)?;
        let complete = places.len() < ROWS;
        end = places.last().map_or(end, |place| place.number);
        let own = places.into_iter().filter(|place| place.sender == sender);
        found.extend(own.filter(|place| wanted.remove(&place.mid)));
        if complete {
            break;
        }
    }
    Ok(found)
}
