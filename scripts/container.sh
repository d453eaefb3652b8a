#!/usr/bin/env bash
#
# Does what packaging/Dockerfile says without a container engine: makes a Debian root with debootstrap,
# runs the steps of the last stage in it, starts the server as its user on a read-only root, and asks
# it by the health check.
#
#   scripts/container.sh [PROFILE]     with the binary in target/PROFILE (debug)
#
# Needs root, debootstrap, and a mirror of Debian. The stage that builds is left out: the binary is
# taken from target/PROFILE.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

profile=${1:-debug} target=${CARGO_TARGET_DIR:-target}
folder=$(mktemp -d)
root=$folder/root server=''

cleanup() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf --one-file-system "$folder"
}
trap cleanup EXIT

fail() {
    echo "FAILED: $1" >&2
    exit 1
}

# prepare WORDS…: sets `command` to that command in a mount namespace of its own, as the image's user:
# the root is read-only, /data is the volume, /tmp is empty.
prepare() {
    command=(unshare --mount bash -c '
        root=$1 user=$2; shift 2
        mount --make-rprivate / && mount --bind "$root" "$root" &&
        mount --bind "$root/data" "$root/data" && mount -t tmpfs tmpfs "$root/tmp" &&
        mount -t proc proc "$root/proc" && mount --bind /dev "$root/dev" &&
        mount -o remount,bind,ro "$root" &&
        exec chroot --userspec="$user" "$root" "$@"' inside "$root" "$user" \
        /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin "${environment[@]}" "$@")
}

inside() {
    prepare "$@"
    "${command[@]}"
}

# A list such as ["a", "b"] as words.
words() { tr -d '[]",' <<<"$1"; }

debootstrap --variant=minbase bookworm "$root" >"$folder/debootstrap.log" ||
    fail "debootstrap: $(tail -3 "$folder/debootstrap.log")"

user=root environment=() entry='' health='' stage=0
while read -r instruction rest; do
    case $instruction in
        '' | '#'*) continue ;;
        FROM) stage=$((stage + 1)) ;;&
        *) ((stage == 2)) || continue ;;&
        FROM | VOLUME | EXPOSE) ;;
        RUN) chroot "$root" sh -c "$rest" ;;
        ENV) environment+=("$rest") ;;
        USER) user=$rest ;;
        COPY)
            read -r _ from to <<<"$rest"
            install -m 0755 "$target/$profile/${from##*/}" "$root$to"
            ;;
        HEALTHCHECK) health=$(words "${rest##*CMD }") ;;
        ENTRYPOINT) entry=$(words "$rest") ;;
        *) fail "what does $instruction mean?" ;;
    esac
    echo "$instruction $rest"
done <packaging/Dockerfile
[ -n "$entry" ] && [ -n "$health" ] || fail "an instruction is missing"

chroot "$root" install -d -o "$user" /own

# A port that is free here stands for the container's own.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
environment=("${environment[@]/#SECURE_CHAT_LISTEN=*/SECURE_CHAT_LISTEN=0.0.0.0:$port}")

prepare $entry
"${command[@]}" >"$folder/out" 2>"$folder/log" &
server=$!
until inside $health 2>/dev/null; do
    kill -0 "$server" 2>/dev/null || fail "the server has ended: $(cat "$folder/log")"
    sleep 0.2
done
echo "healthy: $health"
inside $entry fingerprint
inside $entry invite create
# In a folder of its own, so that nothing but the root's being read-only keeps it from writing.
inside sh -c 'touch /own/x' 2>"$folder/said" && fail "the root can be written to"
grep "Read-only" "$folder/said" || fail "something else keeps the image's user from writing"
inside sh -c '[ "$(id -u)" -ne 0 ]' || fail "it runs as root"
kill -TERM "$server"
wait "$server" || fail "the server ended with an error"
server=''
tail -n 1 "$folder/log"
inside $health 2>"$folder/said" && fail "a server that has ended is healthy"
cat "$folder/said"
