#!/bin/sh
# Types, searches, pastes and resizes at random while a thousand messages a second
# arrive, and accounts for every word and message: scripts/typing.sh [SECONDS [SEED]],
# 60 seconds if not told otherwise.
set -eu
cd "$(dirname "$0")/.."
SECURE_CHAT_TYPING="${1:-60}"
export SECURE_CHAT_TYPING
if [ $# -gt 1 ]; then
    SECURE_CHAT_SEED="$2"
    export SECURE_CHAT_SEED
fi
cargo test --release --test terminal typing_while -- --nocapture
