//! The server's command line and environment, parsed into a [`Config`].

pub(super) mod import;
pub(super) mod tasks;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{RangedI64ValueParser, RangedU64ValueParser};
use clap::{ArgAction, Args, Parser, Subcommand, ValueHint};

use self::import::ImportTask;
use self::tasks::Task;
use super::config::{Config, Registration};
use super::delivery::mailbox::Quota;
use super::limits::Settings;
use super::limits::ip_prefix::IpPrefix;
use super::listen::ListenOn;
use super::log;
use crate::command_line::Program;
use crate::command_line::completions::Shell;
use crate::protocol::limits;
use crate::store::StoreAddress;
use crate::xdg;

/// The heading, in the help text, of what bounds the server as a whole.
const LIMITS: &str = "Limits";

/// The heading of what lets an operator see inside.
const LOG: &str = "Log and metrics";

/// The data folder in the working directory.
pub(super) const DATA_HERE: &str = "secure-chat-data";

/// A private chat server: one program, one file, no set-up.
#[derive(Debug, Parser)]
#[command(
    name = "server",
    version,
    after_help = "More: certificate, import, migrate, config check, options, man, completions"
)]
pub(super) struct Options {
    /// Address or host name and port to listen on; port 0 is any that is free. It may be given more
    /// than once, or with commas between several
    #[arg(
        long,
        global = true,
        env = "SECURE_CHAT_LISTEN",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:8080"
    )]
    listen: Vec<ListenOn>,

    /// Folder of the database and the certificate, made if it is missing
    /// [default: $XDG_DATA_HOME/secure-chat/server or ~/.local/share/secure-chat/server;
    /// secure-chat-data in the working directory if that exists]
    #[arg(long, global = true, env = "SECURE_CHAT_DATA", value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    data: Option<PathBuf>,

    /// Keep accounts and mail in this PostgreSQL database, postgres://USER@HOST/DATABASE, instead of
    /// the folder's file. Passwords come from PGPASSWORD, PGPASSFILE or a service file
    #[arg(long, global = true, env = "SECURE_CHAT_STORE", value_name = "ADDRESS")]
    store: Option<StoreAddress>,

    /// Name of this server among those of the database [default: the machine's]
    #[arg(long, global = true, env = "SECURE_CHAT_NODE", value_name = "NAME")]
    node: Option<String>,

    /// Address and port where the other servers of the database reach this one
    /// [default: the address by which this machine reaches the database, and any port that is free]
    #[arg(long, env = "SECURE_CHAT_PEER_LISTEN", value_name = "ADDRESS:PORT")]
    peer_listen: Option<SocketAddr>,

    /// Say so if a commit does not wait for so many synchronous standbys; 0: for none
    #[arg(long, env = "SECURE_CHAT_STORE_STANDBYS", value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u32))]
    store_standbys: u32,

    /// Read defaults of these options from FILE [default: secure-chat/server.conf in the folder
    /// $XDG_CONFIG_HOME or ~/.config]
    #[arg(long, global = true, env = "SECURE_CHAT_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Begin anew where the folder has lost its database or its certificate
    #[arg(long, env = "SECURE_CHAT_NEW")]
    new: bool,

    /// Connections at most
    #[arg(long, help_heading = LIMITS, env = "SECURE_CHAT_MAX_CLIENTS", default_value_t = 10_000,
          value_parser = count())]
    max_clients: usize,

    /// Longest line taken, in bytes
    #[arg(long, help_heading = LIMITS, env = "SECURE_CHAT_MAX_LINE", default_value_t = limits::MAX_LINE as u64,
          value_parser = clap::value_parser!(u64).range(4096..=1_048_576))]
    max_line: u64,

    /// Seconds from connecting to a login
    #[arg(long, help_heading = LIMITS, env = "SECURE_CHAT_LOGIN_TIME", default_value_t = 120,
          value_parser = seconds())]
    login_time: u64,

    /// Seconds for a TLS handshake
    #[arg(long, help_heading = LIMITS, env = "SECURE_CHAT_HANDSHAKE_TIME", default_value_t = 10,
          value_parser = seconds())]
    handshake_time: u64,

    /// Seconds of silence after which a client is asked whether it is there
    #[arg(long, help_heading = LIMITS, env = "SECURE_CHAT_PING_AFTER", default_value_t = 60,
          value_parser = seconds())]
    ping_after: u64,

    /// Seconds of silence after which a client is dropped
    #[arg(long, help_heading = LIMITS, env = "SECURE_CHAT_IDLE_LIMIT", default_value_t = 150,
          value_parser = seconds())]
    idle_limit: u64,

    /// Messages that a mailbox holds
    #[arg(long, help_heading = LIMITS, env = "SECURE_CHAT_MAILBOX_MESSAGES", default_value_t = 100_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    mailbox_messages: u64,

    /// MiB that a mailbox holds
    #[arg(long, help_heading = LIMITS, env = "SECURE_CHAT_MAILBOX_MIB", default_value_t = 256,
          value_parser = clap::value_parser!(u64).range(1..))]
    mailbox_mib: u64,

    /// Percent of a mailbox that one sender may fill
    #[arg(long, help_heading = LIMITS, env = "SECURE_CHAT_SENDER_SHARE", default_value_t = 50,
          value_parser = clap::value_parser!(u64).range(1..=100))]
    sender_share: u64,

    /// Days for which it is kept when people were last seen; 0: for ever
    #[arg(long, env = "SECURE_CHAT_KEEP_LAST_SEEN", default_value_t = 0, value_name = "DAYS",
          value_parser = clap::value_parser!(u32).range(..=36_500))]
    keep_last_seen: u32,

    /// Days for which mail waits for its recipient; then it is removed, and its sender told; 0: for ever
    #[arg(long, env = "SECURE_CHAT_KEEP_MAIL", default_value_t = 0, value_name = "DAYS",
          value_parser = clap::value_parser!(u32).range(..=36_500))]
    keep_mail: u32,

    /// Take unencrypted messages, as telnet sends them
    #[arg(long, env = "SECURE_CHAT_UNENCRYPTED", default_value_t = true, action = ArgAction::Set,
          value_name = "true|false")]
    unencrypted: bool,

    /// Who may make an account
    #[arg(
        long,
        env = "SECURE_CHAT_REGISTRATION",
        value_enum,
        default_value = "open"
    )]
    registration: Registration,

    /// Invitations that a member may have open, with --registration invite; 0: only you invite
    #[arg(long, env = "SECURE_CHAT_MEMBER_INVITATIONS", default_value_t = 0, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(..=1000))]
    member_invitations: u32,

    /// Take plain TCP from other machines too: anybody between can see who writes to whom
    #[arg(long, env = "SECURE_CHAT_PLAINTEXT")]
    plaintext: bool,

    /// Networks whose people may use the console (telnet, openssl s_client), with commas between
    /// them, as 10.0.0.0/8,fd00::/8; this machine always may. It hands the server their password
    #[arg(
        long,
        env = "SECURE_CHAT_CONSOLE_FROM",
        value_name = "NETWORKS",
        value_delimiter = ','
    )]
    console_from: Vec<IpPrefix>,

    /// Addresses of proxies, as 127.0.0.2 or 10.0.0.5/32; each connection from there has to begin
    /// with a PROXY header of version 2, which is refused from elsewhere
    #[arg(
        long,
        global = true,
        env = "SECURE_CHAT_PROXY_FROM",
        value_name = "NETWORKS",
        value_delimiter = ','
    )]
    proxy_from: Vec<IpPrefix>,

    /// Certificate chain of your own, as PEM, read again on SIGHUP [default: one is made]
    #[arg(
        long,
        global = true,
        env = "SECURE_CHAT_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    tls_cert: Option<PathBuf>,

    /// Its private key, as PEM
    #[arg(
        long,
        global = true,
        env = "SECURE_CHAT_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    tls_key: Option<PathBuf>,

    /// File beside the backups, to which what a restore must not undo is appended: deletions, new
    /// accounts, passwords, blocks, used invitations
    #[arg(long, global = true, env = "SECURE_CHAT_JOURNAL", value_name = "FILE")]
    journal: Option<PathBuf>,

    /// The result of a command as JSON, one object a line
    #[arg(long, global = true)]
    pub(super) json: bool,

    /// How each line of the log is written
    #[arg(long = "log", help_heading = LOG, env = "SECURE_CHAT_LOG", value_name = "FORMAT",
          default_value = "human")]
    log_format: log::Format,

    /// Events of less importance are left out of the log
    #[arg(long, help_heading = LOG, env = "SECURE_CHAT_LOG_LEVEL", value_name = "LEVEL",
          default_value = "info")]
    log_level: log::Level,

    /// What the log has of clients' addresses: full, network (the first 24 bits of IPv4, 48 of IPv6)
    /// or none. Fail2ban needs them in full
    #[arg(long, help_heading = LOG, env = "SECURE_CHAT_LOG_ADDRESSES", value_name = "HOW",
          default_value = "full")]
    log_addresses: log::Addresses,

    /// File to append the log to, opened again on SIGHUP [default: standard error]
    #[arg(long, help_heading = LOG, env = "SECURE_CHAT_LOG_FILE", value_name = "FILE")]
    log_file: Option<PathBuf>,

    /// Address and port at which Prometheus may fetch metrics over HTTP, as 127.0.0.1:9120
    #[arg(long, help_heading = LOG, env = "SECURE_CHAT_METRICS", value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,

    #[command(flatten)]
    limits: LimitFlags,

    #[command(subcommand)]
    pub(super) action: Option<Action>,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Print the certificate's fingerprint, and the address to hand out
    Fingerprint,
    /// List every option
    #[command(hide = true)]
    Options,
    /// Print the manual page
    #[command(hide = true)]
    Man,
    /// Print completions for a shell
    #[command(hide = true)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Ask the server that runs with these settings whether it answers
    Ping,
    /// Check the settings
    #[command(hide = true)]
    Config {
        /// What to do with them
        #[command(subcommand)]
        task: ConfigTask,
    },
    #[command(flatten)]
    Admin(Task),
    /// Take over accounts and messages of another program
    #[command(hide = true)]
    Import {
        /// Which one
        #[command(subcommand)]
        from: ImportTask,
    },
    /// Write database and certificate to one new file, at any time
    Backup {
        /// The file, which must not exist, or a folder to put one into
        to: PathBuf,
        /// Remove the oldest backups of the folder, so that this many stay
        #[arg(long, value_name = "COUNT", value_parser = count())]
        keep: Option<usize>,
        /// Seal it under the first line of FILE
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Move a folder's accounts and mail into a PostgreSQL database
    #[command(hide = true)]
    Migrate {
        /// The data folder of a server that does not run
        #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
        from: PathBuf,
        /// The address of an empty database
        #[arg(long, value_name = "ADDRESS")]
        to: StoreAddress,
    },
    /// Say whether a backup is whole, and what it holds
    Check {
        /// The backup
        file: PathBuf,
        /// The file whose first line it is sealed under
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Make an empty data folder that of a backup
    Restore {
        /// The backup
        file: PathBuf,
        /// The file whose first line it is sealed under
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
}

impl Action {
    /// What to do instead where accounts and mail are in a PostgreSQL database; `None` if this does.
    pub(super) fn needs_file(&self) -> Option<&'static str> {
        match self {
            Action::Backup { .. } => Some(
                "a PostgreSQL database is backed up with its own tools, pg_dump or pg_basebackup, and \
                 the folder's tls-cert.pem and tls-key.pem with it; leave --store out to back up a \
                 folder's database",
            ),
            Action::Restore { .. } => Some(
                "a PostgreSQL database is restored with its own tools, as pg_restore; leave --store out \
                 to restore a folder, and bring that over with server migrate",
            ),
            Action::Import { .. } => Some(
                "an import goes into a folder's database; leave --store out, and bring the folder over \
                 with server migrate",
            ),
            _ => None,
        }
    }
}

/// What to do with the settings.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigTask {
    /// Start nothing; the exit code is 0 if a server could read them
    Check,
}

