//! Reads what the tables hold about a person, a bounded part at a time.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};

use super::statements;
use crate::store::personal_data::{
    After, Field, Person, PersonalPage, PersonalRow, Section, is_notice_about,
};

/// Each statement begins with so many columns that are not the table's: the row's key, of two
/// numbers, and whether the row is the person's.
const LEADING: usize = 3;

/// The statement of a section, if there is a table for it. It takes the account's number, the key behind
/// which it begins, and at how many rows it looks.
fn statement(section: Section) -> Option<&'static str> {
    Some(match section {
        Section::Account => statements::OWN_ACCOUNT,
        Section::Generation => statements::OWN_GENERATION,
        Section::Proof => statements::OWN_PROOF,
        Section::Reset => statements::OWN_RESET,
        Section::Import => statements::OWN_IMPORT,
        Section::Invitations => statements::OWN_INVITATIONS,
        Section::OneTimePrekeys => statements::OWN_PREKEYS,
        Section::Blocks => statements::OWN_BLOCKS,
        Section::Mailbox => statements::OWN_MAILBOX,
        Section::BlockedBy => statements::EACH_BLOCK,
        Section::Expired => statements::EACH_EXPIRED,
        Section::Elsewhere => statements::EACH_MESSAGE,
        // A file is of one server.
        Section::Home => return None,
    })
}

/// Looks at no more than `limit` rows of a section.
pub(super) fn page(
    connection: &Connection,
    person: Person<'_>,
    section: Section,
    after: After,
    limit: usize,
) -> rusqlite::Result<PersonalPage> {
    let Some(statement) = statement(section) else {
        return Ok(PersonalPage::default());
    };
    let mut statement = connection.prepare_cached(statement)?;
    let columns = statement.column_names().skip(LEADING);
    let columns: Vec<String> = columns.map(str::to_owned).collect();
    let mut rows = statement.query(params![person.id.0, after.0, after.1, limit as i64])?;
    let (mut page, mut looked_at) = (PersonalPage::default(), 0);
    let mut last = after;
    while let Some(row) = rows.next()? {
        looked_at += 1;
        last = (row.get(0)?, row.get(1)?);
        let read = fields(row, &columns)?;
        if row.get(2)? || is_notice_about(&read, person.name) {
            page.rows.push(read);
        }
    }
    page.next = (looked_at == limit).then_some(last);
    Ok(page)
}

