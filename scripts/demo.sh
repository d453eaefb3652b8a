#!/usr/bin/env bash
#
# Plays a conversation between real clients on a real server, and checks every
# step of it. Needs bash, coreutils and, unless FOLDER is given, cargo.
#
#   scripts/demo.sh           build the release binaries, then play
#   scripts/demo.sh FOLDER    play with the binaries in FOLDER, such as target/debug
#
# Exits 0 if every step went as it should; otherwise names the one that did not.

set -euo pipefail
shopt -s extglob

# How long anything expected may take. Passwords cost a second of work each.
readonly DEADLINE=60

# Nothing of the caller's settings is to reach the server or the clients.
for variable in "${!SECURE_CHAT_@}"; do unset "$variable"; done

colour=never bold='' quiet='' good='' bad='' off=''
declare -A hue=([server]='' [alice]='' [bob]='' [carol]='' [intruder]='')
if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
    colour=always
    bold=$'\e[1m' quiet=$'\e[2m' good=$'\e[1;32m' bad=$'\e[1;31m' off=$'\e[0m'
    hue=([server]=$'\e[37m' [alice]=$'\e[36m' [bob]=$'\e[35m' [carol]=$'\e[33m' [intruder]=$'\e[31m')
fi

folder=$(mktemp -d)
declare -A pid=() to=() from=()
step='start' steps=0 address='' line=''

