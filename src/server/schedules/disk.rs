//! A store in memory that can refuse a commit, stall in it, and crash: what survives is what
//! was committed, whether or not anybody was told.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::protocol::ids::ByteArray;
use crate::protocol::name::UserName;
use crate::protocol::request::{Body, KdfParams};
use crate::store::expiry::{ExpiredMail, Key, Look, Untold};
use crate::store::homes::Homes;
use crate::store::personal_data::{After, Person, PersonalPage, Section};
use crate::store::purge::{Part, Trace, Traces};
use crate::store::successions::Successions;
use crate::store::{
    Account, Ban, Batch, Change, Changed, Flags, ListedAccount, ListedInvitation, Message, Page,
    PageBounds, Place, Reset, SearchHit, Store, StoreError, Summary, Tally, UserId,
};
use crate::sync;

/// What survives.
#[derive(Default)]
pub(super) struct Disk {
    state: Mutex<State>,
    on_move: OnceLock<OnMove>,
}

/// Is called when a mailbox moves to another server, with the mail of all.
type OnMove = Box<dyn Fn(UserId, &Mail) + Send + Sync>;

/// Messages by their mailbox and number.
type Mail = BTreeMap<(UserId, u64), Message>;

#[derive(Default)]
struct State {
    accounts: Vec<(UserName, ByteArray<32>, u64)>,
    mail: Mail,
    last_number: u64,
    /// The last number that was stored in each mailbox.
    last_in: BTreeMap<UserId, u64>,
    /// Whose presence is hidden.
    hidden: BTreeSet<UserId>,
    /// Whose account was deleted.
    deleted: BTreeSet<UserId>,
    /// Which start of the server may write.
    generation: u64,
    /// How many of the next commits fail.
    failures: u32,
    /// How long each commit takes.
    stall: Duration,
    /// Commits since all of the log was folded.
    log: u32,
    /// Those of them that had mail.
    mail_in_log: u32,
    /// So many more than [`LONG_LOG`] make it long.
    allowance: u32,
    /// Mail was committed so often since the log was made ready for folding, if it was.
    since_ready: Option<u32>,
    /// All of the log is being folded.
    folding: bool,
}

/// A log of so many commits is to be folded.
const LONG_LOG: u32 = 3;

/// So much mail is at most committed to a log that is not folded: that is done beside mail until the log is twice as
/// long as a long one, and in one turn the writer commits changes and mail. Changes wait for no folding.
const MAX_MAIL_IN_LOG: u32 = 2 * LONG_LOG + 2;

/// So many messages are on a page, to meet its end often.
const PAGE: usize = 3;

impl State {
    /// Whether an account has mail, or others have mail of it.
    fn has_traces(&self, account: UserId) -> bool {
        let mut mail = self.mail.iter();
        mail.any(|((to, _), message)| *to == account || message.sender == account)
    }
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_account(&self, name: &str, login_key: [u8; 32]) {
        let account = (name.parse().unwrap(), ByteArray(login_key), 0);
        self.state().accounts.push(account);
    }

    /// Puts a message there as an earlier server would have.
    pub(super) fn add_message(&self, to: usize, mut message: Message) {
        let mut state = self.state();
        state.last_number += 1;
        message.number = state.last_number;
        let user = UserId(to as i64 + 1);
        state.mail.insert((user, message.number), message);
    }

    /// Lets the next commits fail.
    pub(super) fn fail(&self, commits: u32) {
        self.state().failures = commits;
    }

    /// Lets each commit take this long.
    pub(super) fn stall(&self, time: Duration) {
        self.state().stall = time;
    }

    /// Has this called, once and for all, when a mailbox moves to another server.
    pub(super) fn on_move(&self, hook: OnMove) {
        assert!(self.on_move.set(hook).is_ok());
    }

