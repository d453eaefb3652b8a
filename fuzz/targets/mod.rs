//! What the fuzzer feeds and what must hold whatever it feeds: one function a
//! target. `fuzz/fuzz_targets` calls them under libFuzzer, and `tests/corpus.rs`
//! replays the seeds through the same functions on stable.
//!
//! A function panics where something does not hold. Nothing here is random: the
//! same bytes do the same in every run.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each fuzz binary calls one of these, and a panic is how a finding is reported"
)]

mod crypto;
mod import;
mod peers;
mod scene;
mod values;
mod wire;

pub(crate) use crypto::{envelope, prekey_bundle, vault_row};
pub(crate) use import::import_document;
pub(crate) use peers::peer_frames;
pub(crate) use values::vault_value;
pub(crate) use wire::{console, json, lines, proxy_header, sniff};

/// A target's name and its function.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// All of them: for the replay, and for a test that none is missing.
pub(crate) const ALL: [Target; 11] = [
    ("envelope", envelope),
    ("prekey_bundle", prekey_bundle),
    ("vault_row", vault_row),
    ("vault_value", vault_value),
    ("json", json),
    ("console", console),
    ("lines", lines),
    ("sniff", sniff),
    ("import_document", import_document),
    ("proxy_header", proxy_header),
    ("peer_frames", peer_frames),
];

/// Files to begin with, by target and name, made by the code itself so that
/// they are as deep in it as valid input is.
pub(crate) fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = crypto::seeds();
    seeds.extend(import::seeds());
    seeds.extend(peers::seeds());
    seeds.extend(values::seeds());
    seeds.extend(wire::seeds());
    seeds
}
