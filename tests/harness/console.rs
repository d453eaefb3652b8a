//! A person at telnet: lines typed, lines read.

use super::Wire;

/// The password that [`Console::register`] types.
pub const PASSWORD: &str = "correct horse";

/// A console session.
pub struct Console {
    wire: Wire,
}

impl Console {
    /// A console on a connection that has said nothing yet.
    pub fn new(wire: Wire) -> Self {
        Console { wire }
    }

    /// The connection, for bytes that no keyboard would send.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// Types a line and reads up to its answer: the news before it, then the
    /// answer itself, which begins with `+OK` or `-ERR`.
    pub fn exchange(&mut self, line: &str) -> (Vec<String>, String) {
        self.wire.write(format!("{line}\r\n").as_bytes());
        let mut news = Vec::new();
        loop {
            let line = self.line();
            if line.starts_with("+OK") || line.starts_with("-ERR") {
                return (news, line);
            }
            assert!(line.starts_with("* "), "neither answer nor news: {line}");
            news.push(line);
        }
    }

    /// Types a line and returns its answer; lines before it are dropped.
    pub fn type_line(&mut self, line: &str) -> String {
        self.exchange(line).1
    }

    /// The next line, which has to come.
    pub fn line(&mut self) -> String {
        self.wire.line().expect("a line")
    }

    /// Makes an account and logs in.
    pub fn register(&mut self, name: &str) {
        let answer = self.type_line(&format!("register {name} {PASSWORD}"));
        assert_eq!(answer, format!("+OK you are {name}"));
    }

    /// Logs in and returns the answer.
    pub fn login(&mut self, name: &str) -> String {
        self.type_line(&format!("login {name} {PASSWORD}"))
    }
}
