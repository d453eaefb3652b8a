//! A stretch of network that can be cut: a proxy of bytes. Cut, it takes bytes and passes none on, as
//! a network does that loses every packet; nothing is closed, and nobody is told. Healed, it passes on
//! what it held, as TCP would send it again, or it breaks all connections.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Where connections lead.
#[derive(Debug, Clone)]
pub enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Bytes that are changed on the way to the target, into as many others.
pub type Rewrite = (&'static [u8], &'static [u8]);

/// A proxy on a port of its own. It is there until the process ends; its connections end with it.
#[derive(Clone)]
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// The state has changed.
    changed: Condvar,
    rewrite: Option<Rewrite>,
    /// How often something was rewritten.
    rewritten: AtomicUsize,
}

struct State {
    /// `None`: connections are closed at once, as by a machine on which nobody listens.
    target: Option<Target>,
    cut: bool,
    /// Both ends of each connection.
    connections: Vec<[Socket; 2]>,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Proxy {
    pub fn new(target: Option<Target>) -> Self {
        Proxy::rewriting(target, None)
    }

    pub fn rewriting(target: Option<Target>, rewrite: Option<Rewrite>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Proxy {
            address: listener.local_addr().unwrap(),
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    target,
                    cut: false,
                    connections: Vec::new(),
                }),
                changed: Condvar::new(),
                rewrite,
                rewritten: AtomicUsize::new(0),
            }),
        };
        let shared = Arc::clone(&proxy.shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || Shared::serve(&shared, stream));
            }
        });
        proxy
    }

    /// Has new connections lead elsewhere; those that stand stay.
    pub fn lead_to(&self, target: Option<Target>) {
        self.shared.lock().target = target;
    }

    /// Passes nothing on, from here on.
    pub fn cut(&self) {
        self.shared.lock().cut = true;
    }

    /// Passes on what was held, and what comes.
    pub fn heal(&self) {
        self.shared.lock().cut = false;
        self.shared.changed.notify_all();
    }

    /// Breaks all connections, and lets new ones pass.
    pub fn reset(&self) {
        let mut state = self.shared.lock();
        for socket in state.connections.drain(..).flatten() {
            socket.shut_down(Shutdown::Both);
        }
        state.cut = false;
        drop(state);
        self.shared.changed.notify_all();
    }

    /// How often something was rewritten.
    pub fn rewritten(&self) -> usize {
        self.shared.rewritten.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until_whole(&self) -> MutexGuard<'_, State> {
        let state = self.lock();
        let waited = self.changed.wait_while(state, |state| state.cut);
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on what comes from one connection, and what comes back.
    fn serve(shared: &Arc<Shared>, from: TcpStream) {
        let target = shared.wait_until_whole().target.clone();
        let Some(Ok(to)) = target.map(|target| Socket::connect(&target)) else {
            return;
        };
        let from = Socket::Tcp(from);
        let _delay_is_harmless = from.set_nodelay();
        let _delay_is_harmless = to.set_nodelay();
        let ends = [from.clone(), to.clone()];
        shared.lock().connections.push(ends);
        let back = [to.clone(), from.clone()];
        let answers = Arc::clone(shared);
        std::thread::spawn(move || answers.pass(back, None));
        shared.pass([from, to], shared.rewrite);
    }

    /// Passes on one direction until it ends, and its end, too.
    fn pass(&self, [mut from, mut to]: [Socket; 2], rewrite: Option<Rewrite>) {
        let mut buffer = [0; 16 * 1024];
        loop {
            let read = from.read(&mut buffer).unwrap_or(0);
            drop(self.wait_until_whole());
            let bytes = &mut buffer[..read];
            if let Some((what, by)) = rewrite {
                self.rewrite(bytes, what, by);
            }
            if read == 0 || to.write_all(bytes).is_err() {
                break;
            }
        }
        to.shut_down(Shutdown::Write);
        from.shut_down(Shutdown::Read);
    }

    fn rewrite(&self, bytes: &mut [u8], what: &[u8], by: &[u8]) {
        let found = bytes.windows(what.len()).position(|window| window == what);
        if let Some(at) = found {
            bytes[at..at + by.len()].copy_from_slice(by);
            self.rewritten.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Socket {
    fn connect(target: &Target) -> io::Result<Self> {
        Ok(match target {
            Target::Tcp(address) => Socket::Tcp(TcpStream::connect(address)?),
            Target::Unix(path) => Socket::Unix(UnixStream::connect(path)?),
        })
    }

    fn clone(&self) -> Self {
        match self {
            Socket::Tcp(stream) => Socket::Tcp(stream.try_clone().unwrap()),
            Socket::Unix(stream) => Socket::Unix(stream.try_clone().unwrap()),
        }
    }

    fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.set_nodelay(true),
            Socket::Unix(_) => Ok(()),
        }
    }

    fn shut_down(&self, how: Shutdown) {
        // It fails only where the other side was faster.
        let _ended = match self {
            Socket::Tcp(stream) => stream.shutdown(how),
            Socket::Unix(stream) => stream.shutdown(how),
        };
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(into),
            Socket::Unix(stream) => stream.read(into),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.write_all(bytes),
            Socket::Unix(stream) => stream.write_all(bytes),
        }
    }
}
