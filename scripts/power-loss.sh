#!/bin/sh
# Takes the power away at random instants, from a server under load and from two
# clients in turn, throws away what was not synced, and accounts for every message:
# scripts/power-loss.sh [CUTS], 100 of each if not told otherwise. Linux, with cc.
set -eu
cd "$(dirname "$0")/.."
SECURE_CHAT_CUTS="${1:-100}"
export SECURE_CHAT_CUTS
cargo test --release --test tests power_loss -- --nocapture
cargo test --release --test vault power -- --nocapture
