//! The socket `admin.sock` in the data folder, over which commands reach a running server.
//!
//! Only the server's user and root may use it: its mode is 0600, and the server asks the system who is
//! at the other end. One thread, `admin`, serves one command after another. It gives a command a few
//! seconds to ask, so that one which hangs only delays the others.

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::error::AdminError;
use super::perform::{Output, Performer};
use super::print::Printer;
use super::request::{Line, MAX_LINE, Request};
use crate::clock;
use crate::server::log;
use crate::sync;
use crate::transport::socket::wait_for_connection;

/// How often the thread checks whether the server stops.
const STOP_CHECK: Duration = Duration::from_millis(200);

/// How long a command has to send its request, and to take each part of the answer.
const COMMAND_TIME: Duration = Duration::from_secs(5);

/// How long the server has for each line of an answer: a busy disk may take its time, and a server
/// that has stopped must not keep the command for ever.
const SERVER_TIME: Duration = Duration::from_secs(60);

/// The longest path that fits into a socket's address on every system; Linux takes 107 bytes.
const MAX_PATH: usize = 100;

/// The socket of a data folder.
fn socket_path(data: &Path) -> PathBuf {
    data.join("admin.sock")
}

/// Runs `with` a path of the socket that is short enough for a socket's address.
fn with_short_path<T>(data: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = socket_path(data);
    if path.as_os_str().len() <= MAX_PATH {
        return with(&path);
    }
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        // The open folder has a short name there for as long as it is open.
        let folder = fs::File::open(data)?;
        let short = format!("/proc/self/fd/{}/admin.sock", folder.as_raw_fd());
        with(Path::new(&short))
    }
    #[cfg(not(target_os = "linux"))]
    Err(io::Error::new(
        ErrorKind::InvalidFilename,
        "the path is too long for a socket; choose a folder with a shorter one with --data",
    ))
}

/// The server's end of the socket.
pub(crate) struct Control {
    path: PathBuf,
    listener: UnixListener,
}

impl Control {
    /// Opens the socket in a folder whose lock this process holds. One that a killed server has left
    /// is replaced.
    ///
    /// # Errors
    /// It can't be made; the server can serve without it.
    pub(crate) fn open(data: &Path) -> io::Result<Self> {
        let path = socket_path(data);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // The umask lets nobody else in from the first moment on.
        let listener = with_short_path(data, |path| UnixListener::bind(path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Control { path, listener })
    }

    /// Starts the thread `admin`, which serves commands until `stopping` is set.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(crate) fn start(
        self,
        performer: Performer,
        stopping: Arc<AtomicBool>,
    ) -> io::Result<Arc<SocketFile>> {
        let file = Arc::new(SocketFile(self.path));
        let listener = self.listener;
        sync::spawn("admin", None, move || {
            while !stopping.load(Ordering::Acquire) {
                match wait_for_connection(&listener, STOP_CHECK) {
                    Ok(true) => accept(&listener, &performer),
                    Ok(false) => {}
                    Err(error) => {
                        log::error(None, format_args!("admin.sock failed to wait: {error}"));
                        sync::sleep(COMMAND_TIME);
                    }
                }
            }
        })?;
        Ok(file)
    }
}

/// The socket's name in the folder. Remove it before the folder's lock is given back: later it may
/// be another server's.
pub(crate) struct SocketFile(PathBuf);

impl SocketFile {
    /// Removes it.
    pub(crate) fn remove(&self) {
        // One that stays is dead, and the next server replaces it.
        let _removed = fs::remove_file(&self.0);
    }
}

fn accept(listener: &UnixListener, performer: &Performer) {
    let Ok((stream, _)) = listener.accept() else {
        // It has gone, or descriptors have run out.
        sync::sleep(Duration::from_millis(50));
        return;
    };
    if let Err(error) = serve(&stream, performer) {
        log::warn(
            None,
            format_args!("a command on admin.sock was not answered: {error}"),
        );
    }
}

/// The command's end of a connection.
struct Answer<'a>(&'a UnixStream);

impl Answer<'_> {
    fn line(&mut self, line: &Line) -> Result<(), AdminError> {
        let written = self.0.write_all(line.to_text().as_bytes());
        written.map_err(AdminError::Output)
    }
}

impl Output for Answer<'_> {
    fn row(&mut self, json: String) -> Result<(), AdminError> {
        self.line(&Line::Row(json))
    }

    fn progress(&mut self, words: &str) -> Result<(), AdminError> {
        self.line(&Line::Progress(words.to_owned()))
    }
}

