//! From the words behind a command to what the messenger is asked. Each function fails with a
//! sentence that says what to type instead; nothing is done then.

use crate::client::local_time;
use crate::client::messenger::command::{Command, SettingsChange, WhichMessages};
use crate::client::messenger::command::{FindBefore, FindFrom, HistoryQuery};
use crate::clock;
use crate::protocol::UserName;
use crate::protocol::request::ChangeSettings;

/// How many messages `/history` and `/find` show if they are not told.
const SHOWN: usize = 50;

/// The most messages of one page, so that a slip does not flood the terminal.
const MOST_SHOWN: usize = 1000;

/// The longest time of `/keep`, in days: a hundred years.
const LONGEST_KEPT: u32 = 36_500;

/// How many digits of an id the history shows.
const SHOWN_OF_ID: usize = 8;

/// A day in milliseconds.
const DAY_MS: u64 = 24 * 3600 * 1000;

type Parsed = Result<Command, String>;

/// The name that a command is about.
pub(crate) fn name(given: &[String]) -> Result<UserName, String> {
    let name = given.first().map_or("", String::as_str);
    name.parse::<UserName>().map_err(|error| error.to_string())
}

/// The name that a command may be about.
pub(crate) fn optional_name(given: &[String]) -> Result<Option<UserName>, String> {
    match given.is_empty() {
        true => Ok(None),
        false => name(given).map(Some),
    }
}

/// The last argument of a command, a text.
pub(super) fn text(given: &[String]) -> String {
    optional_text(given).unwrap_or_default()
}

pub(super) fn optional_text(given: &[String]) -> Option<String> {
    given.last().cloned()
}

pub(super) fn verify(given: &[String]) -> Parsed {
    if given.len() == 1 && given[0] == "yes" {
        return Err("say whose number is the same: /verify NAME yes".to_owned());
    }
    let name = name(given)?;
    match given.get(1).map(String::as_str) {
        None => Ok(Command::Verify(name, false)),
        Some("yes") => Ok(Command::Verify(name, true)),
        Some(_) => Err("after comparing, it is: /verify NAME yes".to_owned()),
    }
}

pub(super) fn info(given: &[String]) -> Parsed {
    given
        .first()
        .map(|word| id(word))
        .transpose()
        .map(Command::Info)
}

/// `/history [NAME] [N] [since|before DATE|ID]`
pub(super) fn history(given: &[String]) -> Parsed {
    let mut words = given.iter().map(String::as_str).peekable();
    let mut query = HistoryQuery::default();
    let is_name = |word: &&str| !is_count(word) && !matches!(*word, "since" | "before");
    if let Some(word) = words.next_if(is_name) {
        query.with = Some(word.parse().map_err(|error| format!("{error}"))?);
    }
    let mut count = SHOWN;
    if let Some(word) = words.next_if(|word| is_count(word)) {
        count = word
            .parse()
            .ok()
            .filter(|count| (1..=MOST_SHOWN).contains(count))
            .ok_or_else(|| format!("a page has 1 to {MOST_SHOWN} messages"))?;
    }
    query.count = Some(count);
    let wrong = || {
        "it is /history NAME N, each of them optional; then since or before, and a date (2026-11-27, yesterday, 7d) or an id"
            .to_owned()
    };
    match (words.next(), words.next(), words.next()) {
        (None, ..) => {}
        (Some("since"), Some(point), None) => query.from = Some(since(point)?),
        (Some("before"), Some(word), None) => query.before = Some(before(word)?),
        _ => return Err(wrong()),
    }
    Ok(Command::History(query))
}

fn is_count(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit())
}

/// A date or an id behind `since`.
///
/// # Errors
/// It is neither.
pub(crate) fn since(word: &str) -> Result<FindFrom, String> {
    match moment(word) {
        Some(time) => Ok(FindFrom::Time(time)),
        None => id(word).map(FindFrom::Behind).map_err(|_| no_point(word)),
    }
}

/// A date or an id behind `before`.
///
/// # Errors
/// It is neither.
pub(crate) fn before(word: &str) -> Result<FindBefore, String> {
    match moment(word) {
        Some(time) => Ok(FindBefore::Time(time)),
        None => id(word)
            .map(FindBefore::Message)
            .map_err(|_| no_point(word)),
    }
}

fn no_point(word: &str) -> String {
    format!(
        "{word} is neither a date, such as 2026-11-27, yesterday or 7d (seven days ago), nor the id of a message"
    )
}

/// The time that a word stands for: a date, a day by its name, or so many days, weeks or years
/// ago. Those could be the beginning of an id, which is shown with more digits.
fn moment(word: &str) -> Option<u64> {
    let now = clock::unix_ms();
    match word {
        "today" => local_time::start_of_day(now, 0),
        "yesterday" => local_time::start_of_day(now, 1),
        _ => match days(word).filter(|_| word.len() < SHOWN_OF_ID) {
            Some(days) => Some(now.saturating_sub(u64::from(days) * DAY_MS)),
            None => local_time::parse(word),
        },
    }
}

