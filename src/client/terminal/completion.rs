//! What completion and the prompt know of the session: who is logged in, whom they write to, the
//! people they know, what is unread, and whether there is a connection. Completion itself is in
//! `app::commands`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::client::view::{Person, SessionChange};
use crate::protocol::{MessageId, UserName};
use crate::sync::Mutex;

/// The session's state and people, which the messenger, the main thread, `screen` and `input`
/// share. The lock guards these fields alone, and no other is taken under it.
#[derive(Default)]
pub(super) struct Completion(Mutex<Known>);

#[derive(Default)]
struct Known {
    me: Option<UserName>,
    talks_to: Option<UserName>,
    people: Vec<Person>,
    /// The messages that each person has sent whom this one has not turned to since.
    unread: BTreeMap<UserName, Vec<MessageId>>,
    /// It was said how to answer somebody.
    knows_how_to_answer: bool,
    is_offline: bool,
    progress: Option<(u64, u64)>,
    shows_title: bool,
    /// Has the line drawn again, because the prompt has changed.
    redraw: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Completion {
    /// Calls this, on any thread, after each change of the prompt.
    pub(super) fn on_change(&self, redraw: impl Fn() + Send + Sync + 'static) {
        self.0.lock().redraw = Some(Arc::new(redraw));
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        let redraw = {
            let mut known = self.0.lock();
            let before = known.prompt();
            change(&mut known);
            let is_new = known.prompt() != before;
            known.redraw.clone().filter(|_| is_new)
        };
        if let Some(redraw) = redraw {
            redraw();
        }
    }

    /// Notes a login, or with `None` a logout, which forgets everything.
    pub(super) fn set_session(&self, me: Option<UserName>) {
        self.change(|known| match me {
            // A window of another client was told of people before this.
            Some(_) => known.me = me,
            None => {
                *known = Known {
                    shows_title: known.shows_title,
                    redraw: known.redraw.take(),
                    ..Known::default()
                }
            }
        });
    }

    /// Notes to whom lines without a command go from here on.
    pub(super) fn set_talks_to(&self, name: Option<UserName>) {
        self.change(|known| {
            known.talks_to = name;
            if let Some(name) = name {
                known.unread.remove(&name);
            }
        });
    }

    /// To whom lines without a command go.
    pub(super) fn talks_to(&self) -> Option<UserName> {
        self.0.lock().talks_to
    }

    /// Notes that the person has turned to somebody, whose messages are not unread any more.
    pub(super) fn turn_to(&self, name: &UserName) {
        self.change(|known| {
            known.unread.remove(name);
        });
    }

    /// Notes that a message of somebody's is shown.
    pub(super) fn arrived(&self, from: UserName, id: MessageId) {
        self.change(|known| {
            if known.talks_to != Some(from) {
                known.unread.entry(from).or_default().push(id);
            }
        });
    }

    /// Whether to say how a message of somebody's is answered: once, to whoever talks to nobody.
    pub(super) fn wants_to_know_how_to_answer(&self) -> bool {
        let mut known = self.0.lock();
        let knows = known.talks_to.is_some() || known.knows_how_to_answer;
        known.knows_how_to_answer = true;
        !knows
    }

    /// Which messages are unread of whom, by name.
    pub(super) fn unread(&self) -> Vec<(UserName, Vec<MessageId>)> {
        let known = self.0.lock();
        known
            .unread
            .iter()
            .map(|(name, ids)| (*name, ids.clone()))
            .collect()
    }

    /// How many messages of somebody's are unread.
    pub(super) fn unread_of(&self, name: &UserName) -> u64 {
        self.0.lock().unread.get(name).map_or(0, Vec::len) as u64
    }

    /// Notes a change of the session.
    pub(super) fn session_changed(&self, change: SessionChange) {
        self.change(|known| match change {
            SessionChange::Connected(connected) => known.is_offline = !connected,
            SessionChange::Progress(progress) => known.progress = progress,
            SessionChange::Deleted(name, id) => known.forget(name, id),
        });
    }

    /// Replaces the people that are known.
    pub(super) fn set_people(&self, people: Vec<Person>) {
        self.change(|known| known.people = people);
    }

    /// Whether this person's identity was verified by hand; `None` if they are not known.
    pub(super) fn verified(&self, name: &UserName) -> Option<bool> {
        self.0.lock().verified(name)
    }

    /// Whether somebody is logged in, and the names that can be completed.
    pub(super) fn candidates(&self) -> (bool, Vec<String>) {
        let known = self.0.lock();
        let names = known.people.iter().map(|person| person.name.to_string());
        (known.me.is_some(), names.collect())
    }

    /// The prompt of the chat, for a terminal with this many columns: the session's state in
    /// brackets, if there is something to say, then whose line it is and to whom it goes.
    pub(super) fn prompt(&self, columns: usize) -> String {
        let known = self.0.lock();
        let prompt = known.prompt();
        match prompt.len() > columns / 2 {
            true => known.short_prompt(),
            false => prompt,
        }
    }

    /// What stands before a line that was typed, without the session's state.
    pub(super) fn bare_prompt(&self) -> String {
        self.0.lock().bare_prompt()
    }

    /// Whether the terminal's title is to say what is unread.
    pub(super) fn show_title(&self, shows: bool) {
        self.0.lock().shows_title = shows;
    }

    /// The terminal's title; `None` if it is left alone.
    pub(super) fn title(&self) -> Option<String> {
        let known = self.0.lock();
        if !known.shows_title {
            return None;
        }
        let unread = match known.count_unread() {
            0 => String::new(),
            count => format!("({count}) "),
        };
        Some(match known.me {
            Some(me) => format!("{unread}{me} - Secure Chat"),
            None => "Secure Chat".to_owned(),
        })
    }
}

impl Known {
    fn count_unread(&self) -> usize {
        self.unread.values().map(Vec::len).sum()
    }

