//! Carries a command out where no server runs: locks the folder, opens the database, and has the same
//! parts do the same as in a running server, without a listener.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::error::AdminError;
use super::perform::Performer;
use super::print::Printer;
use super::request::Request;
use super::socket;
use crate::clock;
use crate::server::banner::public_address;
use crate::server::config::Config;
use crate::server::data_folder;
use crate::server::data_folder::{FolderError, Lock};
use crate::server::journal::OfCommand;
use crate::server::log;
use crate::server::net::registry::Connections;
use crate::server::shared::Shared;
use crate::server::storage::Storage;
use crate::store::Store;
use crate::sync;
use crate::transport::tls::Acceptor;

/// How long a server that has the lock, and no socket yet or no more, is waited for.
const SERVER_STARTS: Duration = Duration::from_secs(3);

/// How often it is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long a command clears up after itself, at most; a server goes on with it.
const CLEARING_UP: Duration = Duration::from_secs(10);

/// Does what a running server would do a little at a time: what was removed leaves the file.
fn clear_up(store: &dyn Store) {
    let deadline = clock::now() + CLEARING_UP;
    // What fails is done by the next server.
    while store.reclaim().unwrap_or(false) && clock::now() < deadline {}
}

/// Carries a request out on the folder, and prints the rows.
///
/// # Errors
/// The folder or the database can't be used, or what the request says.
pub(super) fn run(
    mut config: Config,
    request: &Request,
    printer: &mut Printer,
) -> Result<String, AdminError> {
    log::silence();
    data_folder::require_owner(&config.data).map_err(AdminError::Folder)?;
    // Files are made for this user alone.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let deadline = clock::now() + SERVER_STARTS;
    let mut lock = loop {
        match Lock::take(&config.data) {
            Ok(lock) => break lock,
            Err(FolderError::InUse(data)) => {
                if let Some(stream) = socket::connect(&config.data)? {
                    return socket::call(stream, request, printer);
                }
                if clock::now() >= deadline {
                    return Err(AdminError::NoAnswer(data));
                }
                sync::sleep(LOOK_AGAIN);
            }
            Err(error) => return Err(AdminError::Folder(error)),
        }
    };
    config.new = false;
    config.alone = true;
    let (storage, _) = Storage::open(&config, &mut lock).map_err(AdminError::Storage)?;
    let journal = match storage.file() {
        Some(file) if request.changes() => OfCommand::keep(&config, file)?,
        _ => None,
    };
    let own = config.certificate.as_ref();
    let own = own.map(|(certificate, key)| (certificate.as_path(), key.as_path()));
    // Only an invitation's link needs it, and says so by its own check.
    let tls = Acceptor::read(&config.data, own).ok().flatten();
    let on = config.listen.first().and_then(|on| on.addresses().ok());
    let on = on.and_then(|addresses| addresses.first().copied());
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let address = public_address(on.unwrap_or(nowhere), None);
    let shared = Arc::new(Shared::new(config, storage.store(), tls));
    shared
        .rotation
        .refresh()
        .map_err(|error| AdminError::Refused(format!("{error}; nothing was done")))?;
    let ended = shared
        .writer
        .start(Arc::clone(&shared.store), Arc::clone(&shared.stats))
        .map_err(AdminError::NoThread)?;
    let connections = Arc::new(Connections::default());
    let performer = Performer::new(Arc::clone(&shared), connections, address, false);
    let uid = rustix::process::geteuid().as_raw();
    let done = performer.perform(Some(uid), request, printer);
    if request.changes() {
        clear_up(&*shared.store);
    }
    shared.writer.stop();
    // Without an answer the thread has panicked, and the next start finds what was committed.
    let closed = ended.recv().map_or(Ok(()), |ended| ended.closed);
    let done = done?;
    closed.map_err(AdminError::NotClosed)?;
    lock.note_closed();
    journal.map_or(Ok(()), OfCommand::finish)?;
    Ok(done)
}