/// Serves one command.
fn serve(mut stream: &UnixStream, performer: &Performer) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(COMMAND_TIME))?;
    let uid = peer(stream)?;
    let own = rustix::process::geteuid().as_raw();
    if uid.is_some_and(|uid| uid != own && uid != 0) {
        let line = Line::Error("only the server's user and root may give it commands".to_owned());
        return stream.write_all(line.to_text().as_bytes());
    }
    let line = read_request(stream)?;
    let answer = match serde_json::from_str::<Request>(&line) {
        Err(_) => Line::Error(AdminError::OtherServer.to_string()),
        Ok(request) => {
            let done = performer.perform(uid, &request, &mut Answer(stream));
            let (act, subject) = request.describe();
            let who = uid.map_or("somebody".to_owned(), |uid| format!("user {uid}"));
            let outcome = match &done {
                Ok(_) => "done".to_owned(),
                Err(error) => format!("not done: {error}"),
            };
            log::info(
                None,
                format_args!("admin: {who}: {act} {subject}: {outcome}"),
            );
            match done {
                Ok(sentence) => Line::Done(sentence),
                Err(error) => Line::Error(error.to_string()),
            }
        }
    };
    stream.write_all(answer.to_text().as_bytes())
}

/// The number of the system's user at the other end; `None` where the system does not tell, and the
/// socket's mode alone has to do.
#[cfg_attr(not(target_os = "linux"), expect(clippy::unnecessary_wraps))]
fn peer(stream: &UnixStream) -> io::Result<Option<u32>> {
    #[cfg(target_os = "linux")]
    {
        let peer = rustix::net::sockopt::socket_peercred(stream)?;
        Ok(Some(peer.uid.as_raw()))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = stream;
        Ok(None)
    }
}

/// Reads a line of bounded length in bounded time.
fn read_request(mut stream: &UnixStream) -> io::Result<String> {
    let deadline = clock::now() + COMMAND_TIME;
    let mut line = Vec::new();
    let mut some = [0; 4096];
    while line.last() != Some(&b'\n') {
        let left = time_left(deadline)?;
        stream.set_read_timeout(Some(left))?;
        let count = stream.read(&mut some)?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        line.extend_from_slice(some.get(..count).unwrap_or_default());
        if line.len() > MAX_LINE {
            return Err(io::Error::other("the request is too long"));
        }
    }
    String::from_utf8(line).map_err(io::Error::other)
}

fn time_left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(clock::now()) {
        Duration::ZERO => Err(ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

/// A connection to the server that runs on a folder; `None` if none does, or it has just ended.
///
/// # Errors
/// There is a socket that this process can't use.
pub(super) fn connect(data: &Path) -> Result<Option<UnixStream>, AdminError> {
    match with_short_path(data, |path| UnixStream::connect(path)) {
        Ok(stream) => Ok(Some(stream)),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(None)
        }
        // No server has made one there.
        Err(error) if error.kind() == ErrorKind::InvalidFilename => Ok(None),
        Err(error) => Err(AdminError::Socket(socket_path(data), error)),
    }
}

/// Has the server carry a request out, and prints the rows as they come. Returns what was done.
///
/// # Errors
/// The server refuses, fails, or does not answer.
pub(super) fn call(
    mut stream: UnixStream,
    request: &Request,
    printer: &mut Printer,
) -> Result<String, AdminError> {
    let silent = |_: io::Error| {
        AdminError::Refused(
            "the server did not answer the command; look at the list again before you repeat it"
                .to_owned(),
        )
    };
    let mut line =
        serde_json::to_string(request).map_err(|error| AdminError::Refused(error.to_string()))?;
    line.push('\n');
    if line.len() > MAX_LINE {
        return Err(AdminError::Refused(
            "the command is too long; shorten its text".to_owned(),
        ));
    }
    stream.set_read_timeout(Some(SERVER_TIME)).map_err(silent)?;
    stream
        .set_write_timeout(Some(COMMAND_TIME))
        .map_err(silent)?;
    // A server that refuses at once may have closed its side already; what it said is still there.
    let _written = stream.write_all(line.as_bytes());
    for line in BufReader::new(stream).lines() {
        match Line::parse(&line.map_err(silent)?) {
            Some(Line::Row(json)) => printer.row(json)?,
            Some(Line::Progress(words)) => printer.progress(&words)?,
            Some(Line::Done(sentence)) => return Ok(sentence),
            Some(Line::Error(sentence)) => return Err(AdminError::Refused(sentence)),
            None => return Err(AdminError::OtherServer),
        }
    }
    Err(silent(ErrorKind::UnexpectedEof.into()))
}
