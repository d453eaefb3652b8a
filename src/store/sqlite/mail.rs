//! Messages in and out of the table, for the one transaction that writes.

use std::ops::RangeInclusive;
use std::sync::Arc;

use rusqlite::{Transaction, params};

use super::read::{ENVELOPE, NOTICE, PLAIN};
use super::statements;
use crate::protocol::request::{Body, Sender};
use crate::store::{Message, UserId};

pub(super) fn insert(
    transaction: &Transaction<'_>,
    messages: &[(UserId, Arc<Message>)],
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(statements::STORE)?;
    for (recipient, message) in messages {
        let Message {
            number,
            sender,
            from,
            mid,
            at,
            body,
        } = &**message;
        let (kind, bytes): (i64, &[u8]) = match (from, body) {
            (Sender::Server, Body::Plain(text)) => (NOTICE, text.as_bytes()),
            (_, Body::Plain(text)) => (PLAIN, text.as_bytes()),
            (_, Body::Envelope(blob)) => (ENVELOPE, &blob.0),
        };
        statement.execute(params![
            recipient.0,
            *number as i64,
            sender.0,
            &mid.0[..],
            *at as i64,
            kind,
            bytes
        ])?;
    }
    Ok(())
}

pub(super) fn delete(
    transaction: &Transaction<'_>,
    acknowledged: &[(UserId, RangeInclusive<u64>)],
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(statements::ACKNOWLEDGE)?;
    for (recipient, numbers) in acknowledged {
        statement.execute(params![
            recipient.0,
            *numbers.start() as i64,
            *numbers.end() as i64
        ])?;
    }
    Ok(())
}
