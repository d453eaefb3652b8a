//! How much any one address, account or connection may ask of the server, so that none of them
//! uses it up for the others.
//!
//! | file | what |
//! | --- | --- |
//! | this one | the operator's settings, the locks, and what a refused client is told |
//! | [`connections`] | how many connections each address has open |
//! | [`request_rate`] | how fast one connection's requests are taken |
//! | [`login_backoff`] | how long the answer to a wrong login is held back |
//! | [`kdf_queue`] | who may have a key derived from a console password, and who waits |
//! | [`keyed_buckets`] | a token bucket for each of many keys, in bounded memory |
//! | [`token_bucket`] | a burst, then a steady rate |
//! | [`ip_prefix`] | what counts as one address |
//!
//! But for the KDF queue, the parts are pure: the caller passes the present moment. The locks here
//! are held for one step each, never together with another.

pub(crate) mod connections;
pub(crate) mod ip_prefix;
pub(crate) mod kdf_queue;
pub(crate) mod keyed_buckets;
pub(crate) mod login_backoff;
pub(crate) mod request_rate;
pub(crate) mod token_bucket;

use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use self::ip_prefix::IpPrefix;
use self::keyed_buckets::KeyedBuckets;
use self::login_backoff::LoginBackoff;
use self::request_rate::{AccountBucket, AccountBuckets};
use self::token_bucket::Rate;
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::store::{Ban, UserId};
use crate::sync::Mutex;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// One-time prekeys of one user that another may take at once, and the time in which one more is
/// permitted: a session is seldom begun anew.
const PREKEYS_PER_ASKER: (u32, Duration) = (5, Duration::from_secs(600));

/// One-time prekeys of one user that all others together may take at once, and the time in which
/// one more is permitted. The burst is half of what a client publishes.
const PREKEYS_PER_OWNER: (u32, Duration) = (50, Duration::from_secs(60));

/// Rows of mail that an account may have read for it in search of its own messages: at once, twice
/// the largest mailbox that is usual, and then so many each second. Naming handles makes a
/// search cost next to nothing.
const LOOK_UPS: (u32, u32) = (200_000, 2000);

/// What the operator can set. Zero is no limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Connections from one address.
    pub clients_per_address: usize,
    /// Requests per second of a logged-in connection; acknowledgements do not count.
    pub messages_per_second: u32,
    /// Searches per minute by an account.
    pub searches_per_minute: u32,
    /// Prekey bundles per minute that an account may ask for.
    pub bundles_per_minute: u32,
    /// New accounts per hour from one address.
    pub registrations_per_hour: u32,
    /// Keys per minute that the server derives from passwords for one address.
    pub console_logins_per_minute: u32,
    /// Whether connections from this machine count, as one address.
    pub loopback: bool,
}

/// The limits and what counts towards them.
pub(crate) struct Limits {
    /// Held to copy or to exchange them, alone.
    settings: Mutex<Settings>,
    // Each lock guards one table, and is held for one step in it, alone.
    login_backoff: Mutex<LoginBackoff>,
    registrations: Mutex<KeyedBuckets<IpPrefix>>,
    searches: Mutex<KeyedBuckets<UserId>>,
    bundles: Mutex<Bundles>,
    requests: Mutex<AccountBuckets>,
    look_ups: Mutex<KeyedBuckets<UserId>>,
    /// Networks from which no connection is taken. Held to look or to change one, alone.
    bans: Mutex<Vec<IpPrefix>>,
    /// Names asked for that a search would not have found.
    unlisted: Mutex<KeyedBuckets<UserId>>,
}

/// Who has taken keys.
#[derive(Default)]
struct Bundles {
    /// Bundles asked for by each account.
    askers: KeyedBuckets<UserId>,
    /// One-time prekeys taken by the first of the pair from the second.
    pairs: KeyedBuckets<(UserId, UserId)>,
    /// One-time prekeys taken from each account.
    owners: KeyedBuckets<UserId>,
}

impl Limits {
    /// Limits towards which nothing counts yet.
    pub(crate) fn new(settings: Settings) -> Self {
        Limits {
            settings: Mutex::new(settings),
            login_backoff: Mutex::default(),
            registrations: Mutex::default(),
            searches: Mutex::default(),
            bundles: Mutex::default(),
            requests: Mutex::default(),
            look_ups: Mutex::default(),
            bans: Mutex::default(),
            unlisted: Mutex::default(),
        }
    }

