//! What the server counts while it runs: for the metrics, for `server status`, and for the last
//! line of its log. Counting takes no lock.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::protocol::refusal::Code;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The value.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The codes of refusals, with the one of a newer server, which this one never sends.
const CODES: usize = Code::ALL.len() + 1;

/// A counter for each code of a refusal.
#[derive(Debug)]
pub(crate) struct ByCode([Counter; CODES]);

impl Default for ByCode {
    fn default() -> Self {
        ByCode(array::from_fn(|_| Counter::default()))
    }
}

impl ByCode {
    /// Counts one.
    pub(crate) fn count(&self, code: Code) {
        if let Some(counter) = self.0.get(code as usize) {
            counter.add(1);
        }
    }

    /// The codes that have occurred, and how often.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let all = Code::ALL.iter().zip(&self.0);
        let counts = all.map(|(code, counter)| (code.as_str(), counter.get()));
        counts.filter(|(_, count)| *count > 0)
    }
}

/// Upper bounds of the classes of a commit's duration. A disk that syncs at once takes a
/// millisecond, and one that takes seconds is failing.
pub(crate) const COMMIT_BOUNDS: [Duration; 11] = [
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

/// How long commits have taken, in classes.
#[derive(Debug, Default)]
pub(crate) struct CommitTimes {
    /// How many fell into the class below each bound, and how many exceeded the last.
    classes: [Counter; COMMIT_BOUNDS.len() + 1],
    /// The sum of all, in microseconds.
    micros: Counter,
}

impl CommitTimes {
    /// Counts a commit.
    pub(crate) fn observe(&self, took: Duration) {
        let class = COMMIT_BOUNDS.partition_point(|bound| *bound < took);
        if let Some(counter) = self.classes.get(class) {
            counter.add(1);
        }
        self.micros
            .add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many took at most each bound, ending with how many there were in all.
    pub(crate) fn cumulative(&self) -> [u64; COMMIT_BOUNDS.len() + 1] {
        let mut sum = 0;
        self.classes.each_ref().map(|class| {
            sum += class.get();
            sum
        })
    }

    /// The time that all have taken together.
    pub(crate) fn sum(&self) -> Duration {
        Duration::from_micros(self.micros.get())
    }
}

/// Why another thread than a connection's own ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Another login took the session over.
    Replaced,
    /// The account's password was changed, or the account deleted, elsewhere.
    Revoked,
    /// The operator ended it.
    Operator,
    /// Its peer read nothing for too long.
    Stalled,
    /// Writing to it failed.
    Broken,
    /// The server shuts down.
    ShuttingDown,
    /// Its mailbox is damaged, or could not be read.
    Unreadable,
    /// The system has no thread to write to a slow peer.
    NoThread,
    /// It is not known what became of its messages on their way to another server.
    PeerLost,
    /// The server has had no lease for so long that others have its place.
    NoLease,
}

impl Ending {
    /// All of them, in order.
    pub(crate) const ALL: [Ending; 10] = [
        Ending::Replaced,
        Ending::Revoked,
        Ending::Operator,
        Ending::Stalled,
        Ending::Broken,
        Ending::ShuttingDown,
        Ending::Unreadable,
        Ending::NoThread,
        Ending::PeerLost,
        Ending::NoLease,
    ];

    /// Its name for programs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Ending::Replaced => "replaced",
            Ending::Revoked => "revoked",
            Ending::Operator => "operator",
            Ending::Stalled => "stalled",
            Ending::Broken => "broken",
            Ending::ShuttingDown => "shutting_down",
            Ending::Unreadable => "unreadable",
            Ending::NoThread => "no_thread",
            Ending::PeerLost => "peer_lost",
            Ending::NoLease => "no_lease",
        }
    }
}