fn fields(row: &Row<'_>, columns: &[String]) -> rusqlite::Result<PersonalRow> {
    let mut fields = Vec::with_capacity(columns.len());
    for (at, column) in columns.iter().enumerate() {
        let value = match row.get_ref(LEADING + at)? {
            ValueRef::Null => Field::Null,
            // The statements put the length in the place of an envelope.
            ValueRef::Integer(length) if column == "body" => Field::Size(length as u64),
            ValueRef::Integer(number) => Field::Number(number),
            // No table has such a column.
            ValueRef::Real(number) => Field::Text(number.to_string()),
            ValueRef::Text(text) => Field::Text(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Blob(text) if column == "body" => {
                Field::Text(String::from_utf8_lossy(text).into_owned())
            }
            ValueRef::Blob(bytes) => Field::Bytes(bytes.to_vec()),
        };
        fields.push((column.clone(), value));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::tests::Fixture;
    use super::*;
    use crate::store::Change;
    use crate::store::conformance::Scene;
    use crate::store::personal_data::{NOT_PERSONAL, START};
    use crate::store::{Invitation, Reset, Store, UserId, VaultGeneration};

    const SCHEMA: &str = include_str!("../../../schema.sql");

    /// All columns of all tables, as `table.column`.
    fn columns(connection: &Connection) -> BTreeSet<String> {
        let mut statement = connection
            .prepare(
                "SELECT m.name || '.' || c.name FROM sqlite_schema m, pragma_table_info(m.name) c
                 WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'",
            )
            .unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }

    /// The columns that hold the number of an account, by what the schema says of them.
    fn references() -> BTreeSet<String> {
        let mut table = "";
        let mut found = BTreeSet::new();
        for line in SCHEMA.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["CREATE", "TABLE", name, ..] => table = name,
                [column, "INTEGER", ..]
                    if line.contains("REFERENCES users") || line.contains("users.id") =>
                {
                    found.insert(format!("{table}.{column}"));
                }
                _ => {}
            }
        }
        found
    }

    #[test]
    fn no_table_and_no_column_of_the_schema_is_left_out() {
        let fixture = Fixture::new();
        let writer = fixture.store.writer.lock();
        let connection = writer.as_ref().unwrap();
        let all = columns(connection);
        let has_table = |section: &Section| statement(*section).is_some();
        for section in Section::ALL.into_iter().filter(has_table) {
            let statement = connection.prepare(statement(section).unwrap()).unwrap();
            let table = section.table();
            let shown: BTreeSet<String> = statement
                .column_names()
                .skip(LEADING)
                .map(|column| format!("{table}.{column}"))
                .collect();
            let prefix = format!("{table}.");
            let has = all.iter().filter(|name| name.starts_with(&prefix));
            assert_eq!(shown, has.cloned().collect(), "{section:?}");
        }
        let shown = Section::ALL.into_iter().filter(has_table);
        let shown: BTreeSet<&str> = shown.map(Section::table).collect();
        let apart: BTreeSet<&str> = NOT_PERSONAL.iter().map(|(table, _)| *table).collect();
        let tables: BTreeSet<&str> = all
            .iter()
            .map(|name| name.split('.').next().unwrap())
            .collect();
        assert!(shown.is_disjoint(&apart));
        assert_eq!(&shown | &apart, tables);
        // It would notice a table or a column that is new.
        connection
            .execute_batch("CREATE TABLE later (user INTEGER)")
            .unwrap();
        assert!(columns(connection).contains("later.user"));
    }

    #[test]
    fn a_row_is_found_through_each_column_that_holds_an_account() {
        let sought: BTreeSet<String> = [
            "vault_generations.user",
            "vault_proofs.user",
            "resets.user",
            "imported_accounts.user",
            "invitations.inviter",
            "one_time_prekeys.user",
            "blocks.user",
            "blocks.blocked",
            "expired.recipient",
            "expired.sender",
            "mail.recipient",
            "mail.sender",
        ]
        .map(str::to_owned)
        .into();
        assert_eq!(
            references(),
            sought,
            "a column needs a section, and a row below"
        );

        let fixture = Fixture::new();
        let [bob, carol] = ["bob", "carol"].map(|name| fixture.register(name));
        let invitation = Invitation {
            code: crate::protocol::ids::ByteArray([1; 32]),
            inviter: bob,
            created: 1,
            expires: 2,
            uses: 1,
        };
        let reset = Reset {
            key: crate::protocol::ids::ByteArray([9; 32]),
            expires: 100,
        };
        for change in [
            Change::CountLogin(
                bob,
                Some(VaultGeneration {
                    number: 7,
                    proof: None,
                }),
            ),
            Change::Invite(invitation, 5),
            Change::Block(bob, carol, true),
            Change::Block(carol, bob, true),
            Change::Reset(bob, reset),
        ] {
            fixture.change(change);
        }
        let fill = [
            (bob, 1, carol, "0, x'0102'"),
            (carol, 1, bob, "1, x'6869'"),
            (carol, 2, carol, "0, x'0304'"),
            (
                carol,
                3,
                UserId(0),
                r#"2, CAST('{"notice":"turned_away","names":["bob"],"count":1}' AS BLOB)"#,
            ),
            (
                carol,
                5,
                UserId(0),
                r#"2, CAST('{"notice":"missed","from":[{"name":"bob","count":1}],"count":1}' AS BLOB)"#,
            ),
            (
                carol,
                6,
                UserId(0),
                r#"2, CAST('{"notice":"expired","to":"bob","ids":[]}' AS BLOB)"#,
            ),
            (
                carol,
                4,
                UserId(0),
                r#"2, CAST('{"notice":"announcement","text":"bob"}' AS BLOB)"#,
            ),
        ];
        let writer = fixture.store.writer.lock();
        let imported = "INSERT INTO imported_accounts VALUES (?1, 'Bob', 0, NULL)";
        writer.as_ref().unwrap().execute(imported, [bob.0]).unwrap();
        for (recipient, sender) in [(bob, carol), (carol, bob), (carol, carol)] {
            let expired = "INSERT INTO expired VALUES (?1, ?2, ?2, zeroblob(16), 9, 0)";
            let writer = writer.as_ref().unwrap();
            writer.execute(expired, [recipient.0, sender.0]).unwrap();
        }
        for (recipient, number, sender, rest) in fill {
            writer
                .as_ref()
                .unwrap()
                .execute_batch(&format!(
                    "INSERT INTO mail VALUES ({}, {number}, {}, zeroblob(16), 5, {rest});
                     INSERT OR IGNORE INTO one_time_prekeys VALUES ({}, 1, zeroblob(32))",
                    recipient.0, sender.0, bob.0
                ))
                .unwrap();
        }
        drop(writer);
        let person = Person {
            id: bob,
            name: "bob",
        };
        let mut found = Vec::new();
        for section in Section::ALL {
            let mut after = Some(START);
            // A row at a time, so that every key goes on where it should.
            while let Some(from) = after {
                let page = fixture
                    .store
                    .personal_data(person, section, from, 1)
                    .unwrap();
                assert!(page.rows.len() <= 1);
                found.extend(page.rows.into_iter().map(|row| (section, row)));
                after = page.next;
            }
        }
        let count = |section| found.iter().filter(|(of, _)| *of == section).count();
        let counts = Section::ALL.map(count);
        assert_eq!(counts, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 0], "{found:?}");
        let of = |section| {
            let row = found.iter().find(|(of, _)| *of == section).unwrap();
            row.1.clone()
        };
        let text = |text: &str| Field::Text(text.to_owned());
        assert!(of(Section::BlockedBy).contains(&("user".to_owned(), text("carol"))));
        assert!(of(Section::Mailbox).contains(&("body".to_owned(), Field::Size(2))));
        assert!(of(Section::Elsewhere).contains(&("body".to_owned(), text("hi"))));
        assert!(of(Section::Account).contains(&("name".to_owned(), text("bob"))));
    }
}
