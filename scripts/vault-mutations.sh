#!/usr/bin/env bash
# Changes a vault's file in every way that somebody without its key can, 10,000 times or as often
# as asked, and checks that it is refused or one of the states that were written:
# scripts/vault-mutations.sh [MUTATIONS]
set -eu
cd "$(dirname "$0")/.."
SECURE_CHAT_VAULT_MUTATIONS=${1:-10000} exec cargo test --lib vault::tests::mutations -- --nocapture
