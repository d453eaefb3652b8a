#!/usr/bin/env bash
#
# Tries recipes of docs/OPERATIONS.md with Debian's programs. What is tried stands on the page: the blocks are
# taken from there, and only ports and folders are replaced.
#
#   HAProxy      a login under TLS through it, in TCP mode with the PROXY protocol
#   Prometheus   promtool judges the metrics and the settings; it scrapes a server, and knows the alarms
#   Tor          judges the onion service's settings; there is no network of Tor here to be reached by
#   WireGuard    wg-quick reads the settings; nothing makes a tunnel
#
#   scripts/recipes.sh [PROFILE]     with the binaries in target/PROFILE (debug)
#
# Needs haproxy, prometheus, tor, wireguard-tools, openssl and python3; root for none of it. certbot's hook is
# tried by scripts/year.sh, since it is about the package.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly profile=${1:-debug} page=docs/OPERATIONS.md DEADLINE=60
programs=$PWD/${CARGO_TARGET_DIR:-target}/$profile

for variable in "${!SECURE_CHAT_@}"; do unset "$variable"; done
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:${PATH} XDG_CONFIG_HOME=/nonexistent

folder=$(mktemp -d)
started=()

cleanup() {
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$folder"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

fail() {
    echo "FAILED: $1" >&2
    tail -n 20 "$folder"/*.log 2>/dev/null >&2 || true
    exit 1
}

# block HEADING LANGUAGE [NUMBER]: the first, or that block of a chapter of the page.
block() {
    awk -v heading="$1" -v open="\`\`\`$2" -v number="${3:-1}" '
        /^##/ { inside = ($0 == heading) }
        inside && taking && $0 == "```" { exit }
        taking { print }
        inside && !taking && $0 == open && ++count == number { taking = 1 }' "$page" | grep . ||
        fail "the page has no such block under '$1'"
}

# begin NAME COMMAND…: starts a program that cleanup ends.
begin() {
    local name=$1
    shift
    "$@" >"$folder/$name.log" 2>&1 &
    started+=($!)
}

until_true() {
    local what=$1 until=$((SECONDS + DEADLINE))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < until)) || fail "$what: not within ${DEADLINE} s"
        sleep 0.1
    done
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# get URL: what HTTP answers.
get() { python3 -c 'import sys, urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1]).read().decode())' "$1"; }

# query EXPRESSION: the value that Prometheus gives it; nothing if there is none.
query() {
    python3 - "$prometheus" "$1" <<'PYTHON'
import json, sys, urllib.parse, urllib.request

url = "http://" + sys.argv[1] + "/api/v1/query?" + urllib.parse.urlencode({"query": sys.argv[2]})
answer = json.load(urllib.request.urlopen(url))
assert answer["status"] == "success", answer
for result in answer["data"]["result"]:
    print(result["value"][1])
PYTHON
}

step "HAProxy"
front=$(free_port) back=$(free_port) metrics=127.0.0.1:$(free_port)
block '### Behind HAProxy' text | sed "s/bind :8080/bind 127.0.0.1:$front/; s/127.0.0.1:8081/127.0.0.1:$back/" \
    >"$folder/haproxy.cfg"
grep -q "$front" "$folder/haproxy.cfg" && grep -q "$back" "$folder/haproxy.cfg" || fail "the page has other ports"
haproxy -c -f "$folder/haproxy.cfg" || fail "haproxy does not take the settings"
{ sed '/^backend/,$d' "$folder/haproxy.cfg"; block '### Behind HAProxy' text 2; } >"$folder/several.cfg"
haproxy -c -f "$folder/several.cfg" || fail "haproxy does not take the settings for several servers"
command=$(block '### Behind HAProxy' sh | sed "s/127.0.0.1:8081/127.0.0.1:$back/; s,/var/lib/secure-chat,$folder/data,")
begin server "$programs"/$command --metrics "$metrics"
until_true "the server answers" "$programs/server" ping --listen "127.0.0.1:$back"
begin haproxy haproxy -db -f "$folder/haproxy.cfg"
address=$("$programs/server" fingerprint --listen "127.0.0.1:$front" --data "$folder/data" | sed -n 's/^for clients //p')
echo "$address"
(umask 077 && echo "correct-horse-battery-alice" >"$folder/password")
client() {
    HOME=$folder XDG_DATA_HOME=$folder "$programs/client" --server "$address" --password-file "$folder/password" "$@"
}
until_true "HAProxy listens" openssl s_client -connect "127.0.0.1:$front" </dev/null
client register alice --recovery-file "$folder/recovery" || fail "no account through HAProxy"
client --user alice fetch || fail "no login through HAProxy"
# It came from HAProxy's address, and counts as the client's own.
until_true "the login is logged" grep -q "127.0.0.1:[0-9]* logged in as alice" "$folder/server.log"
grep "logged in as alice" "$folder/server.log"
openssl s_client -connect "127.0.0.1:$front" </dev/null 2>/dev/null | grep -E "^ *Protocol|^New, TLSv1.3" ||
    fail "it is not TLS 1.3"
! grep -q "127.0.0.2" "$folder/server.log" || fail "the proxy's address counts"

step "Prometheus"
get "http://$metrics/metrics" >"$folder/metrics"
promtool check metrics <"$folder/metrics" || fail "promtool does not like the metrics"
{
    printf 'global:\n  scrape_interval: 1s\n'
    block '## Metrics' yaml | sed "s/127.0.0.1:9120/$metrics/"
} >"$folder/prometheus.yml"
promtool check config "$folder/prometheus.yml" || fail "promtool does not take the settings"
prometheus=127.0.0.1:$(free_port)
begin prometheus prometheus --config.file="$folder/prometheus.yml" --storage.tsdb.path="$folder/tsdb" \
    --web.listen-address="$prometheus"
is_up() { [ "$(query 'up{job="secure-chat"}')" = 1 ]; }
until_true "Prometheus scrapes the server" is_up
logins=$(query secure_chat_logins_total)
echo "up, logins: $logins"
[ "$logins" -ge 2 ] || fail "Prometheus does not know of the logins"
# Each alarm is an expression that it understands, and none is raised.
alarms=$(sed -n '/^Worth an alarm/,/^$/p' "$page" | tr '\n' ' ' | grep -o '`[^`]*`' | tr -d '`')
[ "$(wc -l <<<"$alarms")" -ge 4 ] || fail "the page has fewer alarms"
while read -r alarm; do
    said=$(query "$alarm") || fail "Prometheus does not understand $alarm"
    echo "$alarm: ${said:-no}"
    [ -z "$said" ] || fail "an alarm is raised"
done <<<"$alarms"

step "Tor"
block '### A Tor onion service' text | sed "s,/var/lib/tor,$folder/tor," >"$folder/torrc"
mkdir -m 0700 "$folder/tor"
tor --verify-config --defaults-torrc /dev/null -f "$folder/torrc" --DataDirectory "$folder/tor/data" |
    tail -n 1 | grep "Configuration was valid" || fail "tor does not take the settings"

step "WireGuard"
key=$(wg genkey)
block '### WireGuard' ini | sed "s,PrivateKey = .*,PrivateKey = $key,; s,PublicKey = .*,PublicKey = $(wg pubkey <<<"$key")," >"$folder/wg0.conf"
chmod 600 "$folder/wg0.conf"
wg-quick strip "$folder/wg0.conf" | grep -v "Key" || fail "wg-quick does not take the settings"

step "the recipes work"
