//! Two real ends over a real socket: what TLS must not change about a connection,
//! and what it must add.

use std::error::Error as _;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::*;
use crate::transport::channel::Channel;
use crate::transport::connector::Connector;
use crate::transport::fingerprint::Fingerprint;
use crate::transport::socket::{Socket, WriteOutcome};

const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    acceptor: Arc<Acceptor>,
    listener: TcpListener,
}

impl Server {
    fn new(data: &Path) -> Self {
        Server {
            acceptor: Arc::new(Acceptor::open(data, None).unwrap().unwrap()),
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
        }
    }

    /// A connected pair, each end with what its reader needs.
    fn pair(&self, connector: &Connector) -> ((Channel, ReadBuffer), (Channel, ReadBuffer)) {
        let stream = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = self.listener.accept().unwrap();
        let acceptor = Arc::clone(&self.acceptor);
        let server = thread::spawn(move || {
            let channel = Channel::new(Socket::new(accepted).unwrap());
            channel.begin_tls(acceptor.accept().unwrap().0);
            let mut raw = ReadBuffer::default();
            while channel.session().unwrap().is_handshaking() {
                assert_ne!(channel.read(&mut raw, &mut []).unwrap(), ReadOutcome::End);
                channel.write_all(&[], PATIENCE).unwrap();
            }
            (channel, raw)
        });
        let stranger = connector.connect(stream, "localhost", PATIENCE).unwrap();
        assert_eq!(stranger.fingerprint(), self.acceptor.fingerprint());
        (stranger.trust(), server.join().unwrap())
    }
}

fn read_exactly(channel: &Channel, raw: &mut ReadBuffer, count: usize) -> Vec<u8> {
    let mut all = vec![0; count];
    let mut filled = 0;
    while filled < count {
        // Room of odd sizes, so that records are taken out in pieces.
        let room = (filled + 1 + filled % 5000).min(count);
        match channel.read(raw, &mut all[filled..room]).unwrap() {
            ReadOutcome::Bytes(some) => filled += some,
            ReadOutcome::TlsOnly => {}
            ReadOutcome::End => panic!("it ended after {filled} bytes"),
        }
    }
    all
}

fn bytes(count: usize, seed: usize) -> Vec<u8> {
    (0..count).map(|at| (at * 31 + seed) as u8).collect()
}

#[test]
fn what_goes_in_comes_out_whatever_the_sizes() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::new(home.path());
    let ((client, mut client_raw), (server, mut server_raw)) =
        server.pair(&Connector::pinning().unwrap());
    for size in [1, 2, 1000, 16_383, 16_384, 16_385, 100_000] {
        client.write_all(&bytes(size, 1), PATIENCE).unwrap();
        assert_eq!(read_exactly(&server, &mut server_raw, size), bytes(size, 1));
        server.write_all(&bytes(size, 2), PATIENCE).unwrap();
        assert_eq!(read_exactly(&client, &mut client_raw, size), bytes(size, 2));
    }
}

/// Both ends write far more than the kernel holds before either has read a byte;
/// then both read, on one thread each, while the rest is written.
#[test]
fn two_ends_that_write_heavily_do_not_wait_for_each_other() {
    const ALL: usize = 32 * 1024 * 1024;
    let home = tempfile::tempdir().unwrap();
    let server = Server::new(home.path());
    let (client, server) = server.pair(&Connector::pinning().unwrap());
    let full = Arc::new(std::sync::Barrier::new(4));
    let ends: Vec<_> = [client, server]
        .into_iter()
        .flat_map(|(channel, mut raw)| {
            let channel = Arc::new(channel);
            let writing = Arc::clone(&channel);
            let (stuck, ready) = (Arc::clone(&full), Arc::clone(&full));
            let writer = thread::spawn(move || {
                let mut sent = 0;
                let mut rest = Vec::new();
                // Until the kernel takes no more, with nobody reading.
                while rest.is_empty() {
                    let sealed = writing.seal(bytes(65_536, sent)).unwrap();
                    sent += 65_536;
                    rest = fill(writing.socket(), sealed);
                }
                stuck.wait();
                while !rest.is_empty() {
                    assert!(writing.socket().wait_writable(PATIENCE).unwrap());
                    rest = fill(writing.socket(), rest);
                }
                while sent < ALL {
                    writing.write_all(&bytes(65_536, sent), PATIENCE).unwrap();
                    sent += 65_536;
                }
            });
            let reader = thread::spawn(move || {
                ready.wait();
                for seed in (0..ALL).step_by(65_536) {
                    let block = read_exactly(&channel, &mut raw, 65_536);
                    assert!(block == bytes(65_536, seed));
                }
            });
            [writer, reader]
        })
        .collect();
    for end in ends {
        end.join().unwrap();
    }
}

/// Writes what fits, and gives back the rest.
fn fill(socket: &Socket, sealed: Vec<u8>) -> Vec<u8> {
    let mut written = 0;
    while written < sealed.len() {
        match socket.try_write(&sealed[written..]).unwrap() {
            WriteOutcome::Some(count) => written += count,
            WriteOutcome::Full => break,
        }
    }
    sealed[written..].to_vec()
}

