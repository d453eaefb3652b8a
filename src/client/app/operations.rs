//! Commands that the program runs itself, or asks the person about before the session runs them.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::App;
use super::commands::help::help;
use super::exit_code::FAILED;
use crate::client::messenger::command::{Answer, Command};
use crate::client::messenger::command::{FindFrom, HistoryQuery};
use crate::client::terminal::{InputEvent, transcript};
use crate::client::view::{ViewEvent, plural};
use crate::protocol::{MessageId, UserName};

/// How many messages of the history are in memory at a time.
const AT_ONCE: usize = 500;

/// How many unread messages of one person are shown again at most.
const MOST_UNREAD: usize = 50;

impl App {
    /// `/help`
    pub(super) fn help(&mut self, about: Option<&str>) {
        match help(about, self.session.is_some()) {
            Ok(rows) => self.terminal.screen().table(rows),
            Err(why) => self.fail(&why, FAILED),
        }
    }

    /// Asks a question, and again after an answer that asks for help, which is `about` something.
    pub(super) fn question(&mut self, prompt: &str, about: &str) -> InputEvent {
        self.question_again(prompt, about, "")
    }

    /// Like [`question`](Self::question), with what was typed before, to be changed.
    pub(super) fn question_again(&mut self, prompt: &str, about: &str, typed: &str) -> InputEvent {
        loop {
            match self.terminal.question_again(prompt, typed) {
                InputEvent::Line(line) if line.trim() == "/help" => {
                    self.help(Some(about));
                    self.terminal
                        .say(&ViewEvent::quiet("an empty line or Ctrl-C cancels"));
                }
                heard => return heard,
            }
        }
    }

    /// Asks for a yes, where a person can be asked; `otherwise` where not.
    fn agrees(&mut self, question: &str, about: &str, otherwise: bool) -> bool {
        if !self.terminal.interactive() {
            return otherwise;
        }
        self.terminal.say(&ViewEvent::warning(question));
        let agrees = match self.question("y/N> ", about) {
            InputEvent::Line(line) => matches!(line.trim(), "y" | "Y" | "yes"),
            _ => false,
        };
        if !agrees {
            self.terminal.say(&ViewEvent::quiet("never mind"));
        }
        agrees
    }

    /// `/unread`
    pub(super) fn show_unread(&mut self) {
        let unread = self.terminal.screen().unread();
        if unread.is_empty() {
            self.terminal.say(&ViewEvent::plain("nothing is unread"));
        }
        for (name, ids) in unread {
            if self.show_unread_of(name, &ids) {
                self.terminal.screen().turn_to(&name);
            }
        }
    }

    /// Shows the last of the messages with these ids that somebody sent, and says how many there
    /// are of them. `/keep` may have deleted some.
    fn show_unread_of(&mut self, name: UserName, ids: &[MessageId]) -> bool {
        let last = &ids[ids.len().saturating_sub(MOST_UNREAD)..];
        let query = HistoryQuery {
            with: Some(name),
            // Own messages stand between them.
            count: Some(last.len() * 4),
            ..HistoryQuery::default()
        };
        let messages = match self.ask_for(Command::Earlier(query)) {
            Ok(Answer::Messages(messages)) => messages,
            Ok(_) => Vec::new(),
            Err(failure) => {
                self.fail(&failure.why, FAILED);
                return false;
            }
        };
        let received = messages.iter().map(|(_, event)| event).filter(|event| {
            matches!(
                event,
                ViewEvent::Message {
                    outgoing: false,
                    id,
                    ..
                } if last.contains(id)
            )
        });
        let received: Vec<_> = received.collect();
        let (count, shown) = (ids.len(), received.len());
        self.terminal.say(&ViewEvent::quiet(match shown {
            0 => format!("the history does not have what came from {name}"),
            _ if count > shown => format!("{count} from {name}, the last {shown} of them:"),
            _ => format!("{count} from {name}:"),
        }));
        for event in received {
            self.terminal.say(event);
        }
        true
    }

    /// `/keep`, with how many days, or for ever; without either, what is set is shown.
    pub(super) fn keep(&mut self, days: Option<Option<u32>>) {
        let Some(days) = days else {
            return self.run(Command::ShowKept);
        };
        let question = days.map(|days| {
            format!(
                "messages that are older than {days} {} are deleted from this device for good. Go on?",
                plural(days.into(), "day", "days")
            )
        });
        if question.is_none_or(|question| self.agrees(&question, "keep", true)) {
            self.run(Command::Keep(days));
        }
    }

