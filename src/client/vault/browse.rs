//! Reading the history page by page: with somebody, from a moment on, before a message, or with a
//! text. Only one page is in memory, however long the history is.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::history::HistoryEntry;
use super::message_chunks::chunk_of;
use super::table::Table;
use super::{Vault, VaultError};
use crate::protocol::{MessageId, UserName};

/// How many chunks of messages are read between two reports of the progress.
const REPORT_EVERY: u64 = 32;

/// Which messages of the history are wanted.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct HistoryQuery {
    /// Those with this person.
    pub with: Option<UserName>,
    /// At most so many: the first ones with `from`, otherwise the latest.
    pub count: Option<usize>,
    /// Those from here on.
    pub from: Option<FindFrom>,
    /// Those before here.
    pub before: Option<FindBefore>,
    /// Those with this text, in small or capital letters.
    pub containing: Option<String>,
}

/// Where messages begin.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FindFrom {
    /// At this moment: milliseconds since 1970.
    Time(u64),
    /// Behind the message whose id begins like this.
    Behind(String),
    /// Behind this place in the history.
    Place(i64),
}

/// Where messages end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FindBefore {
    /// Before this moment: milliseconds since 1970.
    Time(u64),
    /// Before the message whose id begins like this.
    Message(String),
}

/// A part of the history, oldest first.
#[derive(Debug, Default)]
pub(crate) struct HistoryPage {
    /// The messages.
    pub messages: Vec<HistoryEntry>,
    /// Whether there are more in the direction of reading.
    pub more: bool,
}

/// Why there is no page.
#[derive(Debug)]
pub(crate) enum BrowseError {
    /// Nothing was exchanged with this person.
    Nobody(UserName),
    /// No message has an id that begins like this; the latest message has that one.
    NoMessage(String, Option<MessageId>),
    /// The ids of several messages begin like this, these among them.
    Several(String, MessageId, MessageId),
    /// The vault could not be read.
    Vault(VaultError),
}

impl fmt::Display for BrowseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BrowseError::Nobody(name) => write!(f, "there are no messages with {name}"),
            BrowseError::NoMessage(id, Some(latest)) => write!(
                f,
                "there is no message with the id {id}; /history shows ids, and the latest message has {}",
                latest.beginning()
            ),
            BrowseError::NoMessage(id, None) => write!(
                f,
                "there is no message with the id {id}, and the history is empty"
            ),
            BrowseError::Several(id, one, other) => write!(
                f,
                "the ids of several messages begin with {id}; type more digits: {one} or {other}"
            ),
            BrowseError::Vault(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BrowseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // It is shown as it is, so what is below it is below this.
            BrowseError::Vault(error) => error.source(),
            BrowseError::Nobody(_) | BrowseError::NoMessage(..) | BrowseError::Several(..) => None,
        }
    }
}

impl From<VaultError> for BrowseError {
    fn from(error: VaultError) -> Self {
        BrowseError::Vault(error)
    }
}

/// A query whose names and ids were looked up.
struct Wanted {
    contact: Option<i64>,
    behind: Option<i64>,
    before: Option<i64>,
    not_earlier: Option<u64>,
    earlier: Option<u64>,
    containing: Option<String>,
}

impl Wanted {
    fn fits(&self, message: &HistoryEntry) -> bool {
        let has = |text: &String| message.record.text.to_lowercase().contains(text);
        self.not_earlier.is_none_or(|from| message.at >= from)
            && self.earlier.is_none_or(|end| message.at < end)
            && self.containing.as_ref().is_none_or(has)
    }
}

impl Vault {
    /// A page of the history. `progress` is told, now and then, how much of the history was read,
    /// in chunks.
    ///
    /// # Errors
    /// There is no such person or message, or the vault could not be read.
    pub(crate) fn browse(
        &self,
        query: &HistoryQuery,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<HistoryPage, BrowseError> {
        let wanted = self.look_up(query)?;
        let count = query.count.unwrap_or(usize::MAX);
        let mut page = HistoryPage::default();
        let ascending = query.from.is_some();
        let first = wanted.behind.map_or(i64::MIN, chunk_of);
        let last = wanted.before.map_or(i64::MAX, chunk_of);
        let chunks = self.numbers(Table::MessageChunks);
        let mut chunks: Vec<i64> = chunks
            .filter(|chunk| (first..=last).contains(chunk))
            .collect();
        if !ascending {
            chunks.reverse();
        }
        let total = chunks.len() as u64;
        'all: for (read, chunk) in (0..total).zip(chunks) {
            if read % REPORT_EVERY == 0 && read > 0 {
                progress(read, total);
            }
            let mut listed = self.listed(chunk)?;
            if !ascending {
                listed.reverse();
            }
            for (seq, listing) in listed {
                let is_outside = wanted.contact.is_some_and(|id| id != listing.contact())
                    || wanted.behind.is_some_and(|behind| seq <= behind)
                    || wanted.before.is_some_and(|before| seq >= before);
                if is_outside {
                    continue;
                }
                let message = self.message_or_damage(seq, listing)?;
                if !wanted.fits(&message) {
                    continue;
                }
                if page.messages.len() >= count {
                    page.more = true;
                    break 'all;
                }
                page.messages.push(message);
            }
        }
        if !ascending {
            page.messages.reverse();
        }
        Ok(page)
    }