/// `/find TEXT [in NAME] [before DATE|ID]`. Days by their names belong to the text. Whether `in NAME` belongs to the text is decided by
/// whether there is such a contact.
pub(super) fn find(given: &[String]) -> Parsed {
    let whole = text(given);
    let mut query = HistoryQuery::default();
    let mut wanted = whole.trim();
    if let Some((front, last)) = wanted.rsplit_once(" before ")
        && let Some(point) = date_or_id(last.trim())
    {
        (wanted, query.before) = (front.trim(), Some(point));
    }
    if let Some((front, last)) = wanted.rsplit_once(" in ")
        && let Ok(name) = last.trim().parse::<UserName>()
    {
        (wanted, query.with) = (front.trim(), Some(name));
    }
    Ok(Command::Find(HistoryQuery {
        containing: Some(wanted.to_owned()),
        count: Some(SHOWN),
        ..query
    }))
}

fn date_or_id(word: &str) -> Option<FindBefore> {
    let date = local_time::parse(word).map(FindBefore::Time);
    date.or_else(|| id(word).ok().map(FindBefore::Message))
}

/// The id of a message, or its beginning.
fn id(word: &str) -> Result<String, String> {
    let word = word.trim_start_matches('[').trim_end_matches(']');
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    match digits && word.len() <= 32 {
        true => Ok(word.to_ascii_lowercase()),
        false => Err(format!(
            "{word} is no id: ids have only the digits 0-9 and a-f, and /history shows them in brackets"
        )),
    }
}

/// `/outbox [cancel|again ID|all]`
pub(super) fn outbox(given: &[String]) -> Parsed {
    let (verb, which) = match given {
        [] => return Ok(Command::Outbox),
        [verb, which] if verb == "cancel" || verb == "again" => (verb, which),
        _ => {
            return Err(
                "it is /outbox, or /outbox cancel or /outbox again with an ID or with all"
                    .to_owned(),
            );
        }
    };
    let which = match which.as_str() {
        "all" => WhichMessages::All,
        word => WhichMessages::One(id(word)?),
    };
    Ok(match verb.as_str() {
        "again" => Command::SendExpiredAgain(which),
        _ => Command::CancelHeld(which),
    })
}

/// `/delete ID` or `/delete NAME all`
pub(crate) fn delete(given: &[String]) -> Parsed {
    match given {
        [_, all] if all == "all" => Ok(Command::DeleteAll(name(given)?)),
        [word] => id(word)
            .map(Command::Delete)
            .map_err(|why| format!("{why}; all messages with somebody go with /delete NAME all")),
        _ => Err("it is /delete ID, or /delete NAME all".to_owned()),
    }
}

/// `/keep [TIME]`: how many days; `Some(None)` for ever, `None` to be told.
pub(crate) fn keep(given: &[String]) -> Result<Option<Option<u32>>, String> {
    let Some(word) = given.first() else {
        return Ok(None);
    };
    if word == "forever" {
        return Ok(Some(None));
    }
    match days(word) {
        Some(days) => Ok(Some(Some(days))),
        None => {
            Err("a time is a number of days, weeks or years: 90d, 12w, 2y; or forever".to_owned())
        }
    }
}

/// A number of days, weeks or years, in days.
fn days(word: &str) -> Option<u32> {
    word.strip_suffix('d')
        .map(|number| (number, 1))
        .or_else(|| word.strip_suffix('w').map(|number| (number, 7)))
        .or_else(|| word.strip_suffix('y').map(|number| (number, 365)))
        .and_then(|(number, unit)| number.parse::<u32>().ok()?.checked_mul(unit))
        .filter(|days| (1..=LONGEST_KEPT).contains(days))
}

/// `/settings [NAME on|off]`
pub(super) fn settings(given: &[String]) -> Parsed {
    let (mut change, mut receipts) = (ChangeSettings::default(), None);
    let Some(what) = given.first() else {
        return Ok(Command::Settings(SettingsChange::Account(change)));
    };
    let setting = match what.as_str() {
        "listed" => &mut change.listed,
        "presence" => &mut change.presence,
        "refuse-unencrypted" => &mut change.refuse_unencrypted,
        "receipts" => &mut receipts,
        _ => {
            return Err(format!(
                "there is no setting {what}; there are listed, presence, receipts, refuse-unencrypted"
            ));
        }
    };
    let value = match given.get(1).map(String::as_str) {
        Some("on") => true,
        Some("off") => false,
        _ => {
            return Err(format!(
                "a setting is on or off, such as: /settings {what} off"
            ));
        }
    };
    *setting = Some(value);
    Ok(Command::Settings(match receipts {
        Some(on) => SettingsChange::Receipts(on),
        None => SettingsChange::Account(change),
    }))
}
