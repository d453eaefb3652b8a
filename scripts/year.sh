#!/usr/bin/env bash
#
# A year of a server in some minutes, on the real programs: the Debian packages are installed, people
# are invited, join and chat, a backup is made under load, certbot's hook renews a certificate, a database of the first schema is upgraded,
# the machine is lost and restored from the backup and the journal, a password is reset, people come from the
# program before this one, an account is erased, and the packages are purged. Prints what it does and sees; exits 0 if all was as it has to be.
#
#   scripts/year.sh [PROFILE]     with the binaries in target/PROFILE (debug)
#
# Needs root on Debian, sqlite3 and what scripts/package.sh needs. It refuses a machine on which
# secure-chat-server is installed or its folders exist, since it ends by purging them.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly profile=${1:-debug} target=${CARGO_TARGET_DIR:-target}
readonly data=/var/lib/secure-chat backups=/var/backups/secure-chat conf=/etc/secure-chat/server.conf
readonly DEADLINE=60

for variable in "${!SECURE_CHAT_@}"; do unset "$variable"; done
# As on a machine that is new.
export XDG_CONFIG_HOME=/nonexistent PATH=/usr/sbin:/usr/bin:/sbin:/bin:${PATH}

folder=$(mktemp -d)
server='' installed=''

cleanup() {
    [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true
    if [ -n "$installed" ]; then
        dpkg --purge secure-chat secure-chat-server >/dev/null 2>&1 || true
        rm -rf /etc/secure-chat
        rm -rf "$backups"
    fi
    rm -rf "$folder"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

fail() {
    echo "FAILED: $1" >&2
    tail -n 20 "$folder/server.log" 2>/dev/null >&2 || true
    exit 1
}

# see WORDS COMMAND…: runs a command, prints what it says, and fails unless that has the words.
see() {
    local words=$1 said
    shift
    said=$("$@" 2>&1 </dev/null) || fail "$* ended with an error: $said"
    printf '$ %s\n%s\n' "${*/$folder\//}" "$said" | cut -c1-160
    grep -qF -e "$words" <<<"$said" || fail "no '$words' in what $1 said"
}

until_true() {
    local what=$1 until=$((SECONDS + DEADLINE))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < until)) || fail "$what: not within ${DEADLINE} s"
        sleep 0.1
    done
}

# The server by its unit's command line, as its unit's user, in a mount namespace like that of
# ProtectSystem=strict, PrivateTmp, StateDirectory and ReadWritePaths: it can write to its folder, to
# that of the backups and to /tmp only.
start_server() {
    local unit=/usr/lib/systemd/system/secure-chat-server.service command user writable
    command=$(sed -n 's/^ExecStart=//p' "$unit")
    user=$(sed -n 's/^User=//p' "$unit")
    writable=$(sed -n 's/^ReadWritePaths=-//p' "$unit")
    install -d -m 0700 -o "$user" -g "$user" "$data"
    unshare --mount bash -c '
        mount --make-rprivate / && mount -t tmpfs tmpfs /tmp && mount --bind "$1" "$1" &&
        mount --bind "$4" "$4" && mount -o remount,bind,ro / && cd / &&
        exec setpriv --reuid="$2" --regid="$2" --clear-groups --no-new-privs \
            --bounding-set=-all --inh-caps=-all -- $3' \
        start "$data" "$user" "$command" "$writable" >"$folder/server.out" 2>>"$folder/server.log" &
    server=$!
    until_true "the server answers" secure-chat-ctl ping
}

stop_server() {
    kill -TERM "$server"
    wait "$server" || fail "the server ended with an error"
    server=''
}

# as NAME COMMAND…: the installed client, in NAME's own home.
as() {
    local name=$1
    shift
    HOME=$folder/$name XDG_DATA_HOME=$folder/$name secure-chat --user "$name" \
        --password-file "$folder/$name/password" --server "$address" "$@"
}