/// What any one address or account may ask for; 0 is no limit.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits for each client (0: no limit)")]
struct LimitFlags {
    /// Connections from one address (IPv6: one /64, and eight times as many from one /48)
    #[arg(
        long,
        env = "SECURE_CHAT_MAX_CLIENTS_PER_ADDRESS",
        default_value_t = 100,
        value_name = "COUNT"
    )]
    max_clients_per_address: usize,

    /// Messages and other requests per second of one account, which is slowed down beyond that
    #[arg(long, env = "SECURE_CHAT_MESSAGE_RATE", default_value_t = 5000,
          value_name = "PER_SECOND", value_parser = rate())]
    message_rate: u32,

    /// Searches per minute of one account
    #[arg(long, env = "SECURE_CHAT_SEARCH_RATE", default_value_t = 60,
          value_name = "PER_MINUTE", value_parser = rate())]
    search_rate: u32,

    /// Requests for somebody's keys per minute of one account
    #[arg(long, env = "SECURE_CHAT_KEY_RATE", default_value_t = 60,
          value_name = "PER_MINUTE", value_parser = rate())]
    key_rate: u32,

    /// New accounts per hour from one address
    #[arg(long, env = "SECURE_CHAT_REGISTRATION_RATE", default_value_t = 20,
          value_name = "PER_HOUR", value_parser = rate())]
    registration_rate: u32,

    /// Console logins per minute from one address; each costs the server work
    #[arg(long, env = "SECURE_CHAT_CONSOLE_LOGIN_RATE", default_value_t = 30,
          value_name = "PER_MINUTE", value_parser = rate())]
    console_login_rate: u32,

    /// Count this machine as one address, too; without it, it has no limits by address
    #[arg(long, env = "SECURE_CHAT_LIMIT_LOOPBACK")]
    limit_loopback: bool,
}

