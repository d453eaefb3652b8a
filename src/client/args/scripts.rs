//! The commands for scripts: each logs in for one thing, says it, and ends. How they run is decided in
//! `client::app::scripts`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Options;
use crate::protocol::UserName;

/// The most seconds of a time limit: about a year.
const LONGEST: i64 = 32_000_000;

/// A command for scripts.
#[derive(Debug, Subcommand)]
pub(crate) enum Script {
    /// Send one message: TEXT, a file, or all of standard input
    Send(Send),
    /// Print the messages that wait, and end
    Fetch(Fetch),
    /// Print messages as they come
    Listen(Listen),
    /// Is somebody online, and when were they last seen?
    Status {
        /// Who
        name: UserName,
    },
    /// Find people whose names begin with a text of two characters or more
    Search {
        /// The beginning of the names
        text: String,
    },
    /// Print every row that the server holds about you, and what it does not show
    #[command(hide = true)]
    WhatTheServerKnows,
    /// Print what was not shown yet, and how much waits on the server
    Unread,
    /// Print earlier messages, without a server
    History(History),
    /// List everyone you know, without a server
    Contacts,
    /// Print the safety number; `yes` once it was compared
    Verify {
        /// Whose
        name: UserName,
        /// The number that was printed before is the same on the other side
        #[arg(value_parser = ["yes"])]
        yes: Option<String>,
    },
    /// Create an account with an invitation
    Join {
        /// The link
        link: String,
        /// The account's name
        name: UserName,
    },
    /// Create an account
    Register {
        /// Its name
        name: UserName,
    },
}

/// `send`
#[derive(Debug, Args)]
pub(crate) struct Send {
    /// To whom
    pub to: UserName,
    /// The text; without it, or with -, all of standard input
    #[arg(conflicts_with = "file")]
    pub text: Option<String>,
    /// Words behind the text, which are refused
    #[arg(hide = true)]
    pub more: Vec<String>,
    /// Send what is in a file
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Wait until the recipient's client has it
    #[arg(long)]
    pub wait_delivered: bool,
    /// How long to wait for that, or for the server [default: 60; for a connection 10]
    #[arg(long, value_name = "SECONDS", value_parser = seconds())]
    pub timeout: Option<u32>,
}

/// `fetch`
#[derive(Debug, Args)]
pub(crate) struct Fetch {
    /// Begin behind the message with this id, also with what was read
    #[arg(long, value_name = "ID", value_parser = id)]
    pub since: Option<String>,
}

/// `listen`
#[derive(Debug, Args)]
pub(crate) struct Listen {
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds())]
    pub timeout: Option<u32>,
    /// Begin behind the message with this id, also with what was read
    #[arg(long, value_name = "ID", value_parser = id)]
    pub since: Option<String>,
}

/// `history`
#[derive(Debug, Args)]
pub(crate) struct History {
    /// With whom, or how many
    #[arg(value_name = "NAME")]
    pub first: Option<String>,
    /// How many messages at most [default: 50]
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub second: Option<u32>,
    /// From a date on (2026-11-27, yesterday, 7d, or a time as RFC 3339), or behind an id
    #[arg(long, value_name = "DATE|ID", conflicts_with = "before")]
    pub since: Option<String>,
    /// Before a date, or before the message with this id
    #[arg(long, value_name = "DATE|ID")]
    pub before: Option<String>,
}

impl History {
    /// With whom, and how many. A number alone is a count.
    ///
    /// # Errors
    /// A sentence about an argument.
    pub(crate) fn whom_and_count(&self) -> Result<(Option<UserName>, Option<u32>), String> {
        match (&self.first, self.second) {
            (None, _) => Ok((None, None)),
            (Some(first), None) if first.bytes().all(|byte| byte.is_ascii_digit()) => {
                let count = first.parse().ok().filter(|count| *count > 0);
                let wrong = || format!("{first} is no number of messages: 1 to {}", u32::MAX);
                Ok((None, Some(count.ok_or_else(wrong)?)))
            }
            (Some(first), count) => {
                let name = first
                    .parse::<UserName>()
                    .map_err(|error| error.to_string())?;
                Ok((Some(name), count))
            }
        }
    }
}

impl Script {
    /// What is wrong with options that are each well-formed.
    pub(super) fn contradiction(
        &self,
        options: &Options,
        given: &dyn Fn(&str) -> bool,
    ) -> Option<&'static str> {
        match self {
            Script::Register { name } | Script::Join { name, .. }
                if given("user") && options.user.is_some_and(|user| user != *name) =>
            {
                Some("--user names another account than the one to be made; leave it out")
            }
            Script::Register { .. } | Script::Join { .. } => None,
            Script::Send(send) if !send.more.is_empty() => {
                Some("the text is one argument, so put it in quotes: send NAME 'several words'")
            }
            _ if options.user.is_none() => {
                Some("whose? Name the account with --user NAME, or in SECURE_CHAT_USER")
            }
            Script::Fetch(_) | Script::Listen(_) => None,
            _ if given("on_message") => Some("--on-message is for the chat, listen and fetch"),
            _ => None,
        }
    }
}

fn seconds() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=LONGEST)
}

/// A message's id, or its beginning.
fn id(text: &str) -> Result<String, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match digits && text.len() <= 32 {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("an id has at most 32 digits, 0-9 and a-f".to_owned()),
    }
}
