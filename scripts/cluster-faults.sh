#!/bin/sh
# Breaks servers, PostgreSQL and the networks between them under load, again and again, and accounts
# for every message: scripts/cluster-faults.sh [FAULTS [KIND]], 20 of each kind if not told otherwise. KIND
# is a part of a test's name: killed, stands_still, restarted, cut, full, fails_over, promoted.
# Prints a line a kind with the counts, and fails if an accepted message was lost, shown twice or out
# of order, or an account had two live sessions. It needs Debian's package postgresql.
# SECURE_CHAT_NODES says how many servers, SEED repeats a run's choices.
set -eu
cd "$(dirname "$0")/.."
SECURE_CHAT_FAULTS="${1:-20}"
export SECURE_CHAT_FAULTS
exec cargo test --quiet --all-features --test cluster "${2:-faults::}" -- --nocapture
