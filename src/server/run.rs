//! The server's program from its start to its end: opens everything, serves until a signal
//! comes, and shuts down. What a client asks for is handled in `net` and below.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rustix::fs::Mode;

use super::admin;
use super::args::import::ImportTask;
use super::args::{Action, ConfigTask, DATA_HERE, Options};
use super::backup;
use super::banner;
use super::banner::public_address;
use super::capacity;
use super::cluster::Cluster;
use super::config::Config;
use super::data_folder::Lock;
use super::delivery::writer::Ended;
use super::error::RunError;
use super::import;
use super::journal;
use super::log;
use super::manual;
use super::metrics::{Observer, http};
#[cfg(feature = "postgres")]
use super::migrate;
use super::net::accept::Listener;
use super::net::registry::Connections;
use super::notify;
use super::notify::State;
use super::peers::Peers;
use super::ping::ping;
use super::reload::Reloader;
use super::retention;
use super::shared::Shared;
use super::signals;
use super::storage::Storage;
use crate::clock;
use crate::command_line;
use crate::command_line::{Loaded, Values};
use crate::sync;
use crate::sync::Receiver;
use crate::transport::tls::Acceptor;

/// How long clients have to read what is left for them.
const CLIENTS_LEAVE: Duration = Duration::from_secs(3);

/// How long a link to another server has to write what is left for it.
const PEERS_LEAVE: Duration = Duration::from_millis(250);

/// The longest time for the whole shutdown. A service manager waits some seconds before it kills a
/// process.
const SHUTDOWN: Duration = Duration::from_millis(4500);

/// How long the end waits for the reader of standard error to take the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How often the files under the server are looked at, besides with each commit.
const FILES_CHECK: Duration = Duration::from_millis(500);

/// After so much time without a lease, the others have ended this server's run, if they reach the database.
const WITHOUT_LEASE: Duration = Duration::from_secs(2);

/// The stack of the thread that looks at them, in bytes.
const FILES_STACK: usize = 64 * 1024;

/// How long the disk of the certificate's files has at the start.
const CERTIFICATE_TIME: Duration = Duration::from_secs(15);

/// The exit code of a server that fails.
const FAILED: u8 = 1;

/// Runs the server's program as its command line says.
pub fn main() -> ExitCode {
    let Loaded {
        mut options,
        values,
    } = match command_line::parse::<Options>(FAILED) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let action = options.action.take();
    let json = options.json;
    let config = options.config();
    let refused = match &config.store {
        None => None,
        Some(_) => action.as_ref().and_then(Action::needs_file),
    };
    let print = |text: &str| command_line::print("server", text, FAILED);
    let done = match action {
        Some(_) if refused.is_some() => Err(RunError::NeedsFile(refused.unwrap_or_default())),
        Some(Action::Options) => return print(&command_line::full_help::<Options>()),
        Some(Action::Man) => return print(&manual::page()),
        Some(Action::Completions { shell }) => {
            return print(&command_line::completions::<Options>(shell));
        }
        None => match log::start(config.log.clone()) {
            Ok(()) => run(config, values),
            Err(error) => Err(RunError::Log(config.log.file, error)),
        },
        Some(Action::Fingerprint) => print_fingerprint(&config),
        Some(Action::Ping) => ping(&config).map_err(RunError::Ping),
        Some(Action::Config {
            task: ConfigTask::Check,
        }) => check_config(&config),
        Some(Action::Admin(task)) => admin::run(config, task, json).map_err(RunError::Admin),
        Some(Action::Import {
            from: ImportTask::Mongo(task),
        }) => import::mongo(&config, &task, json).map_err(RunError::Import),
        Some(Action::Backup {
            to,
            keep,
            passphrase_file,
        }) => {
            backup::make(&config, &to, keep, passphrase_file.as_deref()).map_err(RunError::Backup)
        }
        #[cfg(feature = "postgres")]
        Some(Action::Migrate { from, to }) => migrate::run(&from, &to).map_err(RunError::Migrate),
        #[cfg(not(feature = "postgres"))]
        Some(Action::Migrate { to, .. }) => match to {},
        Some(Action::Check {
            file,
            passphrase_file,
        }) => backup::check(&file, passphrase_file.as_deref()).map_err(RunError::Backup),
        Some(Action::Restore {
            file,
            passphrase_file,
        }) => backup::restore(&config, &file, passphrase_file.as_deref()).map_err(RunError::Backup),
    };
    if let Err(error) = &done {
        log::start_error(error);
    }
    log::flush(LAST_LINES);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(FAILED),
    }
}