    /// The server of before can't write from here on; the new one's store.
    pub(super) fn restart(self: &Arc<Self>) -> Arc<DiskStore> {
        let mut state = self.state();
        state.generation += 1;
        state.folding = false;
        state.allowance = 0;
        state.since_ready = None;
        Arc::new(DiskStore {
            disk: Arc::clone(self),
            generation: state.generation,
            first_number: state.last_number + 1,
        })
    }

    /// All mail.
    pub(super) fn mail(&self) -> Vec<(UserId, Message)> {
        let state = self.state();
        let mail = state.mail.iter();
        mail.map(|((user, _), message)| (*user, message.clone()))
            .collect()
    }
}

/// One start's view of the disk.
pub(super) struct DiskStore {
    disk: Arc<Disk>,
    generation: u64,
    first_number: u64,
}

impl DiskStore {
    /// Between two looks the scheduler may choose another thread.
    fn look(&self) -> MutexGuard<'_, State> {
        sync::switch();
        self.disk.state()
    }
}

fn place(message: &Message) -> Place {
    Place {
        number: message.number,
        sender: message.sender,
        mid: message.mid,
    }
}

impl Homes for DiskStore {}

impl ExpiredMail for DiskStore {
    fn due(&self, _after: UserId, _before: u64) -> Result<Look, StoreError> {
        Ok(Look::End)
    }

    fn expired(&self, _recipient: UserId, _numbers: &[u64]) -> Result<Vec<Place>, StoreError> {
        Ok(Vec::new())
    }

    fn expired_after(
        &self,
        _recipient: UserId,
        _number: u64,
        _limit: usize,
    ) -> Result<Vec<Place>, StoreError> {
        Ok(Vec::new())
    }

    fn untold(&self, _sender: UserId, _: Key, _limit: usize) -> Result<Vec<Untold>, StoreError> {
        Ok(Vec::new())
    }
}

impl Traces for DiskStore {
    fn traces(&self, account: UserId, after: Key) -> Result<Part<Trace>, StoreError> {
        let state = self.look();
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        let mut rows = state.mail.range(behind).peekable();
        let mut part = Part::new(after);
        for ((recipient, number), message) in rows.by_ref().take(PAGE) {
            let left = message.sender == account || *recipient == account;
            let (owner, ..) = state.accounts[recipient.0 as usize - 1];
            let found = left.then(|| Trace {
                recipient: *recipient,
                owner: (!state.deleted.contains(recipient)).then_some(owner),
                number: *number,
                sender: message.sender,
                is_envelope: matches!(message.body, Body::Envelope(_)),
                size: message.body.len(),
            });
            part.take((*recipient, *number), found);
        }
        Ok(match rows.peek() {
            Some(_) => part,
            None => part.end(),
        })
    }

    fn blockers(&self, _account: UserId, after: Key) -> Result<Part<UserId>, StoreError> {
        Ok(Part::new(after).end())
    }
}

impl Store for DiskStore {
    fn account(&self, name: &UserName) -> Result<Option<Account>, StoreError> {
        let state = self.look();
        let mut accounts = state.accounts.iter().enumerate();
        let found = accounts.find(|(place, (other, ..))| {
            other == name && !state.deleted.contains(&UserId(*place as i64 + 1))
        });
        Ok(found.map(|(place, (name, login_key, logins))| Account {
            id: UserId(place as i64 + 1),
            name: *name,
            kdf: KdfParams {
                salt: ByteArray([1; 16]),
                memory_kib: 8,
                passes: 1,
                lanes: 1,
            },
            login_key: *login_key,
            logins: *logins,
            last_seen: None,
            flags: Flags {
                listed: true,
                presence: !state.hidden.contains(&UserId(place as i64 + 1)),
                refuse_unencrypted: false,
            },
            identity: None,
            signed_prekey: None,
            one_time: 0,
            disabled: false,
            verifier: None,
        }))
    }

    fn accounts(
        &self,
        _after: Option<&UserName>,
        _limit: usize,
    ) -> Result<Vec<ListedAccount>, StoreError> {
        Ok(Vec::new())
    }

