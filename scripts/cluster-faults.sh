#!/bin/sh
# Breaks servers, PostgreSQL and the networks between them under load, again and again, and accounts
# for every message: scripts/cluster-faults.sh [RUNS [KIND]], 20 runs of each kind if not told otherwise. KIND
# is a part of a test's name: killed, stands_still, restarted, cut, vanishes, full, fails_over, promoted.
# Prints a line a run with its seed and the counts, and a line a kind with the sums, and fails if an accepted
# message was lost, shown twice or out of order, or an account had two live sessions. It needs Debian's
# packages postgresql and haproxy, and root for networks of its own and for a small disk.
# SEED=NUMBER repeats the choices of the run that has printed it. SECURE_CHAT_NODES says how many servers there are,
# SECURE_CHAT_FAULTS how many faults in a run (1).
set -eu
cd "$(dirname "$0")/.."
export SECURE_CHAT_RUNS="${1:-20}" SECURE_CHAT_FAULTS="${SECURE_CHAT_FAULTS:-1}"
exec cargo test --quiet --all-features --test cluster "${2:-faults::}" -- --nocapture
