//! Messages in and out of the table, for the one transaction that writes.

use std::ops::RangeInclusive;

use super::connection::Connection;
use super::failure::Failure;
use super::statements;
use super::values::{ENVELOPE, NOTICE, PLAIN, column};
use crate::protocol::request::{Body, Sender};
use crate::store::{Message, UserId};

pub(super) fn insert(
    connection: &mut Connection,
    messages: &[(UserId, std::sync::Arc<Message>)],
) -> Result<(), Failure> {
    if messages.is_empty() {
        return Ok(());
    }
    let recipients: Vec<i64> = messages.iter().map(|(recipient, _)| recipient.0).collect();
    let messages = || messages.iter().map(|(_, message)| message);
    let numbers: Vec<i64> = messages().map(|message| column(message.number)).collect();
    let senders: Vec<i64> = messages().map(|message| message.sender.0).collect();
    let ids: Vec<&[u8]> = messages().map(|message| &message.mid.0[..]).collect();
    let times: Vec<i64> = messages().map(|message| column(message.at)).collect();
    let bodies = messages().map(|message| match (message.from, &message.body) {
        (Sender::Server, Body::Plain(text)) => (NOTICE, text.as_bytes()),
        (_, Body::Plain(text)) => (PLAIN, text.as_bytes()),
        (_, Body::Envelope(blob)) => (ENVELOPE, &blob.0[..]),
    });
    let (kinds, bodies): (Vec<i16>, Vec<&[u8]>) = bodies.unzip();
    connection.execute(
        statements::STORE,
        &[
            &recipients,
            &numbers,
            &senders,
            &ids,
            &times,
            &kinds,
            &bodies,
        ],
    )?;
    Ok(())
}

pub(super) fn delete(
    connection: &mut Connection,
    acknowledged: &[(UserId, RangeInclusive<u64>)],
) -> Result<(), Failure> {
    if acknowledged.is_empty() {
        return Ok(());
    }
    let ranges = || acknowledged.iter().map(|(_, numbers)| numbers);
    let recipients: Vec<i64> = acknowledged
        .iter()
        .map(|(recipient, _)| recipient.0)
        .collect();
    let first: Vec<i64> = ranges().map(|numbers| column(*numbers.start())).collect();
    let last: Vec<i64> = ranges().map(|numbers| column(*numbers.end())).collect();
    connection.execute(statements::ACKNOWLEDGE, &[&recipients, &first, &last])?;
    Ok(())
}