/// Runs a server until a signal ends it.
///
/// # Errors
/// It could not start, or something is missing on the disk after it has ended.
fn run(mut config: Config, values: Values) -> Result<(), RunError> {
    // A signal before the banner ends the process in the system's way: no message was accepted
    // yet, and the next start goes on from whatever stands on the disk.
    // All files are for the server's user alone, even in a folder that existed before.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let shortage = capacity::raise_limits(config.max_clients);
    if let Some(shortage) = shortage {
        config.max_clients = shortage.places;
        if shortage.places == 0 {
            return Err(RunError::NoRoom(shortage));
        }
    }
    let mut lock = Lock::take(&config.data)?;
    let (storage, replaces_certificate) = Storage::open(&config, &mut lock)?;
    if let Some(file) = storage.file() {
        journal::keep(&config, file);
    }
    let tls = open_certificate(&config)?;
    storage.begin(tls.as_ref().map(Acceptor::fingerprint), &config)?;
    let mut listeners = Vec::new();
    for on in &config.listen {
        let opened = on.listen();
        listeners.extend(opened.map_err(|error| RunError::Listen(on.clone(), error))?);
    }
    let addresses = listeners.iter().map(TcpListener::local_addr);
    let addresses: Vec<SocketAddr> = addresses.flatten().collect();
    let metrics = match config.metrics {
        None => None,
        Some(address) => {
            Some(http::listen(address).map_err(|error| RunError::Metrics(address, error))?)
        }
    };
    storage.watch(&config.data)?;
    // Whoever reads that the server listens may send one.
    let signals = signals::Kept::begin().map_err(RunError::Signals)?;
    banner::print(&config, &addresses, tls.as_ref().map(Acceptor::fingerprint));
    if config.data == Path::new(DATA_HERE) {
        log::info(
            None,
            format_args!(
                "the data are in {DATA_HERE} in the working directory; name that folder with --data, \
                 so that they are found from everywhere"
            ),
        );
    }
    if let Some(shortage) = shortage {
        log::warn(None, format_args!("{shortage}"));
    }
    if replaces_certificate {
        log::warn(
            None,
            format_args!(
                "another certificate was made, since the one of this database is not there; clients \
                 refuse it until they are told its fingerprint. If you have the old one, stop the \
                 server and put tls-cert.pem and tls-key.pem back"
            ),
        );
    }
    storage.report_damage();
    let store = storage.store();
    let bans = store.bans().map_err(RunError::Bans)?;
    let shared = Arc::new(Shared::new(config, store, tls));
    shared.limits.set_bans(&bans);
    shared.rotation.refresh().map_err(RunError::Successions)?;
    let commands = admin::Control::open(&shared.config().data);
    let reloader = Reloader::new(Arc::clone(&shared), values);
    serve(
        shared, signals, reloader, &storage, listeners, metrics, commands,
    )?;
    lock.note_closed();
    Ok(())
}

/// Opens the certificate on a thread of its own, since its files may lie on a disk that does not
/// answer.
fn open_certificate(config: &Config) -> Result<Option<Acceptor>, RunError> {
    let (opened, receiver) = mpsc::channel();
    let files = config.clone();
    sync::spawn("certificate", None, move || {
        // Nobody receives it if it took too long.
        let _late = opened.send(Acceptor::open(&files.data, own_certificate(&files)));
    })
    .map_err(RunError::NoThread)?;
    let opened = receiver.recv_timeout(CERTIFICATE_TIME);
    Ok(opened.map_err(|_| RunError::CertificateSilent)??)
}

/// Prints the fingerprint of the server's certificate, and the address to hand out. It needs
/// no running server, only one that has run once: it makes nothing.
///
/// # Errors
/// There is no certificate, its files can't be used, or standard output can't be written.
fn print_fingerprint(config: &Config) -> Result<(), RunError> {
    let tls = Acceptor::read(&config.data, own_certificate(config))
        .map_err(RunError::NoFingerprint)?
        .ok_or(RunError::WithoutTls)?;
    let fingerprint = tls.fingerprint();
    let on = config.listen.first().ok_or(RunError::NoAddress)?;
    let addresses = on.addresses();
    let addresses = addresses.map_err(|error| RunError::Listen(on.clone(), error))?;
    let address = addresses.first().ok_or(RunError::NoAddress)?;
    let address = public_address(*address, Some(fingerprint));
    writeln!(
        io::stdout(),
        "certificate {}\nfor clients {address}",
        fingerprint.groups()
    )
    .map_err(RunError::Output)
}

/// Says what the settings lead to. Whoever comes here has settings that are each well-formed.
///
/// # Errors
/// A name in them has no address, or the certificate can't be used.
fn check_config(config: &Config) -> Result<(), RunError> {
    for on in &config.listen {
        on.addresses()
            .map_err(|error| RunError::Listen(on.clone(), error))?;
    }
    if config.certificate.is_some() {
        Acceptor::read(&config.data, own_certificate(config))?;
    }
    let on: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    writeln!(
        io::stdout(),
        "the settings can be used: data in {}, listening on {}",
        config.data.display(),
        on.join(", ")
    )
    .map_err(RunError::Output)
}

fn own_certificate(config: &Config) -> Option<(&Path, &Path)> {
    let own = config.certificate.as_ref();
    own.map(|(certificate, key)| (certificate.as_path(), key.as_path()))
}