cleanup() {
    # These have not been waited for, so their ids belong to nobody else yet.
    if ((${#pid[@]})); then
        kill -KILL "${pid[@]}" 2>/dev/null || true
        wait "${pid[@]}" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Says what went wrong, after showing what nobody has looked at yet.
fail() {
    local name raw
    for name in "${!from[@]}"; do
        while IFS= read -r -t 0.1 -u "${from[$name]}" raw; do show "$name" '|' "$raw"; done
    done
    printf '\n%sFAILED%s in step %s: %s\n' "$bad" "$off" "$step" "$1" >&2
    exit 1
}

# step TITLE: what comes next.
step() {
    step="$((++steps)) ($1)"
    printf '\n%s%2d  %s%s\n' "$bold" "$steps" "$1" "$off"
}

# show NAME SIGN TEXT: one line of somebody's terminal.
show() {
    printf '%s%8s %s%s %s%s\n' "${hue[$1]}" "$1" "$2" "$off" "$3" "$off"
}

# start NAME FUNCTION ARGUMENT...: runs what the function becomes, with pipes to and from it.
start() {
    local name=$1 fd
    shift
    mkfifo "$folder/$name.in" "$folder/$name.out"
    (
        for fd in "${to[@]}" "${from[@]}"; do exec {fd}>&-; done
        "$@"
    ) <"$folder/$name.in" >"$folder/$name.out" 2>&1 &
    pid[$name]=$!
    exec {fd}<>"$folder/$name.in"
    to[$name]=$fd
    exec {fd}<"$folder/$name.out"
    from[$name]=$fd
}

# says NAME LINE: types a line.
says() {
    show "$1" '>' "$bold$2"
    printf '%s\n' "$2" >&"${to[$1]}"
}

# sees NAME TEXT: shows what comes until a line has the text in it. That line,
# without colours, stays in $line.
sees() {
    local name=$1 text=$2 raw status until=$((SECONDS + DEADLINE))
    while ((SECONDS < until)); do
        status=0
        IFS= read -r -t $((until - SECONDS)) -u "${from[$name]}" raw || status=$?
        if ((status > 128)); then break; fi
        if ((status > 0)); then fail "$name ended before showing \"$text\""; fi
        raw=${raw%$'\r'}
        show "$name" '|' "$raw"
        line=${raw//$'\e['*([0-9;])m/}
        if [[ $line == *"$text"* ]]; then return; fi
    done
    fail "$name did not show \"$text\" within $DEADLINE seconds"
}

# ends NAME CODE: shows what is left, and waits for the end and its exit code.
ends() {
    local name=$1 raw status until=$((SECONDS + DEADLINE))
    while true; do
        status=0
        IFS= read -r -t $((until > SECONDS ? until - SECONDS : 1)) -u "${from[$name]}" raw || status=$?
        if ((status > 128)); then fail "$name did not end within $DEADLINE seconds"; fi
        if ((status > 0)); then break; fi
        show "$name" '|' "${raw%$'\r'}"
    done
    status=0
    wait "${pid[$name]}" || status=$?
    unset "pid[$name]"
    if ((status != $2)); then fail "$name ended with exit code $status, not $2"; fi
    show "$name" '.' "${quiet}ended with exit code $status"
}

# numbers NAME OTHER: the safety number that NAME's screen shows for OTHER, in $number.
numbers() {
    says "$1" "/verify $2"
    sees "$1" "safety number with $2"
    number=''
    while true; do
        sees "$1" ''
        if [[ ${line//[0-9 ]/} != '' ]]; then break; fi
        number+="${line// /}"
    done
}

# kept TEXT: whether the server's folder has the text in it, in the clear.
kept() {
    local file
    for file in "$folder"/server/*; do
        if [[ -f $file && $(LC_ALL=C tr -d '\0' <"$file") == *"$1"* ]]; then return 0; fi
    done
    return 1
}

# telnet, or what bash can do instead.
telnet_to() {
    if [[ -n $(command -v telnet) ]]; then
        exec telnet "$1" "$2"
    fi
    exec 3<>"/dev/tcp/$1/$2"
    cat >&3 &
    exec cat <&3
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
if (($# > 0)); then
    binaries=$1
else
    printf 'Building; the first time takes a minute or two.\n'
    cargo build --release --locked --bins
    binaries=${CARGO_TARGET_DIR:-target}/release
fi

server() {
    exec "$binaries/server" --listen 127.0.0.1:0 --data "$folder/server"
}

client() {
    local folder_of=$1
    shift
    exec "$binaries/client" --server "$for_clients" --data "$folder/$folder_of" \
        --password-file "$folder/password" --color "$colour" "$@"
}

(umask 077 && printf 'harbour-lights-at-noon\n' >"$folder/password")

printf '\n%sSecure Chat%s: Alice and Bob talk, and Carol joins by telnet.\n' "$bold" "$off"
printf '%sLines with > are typed, lines with | are seen.%s\n' "$quiet" "$off"

step 'a server starts, with an empty folder and no set-up'
start server server
sees server 'listening on'
address=${line##*listening on }
address=${address%% *}
sees server 'for clients'
for_clients=${line##*for clients }

step 'Alice and Bob create accounts'
start alice client alice-laptop
says alice '/register alice'
sees alice 'account alice created'
start bob client bob-laptop
says bob '/register bob'
sees bob 'account bob created'

step 'they look for each other'
says bob '/status alice'
sees bob 'online'
says alice '/search bo'
sees alice 'bob'
[[ $line == *online* ]] || fail 'bob is not shown as online'

step 'they talk, encrypted from end to end'
says alice '/msg bob Hello Bob! Can the server read this?'
sees bob 'alice: Hello Bob! Can the server read this?'
sees alice 'delivered to bob'
says bob '/msg alice No. It passes on what it cannot open.'
sees alice 'bob: No. It passes on what it cannot open.'
sees bob 'received by alice'

step 'they compare their safety number, as they would by telephone'
numbers alice bob
alices=$number
numbers bob alice
[[ ${#number} == 60 && $number == "$alices" ]] || fail 'the two screens show different numbers'
says alice '/verify bob yes'
sees alice 'bob is verified'

step 'a second login, from another machine with the right password, is refused'
start intruder client elsewhere --user alice --new-identity
sees intruder 'alice is logged in elsewhere'
ends intruder 3

step 'Bob logs out, and Alice writes to him all the same'
says bob '/logout'
sees bob 'logged out'
says alice '/status bob'
sees alice 'offline'
says alice '/msg bob Lunch at noon, at the harbour.'
sees alice 'stored for bob'
says alice '/msg bob Bring Carol.'
sees alice 'stored for bob'

step 'Carol comes by telnet and writes to Bob, which is not encrypted'
start carol telnet_to "${address%:*}" "${address##*:}"
says carol 'register carol open-sesame-9000'
sees carol '+OK'
says carol 'status bob'
sees carol 'bob is offline'
says carol 'send bob Is there room for one more?'
sees carol '+OK stored, not encrypted'

step 'what the server has on its disk: Carol in the clear, Alice not'
kept 'Is there room for one more?' || fail "Carol's message is not on the server's disk"
show server '|' "found: \"Is there room for one more?\""
if kept 'at the harbour'; then fail "Alice's message lies readable on the server's disk"; fi
show server '|' "not found: \"Lunch at noon, at the harbour.\""

step 'Bob logs in, and gets what he missed, in order and marked'
says bob '/login bob'
sees bob 'logged in as bob'
sees bob 'while you were away: 3 messages'
sees bob 'alice: Lunch at noon, at the harbour.'
sees bob 'alice: Bring Carol.'
sees bob 'carol [UNENCRYPTED]: Is there room for one more?'
sees alice 'received by bob'
sees carol 'bob received'
says bob '/fetch'
sees bob 'no missed messages'

step 'Bob answers Carol, who is told that it was not encrypted'
says bob '/send-unencrypted carol There is. Noon, at the harbour.'
sees bob 'sent unencrypted'
sees carol 'NOT ENCRYPTED from bob: There is. Noon, at the harbour.'

step 'everybody goes home'
says carol 'quit'
sees carol '+OK'
says alice '/logout'
sees alice 'logged out'
says alice '/quit'
ends alice 0
says bob '/quit'
ends bob 0
kill -TERM "${pid[server]}"
ends server 0

printf '\n%sAll %d steps went as they should.%s\n' "$good" "$steps" "$off"