impl Program for Options {
    const TYPED_ONLY: &'static [&'static str] = &["config", "new"];
    const SHORT_HELP: &'static [&'static str] = &["listen", "data", "config"];
    const GROUPS: &'static [&'static [&'static str]] = &[&["tls_cert", "tls_key"]];

    fn config_file() -> Option<PathBuf> {
        xdg::config().map(|folder| folder.join("server.conf"))
    }

    fn contradiction(&self, _given: &dyn Fn(&str) -> bool) -> Option<&'static str> {
        // What is required of typed options is not required of a config file's.
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Some("--tls-cert and --tls-key go together; one of the two is missing");
        }
        let moved_to = match &self.action {
            Some(Action::Migrate { to, .. }) => Some(to),
            _ => None,
        };
        let mut databases = self.store.iter().chain(moved_to);
        if databases.any(StoreAddress::has_password) {
            return Some(
                "a password in the address of a database can be read by everybody on this machine; put \
                 it into the environment variable PGPASSWORD, or into a file of mode 0600 that PGPASSFILE \
                 names, one line HOST:PORT:DATABASE:USER:PASSWORD",
            );
        }
        (self.idle_limit <= self.ping_after).then_some(
            "--idle-limit must be above --ping-after, best twice as long: a client that is silent \
             is asked first, and then has time to answer",
        )
    }
}