fn serve(
    shared: Arc<Shared>,
    signals: signals::Kept,
    reloader: Reloader,
    storage: &Storage,
    listeners: Vec<TcpListener>,
    metrics: Option<TcpListener>,
    commands: io::Result<admin::Control>,
) -> Result<(), RunError> {
    let writer = shared
        .writer
        .start(Arc::clone(&shared.store), Arc::clone(&shared.stats))
        .map_err(RunError::NoThread)?;
    let stopping = Arc::new(AtomicBool::new(false));
    signals::watch(signals, Arc::clone(&stopping), reloader).map_err(RunError::NoThread)?;
    let connections = Arc::new(Connections::default());
    watch_storage(
        storage.clone(),
        Arc::clone(&shared),
        Arc::clone(&connections),
        Arc::clone(&stopping),
    )
    .map_err(RunError::NoThread)?;

    retention::start(Arc::clone(&shared), Arc::clone(&stopping)).map_err(RunError::NoThread)?;

    let on = shared.config().peer_listen;
    let peers = Cluster::join(&shared, &connections, on).map_err(RunError::Peers)?;
    let observer = Arc::new(Observer::new(Arc::clone(&shared), Arc::clone(&connections)));
    if let Some(metrics) = metrics {
        http::start(metrics, observer).map_err(RunError::NoThread)?;
    }
    let address = listeners.first().map(TcpListener::local_addr);
    let address = address.and_then(Result::ok).ok_or(RunError::NoAddress)?;
    let performer = admin::Performer::new(
        Arc::clone(&shared),
        Arc::clone(&connections),
        public_address(address, None),
        true,
    );
    let commands = commands.and_then(|commands| commands.start(performer, Arc::clone(&stopping)));
    if let Err(error) = &commands {
        log::warn(
            None,
            format_args!(
                "the operator's commands can't reach this server: {}: {error}",
                shared.config().data.join("admin.sock").display()
            ),
        );
    }
    notify::send(State::Ready);
    Listener::new(Arc::clone(&shared), Arc::clone(&connections), listeners).run(&stopping);

    notify::send(State::Stopping);
    log::info(None, format_args!("shutting down"));
    if let Ok(commands) = commands {
        commands.remove();
    }
    let ended = shut_down(&shared, &connections, peers.as_deref(), &writer);
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
    if let Some(loss) = storage.loss() {
        return Err(RunError::Lost(loss));
    }
    match ended {
        Ok(ended) => RunError::of_shutdown(ended),
        Err(RecvTimeoutError::Timeout) => Err(RunError::WriterTimeout),
        Err(RecvTimeoutError::Disconnected) => Err(RunError::WriterPanicked),
    }
}

/// Sends the clients away, and has the writer store what waits: both for some seconds at most.
///
/// # Errors
/// The writer's thread takes longer, or has panicked.
pub(super) fn shut_down(
    shared: &Shared,
    connections: &Connections,
    peers: Option<&Peers>,
    writer: &Receiver<Ended>,
) -> Result<Ended, RecvTimeoutError> {
    let deadline = clock::now() + SHUTDOWN;
    connections.shut_down(CLIENTS_LEAVE);
    if let Some(peers) = peers {
        peers.stop(PEERS_LEAVE);
    }
    shared.writer.stop();
    writer.recv_timeout(deadline.saturating_duration_since(clock::now()))
}

/// Starts the thread that looks whether the server can still store, and asks for a shutdown if it
/// can't: its store is lost, or the writer's thread has panicked. Nothing is
/// accepted from then on in any case; an idle server notices it here. While the server has no lease, it sends
/// people to the others.
fn watch_storage(
    storage: Storage,
    shared: Arc<Shared>,
    connections: Arc<Connections>,
    stopping: Arc<AtomicBool>,
) -> io::Result<()> {
    sync::spawn("files", Some(FILES_STACK), move || {
        let mut weaknesses = Vec::new();
        let mut has_lease = true;
        while !stopping.load(Ordering::Acquire) {
            storage.report_weaknesses(&mut weaknesses);
            if let Some(loss) = storage.look_for_loss() {
                log::error(None, format_args!("{loss}"));
                stopping.store(true, Ordering::Release);
            } else if shared.writer.has_ended() && !stopping.swap(true, Ordering::AcqRel) {
                log::error(
                    None,
                    format_args!(
                        "the thread that stores has panicked: the server ends, and loses nothing \
                         that it has accepted. Start it again, and report the panic"
                    ),
                );
            }
            end_without_lease(&shared, &connections, &mut has_lease);
            sync::sleep(FILES_CHECK);
        }
    })
    .map(|_| ())
}

/// Ends all connections if this server has had no lease for too long, and there are others: it may write
/// nothing, so its clients would not learn that they are served elsewhere.
fn end_without_lease(shared: &Shared, connections: &Connections, has_lease: &mut bool) {
    let Some(lapsed) = shared.store.lease().lapsed() else {
        *has_lease = true;
        return;
    };
    if lapsed < WITHOUT_LEASE || !shared.store.has_others() {
        return;
    }
    let ended = connections.end_without_lease();
    if std::mem::replace(has_lease, false) {
        log::warn(
            None,
            format_args!(
                "this server does not reach the database, and may not act: {ended} connections were \
                 ended, so that their clients go to another server"
            ),
        );
    }
}
