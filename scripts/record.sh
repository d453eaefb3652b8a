#!/usr/bin/env bash
#
# Records a short conversation of two real clients on a real server, side by side, as
# text. Needs bash, tmux and, unless FOLDER is given, cargo.
#
#   scripts/record.sh                   build the release binaries, print the recording
#   scripts/record.sh --write           put it into README.md instead
#   scripts/record.sh --folder FOLDER   use the binaries in FOLDER, such as target/debug

set -euo pipefail

readonly WIDTH=111 HEIGHT=14 DEADLINE=60
folder='' write=''
while (($#)); do
    case $1 in
        --write) write=yes ;;
        --folder)
            folder=$(realpath "$2")
            shift
            ;;
        *)
            echo "unknown option $1; see the head of this script" >&2
            exit 2
            ;;
    esac
    shift
done
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ -z $folder ]]; then
    cargo build --quiet --release --bins
    folder=$PWD/${CARGO_TARGET_DIR:-target}/release
fi
for variable in "${!SECURE_CHAT_@}"; do unset "$variable"; done

data=$(mktemp -d)
# A tmux server of its own, so that nobody's settings or sessions are touched.
tmux=(tmux -f /dev/null -S "$data/tmux")
server=''
cleanup() {
    "${tmux[@]}" kill-server 2>/dev/null || true
    if [[ -n $server ]]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$data"
}
trap cleanup EXIT

# await TEXT COMMAND...: runs the command until its output contains the text.
await() {
    local text=$1 until=$((SECONDS + DEADLINE))
    shift
    until "$@" | grep -qF -- "$text"; do
        if ((SECONDS >= until)); then
            echo "\"$text\" did not appear within $DEADLINE seconds; there was:" >&2
            "$@" >&2
            exit 1
        fi
        sleep 0.05
    done
}
screen() { "${tmux[@]}" capture-pane -p -t "$1"; }
# types PANE TEXT: types it, without Enter.
types() { "${tmux[@]}" send-keys -t "$1" -l -- "$2"; }
# says PANE LINE EXPECTED: types a line, and waits until the pane shows the text.
says() {
    types "$1" "$2"
    "${tmux[@]}" send-keys -t "$1" Enter
    await "$3" screen "$1"
}

touch "$data/said"
"$folder/server" --listen 127.0.0.1:0 --data "$data/server" >"$data/said" 2>&1 &
server=$!
await 'chat://' cat "$data/said"
address=$(grep -o 'chat://[^ ]*' "$data/said" | head -n 1)

(umask 077 && echo 'harbour-lights-at-noon' >"$data/password")
client=("$folder/client" --server "$address" --password-file "$data/password" --data)
# script NAME OPTION...: runs the commands on standard input with that user's vault.
script() { "${client[@]}" "$data/$1" "${@:2}" >>"$data/scripts" 2>&1; }
script alice <<<'/register alice'
script bob <<<'/register bob'
# They are old friends: each has compared the other's safety number.
script alice --user alice <<<'/msg bob Hello!'
printf '%s\n' /fetch '/msg alice Hello!' '/verify alice' '/verify alice yes' | script bob --user bob
printf '%s\n' /fetch '/verify bob' '/verify bob yes' | script alice --user alice

command_of() { printf '%q ' env NO_COLOR=1 "${client[@]}" "$data/$1" --user "$1"; }
"${tmux[@]}" new-session -d -x $WIDTH -y $HEIGHT "$(command_of alice)"
"${tmux[@]}" set-option -g status off
"${tmux[@]}" split-window -h "$(command_of bob)"
await 'logged in as alice' screen 0.0
await 'logged in as bob' screen 0.1

says 0.0 '/to bob' 'alice > bob'
says 0.1 '/to alice' 'bob > alice'
for pane in 0.0 0.1; do
    "${tmux[@]}" send-keys -t $pane C-l
done
says 0.0 'The new server is up!' '✓✓'
await 'The new server is up!' screen 0.1
says 0.1 'Nice. Lunch at noon?' '✓✓'
await 'Lunch at noon?' screen 0.0
types 0.1 'I will bring the photos of'
says 0.0 'Yes! Carol comes, too.' 'comes, too.'
await 'Carol comes, too.' screen 0.1
# The mark of the second message on this screen.
await '✓✓' bash -c "$(declare -f screen); tmux=(${tmux[*]@Q}); screen 0.0 | tail -n +3"

# beside: puts the lines of two panes beside each other, as wide in characters as the left pane is.
beside() {
    local LC_ALL=C.UTF-8 left right line
    while IFS= read -r left <&3; IFS= read -r right <&4 || [[ -n $left ]]; do
        [[ -z $left$right ]] && continue
        line=$(printf '%s%*s │ %s' "$left" $((WIDTH / 2 - ${#left})) '' "$right")
        printf '%s\n' "${line%"${line##*[! ]}"}"
    done 3< <(screen 0.0) 4< <(screen 0.1)
}
recording=$(beside)
if [[ -z $write ]]; then
    echo "$recording"
    exit
fi
block=$(printf '```text\n%s\n```' "$recording")
awk -v block="$block" '
    /<!-- recording: begin/ { print; print block; skip = 1 }
    /<!-- recording: end/ { skip = 0 }
    !skip && !/<!-- recording: begin/ { print }' README.md >"$data/README.md"
cp "$data/README.md" README.md
echo "README.md has the new recording" >&2
