//! The server's life: start, signals, shutdown.

use std::fmt;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use rustix::fs::Mode;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use termcolor::{Color, ColorSpec, WriteColor};

use super::config::Config;
use super::data_folder;
use super::delivery::writer::Ended;
use super::log;
use super::net::accept::{Connections, Listener};
use super::shared::Shared;
use crate::clock;
use crate::store::sqlite::Sqlite;
use crate::sync;
use crate::transport::address::Address;
use crate::transport::fingerprint::Fingerprint;
use crate::transport::socket;
use crate::transport::tls::Acceptor;

/// How long clients have to take their last words.
const GOODBYE: Duration = Duration::from_secs(3);

/// How long all of an end takes at most, the goodbye included: whoever stops a
/// service gives it some seconds before it is killed.
const END: Duration = Duration::from_millis(4500);

/// Descriptors beyond those of clients: database, log, listener, spare.
const OWN_DESCRIPTORS: u64 = 64;

/// Why the server did not start, or what it could not do before it ended. Each
/// says what to do about it.
#[derive(Debug)]
pub struct RunError(pub(super) String);

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RunError {}

/// Runs a server until a signal ends it.
///
/// # Errors
/// It could not start, or not leave everything on the disk as it should.
pub fn run(config: Config) -> Result<(), RunError> {
    // Signals first: one that comes during start-up is not lost.
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|error| RunError(format!("signals can't be received: {error}")))?;
    // Every file is the server's alone, the database's in a folder that was there too.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let _lock = data_folder::lock(&config.data).map_err(sentence)?;
    let another_certificate = data_folder::check(&config).map_err(sentence)?;
    let store = Sqlite::open(&data_folder::database(&config.data)).map_err(sentence)?;
    let tls = open_tls(&config)?;
    store.mark_used().map_err(sentence)?;
    let listener =
        socket::listen(config.listen).map_err(|error| listen_error(config.listen, &error))?;
    let address = listener.local_addr().unwrap_or(config.listen);
    let limit =
        socket::raise_descriptor_limit((config.max_clients as u64).saturating_add(OWN_DESCRIPTORS));
    print_banner(&config, address, tls.as_ref().map(Acceptor::fingerprint));
    if limit < (config.max_clients as u64).saturating_add(OWN_DESCRIPTORS) {
        log::warn(
            None,
            format_args!(
                "only {limit} files may be open, fewer than --max-clients {} needs; raise \
                 'ulimit -n'",
                config.max_clients
            ),
        );
    }
    if another_certificate {
        log::warn(
            None,
            format_args!(
                "another certificate was made, since the one of this database is not there; clients \
                 refuse it until they are told its fingerprint. If you have the old one, stop the \
                 server and put tls-cert.pem and tls-key.pem back"
            ),
        );
    }
    let shared = Arc::new(Shared::new(config, Arc::new(store), tls));
    serve(shared, listener, signals)
}

fn sentence(error: impl fmt::Display) -> RunError {
    RunError(error.to_string())
}

/// The fingerprint of the server's certificate, and the address to hand out.
/// Needs no running server, but one that has run once: it makes nothing.
///
/// # Errors
/// There is no certificate, or its files can't be used.
pub fn fingerprint(config: &Config) -> Result<(Fingerprint, Address), RunError> {
    let tls = Acceptor::read(&config.data, own_certificate(config)).map_err(|error| {
        RunError(format!(
            "{error}; give the --listen, --data and --tls-cert that the server runs with, or start \
             it once"
        ))
    })?;
    let Some(tls) = tls else {
        return Err(RunError(
            "this server was built without TLS, so it has no certificate".to_owned(),
        ));
    };
    let fingerprint = tls.fingerprint();
    Ok((
        fingerprint,
        public_address(config.listen, Some(fingerprint)),
    ))
}

fn open_tls(config: &Config) -> Result<Option<Acceptor>, RunError> {
    Acceptor::open(&config.data, own_certificate(config)).map_err(sentence)
}

fn own_certificate(config: &Config) -> Option<(&Path, &Path)> {
    let own = config.certificate.as_ref();
    own.map(|(certificate, key)| (certificate.as_path(), key.as_path()))
}

/// Where others find the server: a machine that listens on all its addresses is
/// known by its name.
fn public_address(listening: SocketAddr, fingerprint: Option<Fingerprint>) -> Address {
    let place = match listening.ip().is_unspecified() {
        true => {
            let machine = rustix::system::uname();
            let name = machine.nodename().to_string_lossy().into_owned();
            format!("{name}:{}", listening.port())
        }
        false => listening.to_string(),
    };
    Address { place, fingerprint }
}

fn serve(
    shared: Arc<Shared>,
    listener: std::net::TcpListener,
    signals: Signals,
) -> Result<(), RunError> {
    let no_thread = |error: io::Error| RunError(format!("the system has no thread: {error}"));
    let writer = shared
        .writer
        .start(Arc::clone(&shared.store), Arc::clone(&shared.stats))
        .map_err(no_thread)?;
    let stopping = Arc::new(AtomicBool::new(false));
    watch_signals(signals, Arc::clone(&stopping), Arc::clone(&shared)).map_err(no_thread)?;

    let connections = Arc::new(Connections::default());
    Listener::new(Arc::clone(&shared), Arc::clone(&connections), listener).run(&stopping);

    log::info(None, format_args!("shutting down"));
    let deadline = clock::now() + END;
    connections.say_goodbye(GOODBYE);
    shared.writer.stop();
    let ended = writer.recv_timeout(deadline.saturating_duration_since(clock::now()));
    let stats = &shared.stats;
    log::info(
        None,
        format_args!(
            "ended: {} messages taken, {} acknowledged, {} written in {} commits, {} connections",
            stats.taken.get(),
            stats.acknowledged.get(),
            stats.stored.get(),
            stats.commits.get(),
            stats.connections.get(),
        ),
    );
    judge_end(ended)
}

