//! The command line of the benches, and the child processes that run this program again.

use std::time::Duration;

use super::peer::Kind;
use super::{hold, relay};

/// What to run, and for how long.
pub(crate) struct Settings {
    /// How often everything is repeated.
    pub(crate) rounds: usize,
    /// How long one measurement takes.
    pub(crate) duration: Duration,
    /// Whether the server is measured under TLS as well.
    pub(crate) tls: bool,
    /// The scenarios to run; all of them if none is named.
    wanted: Vec<String>,
}

impl Settings {
    /// Reads the command line; `None` if this process was a child and is done.
    pub(crate) fn read(rounds: usize, seconds: u64) -> Option<Self> {
        let mut settings = Settings {
            rounds,
            duration: Duration::from_secs(seconds),
            tls: false,
            wanted: Vec::new(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let text = arguments.next().expect("a number follows");
                text.parse::<f64>().expect("a number")
            };
            match argument.as_str() {
                // What cargo adds.
                "--bench" => {}
                "--relay" => {
                    relay::run();
                    return None;
                }
                "--hold" => {
                    hold::run(&arguments.collect::<Vec<_>>());
                    return None;
                }
                "--rounds" => settings.rounds = number() as usize,
                "--seconds" => settings.duration = Duration::from_secs_f64(number()),
                "--tls" => settings.tls = true,
                name => settings.wanted.push(name.to_owned()),
            }
        }
        Some(settings)
    }

    /// Whether a scenario is to run.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|wanted| wanted == name)
    }

    /// Ends with an error at a name that is not a scenario, rather than measure nothing.
    pub(crate) fn check(&self, known: &[&str]) {
        for wanted in &self.wanted {
            assert!(
                known.contains(&wanted.as_str()),
                "there is no {wanted}; there are: {}",
                known.join(", ")
            );
        }
    }

    /// The server, in clear and, if asked, under TLS.
    pub(crate) fn servers(&self) -> Vec<Kind> {
        match self.tls {
            true => vec![Kind::Server, Kind::ServerTls],
            false => vec![Kind::Server],
        }
    }
}
