//! Judges a history. It knows nothing of servers and faults, only the promise of delivery
//! (docs/DELIVERY.md), and that an account has one session at a time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use super::history::{Entry, What};

/// How long after the welcome of its successor a session may still read what was written before, once
/// the network between it and its server is whole: for threads that wait for a processor.
pub const UNDER_WAY: u64 = 2_000_000;

/// A message that is refused and sent again later than this may have been overtaken (docs/DELIVERY.md).
const ORDER_LASTS: u64 = 10_000_000;

/// Codes after which the same message may be sent again. Anything else refuses a good message.
const PASSING: [&str; 7] = [
    "storage",
    "internal",
    "shutting_down",
    "not_logged_in",
    "slow_down",
    "mailbox_full",
    "timed_out",
];

/// Those of them after which the server itself keeps the order, or has taken nothing behind it either.
const IN_ORDER: [&str; 4] = ["storage", "internal", "shutting_down", "not_logged_in"];

/// What is wrong with a history, each with a sentence; and how much there is of it.
#[derive(Debug, Default)]
pub struct Verdict {
    pub accepted: usize,
    pub shown: usize,
    pub resent: usize,
    pub refused: usize,
    /// Pushed again to a vault that knew them, which is no fault.
    pub arrived_again: usize,
    pub sessions: usize,
    /// The longest time from the first sending of a message to its `ok`, in microseconds. Its sender may have been away
    /// meanwhile.
    pub slowest: u64,
    /// Accepted, and not shown.
    pub lost: Vec<String>,
    /// Shown twice.
    pub twice: Vec<String>,
    /// Shown out of the order in which one sender has sent them to one recipient.
    pub disordered: Vec<String>,
    /// An `ok`, an accepted acknowledgement or a push for a session that had a successor.
    pub two_live: Vec<String>,
    /// Shown to somebody else, with another text, or never sent; or refused for good.
    pub wrong: Vec<String>,
}

impl Verdict {
    /// All that is wrong.
    pub fn faults(&self) -> Vec<&String> {
        let kinds = [
            &self.lost,
            &self.twice,
            &self.disordered,
            &self.two_live,
            &self.wrong,
        ];
        kinds.into_iter().flatten().collect()
    }

    /// Adds another history's.
    pub fn add(&mut self, other: Verdict) {
        self.accepted += other.accepted;
        self.shown += other.shown;
        self.resent += other.resent;
        self.refused += other.refused;
        self.arrived_again += other.arrived_again;
        self.sessions += other.sessions;
        self.slowest = self.slowest.max(other.slowest);
        self.lost.extend(other.lost);
        self.twice.extend(other.twice);
        self.disordered.extend(other.disordered);
        self.two_live.extend(other.two_live);
        self.wrong.extend(other.wrong);
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "accepted {}, shown {}, resent {}, refused {}, arrived again {}, sessions {}, slowest {:.1} s; lost {}, \
             twice {}, out of order {}, two live {}, wrong {}",
            self.accepted,
            self.shown,
            self.resent,
            self.refused,
            self.arrived_again,
            self.sessions,
            self.slowest as f64 / 1e6,
            self.lost.len(),
            self.twice.len(),
            self.disordered.len(),
            self.two_live.len(),
            self.wrong.len(),
        )
    }
}

/// A message as its sender knows it. The key is the sender and the id.
struct Message<'a> {
    to: &'a str,
    number: Option<u64>,
    first_sent: u64,
    accepted: bool,
    /// It may be overtaken by what was sent after it.
    overtakable: bool,
    refused_at: Option<u64>,
}

type Key<'a> = (&'a str, u64);

/// Judges a whole history, at whose end everything was whole and all mail fetched.
pub fn judge(history: &[Entry]) -> Verdict {
    let mut verdict = Verdict::default();
    let messages = sent(history, &mut verdict);
    shown(history, &messages, &mut verdict);
    one_session_each(history, &messages, &mut verdict);
    verdict
}

/// The messages, from what their senders did and saw.
fn sent<'a>(history: &'a [Entry], verdict: &mut Verdict) -> BTreeMap<Key<'a>, Message<'a>> {
    let mut messages = BTreeMap::new();
    for entry in history {
        let who = entry.who.as_str();
        match &entry.what {
            What::Sent {
                to, mid, number, ..
            } => {
                let message = messages.entry((who, *mid)).or_insert(Message {
                    to,
                    number: *number,
                    first_sent: entry.at,
                    accepted: false,
                    overtakable: false,
                    refused_at: None,
                });
                if message.first_sent < entry.at {
                    verdict.resent += 1;
                }
                let late = |refused_at: u64| entry.at > refused_at + ORDER_LASTS;
                message.overtakable |= message.refused_at.take().is_some_and(late);
            }
            What::Accepted { mid, .. } => match messages.get_mut(&(who, *mid)) {
                Some(message) => {
                    if !std::mem::replace(&mut message.accepted, true) {
                        verdict.slowest = verdict.slowest.max(entry.at - message.first_sent);
                    }
                }
                None => verdict
                    .wrong
                    .push(format!("{who} was answered for {mid}, which it never sent")),
            },
            What::Refused { mid, code, .. } => {
                verdict.refused += 1;
                if !PASSING.contains(&code.as_str()) {
                    verdict
                        .wrong
                        .push(format!("{mid} of {who} was refused with {code}"));
                }
                if let Some(message) = messages.get_mut(&(who, *mid)) {
                    message.refused_at = Some(entry.at);
                    message.overtakable |= !IN_ORDER.contains(&code.as_str());
                }
            }
            _ => {}
        }
    }
    verdict.accepted = messages.values().filter(|message| message.accepted).count();
    messages
}

