//! A row of what the server holds about the account, in a line.

use serde_json::Value;

use crate::client::local_time;
use crate::protocol::reply::DataRow;

/// Columns that are times: ms since 1970.
const TIMES: &[&str] = &["at", "created", "expires", "last_seen", "since"];

/// `users (the account): created 2026-11-27T10:00:00Z, id 3, …`
pub(super) fn line(row: &DataRow) -> String {
    let cells = row.values.iter().map(|(column, value)| {
        let shown = match value {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            Value::Number(at) if TIMES.contains(&column.as_str()) => {
                at.as_u64().map_or_else(|| at.to_string(), local_time::utc)
            }
            Value::Object(size) if size.len() == 1 && size.contains_key("bytes") => {
                format!("{} bytes", size["bytes"])
            }
            other => other.to_string(),
        };
        format!("{column} {shown}")
    });
    let cells: Vec<_> = cells.collect();
    format!("{} ({}): {}", row.table, row.relation, cells.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_line() {
        let values = serde_json::json!({
            "at": 0, "body": {"bytes": 7}, "id": "ab", "sender": null, "uses": 0
        });
        let Value::Object(values) = values else {
            panic!()
        };
        let row = DataRow {
            table: "mail".to_owned(),
            relation: "waits".to_owned(),
            values,
        };
        assert_eq!(
            line(&row),
            "mail (waits): at 1970-01-01T00:00:00.000Z, body 7 bytes, id ab, sender -, uses 0"
        );
    }
}