    /// What the operator has set.
    pub(crate) fn settings(&self) -> Settings {
        *self.settings.lock()
    }

    /// Goes on with other settings. What was counted still counts.
    pub(crate) fn set(&self, settings: Settings) {
        *self.settings.lock() = settings;
    }

    /// The address that a peer counts as. `None` for this machine, where a tunnel or a proxy may
    /// stand for many people, unless the operator has it counted.
    pub(crate) fn counted_address(&self, peer: IpAddr) -> Option<IpPrefix> {
        let counts = self.settings().loopback || !peer.to_canonical().is_loopback();
        counts.then(|| IpPrefix::of(peer))
    }

    /// Takes no connection from these networks, as they are stored.
    pub(crate) fn set_bans(&self, bans: &[Ban]) {
        let parsed = bans.iter().filter_map(|(network, _)| network.parse().ok());
        *self.bans.lock() = parsed.collect();
    }

    /// Takes no connection from a network.
    pub(crate) fn ban(&self, network: IpPrefix) {
        let mut bans = self.bans.lock();
        if !bans.contains(&network) {
            bans.push(network);
        }
    }

    /// Takes connections from a network again.
    pub(crate) fn lift_ban(&self, network: IpPrefix) {
        self.bans.lock().retain(|banned| *banned != network);
    }

    /// Whether connections from an address are not taken.
    pub(crate) fn is_banned(&self, peer: IpAddr) -> bool {
        self.bans.lock().iter().any(|banned| banned.contains(peer))
    }

    /// What an account's requests are taken from, on whatever connection.
    pub(crate) fn requests_of(&self, user: UserId, now: Instant) -> AccountBucket {
        self.requests.lock().of(user, now)
    }

    /// Counts an account that is about to be made.
    ///
    /// # Errors
    /// Too many were made from this address.
    pub(crate) fn register(&self, from: Option<IpPrefix>, now: Instant) -> Result<(), Refusal> {
        let count = self.settings().registrations_per_hour;
        let (Some(from), Some(rate)) = (from, Rate::new(count, HOUR, count)) else {
            return Ok(());
        };
        let taken = self.registrations.lock().take_of_address(from, rate, now);
        taken.map_err(|wait| {
            slow_down(format!(
                "too many accounts were made from your address; try again in {}",
                in_words(wait)
            ))
        })
    }

    /// Counts a wrong login for an account, which need not exist, and returns how many are remembered of it.
    pub(crate) fn count_guess(&self, account: UserName, now: Instant) -> u32 {
        self.login_backoff.lock().count_guess(account, now)
    }

    /// Counts a wrong login by its address, and returns how long its answer is to be held back.
    /// `of_account` is how many are remembered of its account, and `in_a_row` how many failed on this
    /// connection, this one included in both.
    pub(crate) fn wrong_login(
        &self,
        of_account: u32,
        from: Option<IpPrefix>,
        in_a_row: u32,
        now: Instant,
    ) -> Duration {
        self.login_backoff
            .lock()
            .delay(of_account, from, in_a_row, now)
    }

    /// Counts a search, and returns how long the connection is not to be read after it.
    ///
    /// # Errors
    /// The account has searched so often that a short pause is not enough.
    pub(crate) fn search(&self, user: UserId, now: Instant) -> Result<Duration, Refusal> {
        let count = self.settings().searches_per_minute;
        let Some(rate) = Rate::new(count, MINUTE, count) else {
            return Ok(Duration::ZERO);
        };
        let taken = self.searches.lock().take(user, rate, now, SECOND);
        taken.map_err(|wait| {
            slow_down(format!(
                "you search too often; try again in {}",
                in_words(wait)
            ))
        })
    }

    /// Counts rows that are read in search of an account's own messages.
    ///
    /// # Errors
    /// Too many were read for it lately.
    pub(crate) fn look_up(&self, user: UserId, rows: usize, now: Instant) -> Result<(), Refusal> {
        let (burst, each_second) = LOOK_UPS;
        let (Some(rate), Ok(rows)) = (Rate::new(each_second, SECOND, burst), u32::try_from(rows))
        else {
            return Ok(());
        };
        let spent = self.look_ups.lock().spend(user, rate, now, rows);
        spent.map_err(|wait| {
            slow_down(format!(
                "the server has searched much mail for your messages; try again in {}",
                in_words(wait)
            ))
        })
    }