/// How often connections have ended, by reason.
#[derive(Debug, Default)]
pub(crate) struct Disconnects {
    /// The peer closed it.
    pub closed: Counter,
    /// The client said `quit`.
    pub quit: Counter,
    /// The client was refused, by code.
    pub refused: ByCode,
    ended: [Counter; Ending::ALL.len()],
}

impl Disconnects {
    /// Counts a connection that was ended for this reason.
    pub(crate) fn count(&self, ending: Ending) {
        if let Some(counter) = self.ended.get(ending as usize) {
            counter.add(1);
        }
    }

    /// The reasons, and how often each occurred.
    pub(crate) fn counts(&self) -> Vec<(&'static str, u64)> {
        let mut counts = vec![("closed", self.closed.get()), ("quit", self.quit.get())];
        let ended = Ending::ALL.iter().zip(&self.ended);
        counts.extend(ended.map(|(ending, counter)| (ending.name(), counter.get())));
        for (code, count) in self.refused.counts() {
            // A shutdown ends a connection like any other reason that has the same name.
            match counts.iter_mut().find(|(name, _)| *name == code) {
                Some((_, known)) => *known += count,
                None => counts.push((code, count)),
            }
        }
        counts
    }
}

/// What goes between this server and others on its store.
#[derive(Debug, Default)]
pub(crate) struct PeerCounts {
    /// Links made to others.
    pub links: Counter,
    /// Links to others that have ended.
    pub broken: Counter,
    /// Connections that did not prove to be of a server.
    pub strangers: Counter,
    /// Messages passed on to others.
    pub forwarded: Counter,
    /// Messages that others have passed on to this server.
    pub received: Counter,
    /// Messages that others have answered.
    pub answered: Counter,
    /// Messages that were under way when a link ended.
    pub lost: Counter,
    /// Calls made to others.
    pub calls: Counter,
}

/// The counters of one server.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Messages taken into a mailbox.
    pub taken: Counter,
    /// Messages removed because they waited longer than the operator keeps mail.
    pub expired: Counter,
    /// Messages acknowledged by their recipients.
    pub acknowledged: Counter,
    /// Messages written to disk. Those acknowledged early enough never are.
    pub stored: Counter,
    /// Messages acknowledged so early that they never were written.
    pub elided: Counter,
    /// Transactions that wrote them.
    pub commits: Counter,
    /// How long those took.
    pub commit_times: CommitTimes,
    /// Connections accepted.
    pub connections: Counter,
    /// Logins that succeeded.
    pub logins: Counter,
    /// What was refused, by code: requests, and connections that were turned away.
    pub refusals: ByCode,
    /// Why connections have ended.
    pub disconnects: Disconnects,
    /// What goes between servers.
    pub peers: PeerCounts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_and_each_ending_has_a_counter_of_its_own() {
        let stats = Stats::default();
        for code in Code::ALL {
            stats.refusals.count(*code);
        }
        stats.refusals.count(Code::Unknown);
        let counts: Vec<_> = stats.refusals.counts().collect();
        assert_eq!(counts.len(), Code::ALL.len());
        assert!(counts.iter().all(|(_, count)| *count == 1), "{counts:?}");
        for ending in Ending::ALL {
            stats.disconnects.count(ending);
        }
        stats.disconnects.refused.count(Code::ShuttingDown);
        let counts = stats.disconnects.counts();
        let of = |name| counts.iter().find(|(known, _)| *known == name).unwrap().1;
        assert_eq!((of("stalled"), of("shutting_down"), of("quit")), (1, 2, 0));
    }

    #[test]
    fn a_commit_falls_into_the_first_class_that_holds_it() {
        let times = CommitTimes::default();
        for millis in [1, 3, 7_000] {
            times.observe(Duration::from_millis(millis));
        }
        let cumulative = times.cumulative();
        assert_eq!(cumulative[..4], [0, 1, 1, 2]);
        assert_eq!(cumulative[10..], [2, 3]);
        assert_eq!(times.sum(), Duration::from_millis(7_004));
    }
}