    fn listed_account(&self, _name: &UserName) -> Result<Option<ListedAccount>, StoreError> {
        Ok(None)
    }

    fn reset(&self, _user: UserId) -> Result<Option<Reset>, StoreError> {
        Ok(None)
    }

    fn invitations(&self, _after: i64, _limit: usize) -> Result<Vec<ListedInvitation>, StoreError> {
        Ok(Vec::new())
    }

    fn bans(&self) -> Result<Vec<Ban>, StoreError> {
        Ok(Vec::new())
    }

    fn successions(&self) -> Result<Successions, StoreError> {
        Ok(Successions::default())
    }

    fn blocks(&self, _user: UserId, _whom: UserId) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn search(
        &self,
        _asker: UserId,
        _prefix: &str,
        _after: Option<&UserName>,
        _limit: usize,
    ) -> Result<Vec<SearchHit>, StoreError> {
        Ok(Vec::new())
    }

    fn blocked(&self, _user: UserId) -> Result<Vec<UserName>, StoreError> {
        Ok(Vec::new())
    }

    fn summary(&self, recipient: UserId) -> Result<Summary, StoreError> {
        let state = self.look();
        let mut summary = Summary::default();
        let mut tallies: BTreeMap<UserId, Tally> = BTreeMap::new();
        for ((_, number), message) in state.mail.range((recipient, 0)..=(recipient, u64::MAX)) {
            summary.last = *number;
            let tally = tallies.entry(message.sender).or_default();
            match message.body {
                Body::Plain(_) => tally.plain += 1,
                Body::Envelope(_) => tally.envelopes += 1,
            }
            tally.bytes += message.body.len() as u64;
        }
        summary.tallies = tallies.into_iter().collect();
        Ok(summary)
    }

    fn page(&self, recipient: UserId, bounds: PageBounds) -> Result<Page, StoreError> {
        let state = self.look();
        let mut page = Page::default();
        if bounds.after + 1 >= bounds.before {
            page.complete = true;
            return Ok(page);
        }
        let range = (recipient, bounds.after + 1)..(recipient, bounds.before);
        let mut rows = state.mail.range(range).peekable();
        let most = bounds.messages.min(PAGE);
        let mut bytes = 0;
        while page.messages.len() < most && bytes < bounds.bytes {
            let Some((_, message)) = rows.next() else {
                break;
            };
            bytes += message.body.len();
            page.end = message.number;
            page.messages.push(message.clone());
        }
        page.complete = rows.peek().is_none();
        drop(state);
        sync::switch();
        Ok(page)
    }

    fn message(&self, recipient: UserId, number: u64) -> Result<Option<Message>, StoreError> {
        Ok(self.look().mail.get(&(recipient, number)).cloned())
    }

    fn places(&self, recipient: UserId, numbers: &[u64]) -> Result<Vec<Place>, StoreError> {
        let state = self.look();
        let rows = numbers
            .iter()
            .filter_map(|n| state.mail.get(&(recipient, *n)));
        Ok(rows.map(place).collect())
    }

    fn places_after(
        &self,
        recipient: UserId,
        number: u64,
        limit: usize,
    ) -> Result<Vec<Place>, StoreError> {
        let state = self.look();
        let rows = state
            .mail
            .range((recipient, number + 1)..=(recipient, u64::MAX));
        Ok(rows.take(limit).map(|(_, m)| place(m)).collect())
    }

    fn personal_data(
        &self,
        person: Person<'_>,
        section: Section,
        after: After,
        limit: usize,
    ) -> Result<PersonalPage, StoreError> {
        let _ = (person, section, after, limit);
        Ok(PersonalPage::default())
    }

    fn epoch(&self) -> Option<[u8; 16]> {
        None
    }

    fn first_number(&self) -> u64 {
        self.first_number
    }

    fn secret(&self) -> [u8; 32] {
        [7; 32]
    }

