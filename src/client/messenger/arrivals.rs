//! Sorts the server's lines that arrive together: messages share a transaction, the
//! rest is handled line by line. What a line means is for others to say.

use crate::client::net::error::CallError;
use crate::protocol::json::ServerLine;
use crate::protocol::reply::{Event, Incoming, Notice};

/// The server's lines that arrived together.
#[derive(Default)]
pub(super) struct Arrivals {
    pub(super) mail: Vec<Mail>,
    pub(super) others: Vec<ServerLine>,
    pub(super) lost: Option<String>,
    pub(super) count: usize,
}

pub(super) enum Mail {
    Message(Incoming),
    Notice(Notice),
}

impl Arrivals {
    /// Sorts a line in; `false` if it is the connection's last.
    pub(super) fn sort(&mut self, line: Result<ServerLine, CallError>) -> bool {
        self.count += 1;
        match line {
            Ok(ServerLine::Event(event)) => match *event {
                Event::Message(message) => self.mail.push(Mail::Message(message)),
                Event::Notice(notice) => self.mail.push(Mail::Notice(notice)),
                other => self.others.push(ServerLine::Event(Box::new(other))),
            },
            Ok(answer) => self.others.push(answer),
            Err(why) => {
                self.lost = Some(why.to_string());
                return false;
            }
        }
        true
    }
}