/// That what was accepted was shown, to its recipient, once and in order.
fn shown(history: &[Entry], messages: &BTreeMap<Key<'_>, Message<'_>>, verdict: &mut Verdict) {
    let mut seen: HashSet<Key<'_>> = HashSet::new();
    // The greatest number of each sender that a recipient was shown, and when.
    let mut greatest: HashMap<(&str, &str), u64> = HashMap::new();
    for entry in history {
        let who = entry.who.as_str();
        let (from, mid, number) = match &entry.what {
            What::Arrived { from, mid } => {
                verdict.arrived_again += usize::from(seen.contains(&(from.as_str(), *mid)));
                continue;
            }
            What::Shown { from, mid, number } => (from.as_str(), *mid, *number),
            _ => continue,
        };
        let name = format!(
            "message {mid} of {from} (its number {number:?}) at {} µs, to {who}",
            entry.at
        );
        let Some(message) = messages.get(&(from, mid)) else {
            verdict.wrong.push(format!("shown and never sent: {name}"));
            continue;
        };
        if message.to != who || message.number != number {
            verdict
                .wrong
                .push(format!("shown to the wrong person, or changed: {name}"));
        }
        if !seen.insert((from, mid)) {
            verdict.twice.push(format!("shown twice: {name}"));
            continue;
        }
        let Some(number) = number else { continue };
        let last = greatest.entry((from, who)).or_insert(number);
        if *last > number && !message.overtakable {
            verdict
                .disordered
                .push(format!("shown after {last}: {name}"));
        }
        *last = number.max(*last);
    }
    verdict.shown = seen.len();
    for ((from, mid), message) in messages {
        if message.accepted && !seen.contains(&(from, *mid)) {
            let Message {
                to,
                number,
                first_sent,
                ..
            } = message;
            let sent = format!("sent at {first_sent} µs");
            verdict.lost.push(format!(
                "accepted and not shown: message {mid} of {from} (its number {number:?}, {sent}) to {to}"
            ));
        }
    }
}

/// What is known of a session.
struct Session {
    node: usize,
    /// The welcome of the account's next session.
    successor: u64,
}

/// That no session acts after the welcome of its successor, but for what was under way.
fn one_session_each(
    history: &[Entry],
    messages: &BTreeMap<Key<'_>, Message<'_>>,
    verdict: &mut Verdict,
) {
    let mut sessions: HashMap<u64, Session> = HashMap::new();
    let mut newest: HashMap<&str, u64> = HashMap::new();
    for entry in history {
        if let What::Began { node } = entry.what {
            verdict.sessions += 1;
            if let Some(before) = newest.insert(&entry.who, entry.session) {
                sessions.get_mut(&before).unwrap().successor = entry.at;
            }
            let session = Session {
                node,
                successor: u64::MAX,
            };
            sessions.insert(entry.session, session);
        }
    }
    // When all that was written before the network between clients and a node was whole again has come, at last:
    // TCP doubles the time until it sends once more, so that may take as long as the cut has lasted.
    let mut healed: HashMap<usize, u64> = HashMap::new();
    let mut cut: HashMap<usize, u64> = HashMap::new();
    // When a session has sent a message or an acknowledgement last.
    let mut asked: HashMap<(u64, bool, u64), u64> = HashMap::new();
    for entry in history {
        let (began, act) = match &entry.what {
            What::Cut { node } => {
                cut.insert(*node, entry.at);
                continue;
            }
            What::Healed { node } => {
                let began = cut.remove(node).unwrap_or(entry.at);
                let arrived = healed.entry(*node).or_default();
                *arrived = (*arrived).max(entry.at + (entry.at - began));
                continue;
            }
            What::Sent { mid, .. } => {
                asked.insert((entry.session, true, *mid), entry.at);
                continue;
            }
            What::Acking { request } => {
                asked.insert((entry.session, false, *request), entry.at);
                continue;
            }
            What::Accepted { mid, .. } => (
                asked.get(&(entry.session, true, *mid)),
                format!("an ok for message {mid}"),
            ),
            What::Acked { request, count } if *count > 0 => {
                let act = format!("an accepted acknowledgement of {count} messages");
                (asked.get(&(entry.session, false, *request)), act)
            }
            What::Arrived { from, mid } => {
                let first_sent = messages
                    .get(&(from.as_str(), *mid))
                    .map(|message| &message.first_sent);
                (first_sent, format!("a push of message {mid} of {from}"))
            }
            _ => continue,
        };
        let Some(session) = sessions.get(&entry.session) else {
            continue;
        };
        // Nothing that was begun after the successor's welcome can have been written before it.
        let is_later = began.is_some_and(|began| *began > session.successor);
        let whole = healed.get(&session.node).map_or(0, |healed| *healed);
        let written = session.successor.max(whole).saturating_add(UNDER_WAY);
        if is_later || (entry.at > written && !cut.contains_key(&session.node)) {
            let (who, number, at, after) = (&entry.who, entry.session, entry.at, session.successor);
            let begun = if is_later {
                "begun after that"
            } else {
                "begun before"
            };
            verdict.two_live.push(format!(
                "session {number} of {who} had a successor at {after} µs, and at {at} µs {act}, {begun}"
            ));
        }
    }
}
