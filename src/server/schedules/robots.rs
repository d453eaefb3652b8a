//! Clients that act by themselves, each on a thread of its own: one sends until it has all
//! answers, one receives until the server goes. Both connect again when their connection ends.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::client::Client;
use super::stage::Stage;
use crate::sync;

/// What a sender does.
#[derive(Clone, Copy)]
pub(super) struct Sending {
    pub from: usize,
    pub to: &'static [usize],
    /// Messages to each recipient.
    pub count: usize,
    /// Bytes of each.
    pub size: usize,
    /// Bytes in the socket's buffers.
    pub capacity: usize,
    /// It breaks its first connection after this many answers.
    pub breaks_after: Option<usize>,
    /// It closes its half once it has sent all.
    pub half_closes: bool,
}

impl Sending {
    pub(super) fn small(from: usize, to: &'static [usize], count: usize) -> Self {
        Sending {
            from,
            to,
            count,
            size: 3,
            capacity: 4096,
            breaks_after: None,
            half_closes: false,
        }
    }
}

/// Starts a thread.
pub(super) fn start(name: &str, body: impl FnOnce() + Send + 'static) -> sync::JoinHandle<()> {
    sync::spawn(name, None, body).unwrap()
}

/// A client that sends, and counts as done once it has all answers or the server has gone.
pub(super) fn sender(stage: &Arc<Stage>, sending: Sending) -> sync::JoinHandle<()> {
    let stage = Arc::clone(stage);
    start("sender", move || {
        let recipients = sending.to.len();
        let all = 1..=sending.count * recipients;
        let mut open: BTreeSet<usize> = all.collect();
        let (mut sent, mut breaks_after) = (0, sending.breaks_after);
        while !open.is_empty() {
            let Some(mut client) = stage.connect(sending.from, sending.capacity) else {
                return;
            };
            if client.log_in() {
                send_open(&mut client, sending, &open, &mut sent);
                answers(&stage, &mut client, sending, &mut open, &mut breaks_after);
            }
        }
    })
}

fn send_open(client: &mut Client, sending: Sending, open: &BTreeSet<usize>, sent: &mut usize) {
    for sequence in open {
        let to = sending.to[sequence % sending.to.len()];
        if !client.send(to, *sequence, sending.size, sequence <= sent) {
            return;
        }
        *sent = (*sent).max(*sequence);
    }
    if sending.half_closes {
        client.close_writing();
    }
}

fn answers(
    stage: &Stage,
    client: &mut Client,
    sending: Sending,
    open: &mut BTreeSet<usize>,
    breaks_after: &mut Option<usize>,
) {
    while !open.is_empty() {
        let Some(line) = client.line() else {
            return;
        };
        client.take(&line, true);
        let Some(sequence) = line["id"].as_u64().and_then(|id| id.checked_sub(100)) else {
            continue;
        };
        let sequence = sequence as usize;
        let to = sending.to[sequence % sending.to.len()];
        let message = (sending.from, to, sequence);
        if line["ok"].is_object() {
            stage.note(|seen| seen.accepted.insert(message));
        } else {
            match line["error"]["code"].as_str().unwrap_or_default() {
                "not_logged_in" => return,
                "storage" | "shutting_down" => {
                    stage.note(|seen| seen.refused.insert(message));
                }
                other => panic!("refused: {other}"),
            }
        }
        assert!(open.remove(&sequence), "{message:?} was answered twice");
        if let Some(left) = breaks_after {
            *left = left.saturating_sub(1);
            if *left == 0 {
                *breaks_after = None;
                client.reset();
                return;
            }
        }
    }
}

/// A client that receives until the server goes. It reads `bite` bytes at once.
pub(super) fn receiver(
    stage: &Arc<Stage>,
    user: usize,
    capacity: usize,
    bite: usize,
) -> sync::JoinHandle<()> {
    let stage = Arc::clone(stage);
    start("receiver", move || {
        while let Some(mut client) = stage.connect(user, capacity) {
            client.bite = bite;
            if !client.log_in() {
                continue;
            }
            while let Some(line) = client.line() {
                client.take(&line, true);
            }
        }
    })
}

/// A client that takes its account over, acts for it a few times, and leaves; several times.
pub(super) fn rival(stage: &Arc<Stage>, user: usize, rounds: usize) -> sync::JoinHandle<()> {
    let stage = Arc::clone(stage);
    start("rival", move || {
        for _ in 0..rounds {
            let Some(mut client) = stage.connect(user, 4096) else {
                return;
            };
            if !client.log_in() {
                continue;
            }
            while client.acts() && sync::choose(4) > 0 {}
        }
    })
}

/// A client that receives until the server goes, and asks now and then for all that is pending.
pub(super) fn fetcher(stage: &Arc<Stage>, user: usize, capacity: usize) -> sync::JoinHandle<()> {
    let stage = Arc::clone(stage);
    start("fetcher", move || {
        while let Some(mut client) = stage.connect(user, capacity) {
            if !client.log_in() {
                continue;
            }
            while let Some(line) = client.line() {
                client.take(&line, true);
                if sync::choose(8) == 0 {
                    client.fetch();
                }
            }
        }
    })
}
