//! Feeds `targets::peer_frames`, which says what must hold.
#![no_main]

#[path = "../targets/mod.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::peer_frames(data));
