//! The numbers as a person reads them: what `server status` prints.

use std::time::Duration;

use super::{Gauges, Observer};
use crate::clock;
use crate::server::stats::Stats;

impl Observer {
    /// What there is to say, by subject.
    pub(crate) fn status(&self) -> Vec<(&'static str, String)> {
        facts(&self.gauges(), &self.shared.stats, clock::unix_ms())
    }
}

fn facts(gauges: &Gauges, stats: &Stats, now: u64) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let mut line = |name, value: String| facts.push((name, value));
    line(
        "server",
        format!(
            "Secure Chat {}, process {}, up {}",
            env!("CARGO_PKG_VERSION"),
            std::process::id(),
            duration(gauges.uptime)
        ),
    );
    line(
        "people",
        format!(
            "{} logged in, {} connections, {} logins since the start",
            gauges.sessions,
            gauges.connections,
            stats.logins.get()
        ),
    );
    line(
        "messages",
        format!(
            "{} accepted, {} delivered, {} written, {} delivered without being written",
            stats.taken.get(),
            stats.acknowledged.get(),
            stats.stored.get(),
            stats.elided.get()
        ),
    );
    let mailboxes = &gauges.mailboxes;
    line(
        "waiting",
        format!(
            "{} messages ({}) in {} mailboxes in memory; {} ({}) in the fullest",
            mailboxes.messages,
            bytes(mailboxes.bytes),
            mailboxes.count,
            mailboxes.most_messages,
            bytes(mailboxes.most_bytes)
        ),
    );
    let sizes = gauges.database_bytes.zip(gauges.database_log_bytes);
    let sizes =
        sizes.map(|(file, log)| format!("database {}, its log {}; ", bytes(file), bytes(log)));
    line("disk", sizes.unwrap_or_default() + &commits(stats));
    if let Some(end) = gauges.certificate_end {
        line("certificate", certificate(end, now));
    }
    let counts = |counts: Vec<(&'static str, u64)>| {
        let some = counts.into_iter().filter(|(_, count)| *count > 0);
        let some: Vec<_> = some.map(|(reason, n)| format!("{reason} {n}")).collect();
        match some.is_empty() {
            true => "nothing".to_owned(),
            false => some.join(", "),
        }
    };
    line("refused", counts(stats.refusals.counts().collect()));
    line("ended", counts(stats.disconnects.counts()));
    if gauges.log_dropped > 0 {
        line("log", format!("{} lines were dropped", gauges.log_dropped));
    }
    facts
}

fn commits(stats: &Stats) -> String {
    let count = stats.commits.get();
    let Some(mean) = stats
        .commit_times
        .sum()
        .as_micros()
        .checked_div(count.into())
    else {
        return "no commit yet".to_owned();
    };
    format!(
        "{count} commits, {:.1} ms each on average",
        mean as f64 / 1000.0
    )
}

fn certificate(end: i64, now: u64) -> String {
    let left = end.saturating_sub_unsigned(now / 1000);
    match left {
        ..0 => format!(
            "ended {} ago",
            duration(Duration::from_secs(left.unsigned_abs()))
        ),
        _ => format!(
            "ends in {}",
            duration(Duration::from_secs(left.unsigned_abs()))
        ),
    }
}

/// A time in its largest unit, rounded down.
fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    match count {
        1 => format!("1 {unit}"),
        _ => format!("{count} {unit}s"),
    }
}

fn bytes(count: u64) -> String {
    match count {
        0..10_240 => format!("{count} bytes"),
        10_240..10_485_760 => format!("{} KiB", count / 1024),
        _ => format!("{} MiB", count / 1024 / 1024),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::gauges;
    use super::*;
    use crate::protocol::refusal::Code;

    #[test]
    fn a_status_says_it_in_units_of_people() {
        let stats = Stats::default();
        stats.refusals.count(Code::SlowDown);
        let facts = facts(&gauges(), &stats, (1_930_089_600 - 89 * 86_400) * 1000);
        for (subject, part) in [
            ("server", "up 3 days"),
            ("people", "12 logged in, 14 connections"),
            (
                "waiting",
                "1234 messages (5120 KiB) in 3 mailboxes in memory; 1000 (4096 KiB)",
            ),
            ("disk", "database 12 MiB, its log 2048 bytes; no commit yet"),
            ("certificate", "ends in 89 days"),
            ("refused", "slow_down 1"),
            ("ended", "nothing"),
            ("log", "7 lines were dropped"),
        ] {
            let fact = facts.iter().find(|(known, _)| *known == subject);
            assert!(fact.unwrap().1.contains(part), "{part}: {facts:?}");
        }
        assert_eq!(certificate(100, 200_000), "ended 100 seconds ago");
    }
}