    /// Whether an account may ask for a name. Whether that exists makes no difference, or a refusal
    /// would tell.
    ///
    /// # Errors
    /// It has asked for too many names lately that a search would not have found.
    pub(crate) fn ask_for_name(&self, user: UserId, now: Instant) -> Result<(), Refusal> {
        let count = self.settings().searches_per_minute;
        let Some(rate) = Rate::new(count, MINUTE, count) else {
            return Ok(());
        };
        match self.unlisted.lock().missing(&user, rate, now) < count {
            true => Ok(()),
            false => Err(slow_down(format!(
                "you have asked for too many names that a search does not find; try again in {}",
                in_words(MINUTE / count)
            ))),
        }
    }

    /// Counts that an account has asked for a name that a search would not have found.
    pub(crate) fn count_unlisted(&self, user: UserId, now: Instant) {
        let count = self.settings().searches_per_minute;
        if let Some(rate) = Rate::new(count, MINUTE, count) {
            // Whoever may not ask is refused before it comes to that.
            let _ = self.unlisted.lock().take(user, rate, now, Duration::ZERO);
        }
    }

    /// Counts a request for keys.
    ///
    /// # Errors
    /// The account has asked too often.
    pub(crate) fn ask_for_keys(&self, asker: UserId, now: Instant) -> Result<(), Refusal> {
        let count = self.settings().bundles_per_minute;
        let Some(rate) = Rate::new(count, MINUTE, count) else {
            return Ok(());
        };
        let taken = self
            .bundles
            .lock()
            .askers
            .take(asker, rate, now, Duration::ZERO);
        taken.map(drop).map_err(|wait| {
            slow_down(format!(
                "you ask for too many keys; try again in {}",
                in_words(wait)
            ))
        })
    }

    /// Grants `asker` a one-time prekey of `owner`, and counts it, unless too many were granted
    /// lately. A session can begin without one, so this refuses nobody, and nobody can use up all
    /// of them.
    pub(crate) fn grant_prekey(&self, asker: UserId, owner: UserId, now: Instant) -> bool {
        if self.settings().bundles_per_minute == 0 {
            return true;
        }
        let mut bundles = self.bundles.lock();
        let Bundles { pairs, owners, .. } = &mut *bundles;
        has_taken(pairs, (asker, owner), PREKEYS_PER_ASKER, now)
            && has_taken(owners, owner, PREKEYS_PER_OWNER, now)
    }
}

/// Takes one token from a key's bucket, if there is one.
fn has_taken<K: Copy + Eq + Hash>(
    buckets: &mut KeyedBuckets<K>,
    key: K,
    (burst, interval): (u32, Duration),
    now: Instant,
) -> bool {
    Rate::new(1, interval, burst)
        .is_none_or(|rate| buckets.take(key, rate, now, Duration::ZERO).is_ok())
}

fn slow_down(message: String) -> Refusal {
    Refusal::new(Code::SlowDown, message)
}

