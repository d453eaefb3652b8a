//! The numbers in Prometheus' text format (version 0.0.4): for each metric a line of help, its
//! type, and a line for each value.

use std::fmt::{Display, Write};

use super::{Gauges, Observer};
use crate::clock;
use crate::server::stats::{COMMIT_BOUNDS, Stats};

/// A page under construction.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into a string does not fail.
        let _ = write!(
            self.0,
            "# HELP secure_chat_{name} {help}\n# TYPE secure_chat_{name} {kind}\n"
        );
    }

    fn value(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.0, "secure_chat_{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, value: impl Display, help: &str) {
        self.head(name, "gauge", help);
        self.value(name, "", value);
    }

    fn counter(&mut self, name: &str, value: u64, help: &str) {
        self.head(name, "counter", help);
        self.value(name, "", value);
    }

    /// A counter for each reason. Reasons are words of this program's own.
    fn by_reason(
        &mut self,
        name: &str,
        counts: impl IntoIterator<Item = (&'static str, u64)>,
        help: &str,
    ) {
        self.head(name, "counter", help);
        for (reason, count) in counts {
            self.value(name, &format!("{{reason=\"{reason}\"}}"), count);
        }
    }
}

impl Observer {
    /// The whole page.
    pub(super) fn prometheus(&self) -> String {
        page(&self.gauges(), &self.shared.stats)
    }
}

fn page(gauges: &Gauges, stats: &Stats) -> String {
    let mut page = Page(String::with_capacity(8192));
    page.head("build_info", "gauge", "The version that runs.");
    let version = concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
    page.value("build_info", version, 1);
    let start = clock::unix_ms() as f64 / 1000.0 - gauges.uptime.as_secs_f64();
    page.gauge(
        "start_time_seconds",
        format_args!("{start:.3}"),
        "When the server has started, since 1970.",
    );
    people(&mut page, gauges, stats);
    mail(&mut page, gauges, stats);
    machine(&mut page, gauges);
    if gauges.shares_store {
        peers(&mut page, stats);
    }
    page.0
}

/// What goes between servers that share a database.
fn peers(page: &mut Page, stats: &Stats) {
    let peers = &stats.peers;
    page.gauge(
        "peer_links",
        peers.links.get().saturating_sub(peers.broken.get()),
        "Links to other servers of the database.",
    );
    for (name, count, help) in [
        (
            "peer_links_total",
            &peers.links,
            "Links that were made to other servers.",
        ),
        (
            "peer_forwarded_total",
            &peers.forwarded,
            "Messages passed on to other servers.",
        ),
        (
            "peer_answered_total",
            &peers.answered,
            "Messages that other servers have answered.",
        ),
        (
            "peer_lost_total",
            &peers.lost,
            "Messages that were under way when a link ended; their clients ask again.",
        ),
        (
            "peer_received_total",
            &peers.received,
            "Messages that other servers have passed on to this one.",
        ),
        (
            "peer_calls_total",
            &peers.calls,
            "Other requests to other servers.",
        ),
        (
            "peer_strangers_total",
            &peers.strangers,
            "Connections to the port for servers that were not of one.",
        ),
    ] {
        page.counter(name, count.get(), help);
    }
}

fn people(page: &mut Page, gauges: &Gauges, stats: &Stats) {
    page.gauge("sessions", gauges.sessions, "Users that are logged in.");
    page.gauge("connections", gauges.connections, "Open connections.");
    page.counter(
        "connections_total",
        stats.connections.get(),
        "Connections that were accepted.",
    );
    page.counter(
        "logins_total",
        stats.logins.get(),
        "Logins that succeeded, registrations among them.",
    );
    page.by_reason(
        "refused_total",
        stats.refusals.counts(),
        "Requests and connections that were refused.",
    );
    page.by_reason(
        "disconnects_total",
        stats.disconnects.counts(),
        "Connections that have ended.",
    );
}

fn mail(page: &mut Page, gauges: &Gauges, stats: &Stats) {
    page.counter(
        "messages_accepted_total",
        stats.taken.get(),
        "Messages taken into a mailbox.",
    );
    page.counter(
        "messages_delivered_total",
        stats.acknowledged.get(),
        "Messages that their recipients have acknowledged.",
    );
    page.counter(
        "messages_expired_total",
        stats.expired.get(),
        "Messages removed because they waited longer than --keep-mail says.",
    );
    page.counter(
        "messages_stored_total",
        stats.stored.get(),
        "Messages written to the disk.",
    );
    page.counter(
        "writes_elided_total",
        stats.elided.get(),
        "Messages acknowledged so early that they were never written.",
    );
    let mailboxes = &gauges.mailboxes;
    page.gauge("open_mailboxes", mailboxes.count, "Mailboxes in memory.");
    page.gauge(
        "open_mailbox_messages",
        mailboxes.messages,
        "Messages that wait in all mailboxes in memory.",
    );
    page.gauge(
        "open_mailbox_bytes",
        mailboxes.bytes,
        "Bytes of these messages.",
    );
    page.gauge(
        "largest_mailbox_messages",
        mailboxes.most_messages,
        "Messages that wait in the fullest mailbox in memory.",
    );
    page.gauge(
        "largest_mailbox_bytes",
        mailboxes.most_bytes,
        "Bytes that wait in the largest mailbox in memory.",
    );
    commits(page, stats);
}