# join NAME: an account by an invitation of the operator's.
join() {
    local name=$1 link
    mkdir -p "$folder/$name"
    (umask 077 && echo "correct-horse-battery-$name" >"$folder/$name/password")
    link=$(secure-chat-ctl invite create 2>/dev/null)
    address=${link%/join/*}
    see "account $name created" env HOME="$folder/$name" XDG_DATA_HOME="$folder/$name" secure-chat \
        join "$link" "$name" --password-file "$folder/$name/password" \
        --recovery-file "$folder/$name/recovery"
}

[ "$(id -u)" -eq 0 ] || { echo "year.sh: it installs packages, so run it as root" >&2; exit 1; }
for taken in "$data" "$backups" /etc/secure-chat; do
    [ ! -e "$taken" ] || { echo "year.sh: $taken exists; is this your server's machine?" >&2; exit 1; }
done

step "build and install the packages"
scripts/package.sh "$profile"
installed=yes
DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends \
    "$PWD/$target"/debian/*.deb >/dev/null
for package in "$target"/debian/*.deb; do
    echo "$(basename "$package"): $(dpkg-deb --contents "$package" | grep -c '^-') files"
done
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
sed -i "s/^listen = .*/listen = 127.0.0.1:$port/" "$conf"
sed -i "s/^# journal = /journal = /" "$conf"
journal=$backups/secure-chat.journal
see "the settings can be used" secure-chat-ctl config check
start_server

step "January: invite, join, chat"
for name in alice bob carol; do join "$name"; done
see "stored for bob" as alice send bob "happy new year"
see "alice: happy new year" as bob fetch
see "3 accounts" secure-chat-ctl user list

step "March: a backup under load"
for number in {1..60}; do echo "/msg bob load $number"; done >"$folder/load"
as alice <"$folder/load" >"$folder/load.out" 2>&1 &
busy=$!
waits() { secure-chat-ctl --json user show bob | grep -q '"waiting_messages":[1-9]'; }
until_true "mail waits for bob" waits
see "" secure-chat-ctl backup "$backups" --keep 7
wait "$busy" || fail "the load ended with an error: $(tail -3 "$folder/load.out")"
backup=$(ls "$backups"/*.backup)
see "" secure-chat-ctl check "$backup"

step "April: a certificate of a public authority, as certbot renews it"
# authority NUMBER: makes such a certificate in place of Let's Encrypt's.
lineage=$folder/live/chat.example
mkdir -p "$lineage" "$folder/bin"
authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 90 -set_serial "$1" \
        -subj /CN=chat.example -addext subjectAltName=DNS:chat.example \
        -keyout "$lineage/privkey.pem" -out "$lineage/fullchain.pem" 2>/dev/null
    chmod 600 "$lineage/privkey.pem"
}
served() { openssl s_client -connect "127.0.0.1:$port" -servername chat.example </dev/null 2>/dev/null |
    openssl x509 -noout -serial; }
# The page's hook, with the unit's reload in place of a running systemd.
sed -n '/^#!\/bin\/sh$/,/^```$/p' docs/OPERATIONS.md | grep -v '^```$' >"$folder/hook"
printf '#!/bin/sh\n[ "$*" = "reload secure-chat-server" ] && kill -HUP %s\n' "$server" >"$folder/bin/systemctl"
chmod 755 "$folder/hook" "$folder/bin/systemctl"
hook() { RENEWED_LINEAGE=$lineage PATH=$folder/bin:$PATH "$folder/hook" || fail "the hook ended with an error"; }
authority 4097
hook
cp "$conf" "$folder/conf"
printf 'tls-cert = %s\ntls-key = %s\n' /etc/secure-chat/tls/fullchain.pem /etc/secure-chat/tls/privkey.pem >>"$conf"
see "the settings can be used" secure-chat-ctl config check
stop_server
start_server
[ "$(served)" = serial=1001 ] || fail "the server shows another certificate: $(served)"
authority 4098
printf '#!/bin/sh\nkill -HUP %s\n' "$server" >"$folder/bin/systemctl"
hook
renewed() { [ "$(served)" = serial=1002 ]; }
until_true "the renewed certificate is shown" renewed
grep "the certificate was read again" "$folder/server.log"
cp "$folder/conf" "$conf"
stop_server
start_server

step "May: settings change without a restart"
sed -i 's/^registration = .*/registration = open/' "$conf"
kill -HUP "$server"
until_true "the setting is taken" grep -q "registration is open from here on" "$folder/server.log"
grep "registration is open" "$folder/server.log"

step "June: frank comes, grace comes and goes, and bob blocks frank and hides; no backup has that"
join frank
join grace
see "" secure-chat-ctl user remove grace
printf '/block frank\n/settings presence off\n' | as bob >"$folder/bob.log" 2>&1 ||
    fail "bob can't change his settings: $(cat "$folder/bob.log")"
see '"presence":false' secure-chat-ctl --json user show bob

step "July: the machine is lost, and restored from the backup and the journal"
see "stored for carol" as bob send carol "after the backup"
kill -KILL "$server"
wait "$server" 2>/dev/null || true
server=''
rm -rf "$data"
install -d -m 0700 -o secure-chat -g secure-chat "$data"
see "changes of the journal $journal were repeated" secure-chat-ctl restore "$backup"
start_server
see '"state":"removed"' secure-chat-ctl --json user show grace
see '"presence":false' secure-chat-ctl --json user show bob
see "stored for bob" as frank send bob "bob does not want this"
as bob fetch >"$folder/bob.log" 2>&1 || fail "bob can't fetch: $(cat "$folder/bob.log")"
head -n 12 "$folder/bob.log"
! grep -q "does not want" "$folder/bob.log" || fail "the restore has revived frank's right to write to bob"
see "stored for carol" as bob send carol "after the restore"
as carol fetch >"$folder/carol.log" 2>&1 || fail "carol can't fetch: $(cat "$folder/carol.log")"
cat "$folder/carol.log"
grep -q "after the restore" "$folder/carol.log" || fail "mail after the restore is missing"
! grep -q "not arrived" "$folder/carol.log" || fail "what came again is said to be missing"

step "September: alice forgot the password"
(umask 077 && secure-chat-ctl user reset alice 2>/dev/null >"$folder/alice/code")
(umask 077 && echo "another-horse-battery-alice" >"$folder/alice/new")
see "stored for bob" env HOME="$folder/alice" XDG_DATA_HOME="$folder/alice" secure-chat --user alice \
    --server "$address" --reset-code-file "$folder/alice/code" --password-file "$folder/alice/recovery" \
    --new-password-file "$folder/alice/new" send bob "back again"
mv "$folder/alice/new" "$folder/alice/password"
see "alice: back again" as bob fetch

step "October: a database of the first schema is upgraded"
stop_server
mkdir "$folder/old"
sqlite3 "$folder/old/chat.db" <tests/schemas/1.1.sql >/dev/null
before=$(sqlite3 "$folder/old/chat.db" "
    INSERT INTO users (id, name, created, salt, memory_kib, passes, lanes, login_key)
        VALUES (1, 'olduser', 1, randomblob(16), 65536, 3, 1, randomblob(32));
    PRAGMA user_version;")
mv "$data" "$folder/current"
install -d -m 0700 -o secure-chat -g secure-chat "$data"
install -m 0600 -o secure-chat -g secure-chat "$folder/old/chat.db" "$data/"
start_server
see "olduser" secure-chat-ctl user list
[ -e "$data/chat.db.schema-$before" ] || fail "no copy of the old database was kept"
echo "schema $before became $(sqlite3 "$data/chat.db" 'PRAGMA user_version'); a copy was kept"
stop_server
rm -rf "$data"
mv "$folder/current" "$data"
start_server

step "The same month: people come from the Python original"
stop_server
mkdir "$backups/export"
cp tests/exports/lines-v1/* "$backups/export/"
chown -R secure-chat "$backups/export"
see "3 accounts and 4 messages were imported" secure-chat-ctl import mongo "$backups/export" \
    --rename alice=alice2020 --rename Bob=bob2020 --rename carol=carol2020
rm -r "$backups/export"
start_server
mkdir "$folder/alice2020"
(umask 077 && echo "wonderland" >"$folder/alice2020/password")
(umask 077 && echo "correct-horse-battery-2020" >"$folder/alice2020/new")
see "hello alice, this is Bob" as alice2020 fetch --claim --new-password-file "$folder/alice2020/new" \
    --recovery-file "$folder/alice2020/recovery"

step "November: carol leaves, and nothing of hers stays"
see "stored for carol" as bob send carol "this waits for carol"
# Bytes that are hers alone, in hexadecimal: the key that she logs in with, and her identity.
marks=$(sqlite3 "$data/chat.db" "SELECT hex(login_key) || ' ' || hex(identity_signing) FROM users WHERE name = 'carol'")
# holding FOLDER: its files in which one of them stands.
holding() {
    python3 - "$1" $marks <<'PYTHON'
import pathlib, sys
marks = [bytes.fromhex(mark) for mark in sys.argv[2:]]
for file in pathlib.Path(sys.argv[1]).rglob("*"):
    if file.is_file() and any(mark in file.read_bytes() for mark in marks):
        print(file)
PYTHON
}
[ -n "$(holding "$data")" ] || fail "carol's keys are not found where they have to be"
see "" secure-chat-ctl user remove carol
erased() { [ -z "$(holding "$data")" ]; }
until_true "no byte of carol's keys is left in the data folder" erased
for number in 1 2; do see "" secure-chat-ctl backup "$backups" --keep 2; done
[ -z "$(holding "$backups")" ] || fail "carol is in a backup: $(holding "$backups")"
echo "no file has a byte of carol's keys"
said=$(secure-chat-ctl user add carol --password-file - <"$folder/carol/password" 2>&1) &&
    fail "a removed name was given away"
echo "$said"
grep -q reserved <<<"$said" || fail "it was refused for another reason"
stop_server
mail=$(sqlite3 "$data/chat.db" "
    SELECT count(*) FROM mail JOIN users ON users.id = recipient WHERE name = 'carol'")
echo "messages that wait for carol: $mail"
[ "$mail" -eq 0 ] || fail "mail of a removed account waits"

step "December: remove keeps the data, purge removes it"
dpkg --remove secure-chat secure-chat-server >/dev/null
[ -e "$data/chat.db" ] && [ -e "$conf" ] || fail "remove took more than the programs"
dpkg --purge secure-chat-server >/dev/null
for gone in "$data" /etc/secure-chat /usr/bin/secure-chat-server /usr/bin/secure-chat; do
    [ ! -e "$gone" ] || fail "the purge has left $gone"
done
! getent passwd secure-chat >/dev/null || fail "the purge has left the user"
ls "$backups"/*.backup >/dev/null || fail "the purge took the backups"
rm -rf "$backups"
installed=''

step "a year is over"
