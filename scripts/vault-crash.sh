#!/usr/bin/env bash
# Kills sender, receiver, server and changes of password at random moments, 200 times
# or as often as asked, and compares the vaults: scripts/vault-crash.sh [KILLS]
set -eu
cd "$(dirname "$0")/.."
SECURE_CHAT_VAULT_KILLS=${1:-200} exec cargo test --release --test vault -- --nocapture