    fn commit(&self, batch: &Batch) -> Result<Vec<Changed>, StoreError> {
        let mut state = self.look();
        let stall = state.stall;
        if !stall.is_zero() {
            drop(state);
            sync::sleep(stall);
            state = self.look();
        }
        if state.generation != self.generation {
            return Err(StoreError::Failed(Arc::new(std::io::Error::other("gone"))));
        }
        let has_mail = !batch.messages.is_empty() || !batch.acknowledged.is_empty();
        assert!(
            !state.folding || !has_mail,
            "mail was committed while the log was folded"
        );
        assert!(
            state.mail_in_log < MAX_MAIL_IN_LOG || !has_mail,
            "mail was committed to a log that nobody folded"
        );
        if state.failures > 0 {
            state.failures -= 1;
            return Err(StoreError::Full);
        }
        state.log += 1;
        if has_mail {
            state.mail_in_log += 1;
            state.since_ready = state.since_ready.map(|commits| commits + 1);
        }
        let mut changed = Vec::new();
        for change in &batch.changes {
            changed.push(match change {
                Change::CountLogin(user, _) => {
                    let (_, _, logins) = &mut state.accounts[user.0 as usize - 1];
                    *logins += 1;
                    Changed::Login {
                        logins: *logins,
                        vault: None,
                    }
                }
                Change::SetFlags(user, flags) => {
                    match flags.presence {
                        true => state.hidden.remove(user),
                        false => state.hidden.insert(*user),
                    };
                    Changed::Done
                }
                Change::Delete { user, .. } => {
                    state.deleted.insert(*user);
                    Changed::Done
                }
                Change::Purge(_, places, _) => {
                    for place in places {
                        state.mail.remove(place);
                    }
                    Changed::Done
                }
                Change::Reuse(earlier, new) => {
                    assert!(!state.has_traces(*earlier), "traces are left");
                    state.accounts.push((new.name, new.login_key, 0));
                    Changed::Registered(UserId(state.accounts.len() as i64))
                }
                Change::MoveHome(user, _) => {
                    if let Some(hook) = self.disk.on_move.get() {
                        hook(*user, &state.mail);
                    }
                    Changed::Done
                }
                _ => Changed::Done,
            });
        }
        for (recipient, message) in &batch.messages {
            state.last_number = state.last_number.max(message.number);
            let before = state.last_in.insert(*recipient, message.number);
            assert!(
                before.is_none_or(|before| before < message.number),
                "a message reached the disk behind one that was accepted after it"
            );
            let place = (*recipient, message.number);
            state.mail.insert(place, (**message).clone());
        }
        for (recipient, range) in &batch.acknowledged {
            for number in range.clone() {
                state.mail.remove(&(*recipient, number));
            }
        }
        drop(state);
        // It is safe, and nobody knows yet.
        sync::switch();
        Ok(changed)
    }

    fn reclaim(&self) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn wants_folding(&self) -> bool {
        let state = self.look();
        state.log >= LONG_LOG + state.allowance
    }

    fn prepare_folding(&self, beside_mail: bool) {
        let mut state = self.look();
        if state.generation == self.generation {
            let more = if beside_mail { LONG_LOG } else { 1 };
            state.allowance = state.log.saturating_sub(LONG_LOG) + more;
            state.since_ready = Some(0);
        }
    }

    fn fold(&self, beside_mail: bool) -> Result<(), StoreError> {
        let mut state = self.look();
        let stall = state.stall;
        if state.generation == self.generation {
            let ready = state.since_ready;
            assert!(
                ready.is_some_and(|commits| commits == 0 || beside_mail),
                "the log was not made ready for folding"
            );
            state.folding = !beside_mail;
        }
        drop(state);
        if !stall.is_zero() {
            sync::sleep(stall);
        }
        let mut state = self.look();
        if state.generation == self.generation {
            state.folding = false;
            if !beside_mail {
                state.log = 0;
                state.mail_in_log = 0;
                state.allowance = 0;
                state.since_ready = None;
            }
        }
        Ok(())
    }

    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
