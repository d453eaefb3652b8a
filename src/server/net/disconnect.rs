//! Why a connection ends, and what its client is told about it.

use std::fmt;
use std::io;

use super::deadlines::Due;
use crate::protocol::refusal::{Code, Refusal};
use crate::server::limits::connections::TooMany;
use crate::server::log;
use crate::server::stats::{Disconnects, Ending};
use crate::transport::proxy_header::HeaderError;

/// Why a connection ended; logged once.
#[derive(Debug)]
pub(crate) enum Disconnect {
    /// The peer closed it.
    Closed,
    /// The network failed.
    Broken(io::Error),
    /// The client said `quit`.
    Quit,
    /// Another thread ended it.
    Ended(Ending),
    /// The client broke a rule and was told which.
    Refused(Refusal),
}

impl fmt::Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Disconnect::Closed => f.write_str("closed the connection"),
            Disconnect::Broken(error) => write!(f, "the connection broke ({error})"),
            Disconnect::Quit => f.write_str("quit"),
            Disconnect::Ended(ending) => f.write_str(match ending {
                Ending::Replaced => "was replaced by another login",
                Ending::Revoked => "the password was changed or the account deleted",
                Ending::Operator => "the operator ended it",
                Ending::Stalled => "read nothing for too long",
                Ending::Broken => "the connection broke while it was written to",
                Ending::ShuttingDown => "the server shuts down",
                Ending::Unreadable => "the mailbox could not be read",
                Ending::PeerLost => "another server with its messages can't be reached",
                Ending::NoLease => "this server does not reach the database",
                Ending::NoThread => "no thread was left to write to it",
            }),
            Disconnect::Refused(refusal) => write!(f, "was refused ({})", refusal.code.as_str()),
        }
    }
}

impl Disconnect {
    /// The reason for programs: the code of a refusal, or a word of its own.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Disconnect::Closed => "closed",
            Disconnect::Broken(_) => Ending::Broken.name(),
            Disconnect::Quit => "quit",
            Disconnect::Ended(ending) => ending.name(),
            Disconnect::Refused(refusal) => refusal.code.as_str(),
        }
    }

    /// Counts it.
    pub(crate) fn count(&self, disconnects: &Disconnects) {
        match self {
            Disconnect::Closed => disconnects.closed.add(1),
            Disconnect::Broken(_) => disconnects.count(Ending::Broken),
            Disconnect::Quit => disconnects.quit.add(1),
            Disconnect::Ended(ending) => disconnects.count(*ending),
            Disconnect::Refused(refusal) => disconnects.refused.count(refusal.code),
        }
    }
}

/// A line was longer than the server takes.
pub(crate) fn too_long(max_line: usize) -> Disconnect {
    Disconnect::Refused(Refusal::new(
        Code::LineTooLong,
        format!("a line has at most {max_line} bytes; this connection ends"),
    ))
}

/// The first line was an HTTP request.
pub(crate) fn not_http() -> Disconnect {
    Disconnect::Refused(Refusal::new(
        Code::NotHttp,
        "this is a chat server, not a web server; use the client, or telnet",
    ))
}

/// The connection comes from another machine and is not encrypted.
pub(crate) fn tls_required() -> Disconnect {
    Disconnect::Refused(Refusal::new(
        Code::TlsRequired,
        "from other machines this server takes TLS only; use the client",
    ))
}

/// The connection is a console on another machine.
pub(crate) fn no_console() -> Disconnect {
    Disconnect::Refused(Refusal::new(
        Code::UseJson,
        "the console hands your password to the server, so this one takes it from its own machine \
         only; use the client, or ask the operator for --console-from",
    ))
}

/// The operator takes no connections from the peer's address.
pub(crate) fn banned() -> Refusal {
    Refusal::new(
        Code::Banned,
        "the operator of this server takes no connections from your address",
    )
}

/// The header of a connection from a proxy's address is missing or wrong.
pub(crate) fn bad_proxy_header(why: HeaderError) -> Disconnect {
    Disconnect::Refused(Refusal::new(
        Code::ProxyHeader,
        format!(
            "from this address the server takes connections that begin with a PROXY header of \
             version 2 (send-proxy-v2), and this one does not: {why}"
        ),
    ))
}

/// The connection begins with the header of a proxy, and comes from elsewhere.
pub(crate) fn no_proxy() -> Disconnect {
    Disconnect::Refused(Refusal::new(
        Code::ProxyHeader,
        "the server takes no PROXY header from this address; start it with --proxy-from if a proxy of \
         yours has it",
    ))
}

/// An address has as many connections as one may have.
pub(crate) fn too_many(TooMany { who, most, first }: TooMany) -> Refusal {
    if first {
        log::warn(
            None,
            format_args!("{who} has {most} connections, the most for one; more are refused"),
        );
    }
    Refusal::new(
        Code::ServerFull,
        format!("your address has as many connections as one may have, {most}; close one first"),
    )
}

/// Others need the place of somebody who has not logged in.
pub(crate) fn displaced() -> Disconnect {
    Disconnect::Refused(Refusal::new(
        Code::ServerFull,
        "the server is full, and others need the place of those who have not logged in; try again \
         later",
    ))
}

/// A deadline is past.
pub(crate) fn deadline_past(due: Due) -> Disconnect {
    match due {
        Due::Closing => Disconnect::Closed,
        Due::ProxyHeader => {
            timed_out("the proxy has not said in time for whom it connects (send-proxy-v2)")
        }
        Due::Handshake => timed_out("the TLS handshake took too long; connect again"),
        Due::Login => timed_out("nobody logged in in time; connect again when you are ready"),
    }
}

/// The connection has run out of time; `message` says for what.
pub(crate) fn timed_out(message: &'static str) -> Disconnect {
    Disconnect::Refused(Refusal::new(Code::TimedOut, message))
}