    fn look_up(&self, query: &HistoryQuery) -> Result<Wanted, BrowseError> {
        let contact = match query.with {
            None => None,
            Some(name) => {
                let contact = self.contact(&name).ok_or(BrowseError::Nobody(name))?;
                Some(contact.id)
            }
        };
        let mut wanted = Wanted {
            contact,
            behind: None,
            before: None,
            not_earlier: None,
            earlier: None,
            containing: query.containing.as_ref().map(|text| text.to_lowercase()),
        };
        match &query.from {
            None => {}
            Some(FindFrom::Time(time)) => wanted.not_earlier = Some(*time),
            Some(FindFrom::Behind(id)) => wanted.behind = Some(self.message_with_id(id)?.seq),
            Some(FindFrom::Place(place)) => wanted.behind = Some(*place),
        }
        match &query.before {
            None => {}
            Some(FindBefore::Time(time)) => wanted.earlier = Some(*time),
            Some(FindBefore::Message(id)) => wanted.before = Some(self.message_with_id(id)?.seq),
        }
        Ok(wanted)
    }

    /// The one message whose id begins with these hexadecimal digits.
    ///
    /// # Errors
    /// There is none, there are several, or the vault could not be read.
    pub(crate) fn message_with_id(&self, prefix: &str) -> Result<HistoryEntry, BrowseError> {
        let mut found = self.messages_with_id(prefix, 2)?.into_iter();
        match (found.next(), found.next()) {
            // Two people can choose the same id.
            (Some(latest), Some(other)) if latest.mid != other.mid => Err(BrowseError::Several(
                prefix.to_owned(),
                latest.mid,
                other.mid,
            )),
            (Some(latest), _) => Ok(latest),
            (None, _) => {
                let latest = self.find_message(None)?.map(|message| message.mid);
                Err(BrowseError::NoMessage(prefix.to_owned(), latest))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::vault::tests::{create, record};

    fn texts(page: &HistoryPage) -> Vec<&str> {
        let texts = page.messages.iter();
        texts.map(|message| message.record.text.as_str()).collect()
    }

    /// A vault with `count` messages from two people in turn.
    fn filled(dir: &tempfile::TempDir, count: u32) -> Vault {
        let (mut vault, _) = create(dir);
        vault
            .transact(|vault| {
                for number in 0..count {
                    let name = ["bob", "carol"][number as usize % 2];
                    let contact = vault.contact_or_new(&name.parse().unwrap())?;
                    let mut mid = [0; 16];
                    mid[..4].copy_from_slice(&(number + 1).to_be_bytes());
                    let record = record(&format!("Number {number}"));
                    let at = u64::from(number) * 1000;
                    vault.add_message(contact.id, &MessageId(mid), at, &record)?;
                }
                Ok(())
            })
            .unwrap();
        vault
    }

    #[test]
    fn pages_lead_to_the_very_first_message() {
        let dir = tempfile::tempdir().unwrap();
        let vault = filled(&dir, 100);
        let mut query = HistoryQuery {
            with: Some("bob".parse().unwrap()),
            count: Some(7),
            ..HistoryQuery::default()
        };
        let mut seen = Vec::new();
        loop {
            let page = vault.browse(&query, &mut |_, _| {}).unwrap();
            let mut texts: Vec<String> = texts(&page).iter().map(ToString::to_string).collect();
            texts.extend(std::mem::take(&mut seen));
            seen = texts;
            if !page.more {
                break;
            }
            query.before = Some(FindBefore::Message(page.messages[0].mid.beginning()));
        }
        let expected: Vec<_> = (0..50).map(|at| format!("Number {}", 2 * at)).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn from_a_moment_on_the_first_ones_come_first() {
        let dir = tempfile::tempdir().unwrap();
        let vault = filled(&dir, 100);
        let mut query = HistoryQuery {
            from: Some(FindFrom::Time(95_000)),
            count: Some(3),
            ..HistoryQuery::default()
        };
        let page = vault.browse(&query, &mut |_, _| {}).unwrap();
        assert_eq!(texts(&page), ["Number 95", "Number 96", "Number 97"]);
        assert!(page.more);
        query.from = Some(FindFrom::Behind(page.messages[2].mid.beginning()));
        let page = vault.browse(&query, &mut |_, _| {}).unwrap();
        assert_eq!(texts(&page), ["Number 98", "Number 99"]);
        assert!(!page.more);
        let query = HistoryQuery {
            before: Some(FindBefore::Time(3000)),
            count: Some(2),
            ..HistoryQuery::default()
        };
        let page = vault.browse(&query, &mut |_, _| {}).unwrap();
        assert_eq!(texts(&page), ["Number 1", "Number 2"]);
        assert!(page.more);
    }

    #[test]
    fn a_text_is_found_in_any_case_and_progress_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let vault = filled(&dir, 2500);
        let query = HistoryQuery {
            containing: Some("NUMBER 7".to_owned()),
            count: Some(2),
            ..HistoryQuery::default()
        };
        let mut reports = Vec::new();
        let page = vault
            .browse(&query, &mut |done, total| reports.push((done, total)))
            .unwrap();
        assert_eq!(texts(&page), ["Number 798", "Number 799"]);
        assert!(page.more);
        assert_eq!(reports, [(32, 79)]);
    }

    #[test]
    fn an_id_that_none_or_several_have_is_said_so() {
        let dir = tempfile::tempdir().unwrap();
        let vault = filled(&dir, 20);
        let why = |id: &str| vault.message_with_id(id).unwrap_err().to_string();
        assert!(
            why("ffff").contains("the latest message has 00000014"),
            "{}",
            why("ffff")
        );
        assert!(
            why("0000001").contains("type more digits"),
            "{}",
            why("0000001")
        );
        assert_eq!(
            vault.message_with_id("00000014").unwrap().record.text,
            "Number 19"
        );
    }
}
