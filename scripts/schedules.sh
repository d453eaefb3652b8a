#!/bin/bash
# Explores N schedules (100,000 by default) of each scenario of delivery, or of those named, on all
# cores:
#   scripts/schedules.sh [N [SCENARIO...]]
# It says how many schedules each scenario ran. It ends at the first one that fails, with the seed
# that repeats it: SEED=31 scripts/schedules.sh 1 take_over. FIRST_SEED=K begins at another seed.
# If all scenarios ran, it also says how often each wait with a limit ran out, and fails if one of
# delivery's never did.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export SCHEDULES=${1:-100000} RUST_BACKTRACE=${RUST_BACKTRACE:-0}
shift || true
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# Beyond a thousand, optimisation saves more time than the build that it needs.
profile=()
[ "$SCHEDULES" -le 1000 ] || profile=(--profile explore)
cargo test "${profile[@]}" --all-features --lib --no-run 2>"$out/build" || { cat "$out/build" >&2; exit 1; }
tests=$(sed -nE 's/.*Executable.*\((.*)\)$/\1/p' "$out/build")
all=$("$tests" --list server::schedules:: | sed -n 's/^server::schedules::\(.*\): test$/\1/p' |
    grep -vE '^(timeouts|explorer)::')
scenarios=$all
if [ $# -gt 0 ]; then
    scenarios=$(for name; do grep -E "(^|::)$name\$" <<<"$all"; done)
fi

run() {
    local log=$out/${2//:/_}
    if ! "$1" "server::schedules::$2" --exact --nocapture >"$log" 2>&1; then
        cat "$log" >&2
        return 255 # The others are not begun.
    fi
    grep 'schedules from' "$log"
}
export -f run
export out
xargs -P "$(nproc)" -I{} bash -c 'run "$@"' run "$tests" {} <<<"$scenarios"
[ "$scenarios" = "$all" ] || exit 0

cat "$out"/* | awk '$2 == "timeout" { count[$3] += $5 } END { for (p in count) print p, count[p] }' |
    grep -v /schedules/ | sort >"$out/ran"
sed 's/ / ran out /; s/$/ times/' "$out/ran"
"$tests" server::schedules::timeouts::waits --exact --nocapture >"$out/waits"
sed -n 's/ is out of reach/ was not explored/p' "$out/waits"
never=$(sed -n 's/ has to run out$//p' "$out/waits" | grep -vxFf <(cut -d' ' -f1 "$out/ran") || true)
if [ -n "$never" ]; then
    echo "never ran out:" $never >&2
    exit 1
fi
