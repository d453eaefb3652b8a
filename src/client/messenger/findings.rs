//! Says to the person what the numbers of a conversation show: messages that did not
//! arrive, that came twice, or that never went out, and sessions that go on from none.
//!
//! What one transaction finds of one contact is said once, so that a flood of forged or
//! repeated messages does not become a flood of lines.

use super::batch::{Arrival, Batch};
use crate::client::vault::Result;
use crate::client::view::{ViewEvent, plural};
use crate::crypto::ratchet::counters::Findings;
use crate::crypto::ratchet::origin::Cause;
use crate::crypto::ratchet::session_set::Started;
use crate::protocol::UserName;

/// Says what a message has shown of others.
pub(super) fn report(batch: &mut Batch, arrival: &mut Arrival, findings: &Findings) -> Result<()> {
    let name = arrival.contact.name;
    if findings.missing > 0 {
        batch.find_gap(&arrival.contact, findings.missing);
    }
    if arrival.contact.missed > 0 {
        // What comes after this one explains nothing before it.
        arrival.contact.missed = 0;
        batch.vault.save_contact(&arrival.contact)?;
    }
    if findings.never_sent > 0 {
        let count = findings.never_sent;
        batch.show(ViewEvent::quiet(format!(
            "{count} of the missing messages from {name} {} never sent or expired on the server, says {name}'s client",
            plural(count, "was", "were"),
        )));
    }
    if findings.void || findings.void_but_arrived > 0 {
        once(
            batch,
            arrival,
            ViewEvent::warning(format!(
                "a message from {name} arrived of which the server told {name}'s client that it was not accepted or has \
                 expired: one of the two was told something false"
            )),
            "void",
        );
    }
    if findings.twice {
        once(
            batch,
            arrival,
            ViewEvent::warning(format!(
                "two messages from {name} have the same number: an older copy of {name}'s vault is in use, or \
                 somebody else has its keys. Ask {name} in another way; /renew {name} starts a new session"
            )),
            "twice",
        );
    }
    if findings.counts_anew {
        once(
            batch,
            arrival,
            ViewEvent::quiet(format!(
                "{name}'s client counts its messages anew, so it can't be told whether earlier ones are missing"
            )),
            "anew",
        );
    }
    if findings.count_is_lost {
        once(
            batch,
            arrival,
            ViewEvent::quiet(format!(
                "nothing is known here of what {name}'s client counted before, so it can't be told whether earlier messages \
                 are missing"
            )),
            "lost",
        );
    }
    Ok(())
}

fn once(batch: &mut Batch, arrival: &Arrival, event: ViewEvent, what: &'static str) {
    let said = (arrival.contact.id, what);
    if !batch.said_of.contains(&said) {
        batch.said_of.push(said);
        batch.show(event);
    }
}

/// What [`report_of_before_the_import`] says of a contact.
pub(super) const BEFORE_THE_IMPORT: &str = "before the import";

/// Says that something came which only the vault before an import could open.
pub(super) fn report_of_before_the_import(batch: &mut Batch, arrival: &Arrival) {
    let name = arrival.contact.name;
    once(
        batch,
        arrival,
        ViewEvent::quiet(format!(
            "what {name}'s client encrypted for the vault before the import can't be opened here; it may be receipts only, \
             and messages among it come again once {name}'s client is online"
        )),
        BEFORE_THE_IMPORT,
    );
}

/// Says that the other side has started a session that goes on from none, in a
/// conversation that there was before.
pub(super) fn report_started(batch: &mut Batch, arrival: &Arrival, started: &Started) {
    let name = arrival.contact.name;
    let Some(cause) = started.cause else {
        return;
    };
    if !started.goes_on || cause == Cause::Linked {
        return;
    }
    let whose = format!("{name}'s client");
    let what = new_session(&whose, &name, cause);
    batch.show(match (cause, started.is_outranked) {
        (_, true) => ViewEvent::warning(format!(
            "{what}; it is only read, because a later one is in use. If {name} can't read what you write: /renew {name}"
        )),
        (Cause::Upgrade, _) => ViewEvent::quiet(what),
        _ => ViewEvent::warning(format!(
            "{what}; if {name} knows nothing of it, compare safety numbers: /verify {name}"
        )),
    });
}

/// What to say when this client starts a session with somebody that goes on from none.
pub(super) fn started_here(name: &UserName, cause: Cause) -> ViewEvent {
    let what = new_session("this client", name, cause);
    match cause {
        Cause::Upgrade | Cause::Person => ViewEvent::quiet(what),
        _ => ViewEvent::warning(what),
    }
}

fn new_session(whose: &str, name: &UserName, cause: Cause) -> String {
    let because = match cause {
        Cause::Linked | Cause::First => "it knows of none",
        Cause::NewVault => "its vault is new",
        Cause::RolledBack => "its vault is an older copy, or a copy of it is used elsewhere",
        Cause::Person => "its user said /renew",
        Cause::Answer => "the one that the other client started could not be opened",
        Cause::Upgrade => "it was updated",
    };
    match whose {
        "this client" => format!(
            "this client starts a new session with {name} that does not go on from an earlier one: {because}"
        ),
        _ => format!(
            "{whose} started a new session that does not go on from the one before: {because}"
        ),
    }
}
