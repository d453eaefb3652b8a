//! What can happen in the model's world, and how often it does.

use super::*;

/// What can happen next.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Send(usize),
    /// The same, on a thread that has read the time a while ago.
    SendLate(usize),
    /// A sender sends again what has no answer: on the same connection, or with
    /// `again` on a new one.
    Repeat(usize, bool),
    /// The recipient's client takes what was pushed.
    Take(usize),
    /// The server reads one of its acknowledgements.
    Acknowledge(usize),
    /// A person who has seen all types `ack`.
    AcknowledgeShown,
    WriterTakes(usize),
    WriterCommits,
    WriterFails,
    /// A page is read, and later one of those that were is handed over.
    Read,
    Page(usize),
    /// A login, in place of the session that is there.
    Attach(Taker),
    /// Its connection ends.
    Detach,
    /// A session that was replaced attaches, and ends, late.
    Latecomer,
    /// `fetch`.
    Rewind(usize),
    /// The session's send queue fills up, or drains.
    Room(bool),
    Wait,
    /// The recipient hides its presence, or shows it.
    Hide(bool),
    /// The recipient blocks the second sender, or no longer.
    Block(bool),
    /// A mailbox that nobody uses leaves the memory.
    Evict,
    /// The disk refuses the last batches, and the server ends.
    GiveUp,
    Crash,
}

/// What kind of session logs in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Taker {
    Client,
    Console,
    /// A script that fetches.
    Fetcher,
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let taker = prop_oneof![
        4 => Just(Taker::Client),
        1 => Just(Taker::Console),
        1 => Just(Taker::Fetcher),
    ];
    prop_oneof![
        22 => (0..2usize).prop_map(Op::Send),
        2 => (0..2usize).prop_map(Op::SendLate),
        2 => (0..2usize, any::<bool>()).prop_map(|(sender, again)| Op::Repeat(sender, again)),
        24 => (1..4usize).prop_map(Op::Take),
        20 => (0..3usize).prop_map(Op::Acknowledge),
        1 => Just(Op::AcknowledgeShown),
        16 => (1..4usize).prop_map(Op::WriterTakes),
        16 => Just(Op::WriterCommits),
        2 => Just(Op::WriterFails),
        16 => Just(Op::Read),
        16 => (0..3usize).prop_map(Op::Page),
        5 => taker.prop_map(Op::Attach),
        2 => Just(Op::Detach),
        1 => Just(Op::Latecomer),
        3 => (0..9usize).prop_map(Op::Rewind),
        6 => any::<bool>().prop_map(Op::Room),
        8 => Just(Op::Wait),
        1 => any::<bool>().prop_map(Op::Hide),
        1 => any::<bool>().prop_map(Op::Block),
        1 => Just(Op::Evict),
        1 => Just(Op::GiveUp),
        3 => Just(Op::Crash),
    ]
}
