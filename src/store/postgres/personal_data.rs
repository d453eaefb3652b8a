//! Reads what the tables hold about a person, a bounded part at a time.

use postgres::Row;
use postgres::types::Type;

use super::connection::Connection;
use super::failure::Failure;
use super::statements;
use super::values::{column, get};
use crate::store::personal_data::{
    After, Field, Person, PersonalPage, PersonalRow, Section, is_notice_about,
};

/// Each statement begins with so many columns that are not the table's: the row's key, of two
/// numbers, and whether the row is the person's.
pub(super) const LEADING: usize = 3;

/// The length of a body, which is no column of the table's.
const SIZE: &str = "size";

/// The statement of a section. It takes the account's number, the key behind which it begins, of one
/// number or two, and at how many rows it looks.
pub(super) fn statement(section: Section) -> &'static str {
    match section {
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
        Section::Home => statements::OWN_HOME,
    }
}

/// Looks at no more than `limit` rows of a section.
pub(super) fn page(
    connection: &mut Connection,
    person: Person<'_>,
    section: Section,
    after: After,
    limit: usize,
) -> Result<PersonalPage, Failure> {
    let (id, most) = (&person.id.0, &column(limit as u64));
    let statement = statement(section);
    let rows = match section {
        Section::BlockedBy | Section::Expired | Section::Elsewhere => {
            connection.rows(statement, &[id, &after.0, &after.1, most])?
        }
        _ => connection.rows(statement, &[id, &after.0, most])?,
    };
    let (mut page, mut last) = (PersonalPage::default(), after);
    for row in &rows {
        last = (get(row, 0)?, get(row, 1)?);
        let read = fields(row)?;
        if get(row, 2)? || is_notice_about(&read, person.name) {
            page.rows.push(read);
        }
    }
    page.next = (rows.len() == limit).then_some(last);
    Ok(page)
}

fn fields(row: &Row) -> Result<PersonalRow, Failure> {
    let columns = row.columns().iter().enumerate().skip(LEADING);
    let mut fields = PersonalRow::new();
    for (at, column) in columns {
        let field = field(row, at, column.type_())?.unwrap_or(Field::Null);
        let field = match (column.name(), field, fields.last_mut()) {
            // The statements leave an envelope out, and tell its size instead.
            (SIZE, Field::Number(size), Some((_, body @ Field::Null))) => {
                *body = Field::Size(size.unsigned_abs());
                continue;
            }
            (SIZE, ..) => continue,
            ("body", Field::Bytes(text), _) => {
                Field::Text(String::from_utf8_lossy(&text).into_owned())
            }
            (_, field, _) => field,
        };
        fields.push((column.name().to_owned(), field));
    }
    Ok(fields)
}

fn field(row: &Row, at: usize, of: &Type) -> Result<Option<Field>, Failure> {
    Ok(match *of {
        Type::BOOL => get::<Option<bool>>(row, at)?.map(|is| Field::Number(is.into())),
        Type::INT4 => get::<Option<i32>>(row, at)?.map(|number| Field::Number(number.into())),
        Type::INT8 => get::<Option<i64>>(row, at)?.map(Field::Number),
        Type::BYTEA => get::<Option<&[u8]>>(row, at)?.map(|bytes| Field::Bytes(bytes.to_vec())),
        _ => get::<Option<&str>>(row, at)?.map(|text| Field::Text(text.to_owned())),
    })
}