impl Options {
    /// The settings for the server.
    pub(super) fn config(self) -> Config {
        Config {
            listen: self.listen,
            data: self.data.unwrap_or_else(default_data),
            store: self
                .store
                .map(|store| (store, self.node.unwrap_or_else(machine_name))),
            peer_listen: self.peer_listen,
            alone: false,
            standbys: self.store_standbys,
            new: self.new,
            max_clients: self.max_clients,
            max_line: self.max_line as usize,
            login_time: Duration::from_secs(self.login_time),
            handshake_time: Duration::from_secs(self.handshake_time),
            ping_after: Duration::from_secs(self.ping_after),
            idle_limit: Duration::from_secs(self.idle_limit),
            quota: Quota {
                messages: self.mailbox_messages,
                bytes: self.mailbox_mib.saturating_mul(1024 * 1024),
                share: self.sender_share,
            },
            limits: self.limits.settings(),
            keep_last_seen: days(self.keep_last_seen),
            keep_mail: days(self.keep_mail),
            unencrypted: self.unencrypted,
            registration: self.registration,
            member_invitations: self.member_invitations,
            plaintext: self.plaintext,
            console_from: self.console_from,
            journal: self.journal,
            proxy_from: self.proxy_from,
            log: log::Settings {
                format: self.log_format,
                level: self.log_level,
                addresses: self.log_addresses,
                file: self.log_file,
            },
            metrics: self.metrics,
            certificate: self.tls_cert.zip(self.tls_key),
        }
    }
}

