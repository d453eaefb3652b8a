#!/bin/sh
# Kills a real server under load again and again and accounts for every message:
# scripts/crash.sh [KILLS], 200 if not told otherwise. Prints the counts; fails
# if an accepted message was lost, shown twice or out of order.
set -eu
cd "$(dirname "$0")/.."
SECURE_CHAT_KILLS="${1:-200}" exec cargo test --release --test tests \
    every_accepted_message_is_delivered_once_and_in_order -- --nocapture