    /// `/delete ID`, or `/delete NAME all` after a question.
    pub(super) fn delete(&mut self, command: Command) {
        let question = match &command {
            Command::DeleteAll(name) => {
                format!("all messages with {name} are deleted from this device for good. Go on?")
            }
            _ => return self.run(command),
        };
        if self.agrees(&question, "delete", true) {
            self.run(command);
        }
    }

    /// `/delete-account [NAME]`: a script gives the name; a person is asked for it, and for the
    /// password.
    pub(super) fn delete_account(&mut self, given: Option<&str>) {
        let Some(me) = self.session.as_ref().map(|(me, _)| *me) else {
            return self.fail("log in first", FAILED);
        };
        if self.only_elsewhere() {
            return;
        }
        let no_account = |typed: &str| typed != me.as_str();
        let typed = match given {
            Some(name) if !self.terminal.interactive() || no_account(name) => Some(name.to_owned()),
            _ => {
                self.terminal.say(&ViewEvent::warning(format!(
                    "the account {me} will be deleted for good, with the mail that waits for it; nobody can ever use its name again"
                )));
                let prompt = "Its name, to delete it (Enter cancels): ";
                match self.question(prompt, "delete-account") {
                    InputEvent::Line(line) => Some(line.trim().to_owned()),
                    _ => None,
                }
            }
        };
        if typed.is_none_or(|typed| no_account(&typed)) {
            return self.fail(&format!("that is not {me}, so nothing was deleted"), FAILED);
        }
        let password = match self.terminal.interactive() {
            false => None,
            true => match self.known_password() {
                Some(password) => Some(password),
                None => return self.fail("no password was given, so nothing was deleted", FAILED),
            },
        };
        match self.ask_session(Command::DeleteAccount { password }) {
            Ok(()) => {
                self.leave();
                self.menu();
            }
            Err(failure) => self.fail(&failure.why, FAILED),
        }
    }

    /// `/export-history FILE`
    pub(super) fn export_history(&mut self, file: &Path) {
        let Some(me) = self.session.as_ref().map(|(me, _)| *me) else {
            return self.fail("log in first", FAILED);
        };
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file);
        let made = match made {
            Ok(made) => made,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let why = format!(
                    "{} exists already and is never overwritten; name a new file",
                    file.display()
                );
                return self.fail(&why, FAILED);
            }
            Err(error) => return self.fail(&format!("{}: {error}", file.display()), FAILED),
        };
        let json = file
            .extension()
            .is_some_and(|extension| extension == "json" || extension == "jsonl");
        match self.write_history(BufWriter::new(made), json.then_some(me)) {
            Ok(count) => self.terminal.say(&ViewEvent::good(format!(
                "{count} {} written to {}, readable by you alone and not encrypted",
                plural(count, "message is", "messages are"),
                file.display()
            ))),
            Err(why) => {
                // Half of a history must not be taken for all of it.
                let _removed = std::fs::remove_file(file);
                self.fail(
                    &format!("{}: {why}; the file was removed again", file.display()),
                    FAILED,
                );
            }
        }
    }

    /// Writes the whole history, the first message first, a part at a time.
    fn write_history(
        &mut self,
        mut file: BufWriter<std::fs::File>,
        json: Option<UserName>,
    ) -> Result<u64, String> {
        let mut count = 0;
        let mut from = FindFrom::Time(0);
        loop {
            let query = HistoryQuery {
                count: Some(AT_ONCE),
                from: Some(from),
                ..HistoryQuery::default()
            };
            let messages = match self.ask_for(Command::Earlier(query)) {
                Ok(Answer::Messages(messages)) => messages,
                Ok(_) => Vec::new(),
                Err(failure) => return Err(failure.why),
            };
            let Some((last, _)) = messages.last() else {
                break;
            };
            from = FindFrom::Place(*last);
            for (_, event) in &messages {
                file.write_all(transcript(event, json).as_bytes())
                    .map_err(|error| error.to_string())?;
                count += 1;
            }
        }
        let file = file.into_inner().map_err(|error| error.to_string())?;
        file.sync_all().map_err(|error| error.to_string())?;
        Ok(count)
    }
}
