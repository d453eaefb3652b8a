//! How often each thing happens in the model's world.

use super::*;

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