#[test]
fn a_second_connection_resumes_the_session_and_shows_the_same_certificate() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::new(home.path());
    let connector = Connector::pinning().unwrap();
    let resumed = |channel: &Channel| {
        let session = channel.session().unwrap();
        session.lock().handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    };
    let ((client, mut raw), (end, _)) = server.pair(&connector);
    assert!(!resumed(&client));
    // The ticket comes with the first bytes.
    end.write_all(b"x", PATIENCE).unwrap();
    read_exactly(&client, &mut raw, 1);
    // `pair` compares the fingerprint again.
    let ((client, _), _) = server.pair(&connector);
    assert!(resumed(&client));
    // Another certificate ends what was resumable.
    std::fs::remove_file(home.path().join("tls-cert.pem")).unwrap();
    let other = Acceptor::open(home.path(), None).unwrap().unwrap();
    assert_eq!(server.acceptor.reload(any).unwrap(), other.fingerprint());
    let ((client, _), _) = server.pair(&connector);
    assert!(!resumed(&client));
}

#[test]
fn the_certificate_stays_the_same_and_its_key_is_for_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let first = Acceptor::open(home.path(), None).unwrap().unwrap();
    let again = Acceptor::open(home.path(), None).unwrap().unwrap();
    assert_eq!(first.fingerprint(), again.fingerprint());
    let key = std::fs::metadata(home.path().join("tls-key.pem")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
}

/// Permits every certificate.
fn any(_: Fingerprint) -> Result<(), TlsError> {
    Ok(())
}

#[test]
fn the_next_certificate_takes_the_place_of_the_one_that_has_announced_it() {
    let home = tempfile::tempdir().unwrap();
    let acceptor = Acceptor::open(home.path(), None).unwrap().unwrap();
    let old = acceptor.fingerprint();
    let next = Acceptor::make_next(home.path()).unwrap();
    assert_eq!(Acceptor::make_next(home.path()).unwrap(), next, "once");
    let step = acceptor.announce(next, 1).unwrap();
    assert_eq!(follow(old, next, &[step]), Ok(vec![old]));
    let refused = |_| Err(TlsError::Replaced(home.path().to_owned()));
    Acceptor::put_next_in_place(home.path()).unwrap();
    assert!(acceptor.reload(refused).is_err());
    assert_eq!(acceptor.fingerprint(), old, "it was not permitted");
    let early = acceptor.announce(old, 1).unwrap_err();
    assert!(matches!(early, TlsError::Replaced(_)), "{early}");
    assert_eq!(acceptor.reload(any).unwrap(), next);
    let key = std::fs::metadata(home.path().join("tls-key.pem")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&key.permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_crash_between_the_two_files_is_made_good() {
    let home = tempfile::tempdir().unwrap();
    let old = Acceptor::open(home.path(), None).unwrap().unwrap();
    let next = Acceptor::make_next(home.path()).unwrap();
    let [own, made] = ["tls-key.pem", "tls-key.next.pem"].map(|name| home.path().join(name));
    std::fs::rename(made, own).unwrap();
    assert!(old.reload(any).is_err());
    // The command that was cut off, or the next start.
    Acceptor::make_next(home.path()).unwrap();
    let again = Acceptor::open(home.path(), None).unwrap().unwrap();
    assert_eq!(again.fingerprint(), next);
    assert_eq!(old.reload(any).unwrap(), next);
}

#[test]
fn files_that_do_not_belong_together_are_refused_and_change_nothing() {
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let acceptor = Acceptor::open(home.path(), None).unwrap().unwrap();
    Acceptor::open(other.path(), None).unwrap();
    let before = acceptor.fingerprint();
    let key = |home: &tempfile::TempDir| home.path().join("tls-key.pem");
    std::fs::copy(key(&other), key(&home)).unwrap();
    let error = acceptor.reload(any).unwrap_err();
    assert!(error.to_string().contains("belong together"), "{error}");
    assert!(error.source().unwrap().is::<rustls::Error>(), "{error:?}");
    assert_eq!(acceptor.fingerprint(), before);
    for junk in ["", "no PEM at all"] {
        std::fs::write(key(&home), junk).unwrap();
        assert!(acceptor.reload(any).is_err());
    }
    std::fs::remove_file(key(&home)).unwrap();
    let error = acceptor.reload(any).unwrap_err();
    let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
    assert_eq!(source.kind(), io::ErrorKind::NotFound);
    // Nobody can make a certificate in what is a file.
    let file = home.path().join("tls-cert.pem").join("below");
    let error = Acceptor::open(&file, None).unwrap_err();
    assert!(matches!(error, TlsError::NotMade(..)), "{error}");
    assert!(error.source().unwrap().is::<io::Error>(), "{error:?}");
}

#[test]
fn a_peer_without_tls_is_told_apart_from_one_that_is_silent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let connector = Connector::pinning().unwrap();
    let stream = connect();
    let (accepted, _) = listener.accept().unwrap();
    io::Write::write_all(&mut (&accepted), b"-ERR this is a chat server\r\n").unwrap();
    let error = connector
        .connect(stream, "localhost", PATIENCE)
        .err()
        .unwrap();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    let short = Duration::from_millis(50);
    let error = connector
        .connect(connect(), "localhost", short)
        .err()
        .unwrap();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
}
