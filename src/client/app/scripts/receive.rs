//! `client fetch`, `listen` and `unread`. A message counts as read once it was written and the
//! command of `--on-message` has had it; a kill before that leaves it unread.

use std::time::Duration;

use super::{Done, Failure, code_of};
use crate::client::app::App;
use crate::client::app::exit_code::{FAILED, TIMED_OUT, UNWRITTEN};
use crate::client::app::hook::Hook;
use crate::client::args::scripts::{Fetch, Listen};
use crate::client::messenger::command::{Answer, Command};
use crate::client::terminal::InputEvent;
use crate::client::view::{End, ViewEvent};
use crate::clock;

/// How many messages are fetched, and printed, at a time: so few that the longest texts fit into
/// what the client sets aside while it waits for the answer.
const AT_ONCE: usize = 64;

/// What was printed so far.
#[derive(Default)]
struct Printed {
    count: u64,
    /// What was received behind this place is printed, read or not: another window of the account
    /// may have shown it.
    after: i64,
    /// The command of `--on-message` failed.
    hook_failed: bool,
}

impl App {
    /// Prints what waits on the server and what is unread here.
    pub(super) fn fetch_all(&mut self, fetch: &Fetch) -> Done {
        let hook = Hook::of(&self.options, &self.terminal);
        self.open_session()?;
        let mut printed = Printed {
            after: self.place_of(fetch.since.clone())?,
            ..Printed::default()
        };
        while self.fetch_some(AT_ONCE)?.0 > 0 && self.terminal.signal().is_none() {}
        self.print_new(&mut printed, None, hook.as_ref())?;
        printed.end()
    }

    /// Prints messages as they come.
    pub(super) fn listen(&mut self, listen: &Listen) -> Done {
        let hook = Hook::of(&self.options, &self.terminal);
        self.open_session()?;
        let limit = listen
            .timeout
            .map(|seconds| Duration::from_secs(seconds.into()));
        let until = limit.map(|limit| clock::now() + limit);
        let mut printed = Printed {
            after: self.place_of(listen.since.clone())?,
            ..Printed::default()
        };
        loop {
            self.print_new(&mut printed, listen.count, hook.as_ref())?;
            if listen.count.is_some_and(|count| printed.count >= count) {
                return printed.end();
            }
            match self.terminal.wait(until) {
                None if listen.count.is_some() => {
                    return Err(Failure::new(
                        TIMED_OUT,
                        format!("the time is over, and {} came", printed.count),
                    ));
                }
                None | Some(InputEvent::Stop) => return printed.end(),
                // The vault is the same, and so is the place up to which was printed.
                Some(InputEvent::Ended(End::Gone(_))) => self.reopen_session(clock::now())?,
                Some(InputEvent::Ended(end)) => return Err(Failure::said(code_of(&end))),
                Some(_) => {}
            }
        }
    }

    /// Prints what no client has shown, and how many messages wait on the server; both stay.
    pub(super) fn print_unread(&mut self) -> Done {
        self.open_session()?;
        for (_, event) in self.received(None, usize::MAX)? {
            self.terminal.say(&event);
        }
        let (_, waiting) = self.fetch_some(0)?;
        self.terminal.say(&ViewEvent::Waiting(waiting));
        Ok(())
    }

    fn fetch_some(&mut self, limit: usize) -> Result<(usize, u64), Failure> {
        Ok(match self.ask_script_session(Command::FetchSome(limit))? {
            Answer::Fetched { came, waiting } => (came, waiting),
            _ => (0, 0),
        })
    }

    /// The place of the message whose id begins like this; without one, of the latest.
    fn place_of(&mut self, id: Option<String>) -> Result<i64, Failure> {
        Ok(match self.ask_script_session(Command::PlaceOf(id))? {
            Answer::Place(place) => place,
            _ => 0,
        })
    }

    fn received(
        &mut self,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<(i64, ViewEvent)>, Failure> {
        let command = Command::Received { after, limit };
        Ok(match self.ask_script_session(command)? {
            Answer::Messages(messages) => messages,
            _ => Vec::new(),
        })
    }

    /// Prints messages that were not printed yet, no more than make `most` in all.
    fn print_new(&mut self, printed: &mut Printed, most: Option<u64>, hook: Option<&Hook>) -> Done {
        loop {
            let left = most.map_or(u64::MAX, |most| most.saturating_sub(printed.count));
            let limit = usize::try_from(left).unwrap_or(usize::MAX).min(AT_ONCE);
            let found = self.received(Some(printed.after), limit)?;
            if found.is_empty() {
                return Ok(());
            }
            for (place, event) in found {
                self.print_one(printed, &event, hook)?;
                let stopped = self.terminal.signal().is_some();
                // The signal may have ended the command, which gets it again then.
                if !(stopped && printed.hook_failed) {
                    self.ask_script_session(Command::MarkRead(vec![place]))?;
                }
                printed.after = printed.after.max(place);
                if stopped {
                    return Ok(());
                }
            }
        }
    }

    fn print_one(&mut self, printed: &mut Printed, event: &ViewEvent, hook: Option<&Hook>) -> Done {
        self.terminal.say(event);
        if !self.terminal.screen().ready() {
            return Err(Failure::said(UNWRITTEN));
        }
        if let Some(hook) = hook
            && let Err(why) = hook.run(event)
        {
            printed.hook_failed = true;
            self.terminal.say(&ViewEvent::warning(why));
        }
        printed.count += 1;
        Ok(())
    }
}

impl Printed {
    fn end(&self) -> Done {
        match self.hook_failed {
            true => Err(Failure::said(FAILED)),
            false => Ok(()),
        }
    }
}
