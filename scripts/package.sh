#!/usr/bin/env bash
#
# Builds the Debian packages secure-chat (the client) and secure-chat-server.
#
#   scripts/package.sh          release binaries; the packages go to target/debian
#   scripts/package.sh PROFILE  of the binaries that are in target/PROFILE already, such as debug
#
# scripts/year.sh installs both, chats through them and purges them. Needs cargo-deb (cargo install --locked cargo-deb) and dpkg-dev.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

profile=${1:-release}
target=${CARGO_TARGET_DIR:-target}
binaries=$target/$profile
out=$target/debian
export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"

for variable in "${!SECURE_CHAT_@}"; do unset "$variable"; done

[ $# -gt 0 ] || cargo build --quiet --release --locked --bin secure-chat --bin secure-chat-server
pages=target/packaging
mkdir -p "$pages" "$out"
"$binaries/secure-chat" man >"$pages/secure-chat.1"
"$binaries/secure-chat-server" man >"$pages/secure-chat-server.8"
echo '.so man8/secure-chat-server.8' >"$pages/secure-chat-ctl.8"
for program in secure-chat secure-chat-server; do
    for shell in bash zsh fish; do
        "$binaries/$program" completions "$shell" >"$pages/$program.$shell"
    done
done
rm -f "$out"/*.deb
# What cargo calls the profile of target/debug is dev.
name=${profile/debug/dev} fast=()
[ "$profile" = release ] || fast=(--fast)
for variant in '' --variant=server; do
    cargo deb --quiet --no-build "${fast[@]}" --profile "$name" $variant --output "$out/" ||
        { echo "package.sh: cargo deb failed" >&2; exit 1; }
done
