//! Feeds `targets::prekey_bundle`, which says what must hold.
#![no_main]

#[path = "../targets/mod.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::prekey_bundle(data));
