//! What the server holds about a person, as JSON: the rows of the store, and the session in memory.
//! Which rows there are is decided in [`store::personal_data`](crate::store::personal_data).

use std::net::SocketAddr;

use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};

use super::delivery::sessions::Session;
use crate::protocol::reply::DataRow;
use crate::store::personal_data::{Field, PersonalRow, Section};

/// A row of a section. Without `bodies`, only the sizes of messages are told.
pub(crate) fn data_row(section: Section, row: PersonalRow, bodies: bool) -> DataRow {
    let value = |column: &str, field| match field {
        Field::Null => Value::Null,
        Field::Number(number) => number.into(),
        Field::Text(text) if column == "body" && !bodies => json!({ "bytes": text.len() }),
        Field::Text(text) => text.into(),
        Field::Bytes(bytes) => HEXLOWER.encode(&bytes).into(),
        Field::Size(bytes) => json!({ "bytes": bytes }),
    };
    let values = row.into_iter().map(|(column, field)| {
        let value = value(&column, field);
        (column, value)
    });
    DataRow {
        table: section.table().to_owned(),
        relation: section.relation().to_owned(),
        values: values.collect(),
    }
}

/// What is in memory of a session whose client connects from `peer`.
pub(crate) fn session_row(session: &Session, peer: Option<SocketAddr>) -> DataRow {
    let values = [
        ("name", session.name.as_str().into()),
        ("address", peer.map(|peer| peer.to_string()).into()),
        ("since", session.since.into()),
        ("shown", session.present.into()),
    ];
    let values = values.map(|(column, value): (&str, Value)| (column.to_owned(), value));
    DataRow {
        table: "sessions".to_owned(),
        relation: "the session, in memory only".to_owned(),
        values: values.into_iter().collect::<Map<_, _>>(),
    }
}
