#!/bin/sh
# Runs the fuzz targets, one after the other, and prints what each has done.
#
#   scripts/fuzz.sh [SECONDS [TARGET...]]      60 seconds of every target by default
#
# It needs cargo-fuzz (cargo install cargo-fuzz) and a C++ compiler, for libFuzzer.
# The stable compiler will do: only a sanitizer would need another, and without
# the address sanitizer nothing is lost, because this crate forbids unsafe code,
# and a target does several times as many executions. What the fuzzer learns stays
# in fuzz/target, which is not kept in the repository; the seeds are in tests/corpus.
set -eu

cd "$(dirname "$0")/.."
seconds=${1:-60}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- envelope prekey_bundle vault_row vault_value json console lines sniff proxy_header import_document peer_frames

logs=fuzz/target/logs
mkdir -p "$logs"
cargo fuzz build --sanitizer none
failed=0
for target in "$@"; do
    mkdir -p "fuzz/target/corpus/$target" "fuzz/target/found/$target"
    # A line of the protocol has 64 KiB at most, an envelope 24 KiB; longer inputs
    # only slow the search down. Nothing here may need 512 MiB or ten seconds.
    if cargo fuzz run --sanitizer none "$target" \
        "fuzz/target/corpus/$target" "tests/corpus/$target" -- \
        -max_total_time="$seconds" -max_len=8192 -rss_limit_mb=512 -timeout=10 \
        -artifact_prefix="fuzz/target/found/$target/" -print_final_stats=1 >"$logs/$target" 2>&1
    then
        result='no crash'
    else
        result="FAILED, see $logs/$target"
        failed=1
    fi
    count=$(sed -n 's/^stat::number_of_executed_units: *//p' "$logs/$target")
    speed=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$logs/$target")
    peak=$(sed -n 's/^stat::peak_rss_mb: *//p' "$logs/$target")
    printf '%-14s %12s executions in %s s, %s a second, peak %s MiB: %s\n' \
        "$target" "${count:-?}" "$seconds" "${speed:-?}" "${peak:-?}" "$result"
done
exit "$failed"
