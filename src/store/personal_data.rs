//! What the store holds about one person, table by table: for the person who asks, and for an operator
//! who is asked. A test compares it with the schema, so no table and no column is left out.
//!
//! The rows are shown as they lie in the tables, except that a number of an account becomes its name,
//! and that of an envelope only the size is told.

use super::UserId;
use crate::protocol::reply::News;

/// The rows of one table that concern a person in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    /// The account.
    Account,
    /// The generation of its vault.
    Generation,
    /// What its client recognises that by.
    Proof,
    /// A reset whose code was not used yet.
    Reset,
    /// That it was imported.
    Import,
    /// The invitations that the person has made.
    Invitations,
    /// The one-time prekeys that nobody was given yet.
    OneTimePrekeys,
    /// Whom the person blocks.
    Blocks,
    /// The person's mailbox.
    Mailbox,
    /// Who blocks the person.
    BlockedBy,
    /// What is left of expired mail of the person, and to the person.
    Expired,
    /// What others' mailboxes hold of the person: mail that they sent, and notices with their name.
    Elsewhere,
    /// Which of several servers has the mailbox.
    Home,
}

impl Section {
    /// All of them, in the order in which they are shown.
    pub(crate) const ALL: [Section; 13] = [
        Section::Account,
        Section::Generation,
        Section::Proof,
        Section::Reset,
        Section::Import,
        Section::Invitations,
        Section::OneTimePrekeys,
        Section::Blocks,
        Section::Mailbox,
        Section::BlockedBy,
        Section::Expired,
        Section::Elsewhere,
        Section::Home,
    ];

    /// The table.
    pub(crate) fn table(self) -> &'static str {
        match self {
            Section::Account => "users",
            Section::Generation => "vault_generations",
            Section::Proof => "vault_proofs",
            Section::Reset => "resets",
            Section::Import => "imported_accounts",
            Section::Invitations => "invitations",
            Section::OneTimePrekeys => "one_time_prekeys",
            Section::Blocks | Section::BlockedBy => "blocks",
            Section::Expired => "expired",
            Section::Mailbox | Section::Elsewhere => "mail",
            Section::Home => "homes",
        }
    }

    /// What its rows are to the person.
    pub(crate) fn relation(self) -> &'static str {
        match self {
            Section::Account => "the account",
            Section::Generation => "the age of its vault",
            Section::Proof => "what its client recognises that by",
            Section::Reset => "the reset of its password",
            Section::Import => "where it was imported from",
            Section::Invitations => "its invitations",
            Section::OneTimePrekeys => "its one-time prekeys",
            Section::Blocks => "whom it blocks",
            Section::Mailbox => "mail that waits for it",
            Section::BlockedBy => "who blocks it",
            Section::Expired => "mail of it, or to it, that expired",
            Section::Elsewhere => "mail of it, or about it, that waits for others",
            Section::Home => "the run of a server that has its mailbox",
        }
    }

    /// Why the person is not shown these rows; `None` if they are the person's own.
    pub(crate) fn withheld(self) -> Option<&'static str> {
        match self {
            Section::BlockedBy => Some("they are others' decisions, of which others are not told"),
            Section::Expired => Some(
                "they would tell who of those that hide their presence has not read your messages",
            ),
            Section::Elsewhere => Some(
                "they lie in others' mailboxes; `outcome` says which of your messages wait, and only the \
                 operator can look through all mailboxes",
            ),
            _ => None,
        }
    }
}

/// The tables that hold nothing about a person, and why.
#[cfg(test)]
pub(crate) const NOT_PERSONAL: &[(&str, &str)] = &[
    ("bans", "networks, which are nobody's"),
    ("imported_messages", "ids of messages, and of nobody"),
    ("server", "the server's own values"),
];

/// A value in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    /// Nothing.
    Null,
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Bytes that are not shown: so many.
    Size(u64),
}

/// A row: its columns by name.
pub(crate) type PersonalRow = Vec<(String, Field)>;

/// Whether a row is a notice that tells its recipient of this person.
pub(super) fn is_notice_about(row: &PersonalRow, person: &str) -> bool {
    let text = |column: &str| match row.iter().find(|(name, _)| name == column) {
        Some((_, Field::Text(text))) => text.as_str(),
        _ => "",
    };
    if text("kind") != "notice" {
        return false;
    }
    match serde_json::from_str(text("body")) {
        Ok(News::TurnedAway { names, .. }) => names.iter().any(|name| name.as_str() == person),
        Ok(News::Missed { from, .. }) => from.iter().any(|from| from.name.as_str() == person),
        Ok(News::Expired { to, .. }) => to.as_str() == person,
        Ok(News::Announcement { .. } | News::Unknown) | Err(_) => false,
    }
}

/// Where a read of a section goes on: behind the row with this key, of one or two numbers.
pub(crate) type After = (i64, i64);

/// Before the first row of a section.
pub(crate) const START: After = (i64::MIN, i64::MIN);

/// Some rows of a section, in the order of their keys.
#[derive(Debug, Default)]
pub(crate) struct PersonalPage {
    /// The rows.
    pub rows: Vec<PersonalRow>,
    /// Where to go on; `None` if these were the last.
    pub next: Option<After>,
}

/// Whom a read is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Person<'a> {
    /// The account's number.
    pub id: UserId,
    /// Its name, which notices to others have.
    pub name: &'a str,
}
