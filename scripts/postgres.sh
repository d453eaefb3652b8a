#!/bin/bash
# A throw-away PostgreSQL for tests: scripts/postgres.sh [--standby] COMMAND [ARGUMENT...]
# starts one on a socket in a temporary folder, runs the command with its address in
# SECURE_CHAT_TEST_POSTGRES, and ends and removes it. It needs Debian's package
# postgresql (15 or later). PostgreSQL does not run as root, so as root it runs as
# the user postgres. Nothing is synced, since what it holds is not meant to last; with POSTGRES_FSYNC=on
# it is, for measurements. With POSTGRES_PORT=N it listens on that port of this machine besides. With --standby a second one is a synchronous standby of the first, in the folder
# standby, and the address names both.
set -euo pipefail

with_standby=
if [ "${1:-}" = --standby ]; then
    with_standby=1
    shift
fi

bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
[ -n "$bin" ] || {
    echo "there is no PostgreSQL here; install Debian's package postgresql" >&2
    exit 1
}
folder=$(mktemp -d)
port=${POSTGRES_PORT:-}
as=()
if [ "$(id -u)" = 0 ]; then
    chown postgres "$folder"
    as=(runuser -u postgres --)
fi
cleanup() {
    for data in "$folder/data" "$folder/standby/data"; do
        [ -d "$data" ] || continue
        "${as[@]}" "$bin/pg_ctl" stop --pgdata "$data" --mode immediate --silent || true
    done
    rm -rf "$folder"
}
trap cleanup EXIT
cd "$folder"
"${as[@]}" "$bin/initdb" --pgdata "$folder/data" --username chat --auth trust --encoding UTF8 \
    --no-sync >/dev/null
"${as[@]}" "$bin/pg_ctl" start --pgdata "$folder/data" --silent --wait --log "$folder/log" --options \
    "-c listen_addresses=${port:+localhost} ${port:+-p $port} -c unix_socket_directories=$folder \
     -c fsync=${POSTGRES_FSYNC:-off} -c max_connections=400"
chmod 755 "$folder"
hosts=$folder
if [ -n "$with_standby" ]; then
    hosts=$folder,$folder/standby
    "${as[@]}" mkdir "$folder/standby"
    "${as[@]}" "$bin/pg_basebackup" --pgdata "$folder/standby/data" --host "$folder" --username chat \
        --checkpoint fast --write-recovery-conf --no-sync
    "${as[@]}" "$bin/pg_ctl" start --pgdata "$folder/standby/data" --silent --wait --log "$folder/log" \
        --options "-c listen_addresses= -c unix_socket_directories=$folder/standby -c fsync=off -c max_connections=400"
    # It is set behind the copy, so that a standby that is promoted waits for nobody.
    "${as[@]}" psql -XAtqc "ALTER SYSTEM SET synchronous_standby_names = '*'" -c "SELECT pg_reload_conf()" \
        "postgres://chat@/postgres?host=$folder" >/dev/null
fi
cd "$OLDPWD"
SECURE_CHAT_TEST_POSTGRES="postgres://chat@/postgres?host=$hosts${port:+&port=$port}" "$@"
