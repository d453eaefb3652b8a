//! `client send`: one message from an argument, a file or all of standard input, and how far it
//! got by the end.

use std::io::{self, IsTerminal, Read};
use std::time::{Duration, Instant};

use super::{Done, Failure, code_of};
use crate::client::app::App;
use crate::client::app::exit_code::{DECLINED, FAILED, TIMED_OUT, WAITS};
use crate::client::args::scripts::Send;
use crate::client::messenger::command::{Answer, Command};
use crate::client::terminal::InputEvent;
use crate::client::view::{End, StateWord, ViewEvent, not_sent};
use crate::clock;
use crate::protocol::{MessageId, UserName, limits};

/// How long to try to connect, if the command is not told.
const CONNECTS_WITHIN: Duration = Duration::from_secs(10);

/// How long to wait for the server and for the recipient, if the command is not told.
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);

impl App {
    /// Sends one message, and waits until the server has it.
    pub(super) fn send_one(&mut self, send: &Send) -> Done {
        // Before the login: a text that can't be sent needs none.
        let text = self.text_of(send)?;
        let within = |otherwise| {
            send.timeout
                .map_or(otherwise, |s| Duration::from_secs(s.into()))
        };
        self.open_session_by(clock::now() + within(CONNECTS_WITHIN))?;
        let limit = within(ARRIVES_WITHIN);
        let until = clock::now() + limit;
        let Answer::Sent(id) = self.ask_script_session(Command::Send(send.to, text))? else {
            return Err(Failure::new(FAILED, "the message is not in the vault"));
        };
        // What it says is also about earlier messages; this one's state counts.
        let answered = self.ask_session(Command::AwaitAnswers(limit));
        let (state, failed) = self.wait_for_state(send, id, until)?;
        if let Err(failure) = answered
            && state != "not sent"
        {
            self.terminal.say(&ViewEvent::quiet(failure.why));
        }
        let beside = self
            .session
            .as_ref()
            .is_some_and(|(_, session)| session.other().is_some());
        match state {
            // The session of this process has said what follows by itself.
            "stored" | "delivered" | "received" if beside => {
                self.terminal.say(&ViewEvent::Receipt {
                    to: send.to,
                    state,
                    ids: vec![id],
                    at: clock::unix_ms(),
                });
            }
            _ => {}
        }
        match state {
            "waiting" => Err(Failure::new(
                WAITS,
                format!(
                    "the message to {} waits here and goes out at the next login",
                    send.to
                ),
            )),
            "not sent" => Err(match failed {
                Some(why) if beside => Failure::new(DECLINED, not_sent(&send.to, &why)),
                _ => Failure::said(DECLINED),
            }),
            "expired" => Err(Failure::new(
                DECLINED,
                format!(
                    "the server removed the message: {} did not fetch it for longer than the server keeps mail",
                    send.to
                ),
            )),
            "stored" if send.wait_delivered => Err(Failure::new(
                TIMED_OUT,
                format!(
                    "the server has the message, and {}'s client did not take it within {} s",
                    send.to,
                    limit.as_secs()
                ),
            )),
            _ => Ok(()),
        }
    }

    /// How far the message got in time, and why it was given up; prints it, if results are JSON.
    fn wait_for_state(
        &mut self,
        send: &Send,
        id: MessageId,
        until: Instant,
    ) -> Result<(StateWord, Option<String>), Failure> {
        loop {
            if let Some(code) = self.why_ended() {
                return Err(Failure::said(code));
            }
            let Some((state, event)) = self.sent(send.to, id)? else {
                return Err(Failure::new(FAILED, "the message is not in the vault"));
            };
            let goes_on = send.wait_delivered && state == "stored" && clock::now() < until;
            if !goes_on {
                if self.options.json {
                    self.terminal.say(&event);
                }
                let failed = match event {
                    ViewEvent::Message { failed, .. } => failed,
                    _ => None,
                };
                return Ok((state, failed));
            }
            match self.terminal.wait(Some(until)) {
                Some(InputEvent::Ended(End::Gone(_))) => self.reopen_session(until)?,
                Some(InputEvent::Ended(end)) => return Err(Failure::said(code_of(&end))),
                Some(InputEvent::Stop) => return Err(Failure::said(0)),
                _ => {}
            }
        }
    }

