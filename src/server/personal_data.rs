//! What the server holds about a person, as JSON: the rows of the store, and the session in memory.
//! Which rows there are is decided in [`store::personal_data`](crate::store::personal_data).

use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};

use crate::protocol::name::UserName;
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

/// What is in memory of a session: its user, the client's address, since when, in ms since 1970, and whether
/// others see it.
pub(crate) fn session_row(
    name: &UserName,
    address: Option<String>,
    since: u64,
    shown: bool,
) -> DataRow {
    let values = [
        ("name", name.as_str().into()),
        ("address", address.into()),
        ("since", since.into()),
        ("shown", shown.into()),
    ];
    let values = values.map(|(column, value): (&str, Value)| (column.to_owned(), value));
    DataRow {
        table: "sessions".to_owned(),
        relation: "the session, in memory only".to_owned(),
        values: values.into_iter().collect::<Map<_, _>>(),
    }
}