fn commits(page: &mut Page, stats: &Stats) {
    let name = "commit_duration_seconds";
    page.head(
        name,
        "histogram",
        "How long a transaction takes until it is on the disk.",
    );
    let cumulative = stats.commit_times.cumulative();
    let bucket = format!("{name}_bucket");
    for (bound, count) in COMMIT_BOUNDS.iter().zip(cumulative) {
        let labels = format!("{{le=\"{}\"}}", bound.as_secs_f64());
        page.value(&bucket, &labels, count);
    }
    let all = cumulative[COMMIT_BOUNDS.len()];
    page.value(&bucket, "{le=\"+Inf\"}", all);
    let sum = stats.commit_times.sum().as_secs_f64();
    page.value(&format!("{name}_sum"), "", sum);
    page.value(&format!("{name}_count"), "", all);
}

fn machine(page: &mut Page, gauges: &Gauges) {
    for (name, bytes, help) in [
        (
            "database_bytes",
            gauges.database_bytes,
            "Size of the database's file.",
        ),
        (
            "database_log_bytes",
            gauges.database_log_bytes,
            "Size of the write-ahead log beside it.",
        ),
    ] {
        if let Some(bytes) = bytes {
            page.gauge(name, bytes, help);
        }
    }
    if let Some(weaknesses) = gauges.store_weaknesses {
        page.gauge(
            "store_weaknesses",
            weaknesses,
            "What the PostgreSQL database is set to promise less than the server's answers do.",
        );
    }
    if let Some(threads) = gauges.threads {
        page.gauge("threads", threads, "Threads of the process.");
    }
    page.head(
        "queue_length",
        "gauge",
        "What waits: work for the writer, console passwords for their derivation.",
    );
    page.value("queue_length", "{queue=\"writer\"}", gauges.writer_waiting);
    page.value(
        "queue_length",
        "{queue=\"console_passwords\"}",
        gauges.passwords_waiting,
    );
    page.gauge(
        "log_queue_bytes",
        gauges.log_waiting_bytes,
        "Bytes of the log that wait to be written.",
    );
    page.counter(
        "log_dropped_total",
        gauges.log_dropped,
        "Lines of the log that nobody read in time, or that could not be written.",
    );
    if let Some(end) = gauges.certificate_end {
        page.gauge(
            "certificate_not_after_timestamp_seconds",
            end,
            "When the certificate ends, since 1970.",
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::super::testing::gauges;
    use super::*;
    use crate::protocol::refusal::Code;

    /// Reads a page as Prometheus does: each value's name, with its labels.
    fn parse(text: &str) -> BTreeMap<&str, f64> {
        let mut values = BTreeMap::new();
        let mut metric: Option<(&str, &str)> = None;
        let mut helped = "";
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, sentence) = help.split_once(' ').unwrap();
                assert!(sentence.ends_with('.'), "{line}");
                helped = name;
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert_eq!(name, helped, "the help comes first");
                assert_eq!(
                    kind == "counter",
                    name.ends_with("_total"),
                    "only counters have this suffix: {line}"
                );
                metric = Some((name, kind));
            } else {
                let (labelled, value) = line.rsplit_once(' ').unwrap();
                let name = labelled.split('{').next().unwrap();
                let (of, kind) = metric.unwrap();
                let suffixes = match kind {
                    "histogram" => &["_bucket", "_sum", "_count"][..],
                    _ => &[""],
                };
                let belongs = suffixes
                    .iter()
                    .any(|suffix| name == format!("{of}{suffix}"));
                assert!(belongs, "{line} stands under {of}");
                let valid = |c: char| c.is_ascii_lowercase() || c == '_';
                assert!(name.chars().all(valid), "{name}");
                let known = values.insert(labelled, value.parse().unwrap());
                assert!(known.is_none(), "{labelled} occurs twice");
            }
        }
        values
    }

    #[test]
    fn every_number_is_there_and_the_format_is_kept() {
        let stats = Stats::default();
        stats.taken.add(5);
        stats.elided.add(2);
        stats.commit_times.observe(Duration::from_millis(3));
        stats.refusals.count(Code::SlowDown);
        stats.disconnects.refused.count(Code::TimedOut);
        stats.peers.links.add(3);
        stats.peers.broken.add(2);
        stats.peers.forwarded.add(4);
        let text = page(&gauges(), &stats);
        assert!(text.ends_with('\n'));
        let values = parse(&text);
        for (name, value) in [
            ("secure_chat_sessions", 12.0),
            ("secure_chat_store_weaknesses", 1.0),
            ("secure_chat_messages_accepted_total", 5.0),
            ("secure_chat_writes_elided_total", 2.0),
            ("secure_chat_refused_total{reason=\"slow_down\"}", 1.0),
            ("secure_chat_disconnects_total{reason=\"timed_out\"}", 1.0),
            ("secure_chat_disconnects_total{reason=\"stalled\"}", 0.0),
            (
                "secure_chat_commit_duration_seconds_bucket{le=\"0.0025\"}",
                0.0,
            ),
            (
                "secure_chat_commit_duration_seconds_bucket{le=\"0.005\"}",
                1.0,
            ),
            (
                "secure_chat_commit_duration_seconds_bucket{le=\"+Inf\"}",
                1.0,
            ),
            ("secure_chat_commit_duration_seconds_count", 1.0),
            ("secure_chat_commit_duration_seconds_sum", 0.003),
            ("secure_chat_queue_length{queue=\"writer\"}", 2.0),
            ("secure_chat_largest_mailbox_messages", 1000.0),
            ("secure_chat_log_dropped_total", 7.0),
            (
                "secure_chat_certificate_not_after_timestamp_seconds",
                1_930_089_600.0,
            ),
            ("secure_chat_threads", 21.0),
            ("secure_chat_peer_links", 1.0),
            ("secure_chat_peer_links_total", 3.0),
            ("secure_chat_peer_forwarded_total", 4.0),
            ("secure_chat_peer_lost_total", 0.0),
        ] {
            assert_eq!(values.get(name), Some(&value), "{name}\n{text}");
        }
    }
}
