//! Tells a service manager how the server is, by the protocol of sd_notify(3): a datagram to the
//! socket that the environment variable `NOTIFY_SOCKET` names. Without that variable nobody asks,
//! and nothing is sent.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use super::log;
use crate::clock;

/// How the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It serves.
    Ready,
    /// It reads its settings again; `Ready` follows.
    Reloading,
    /// It ends.
    Stopping,
}

/// Tells the service manager, if there is one. It never waits: a manager that does not read gets
/// nothing.
pub(super) fn send(state: State) {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = send_to(&path, state) {
        log::warn(
            None,
            format_args!(
                "the service manager can't be told how the server is, at {}: {error}",
                path.to_string_lossy()
            ),
        );
    }
}

fn send_to(path: &OsStr, state: State) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address(path)?)?;
    socket.send(text(state).as_bytes()).map(drop)
}

/// A path, or a name without a file, which a leading `@` stands for.
fn address(path: &OsStr) -> io::Result<SocketAddr> {
    match path.as_bytes().split_first() {
        #[cfg(target_os = "linux")]
        Some((b'@', name)) => {
            use std::os::linux::net::SocketAddrExt;
            SocketAddr::from_abstract_name(name)
        }
        _ => SocketAddr::from_pathname(path),
    }
}

fn text(state: State) -> String {
    match state {
        State::Ready => "READY=1\nSTATUS=serving\n".to_owned(),
        // The manager tells this reload from an earlier one by the time.
        State::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}\n", clock::monotonic_us()),
        State::Stopping => "STOPPING=1\nSTATUS=shutting down\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_a_path_or_a_name_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let receiver = UnixDatagram::bind(&path).unwrap();
        send_to(path.as_os_str(), State::Ready).unwrap();
        let mut bytes = [0; 100];
        let count = receiver.recv(&mut bytes).unwrap();
        assert!(bytes[..count].starts_with(b"READY=1\n"));
        send_to(path.as_os_str(), State::Reloading).unwrap();
        let count = receiver.recv(&mut bytes).unwrap();
        let said = std::str::from_utf8(&bytes[..count]).unwrap();
        let time = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(time.trim_end().parse::<u64>().unwrap() > 0, "{said}");

        #[cfg(target_os = "linux")]
        {
            use std::os::linux::net::SocketAddrExt;
            let name = format!("secure-chat-test-{}", std::process::id());
            let bound = SocketAddr::from_abstract_name(&name).unwrap();
            let receiver = UnixDatagram::bind_addr(&bound).unwrap();
            send_to(OsStr::new(&format!("@{name}")), State::Stopping).unwrap();
            let count = receiver.recv(&mut bytes).unwrap();
            assert!(bytes[..count].starts_with(b"STOPPING=1\n"));
        }
        assert!(send_to(OsStr::new("/nowhere/at/all"), State::Ready).is_err());
        assert!(send_to(OsStr::new(""), State::Ready).is_err());
    }
}
