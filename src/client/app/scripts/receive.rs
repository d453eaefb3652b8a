//! `client fetch`, `listen` and `unread`. A message counts as read once it was written and the
//! command of `--on-message` has had it; a kill before that leaves it unread.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::{Done, Failure, code_of};
use crate::client::app::App;
use crate::client::app::exit_code::{FAILED, TIMED_OUT, UNWRITTEN};
use crate::client::app::hook::Hook;
use crate::client::args::scripts::{Fetch, Listen};
use crate::client::messenger::command::{Backlog, Command};
use crate::client::terminal::InputEvent;
use crate::client::view::{ViewEvent, Written};
use crate::clock;

/// How many messages are fetched, and printed, at a time: so few that the longest texts fit into
/// what the client sets aside while it waits for the answer.
const AT_ONCE: usize = 64;

/// What was printed so far.
#[derive(Default)]
struct Printed {
    count: u64,
    /// Where to begin: behind this id, also with what was read.
    behind: Option<String>,
    /// The command of `--on-message` failed.
    hook_failed: bool,
}

impl App {
    /// Prints what waits on the server and what is unread here.
    pub(super) fn fetch_all(&mut self, fetch: &Fetch) -> Done {
        let hook = Hook::of(&self.options, &self.terminal);
        self.open_session()?;
        while self.fetch_some(AT_ONCE)?.0 > 0 && self.terminal.signal().is_none() {}
        let mut printed = Printed {
            behind: fetch.since.clone(),
            ..Printed::default()
        };
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
            behind: listen.since.clone(),
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
                Some(InputEvent::Ended(end)) => return Err(Failure::said(code_of(&end))),
                Some(_) => {}
            }
        }
    }

    /// Prints what no client has shown, and how many messages wait on the server; both stay.
    pub(super) fn print_unread(&mut self) -> Done {
        self.open_session()?;
        for (event, _) in self.unread(None, usize::MAX)? {
            self.terminal.say(&event);
        }
        let (_, waiting) = self.fetch_some(0)?;
        self.terminal.say(&ViewEvent::Waiting(waiting));
        Ok(())
    }

    fn fetch_some(&mut self, limit: usize) -> Result<(usize, u64), Failure> {
        let (tell, fetched) = sync_channel(1);
        self.ask_script_session(Command::FetchSome(limit, tell))?;
        Ok(fetched.recv().unwrap_or_default())
    }

    fn unread(
        &mut self,
        behind: Option<String>,
        limit: usize,
    ) -> Result<Vec<(ViewEvent, Written)>, Failure> {
        let (tell, found) = sync_channel(1);
        self.ask_script_session(Command::Unread(Backlog { behind, limit }, tell))?;
        Ok(found.recv().unwrap_or_default())
    }

    /// Prints unread messages, no more than make `most` in all.
    fn print_new(&mut self, printed: &mut Printed, most: Option<u64>, hook: Option<&Hook>) -> Done {
        loop {
            let left = most.map_or(u64::MAX, |most| most.saturating_sub(printed.count));
            let behind = printed.behind.take();
            let chunk = match behind {
                // They are asked for once, and what comes meanwhile is unread.
                Some(_) => usize::MAX,
                None => AT_ONCE,
            };
            let limit = usize::try_from(left).unwrap_or(usize::MAX).min(chunk);
            let found = self.unread(behind, limit)?;
            if found.is_empty() {
                return Ok(());
            }
            for (event, written) in found {
                self.print_one(printed, &event, hook)?;
                let stopped = self.terminal.signal().is_some();
                // The signal may have ended the command, which gets it again then.
                if !(stopped && printed.hook_failed) {
                    written.note();
                }
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
