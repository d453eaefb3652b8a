#!/bin/bash
# A throw-away PostgreSQL for tests: scripts/postgres.sh COMMAND [ARGUMENT...]
# starts one on a socket in a temporary folder, runs the command with its address in
# SECURE_CHAT_TEST_POSTGRES, and ends and removes it. It needs Debian's package
# postgresql (15 or later). PostgreSQL does not run as root, so as root it runs as
# the user postgres. Nothing is synced, since what it holds is not meant to last; with
# POSTGRES_FSYNC=on it is, for measurements.
set -euo pipefail

bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
[ -n "$bin" ] || {
    echo "there is no PostgreSQL here; install Debian's package postgresql" >&2
    exit 1
}
folder=$(mktemp -d)
as=()
if [ "$(id -u)" = 0 ]; then
    chown postgres "$folder"
    as=(runuser -u postgres --)
fi
cleanup() {
    "${as[@]}" "$bin/pg_ctl" stop --pgdata "$folder/data" --mode immediate --silent || true
    rm -rf "$folder"
}
trap cleanup EXIT
cd "$folder"
"${as[@]}" "$bin/initdb" --pgdata "$folder/data" --username chat --auth trust --encoding UTF8 \
    --no-sync >/dev/null
"${as[@]}" "$bin/pg_ctl" start --pgdata "$folder/data" --silent --wait --log "$folder/log" --options \
    "-c listen_addresses= -c unix_socket_directories=$folder -c fsync=${POSTGRES_FSYNC:-off} -c max_connections=400"
chmod 755 "$folder"
cd "$OLDPWD"
SECURE_CHAT_TEST_POSTGRES="postgres://chat@/postgres?host=$folder" "$@"