/// That many days, unless it is none.
fn days(count: u32) -> Option<Duration> {
    (count > 0).then(|| Duration::from_secs(u64::from(count) * 24 * 3600))
}

impl LimitFlags {
    fn settings(&self) -> Settings {
        Settings {
            clients_per_address: self.max_clients_per_address,
            messages_per_second: self.message_rate,
            searches_per_minute: self.search_rate,
            bundles_per_minute: self.key_rate,
            registrations_per_hour: self.registration_rate,
            console_logins_per_minute: self.console_login_rate,
            loopback: self.limit_loopback,
        }
    }
}

/// What the system calls this machine.
fn machine_name() -> String {
    let system = rustix::system::uname();
    system.nodename().to_string_lossy().into_owned()
}

/// The data folder, where none is named. One in the working directory is that of an earlier version.
fn default_data() -> PathBuf {
    let here = PathBuf::from(DATA_HERE);
    match xdg::data() {
        Some(data) if !here.is_dir() => data.join("server"),
        _ => here,
    }
}

/// A number of things, at least one.
fn count() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=u64::from(u32::MAX))
}

/// A number of seconds, at least one.
fn seconds() -> RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=1_000_000)
}

/// A count in each second, minute or hour; zero is no limit.
fn rate() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(..=1_000_000)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn zero_is_refused_or_means_that_there_is_no_limit() {
        let zero = |flag: &str| Options::try_parse_from(["server", &format!("--{flag}"), "0"]);
        let command = Options::command();
        let numbers = command.get_arguments().filter(|argument| {
            let default = argument.get_default_values().first();
            default.is_some_and(|value| value.to_string_lossy().parse::<u64>().is_ok())
        });
        let mut seen = 0;
        for argument in numbers {
            let flag = argument.get_long().unwrap();
            let heading = argument.get_help_heading().unwrap_or_default();
            seen += 1;
            let help = argument.get_help().map(ToString::to_string);
            let is_said = heading.ends_with("(0: no limit)")
                || help.is_some_and(|help| help.contains("; 0: "));
            assert_eq!(zero(flag).is_ok(), is_said, "--{flag} 0");
        }
        assert!(seen >= 14, "only {seen} flags were found");
    }

    #[test]
    fn networks_are_listed_with_commas() {
        let from = |list| Options::try_parse_from(["server", "--console-from", list]);
        let options = from("10.0.0.0/8,fd00::/8,192.0.2.7").unwrap();
        assert_eq!(options.console_from.len(), 3);
        for wrong in ["", "10.0.0.1/8", "10.0.0.0/33", "everywhere", "10.0.0.0/8,"] {
            assert!(from(wrong).is_err(), "{wrong}");
        }
    }
}
