//! Reads the settings and the certificate again while the server runs, and says of each setting
//! that has changed whether it was taken. Which are taken is decided in
//! [`Config::taking`](super::config::Config::taking).

use std::sync::Arc;

use super::args::Options;
use super::log;
use super::notify;
use super::notify::State;
use super::shared::Shared;
use crate::command_line;
use crate::command_line::Values;
use crate::sync::Mutex;

/// The settings that a running server takes, by their names. All others need a new start.
pub(super) const TAKEN: [&str; 19] = [
    "console-from",
    "handshake-time",
    "idle-limit",
    "keep-last-seen",
    "keep-mail",
    "key-rate",
    "limit-loopback",
    "log-level",
    "login-time",
    "max-clients-per-address",
    "member-invitations",
    "message-rate",
    "ping-after",
    "plaintext",
    "proxy-from",
    "registration",
    "registration-rate",
    "search-rate",
    "unencrypted",
];

/// Reads everything again.
pub(super) struct Reloader {
    shared: Arc<Shared>,
    /// The settings in force. Held while they are read again, which may block; alone.
    values: Mutex<Values>,
}

impl Reloader {
    /// For a server that runs with these settings.
    pub(super) fn new(shared: Arc<Shared>, values: Values) -> Self {
        let values = Mutex::new(values);
        Reloader { shared, values }
    }

    /// Reads the settings, then the certificate. What can't be used stays as it was, which is
    /// logged.
    pub(super) fn reload(&self) {
        notify::send(State::Reloading);
        self.reload_settings();
        reload_certificate(&self.shared);
        notify::send(State::Ready);
    }

    fn reload_settings(&self) {
        let mut values = self.values.lock();
        let loaded = match command_line::load::<Options>(std::env::args_os()) {
            Ok(loaded) => loaded,
            Err(error) => return settings_stay(&error.to_string()),
        };
        let config = self.shared.config().taking(loaded.options.config());
        self.shared.set_config(config);
        for (name, new) in loaded.values {
            let old = values.get(&name).cloned().flatten();
            if old == new {
                continue;
            }
            let (shown, before) = (in_words(new.as_deref()), in_words(old.as_deref()));
            if TAKEN.contains(&name.as_str()) {
                log::info(
                    None,
                    format_args!("{name} is {shown} from here on; it was {before}"),
                );
                values.insert(name, new);
            } else {
                log::warn(
                    None,
                    format_args!("{name} stays {before}; {shown} takes effect with the next start"),
                );
            }
        }
        log::info(None, format_args!("the settings were read again"));
    }
}

fn in_words(value: Option<&str>) -> &str {
    value.unwrap_or("unset")
}

/// Logs what is wrong with the settings: of clap's report, the sentence.
fn settings_stay(report: &str) {
    let sentence = report.lines().next().unwrap_or_default();
    let sentence = sentence.strip_prefix("error: ").unwrap_or(sentence);
    log::error(
        None,
        format_args!("the settings stay as they were: {sentence}"),
    );
}

fn reload_certificate(shared: &Shared) {
    let Some(acceptor) = shared.tls.as_deref() else {
        return;
    };
    match shared.rotation.reload(acceptor) {
        Ok(fingerprint) => log::info(
            None,
            format_args!("the certificate was read again: {fingerprint}"),
        ),
        Err(why) => log::error(None, format_args!("the certificate stays as it was: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The settings that these arguments lead to, and their values.
    fn load(arguments: &[&str]) -> command_line::Loaded<Options> {
        let none = ["server", "--config", "/dev/null"];
        let arguments = none.iter().chain(arguments).map(Into::into);
        command_line::load(arguments).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn what_is_said_to_be_taken_is_taken_and_nothing_else() {
        let running = load(&[]);
        let config = running.options.config();
        let settings = |config: &crate::server::config::Config| format!("{config:?}");
        let mut seen = 0;
        for name in running.values.keys() {
            let flag = |value: &str| format!("--{name}={value}");
            let candidates = [
                "",
                "7",
                "70000",
                "127.0.0.9:7",
                "invite",
                "10.0.0.0/8",
                "json",
            ];
            // A build without a store in a database takes no address of one.
            if name == "store" && cfg!(not(feature = "postgres")) {
                continue;
            }
            let extra = ["debug", "false", "none", "cert.pem", "postgres:///chat"];
            let changed = candidates.iter().chain(&extra).find_map(|value| {
                let typed = match *value {
                    "" => format!("--{name}"),
                    value => flag(value),
                };
                let more = match name.as_str() {
                    "tls-cert" => vec!["--tls-key=key.pem"],
                    "tls-key" => vec!["--tls-cert=cert.pem"],
                    "ping-after" => vec!["--idle-limit=150"],
                    _ => Vec::new(),
                };
                let all = ["server", "--config=/dev/null", &typed]
                    .into_iter()
                    .chain(more);
                let loaded = command_line::load::<Options>(all.map(Into::into)).ok()?;
                let is_new = loaded.values[name] != running.values[name];
                is_new.then_some(loaded)
            });
            let changed = changed.unwrap_or_else(|| panic!("no value was found for {name}"));
            assert!(changed.values[name].is_some(), "{name}");
            let taken = config.taking(changed.options.config());
            let is_taken = settings(&taken) != settings(&config);
            assert_eq!(is_taken, TAKEN.contains(&name.as_str()), "{name}");
            seen += usize::from(is_taken);
        }
        assert_eq!(seen, TAKEN.len());
    }
}
