#!/bin/bash
# Runs the tests of tests/suite with servers that store in PostgreSQL: each data folder has a database
# of its own on a throw-away server, see scripts/postgres.sh. Left out are those about the SQLite file
# and a disk under it, those that stop a server for about as long as its lease is valid, and the one that
# exchanges a certificate unannounced, which servers of a database refuse: tests/scripts/several_servers.rs
# has theirs. Arguments choose among the tests, as for cargo test.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

left_out=(
    suite::backup suite::bad_input suite::damage suite::database suite::takeover suite::erasure suite::expiry
    suite::failing_disk suite::files suite::journal suite::standstill
    suite::imports suite::packaging suite::power_loss suite::restore suite::startup suite::upgrades
    suite::admin::what_stands_in_a_commands_way_is_said_in_a_sentence
    suite::log::closed_descriptors_are_nobodys_log
    suite::names::a_name_is_given_away
    suite::names::a_purge_that_a_crash_cuts_off_leaves_the_name_reserved
    suite::tls::a_new_certificate_is_taken_on_sighup_and_nobody_is_dropped
    suite::settings::a_status_is_for_a_person_and_says_when_there_is_no_server
)
skip=()
for name in "${left_out[@]}"; do
    skip+=(--skip "$name")
done
exec scripts/postgres.sh cargo test --quiet --all-features --test tests -- "$@" "${skip[@]}"
