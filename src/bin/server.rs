//! The server's command line: flags in, server out. Nothing else.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{RangedI64ValueParser, RangedU64ValueParser};
use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};
use secure_chat::programs::server::{self, Config, Quota, Settings, log};
use secure_chat::protocol::limits;

/// How long the reader of standard error has for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Heading of what bounds the server as a whole.
const LIMITS: &str = "Limits";

/// A private chat server: one program, one file, no set-up.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Flags {
    /// Address and port to listen on
    #[arg(
        long,
        global = true,
        env = "SECURE_CHAT_LISTEN",
        default_value = "127.0.0.1:8080"
    )]
    listen: SocketAddr,

    /// Folder of the database and the certificate, made if it is missing
    #[arg(
        long,
        global = true,
        env = "SECURE_CHAT_DATA",
        default_value = "secure-chat-data"
    )]
    data: PathBuf,

    /// Begin anew where the folder has lost its database or its certificate
    #[arg(long, env = "SECURE_CHAT_NEW")]
    new: bool,

    /// Connections at most
    #[arg(long, help_heading = LIMITS, env = "SECURE_CHAT_MAX_CLIENTS", default_value_t = 10_000)]
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
    #[arg(long, help_heading = LIMITS, env = "SECURE_CHAT_MAILBOX_MESSAGES", default_value_t = 100_000)]
    mailbox_messages: u64,

    /// MiB that a mailbox holds
    #[arg(long, help_heading = LIMITS, env = "SECURE_CHAT_MAILBOX_MIB", default_value_t = 256)]
    mailbox_mib: u64,

    /// Percent of a mailbox that one sender may fill
    #[arg(long, help_heading = LIMITS, env = "SECURE_CHAT_SENDER_SHARE", default_value_t = 50,
          value_parser = clap::value_parser!(u64).range(1..=100))]
    sender_share: u64,

    /// Take unencrypted messages, as telnet sends them
    #[arg(long, env = "SECURE_CHAT_UNENCRYPTED", default_value_t = true, action = ArgAction::Set,
          value_name = "true|false")]
    unencrypted: bool,

    /// Let people make accounts
    #[arg(long, env = "SECURE_CHAT_REGISTRATION", default_value_t = true, action = ArgAction::Set,
          value_name = "true|false")]
    registration: bool,

    /// Take plain TCP from other machines too: anybody between can see who writes to whom
    #[arg(long, env = "SECURE_CHAT_PLAINTEXT")]
    plaintext: bool,

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

    #[command(flatten)]
    limits: LimitFlags,

    #[command(subcommand)]
    task: Option<Task>,
}

/// What to do instead of serving.
#[derive(Subcommand)]
enum Task {
    /// Print the certificate's fingerprint, and the address to hand out
    Fingerprint,
}

/// What any one address, account or connection may ask for; 0 is no limit.
#[derive(Args)]
#[command(next_help_heading = "Limits for each client (0: none)")]
struct LimitFlags {
    /// Connections from one address (IPv6: one /64)
    #[arg(
        long,
        env = "SECURE_CHAT_MAX_CLIENTS_PER_ADDRESS",
        default_value_t = 100,
        value_name = "COUNT"
    )]
    max_clients_per_address: usize,

    /// Messages and other requests a second of one connection; past it, it is slowed down
    #[arg(long, env = "SECURE_CHAT_MESSAGE_RATE", default_value_t = 5000,
          value_name = "PER_SECOND", value_parser = rate())]
    message_rate: u32,

    /// Searches a minute of one account
    #[arg(long, env = "SECURE_CHAT_SEARCH_RATE", default_value_t = 60,
          value_name = "PER_MINUTE", value_parser = rate())]
    search_rate: u32,

    /// Times a minute that one account may ask for somebody's keys
    #[arg(long, env = "SECURE_CHAT_KEY_RATE", default_value_t = 60,
          value_name = "PER_MINUTE", value_parser = rate())]
    key_rate: u32,

    /// New accounts an hour from one address
    #[arg(long, env = "SECURE_CHAT_REGISTRATION_RATE", default_value_t = 20,
          value_name = "PER_HOUR", value_parser = rate())]
    registration_rate: u32,

    /// Console logins a minute from one address: the server works for each
    #[arg(long, env = "SECURE_CHAT_CONSOLE_LOGIN_RATE", default_value_t = 30,
          value_name = "PER_MINUTE", value_parser = rate())]
    console_login_rate: u32,

    /// Count this machine as one address, too; without it, it has no limits by address
    #[arg(long, env = "SECURE_CHAT_LIMIT_LOOPBACK")]
    limit_loopback: bool,
}

/// A time that is not none.
fn seconds() -> RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=1_000_000)
}

/// A count in a time.
fn rate() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(..=1_000_000)
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    if flags.idle_limit <= flags.ping_after {
        let text = "--idle-limit must be above --ping-after, best twice as long: a client that is \
                    silent is asked first, and then has time to answer";
        Flags::command()
            .error(ErrorKind::ValueValidation, text)
            .exit();
    }
    let config = Config {
        listen: flags.listen,
        data: flags.data,
        new: flags.new,
        max_clients: flags.max_clients,
        max_line: flags.max_line as usize,
        login_time: Duration::from_secs(flags.login_time),
        handshake_time: Duration::from_secs(flags.handshake_time),
        ping_after: Duration::from_secs(flags.ping_after),
        idle_limit: Duration::from_secs(flags.idle_limit),
        quota: Quota {
            messages: flags.mailbox_messages,
            bytes: flags.mailbox_mib.saturating_mul(1024 * 1024),
            share: flags.sender_share,
        },
        limits: Settings {
            clients_per_address: flags.limits.max_clients_per_address,
            messages_per_second: flags.limits.message_rate,
            searches_per_minute: flags.limits.search_rate,
            bundles_per_minute: flags.limits.key_rate,
            registrations_per_hour: flags.limits.registration_rate,
            console_logins_per_minute: flags.limits.console_login_rate,
            loopback: flags.limits.limit_loopback,
        },
        unencrypted: flags.unencrypted,
        registration: flags.registration,
        plaintext: flags.plaintext,
        certificate: flags.tls_cert.zip(flags.tls_key),
    };
    let done = match flags.task {
        None => {
            // Without its thread, every line is written by whoever has it to say.
            let _ = log::start();
            server::run(config)
        }
        Some(Task::Fingerprint) => server::fingerprint(&config).map(|(fingerprint, address)| {
            println!(
                "certificate {}\nfor clients {address}",
                fingerprint.groups()
            );
        }),
    };
    let code = match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::start_error(&error);
            ExitCode::FAILURE
        }
    };
    log::flush(LAST_LINES);
    code
}
