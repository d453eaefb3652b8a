//! The first client's side: makes the socket, and accepts windows in the thread `control`.

use std::io::{self, ErrorKind};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::window::{self, Session};
use super::windows::{SharedDisplay, Windows};
use super::wire::{ToWindow, write_line};
use super::{place, windows};
use crate::client::messenger::SessionPort;
use crate::client::messenger::account::Account;
use crate::client::view::Display;
use crate::protocol::UserName;
use crate::sync;

/// How long to wait when the system has no descriptor or no thread to give.
const PAUSE: Duration = Duration::from_millis(500);

/// The socket of a session. Dropping it ends all windows; the vault removes the file.
pub(crate) struct Host {
    account: UserName,
    windows: Arc<Windows>,
    /// Until [`Host::serve`] takes it.
    listener: Option<UnixListener>,
    /// Closing it ends the thread.
    alive: Option<UnixStream>,
}

impl Host {
    /// Makes the socket, and tells others of it in the vault's lock file.
    ///
    /// # Errors
    /// A sentence that says why other processes can't work through this one.
    pub(crate) fn open(account: &mut Account) -> Result<Self, String> {
        let (listener, path) = place::bind(account.vault.path())?;
        let named = |path: &PathBuf, error: io::Error| format!("{}: {error}", path.display());
        listener
            .set_nonblocking(true)
            .map_err(|error| named(&path, error))?;
        account
            .vault
            .announce(path.clone())
            .map_err(|error| named(&path, error))?;
        Ok(Host {
            account: account.name,
            windows: Arc::default(),
            listener: Some(listener),
            alive: None,
        })
    }

    /// A display that also shows everything in all windows.
    pub(crate) fn display(&self, own: Arc<dyn Display>) -> Arc<dyn Display> {
        Arc::new(SharedDisplay::new(own, Arc::clone(&self.windows)))
    }

    /// Starts to accept windows, whose commands go to `port`.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(crate) fn serve(&mut self, port: SessionPort) -> io::Result<()> {
        let Some(listener) = self.listener.take() else {
            return Ok(());
        };
        let (alive, ended) = UnixStream::pair()?;
        self.alive = Some(alive);
        let session = Session {
            account: self.account,
            port,
            windows: Arc::clone(&self.windows),
        };
        sync::spawn("control", None, move || {
            accept_all(&listener, &ended, &session);
        })?;
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.windows.end(None);
    }
}

/// Accepts windows until the other end of `ended` is closed.
fn accept_all(listener: &UnixListener, ended: &UnixStream, session: &Session) {
    loop {
        let mut sources = [
            PollFd::new(listener, PollFlags::IN),
            PollFd::new(ended, PollFlags::IN),
        ];
        if poll(&mut sources, None).is_err() {
            continue;
        }
        if !sources[1].revents().is_empty() {
            return;
        }
        match listener.accept() {
            Ok((stream, _)) => admit(session, stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => sync::sleep(PAUSE),
        }
    }
}

fn admit(session: &Session, stream: UnixStream) {
    let Some(place) = session.windows.place() else {
        let why = format!(
            "{} windows and commands work beside that client already; try again later",
            windows::MAX_WINDOWS
        );
        // A line of this length fits into the socket.
        let _written = write_line(&stream, &ToWindow::Refused(why));
        return;
    };
    // On macOS it inherits the listener's mode.
    if stream.set_nonblocking(false).is_ok() {
        // Without a thread, the other side sees the end of the connection.
        let _served = window::serve(session.clone(), stream, place);
    }
}
