#!/bin/bash
# Explores N schedules (100,000 by default) of each scenario of delivery, or of those named:
#   scripts/schedules.sh [N [SCENARIO...]]
# It prints how many schedules ran and how often each timeout fired, and stops at the first
# scenario that fails, with the seed that repeats it. FIRST_SEED=K begins at another seed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export SCHEDULES=${1:-100000} RUST_BACKTRACE=${RUST_BACKTRACE:-0}
shift || true
[ $# -gt 0 ] || set -- live backlog starved take_over eviction failing_disk crash shutdown departures \
    stalled kdf_queue unacknowledged
for scenario; do
    cargo test --quiet --lib "schedules::$scenario" -- --exact "server::schedules::$scenario" \
        --nocapture
done