/// Whether all is on the disk, and in one file.
fn judge_end(ended: Result<Ended, RecvTimeoutError>) -> Result<(), RunError> {
    const APART: &str =
        "nothing accepted is lost, but a copy needs chat.db and chat.db-wal together";
    let unrecorded = |count| {
        format!(
            "{count} acknowledgements could not be recorded, so these messages are delivered once \
             more, to clients that know them"
        )
    };
    Err(RunError(match ended {
        Ok(Ended {
            unrecorded: 0,
            closed: Ok(()),
        }) => return Ok(()),
        Ok(Ended {
            unrecorded: count,
            closed: Ok(()),
        }) => format!("ended, but {}", unrecorded(count)),
        Ok(Ended {
            unrecorded: 0,
            closed: Err(error),
        }) => format!("ended, but the log could not be folded into chat.db ({error}): {APART}"),
        Ok(Ended {
            unrecorded: count,
            closed: Err(error),
        }) => format!(
            "ended, but the log could not be folded into chat.db ({error}): {APART}; and {}",
            unrecorded(count)
        ),
        Err(RecvTimeoutError::Timeout) => {
            format!("ended before the disk had taken what waited for it: {APART}")
        }
        Err(RecvTimeoutError::Disconnected) => format!(
            "ended with a fault of the program's in the writer: {APART}; please report it with the \
             lines before this one"
        ),
    }))
}

/// The first SIGINT or SIGTERM asks for an orderly end, the second ends at once;
/// nothing accepted depends on the order. SIGHUP reads the certificate again.
fn watch_signals(
    mut signals: Signals,
    stopping: Arc<AtomicBool>,
    shared: Arc<Shared>,
) -> io::Result<()> {
    sync::spawn("signals", None, move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                reload(&shared);
            } else if stopping.swap(true, Ordering::AcqRel) {
                std::process::exit(128 + signal);
            }
        }
    })
    .map(|_| ())
}

fn reload(shared: &Shared) {
    match shared.tls.as_ref().map(Acceptor::reload) {
        None => {}
        Some(Ok(fingerprint)) => log::info(
            None,
            format_args!("the certificate was read again: {fingerprint}"),
        ),
        Some(Err(error)) => log::error(
            None,
            format_args!("the certificate stays as it was: {error}"),
        ),
    }
}

fn listen_error(address: SocketAddr, error: &io::Error) -> RunError {
    RunError(match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "the address {address} is taken by another program; stop it, or choose another with \
             --listen"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "the address {address} is not permitted; choose a port above 1023 with --listen"
        ),
        _ => format!("can't listen on {address}: {error}; choose another with --listen"),
    })
}

/// How the client of this build is started: from the folder of the package, where
/// both lie below `target/`; otherwise by its path beside this program, or its name.
fn client_command() -> String {
    let server = std::env::current_exe().unwrap_or_default();
    let client = server.with_file_name("client");
    if !client.is_file() {
        // `cargo run --bin server` builds the server alone.
        return match server.parent().and_then(Path::file_name) {
            Some(folder) if folder == "debug" => "cargo run --bin client --".to_owned(),
            Some(folder) if folder == "release" => "cargo run --release --bin client --".to_owned(),
            _ => "client".to_owned(),
        };
    }
    let here = std::env::current_dir().unwrap_or_default();
    client
        .strip_prefix(&here)
        .unwrap_or(&client)
        .display()
        .to_string()
}

const BANNER: &str = r"
  ___                           ___ _         _
 / __| ___ __ _  _ _ _ ___     / __| |_  __ _| |_
 \__ \/ -_) _| || | '_/ -_)   | (__| ' \/ _` |  _|
 |___/\___\__|\_,_|_| \___|    \___|_||_\__,_|\__|
";

fn print_banner(config: &Config, address: SocketAddr, fingerprint: Option<Fingerprint>) {
    let terminal = io::stdout().is_terminal();
    let mut out = log::buffer(log::color_choice(terminal));
    let data = fs::canonicalize(&config.data).unwrap_or_else(|_| config.data.clone());
    let mut print = || -> io::Result<()> {
        if terminal {
            out.set_color(ColorSpec::new().set_fg(Some(Color::Cyan)).set_bold(true))?;
            writeln!(out, "{BANNER}")?;
            out.reset()?;
        }
        writeln!(out, "Secure Chat server {}", env!("CARGO_PKG_VERSION"))?;
        writeln!(out, "listening on {address}")?;
        if let Some(fingerprint) = fingerprint {
            writeln!(out, "certificate {}", fingerprint.groups())?;
            let address = public_address(address, Some(fingerprint));
            writeln!(out, "for clients {address}")?;
        }
        writeln!(out, "data in {}", data.display())?;
        if terminal {
            let address = public_address(address, fingerprint);
            writeln!(
                out,
                "Ctrl-C stops it. In another terminal: {} --server {address}",
                client_command()
            )?;
        }
        Ok(())
    };
    // A buffer takes everything.
    let _ = print();
    // A thread of its own, because whoever reads standard output may not. Without
    // one, or without standard output, the server serves all the same.
    let _ = sync::spawn("banner", None, move || {
        log::write_all(&io::stdout(), out.as_slice())
    });
}