    /// Notes that a message with somebody was deleted, or, without an id, that all were.
    fn forget(&mut self, name: UserName, id: Option<MessageId>) {
        if let Some(unread) = self.unread.get_mut(&name) {
            unread.retain(|kept| id.is_some_and(|id| *kept != id));
        }
        self.unread.retain(|_, unread| !unread.is_empty());
    }

    fn verified(&self, name: &UserName) -> Option<bool> {
        let person = self.people.iter().find(|person| person.name == *name);
        person.map(|person| person.verified)
    }

    fn prompt(&self) -> String {
        let mut states = Vec::new();
        if self.is_offline {
            states.push("offline".to_owned());
        }
        states.extend(self.percent());
        match self.count_unread() {
            0 => {}
            count => states.push(format!("{count} unread")),
        }
        match states.is_empty() {
            true => self.bare_prompt(),
            false => format!("[{}] {}", states.join(", "), self.bare_prompt()),
        }
    }

    /// The same in fewer columns: without one's own name, and with a number for what is unread.
    fn short_prompt(&self) -> String {
        let mut states = Vec::new();
        if self.is_offline {
            states.push("off".to_owned());
        }
        states.extend(self.percent());
        match self.count_unread() {
            0 => {}
            count => states.push(count.to_string()),
        }
        let state = match states.is_empty() {
            true => String::new(),
            false => format!("[{}] ", states.join(" ")),
        };
        let whom = self.talks_to.or(self.me);
        let whom = whom.map_or_else(String::new, |name| name.to_string());
        format!("{state}{whom}> ")
    }

    fn percent(&self) -> Option<String> {
        let (done, total) = self.progress?;
        let percent = done.saturating_mul(100).checked_div(total)?;
        Some(format!("{percent} %"))
    }

    fn bare_prompt(&self) -> String {
        let Some(me) = self.me else {
            return "> ".to_owned();
        };
        match self.talks_to {
            None => format!("{me}> "),
            Some(name) => {
                let person = self.people.iter().find(|person| person.name == name);
                let state = match person.map(|person| (person.verified, person.blocked)) {
                    Some((true, true)) => " (verified, blocked)",
                    Some((true, false)) => " (verified)",
                    Some((false, true)) => " (blocked)",
                    Some((false, false)) | None => "",
                };
                format!("{me} > {name}{state}> ")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn name(name: &str) -> UserName {
        name.parse().unwrap()
    }

    fn mid(number: u8) -> MessageId {
        MessageId([number; 16])
    }

    #[test]
    fn the_prompt_says_what_is_unread_and_how_things_are() {
        let known = Completion::default();
        assert_eq!(known.prompt(80), "> ");
        known.set_session(Some(name("alice")));
        assert_eq!(known.prompt(80), "alice> ");
        known.arrived(name("bob"), mid(1));
        known.arrived(name("carol"), mid(1));
        assert_eq!(known.prompt(80), "[2 unread] alice> ");
        assert_eq!(known.title(), None);
        known.show_title(true);
        assert_eq!(known.title().unwrap(), "(2) alice - Secure Chat");
        known.set_talks_to(Some(name("bob")));
        known.arrived(name("bob"), mid(2));
        known.session_changed(SessionChange::Connected(false));
        assert_eq!(known.prompt(80), "[offline, 1 unread] alice > bob> ");
        assert_eq!(known.prompt(40), "[off 1] bob> ");
        assert_eq!(known.bare_prompt(), "alice > bob> ");
        assert_eq!(known.unread(), [(name("carol"), vec![mid(1)])]);
        known.turn_to(&name("carol"));
        known.session_changed(SessionChange::Connected(true));
        known.session_changed(SessionChange::Progress(Some((1, 3))));
        assert_eq!(known.prompt(80), "[33 %] alice > bob> ");
        known.set_session(None);
        assert_eq!(known.prompt(80), "> ");
    }

    #[test]
    fn what_was_deleted_is_not_unread() {
        let known = Completion::default();
        known.set_session(Some(name("alice")));
        for number in 1..=3 {
            known.arrived(name("bob"), mid(number));
        }
        let deleted = |id: Option<u8>| {
            known.session_changed(SessionChange::Deleted(name("bob"), id.map(mid)))
        };
        deleted(Some(2));
        // It was read before.
        deleted(Some(9));
        assert_eq!(known.unread(), [(name("bob"), vec![mid(1), mid(3)])]);
        assert_eq!(known.prompt(80), "[2 unread] alice> ");
        deleted(None);
        assert!(known.unread().is_empty());
        assert_eq!(known.unread_of(&name("bob")), 0);
        assert_eq!(known.prompt(80), "alice> ");
    }

    #[test]
    fn only_a_change_that_shows_draws_again() {
        let known = Completion::default();
        let drawn = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&drawn);
        known.on_change(move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        known.set_session(Some(name("alice")));
        known.session_changed(SessionChange::Connected(true));
        known.turn_to(&name("bob"));
        known.arrived(name("bob"), mid(2));
        assert_eq!(drawn.load(Ordering::SeqCst), 2);
    }
}
