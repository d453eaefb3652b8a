//! From the columns of a row to values of the store.

use postgres::Row;
use postgres::types::FromSql;

use super::failure::Failure;
use crate::protocol::ids::{Blob, ByteArray, MessageId};
use crate::protocol::name::UserName;
use crate::protocol::request::{Body, Identity, Sender};
use crate::store::{Message, Place, UserId};

/// `mail.kind` of an envelope.
pub(super) const ENVELOPE: i16 = 0;
/// `mail.kind` of an unencrypted text.
pub(super) const PLAIN: i16 = 1;
/// `mail.kind` of a notice.
pub(super) const NOTICE: i16 = 2;

/// The value in a column.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, Failure> {
    row.try_get(column)
        .map_err(|_| Failure::Value("the type of a value"))
}

/// A whole number that is not negative.
pub(super) fn number<T: TryFrom<i64>>(row: &Row, column: usize) -> Result<T, Failure> {
    T::try_from(get::<i64>(row, column)?).map_err(|_| Failure::Value("a number"))
}

/// The same, where there may be none.
pub(super) fn number_or_none<T: TryFrom<i64>>(
    row: &Row,
    column: usize,
) -> Result<Option<T>, Failure> {
    let found = get::<Option<i64>>(row, column)?;
    let found = found.map(|found| T::try_from(found).map_err(|_| Failure::Value("a number")));
    found.transpose()
}

/// A number for a column: one above what PostgreSQL holds is its greatest.
pub(super) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Bytes of a fixed length.
pub(super) fn bytes<const N: usize>(row: &Row, column: usize) -> Result<[u8; N], Failure> {
    let found: &[u8] = get(row, column)?;
    found
        .try_into()
        .map_err(|_| Failure::Value("the length of a key"))
}

/// The same, where there may be none.
pub(super) fn bytes_or_none<const N: usize>(
    row: &Row,
    column: usize,
) -> Result<Option<[u8; N]>, Failure> {
    match get::<Option<&[u8]>>(row, column)? {
        Some(_) => bytes(row, column).map(Some),
        None => Ok(None),
    }
}

/// A user's name.
pub(super) fn name(row: &Row, column: usize) -> Result<UserName, Failure> {
    let text: &str = get(row, column)?;
    text.parse().map_err(|_| Failure::Value("a name"))
}

/// The identity in the column `first` and the one after it.
pub(super) fn identity(row: &Row, first: usize) -> Result<Option<Identity>, Failure> {
    if get::<Option<&[u8]>>(row, first)?.is_none() {
        return Ok(None);
    }
    Ok(Some(Identity {
        signing: ByteArray(bytes(row, first)?),
        dh: ByteArray(bytes(row, first + 1)?),
    }))
}

/// A row of `number, sender, id`.
pub(super) fn place(row: &Row) -> Result<Place, Failure> {
    Ok(Place {
        number: number(row, 0)?,
        sender: UserId(get(row, 1)?),
        mid: MessageId(bytes(row, 2)?),
    })
}

/// A row of `number, sender, id, at, kind, body` and the sender's name.
pub(super) fn message(row: &Row) -> Result<Message, Failure> {
    let kind: i16 = get(row, 4)?;
    let bytes_of_body: &[u8] = get(row, 5)?;
    let body = match kind {
        ENVELOPE => Body::Envelope(Blob(bytes_of_body.into())),
        _ => Body::Plain(String::from_utf8_lossy(bytes_of_body).into()),
    };
    Ok(Message {
        number: number(row, 0)?,
        sender: UserId(get(row, 1)?),
        from: match kind {
            NOTICE => Sender::Server,
            _ => Sender::User(name(row, 6)?),
        },
        mid: MessageId(bytes(row, 2)?),
        at: number(row, 3)?,
        body,
    })
}