/// A wait in words, rounded up: `2 minutes`.
pub(crate) fn in_words(wait: Duration) -> String {
    let seconds = wait.as_millis().div_ceil(1000).max(1);
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7200 => (seconds.div_ceil(60), "minute"),
        _ => (seconds.div_ceil(3600), "hour"),
    };
    match count {
        1 => format!("1 {unit}"),
        _ => format!("{count} {unit}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits::new(Settings {
            clients_per_address: 0,
            messages_per_second: 0,
            searches_per_minute: 30,
            bundles_per_minute: 200,
            registrations_per_hour: 3,
            console_logins_per_minute: 0,
            loopback: false,
        })
    }

    fn code(refusal: Refusal) -> (Code, String) {
        (refusal.code, refusal.message.into_owned())
    }

    #[test]
    fn this_machine_is_counted_only_if_told_to() {
        let limits = limits();
        let [here, mapped, there] =
            ["::1", "::ffff:127.0.0.1", "192.0.2.1"].map(|ip| ip.parse().unwrap());
        assert_eq!(limits.counted_address(here), None);
        assert_eq!(limits.counted_address(mapped), None);
        assert!(limits.counted_address(there).is_some());
        limits.set(Settings {
            loopback: true,
            ..limits.settings()
        });
        assert!(limits.counted_address(here).is_some() && limits.counted_address(mapped).is_some());
    }

    #[test]
    fn accounts_from_one_address() {
        let limits = limits();
        let start = Instant::now();
        let from = Some(IpPrefix::of([192, 0, 2, 1].into()));
        for _ in 0..3 {
            limits.register(from, start).unwrap();
        }
        let (code, sentence) = code(limits.register(from, start).unwrap_err());
        assert_eq!(code, Code::SlowDown);
        assert!(sentence.ends_with("try again in 20 minutes"), "{sentence}");
        limits.register(None, start).unwrap();
        limits.register(from, start + MINUTE * 20).unwrap();
        limits.register(from, start + MINUTE * 20).unwrap_err();
    }

    #[test]
    fn searching_is_refused_where_a_pause_would_be_long() {
        let limits = limits();
        let start = Instant::now();
        for _ in 0..30 {
            assert_eq!(limits.search(UserId(1), start), Ok(Duration::ZERO));
        }
        let (code, sentence) = code(limits.search(UserId(1), start).unwrap_err());
        assert_eq!(code, Code::SlowDown);
        assert!(sentence.ends_with("in 1 second"), "{sentence}");
        assert_eq!(limits.search(UserId(1), start + SECOND), Ok(SECOND));
        assert_eq!(limits.search(UserId(2), start), Ok(Duration::ZERO));
    }

    #[test]
    fn names_that_cannot_be_found_are_asked_for_at_a_pace() {
        let limits = limits();
        let start = Instant::now();
        for _ in 0..30 {
            limits.ask_for_name(UserId(1), start).unwrap();
            limits.count_unlisted(UserId(1), start);
        }
        let (code, sentence) = code(limits.ask_for_name(UserId(1), start).unwrap_err());
        assert_eq!(code, Code::SlowDown);
        assert!(sentence.ends_with("in 2 seconds"), "{sentence}");
        limits.ask_for_name(UserId(2), start).unwrap();
        limits.ask_for_name(UserId(1), start + SECOND * 2).unwrap();
    }

    #[test]
    fn rows_are_counted_and_the_last_read_may_be_too_long() {
        let limits = limits();
        let start = Instant::now();
        limits.look_up(UserId(1), 199_999, start).unwrap();
        limits.look_up(UserId(1), 2001, start).unwrap();
        let (code, sentence) = code(limits.look_up(UserId(1), 1, start).unwrap_err());
        assert_eq!(code, Code::SlowDown);
        assert!(sentence.ends_with("in 1 second"), "{sentence}");
        limits.look_up(UserId(2), 1, start).unwrap();
        limits.look_up(UserId(1), 1, start + SECOND * 2).unwrap();
    }

    #[test]
    fn nobody_can_use_up_the_prekeys_of_another() {
        let limits = limits();
        let start = Instant::now();
        let of = |asker, owner, now| limits.grant_prekey(UserId(asker), UserId(owner), now);
        let taken = (0..100).filter(|_| of(1, 9, start)).count();
        assert_eq!(taken, 5, "one has a few");
        assert!(of(2, 9, start), "others still get some");
        let taken = (3..100).filter(|asker| of(*asker, 9, start)).count();
        assert_eq!(taken, 44, "all together have half of the stock");
        assert!(of(1, 8, start), "others' are untouched");
        assert!(of(1, 9, start + MINUTE * 10), "in time there are more");
    }

    #[test]
    fn asking_for_keys_has_an_end() {
        let limits = limits();
        let start = Instant::now();
        for _ in 0..200 {
            limits.ask_for_keys(UserId(1), start).unwrap();
        }
        let (code, _) = code(limits.ask_for_keys(UserId(1), start).unwrap_err());
        assert_eq!(code, Code::SlowDown);
        limits.ask_for_keys(UserId(2), start).unwrap();
    }

    #[test]
    fn waits_are_rounded_up() {
        let words = |millis| in_words(Duration::from_millis(millis));
        assert_eq!(words(0), "1 second");
        assert_eq!(words(1001), "2 seconds");
        assert_eq!(words(119_001), "2 minutes");
        assert_eq!(words(7_200_000), "2 hours");
    }
}
