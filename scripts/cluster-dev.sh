#!/bin/bash
# A throw-away cluster on this machine: PostgreSQL with a synchronous standby, and three servers on its one
# database behind HAProxy.
# Prints how to connect, and runs until Ctrl-C; then nothing of it is left.
# It needs Debian's packages postgresql and haproxy. Port 7400, or the first argument.
set -euo pipefail
port=${1:-7400}

if [ -z "${SECURE_CHAT_TEST_POSTGRES:-}" ]; then
    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    command -v haproxy >/dev/null || {
        echo "there is no HAProxy here; install Debian's package haproxy" >&2
        exit 1
    }
    cargo build --quiet --features postgres --bins
    exec scripts/postgres.sh --standby scripts/cluster-dev.sh "$port"
fi

folder=$(mktemp -d)
running=()
cleanup() {
    kill "${running[@]}" 2>/dev/null || true
    wait "${running[@]}" 2>/dev/null || true
    rm -rf "$folder"
}
trap cleanup EXIT
trap 'exit 0' INT TERM

{
    printf 'defaults\n mode tcp\n timeout connect 1s\n timeout client 1h\n timeout server 1h\n'
    printf 'frontend chat\n bind 127.0.0.1:%s\n default_backend servers\nbackend servers\n' "$port"
    for node in 1 2 3; do
        printf ' server node%s 127.0.0.1:%s check inter 500ms send-proxy-v2\n' "$node" $((port + node))
    done
} >"$folder/haproxy.cfg"

# The first server makes the certificate, which all show.
for node in 1 2 3; do
    data=$folder/node$node
    if [ "$node" != 1 ]; then
        mkdir "$data"
        cp "$folder"/node1/tls-*.pem "$data"
    fi
    target/debug/server --store "$SECURE_CHAT_TEST_POSTGRES" --store-standbys 1 --node "node$node" --data "$data" \
        --listen "127.0.0.1:$((port + node))" --proxy-from 127.0.0.1 >"$folder/node$node.log" 2>&1 &
    running+=($!)
    echo "node$node: process $!, log $folder/node$node.log"
    if [ "$node" = 1 ]; then
        for _ in $(seq 100); do
            grep -q 'listening on' "$folder/node1.log" && break
            sleep 0.1
        done
    fi
done
haproxy -db -f "$folder/haproxy.cfg" >"$folder/haproxy.log" 2>&1 &
running+=($!)

fingerprint=$(target/debug/server fingerprint --data "$folder/node1" | sed -n 's/^certificate //p' | tr -d ' ')
echo "connect with: target/debug/client --server chat://$fingerprint@127.0.0.1:$port"
echo "see a take-over: kill -9 ${running[0]}"
wait