    /// A message that was sent: how far it got, and itself.
    fn sent(
        &mut self,
        to: UserName,
        id: MessageId,
    ) -> Result<Option<(&'static str, ViewEvent)>, Failure> {
        let answer = self.ask_script_session(Command::Sent(to, id))?;
        Ok(match answer {
            Answer::Message(Some(event)) => match *event {
                ViewEvent::Message { state, .. } => Some((state, *event)),
                _ => None,
            },
            _ => None,
        })
    }

    fn text_of(&self, send: &Send) -> Result<String, Failure> {
        let text = match (&send.text, &send.file) {
            (Some(text), _) if text != "-" => text.clone(),
            (_, Some(path)) => {
                let file = self.terminal.open_file(path);
                let read = file.and_then(|mut file| read_all(&mut file));
                let named = |error: io::Error| format!("{}: {error}", path.display());
                read.map_err(|error| Failure::new(DECLINED, named(error)))?
            }
            _ => {
                if io::stdin().is_terminal() {
                    self.terminal
                        .say(&ViewEvent::quiet("type the message; Ctrl-D ends it"));
                }
                let input = self.terminal.standard_input();
                input
                    .and_then(|mut input| read_all(&mut input))
                    .map_err(|error| {
                        Failure::new(
                            DECLINED,
                            format!("standard input: {error}; nothing was sent"),
                        )
                    })?
            }
        };
        match text.len() {
            0 => Err(Failure::new(
                DECLINED,
                "the message is empty; nothing was sent",
            )),
            length if length > limits::MAX_TEXT => Err(Failure::new(
                DECLINED,
                format!(
                    "the text is longer than {} bytes, the most that can be sent; nothing was sent: cut it in pieces",
                    limits::MAX_TEXT
                ),
            )),
            _ => Ok(text),
        }
    }
}

/// All of a file as one text, without its last line end. Of one that is too long, one byte more
/// than can be sent.
fn read_all(source: &mut dyn Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    // The line end is taken off behind this.
    let most = limits::MAX_TEXT as u64 + 3;
    source.take(most).read_to_end(&mut bytes)?;
    let whole = bytes.len() as u64 == most;
    if bytes.ends_with(b"\n") && !whole {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        // A cut through the last character of a text that is too long anyway.
        Err(error) if whole && error.utf8_error().error_len().is_none() => {
            Ok(" ".repeat(limits::MAX_TEXT + 1))
        }
        Err(_) => Err(io::Error::other("it is not UTF-8; convert it first")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_input_is_one_text_without_its_last_line_end() {
        for (input, text) in [
            ("one\ntwo\n", "one\ntwo"),
            ("one\r\n", "one"),
            ("one\n\n", "one\n"),
            ("one", "one"),
            ("", ""),
        ] {
            assert_eq!(read_all(&mut input.as_bytes()).unwrap(), text);
        }
        assert!(read_all(&mut &b"\xff"[..]).is_err());
    }

    #[test]
    fn a_text_that_is_too_long_stays_too_long_wherever_it_is_cut() {
        for (letter, spare) in [("a", 0), ("é", 0), ("世", 0), ("世", 1), ("世", 2)] {
            let long = "x".repeat(spare) + &letter.repeat(limits::MAX_TEXT + 1);
            let read = read_all(&mut long.as_bytes()).unwrap();
            assert!(read.len() > limits::MAX_TEXT, "{letter}");
        }
        let fits = "a".repeat(limits::MAX_TEXT);
        for end in ["", "\n", "\r\n"] {
            let read = read_all(&mut format!("{fits}{end}").as_bytes()).unwrap();
            assert_eq!(read, fits);
        }
    }
}
