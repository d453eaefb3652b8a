//! The links to other servers: made when there is something for one, kept while they hold.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::handshake;
use super::handshake::Us;
use super::link::Link;
use super::message::{Call, Called, Told, Unreachable};
use super::wire;
use crate::clock;
use crate::server::log;
use crate::server::stats::Stats;
use crate::store::homes::{Homes, Node, RunId};
use crate::sync;
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::transport::connector::Connector;

/// A server that was not reached is left alone for this long.
const PAUSE: Duration = Duration::from_millis(200);

/// How often the log says of one server that it is not reached.
const LOG_AGAIN: Duration = Duration::from_secs(60);

/// How many bytes of events wait for a link that is being made. Past that, they are dropped.
const MAX_EVENTS: usize = 256 * 1024;

/// The stack of the thread that makes a link for an event, in bytes.
const STACK: usize = 256 * 1024;

/// The links by run.
pub(crate) struct Links {
    us: Arc<Us>,
    homes: Arc<dyn Homes + Send + Sync>,
    connector: Option<Connector>,
    stats: Arc<Stats>,
    /// Held for single operations, and to add to the events of a link that is being made. No link is made and
    /// nothing is written under it.
    table: Mutex<Table>,
    /// Notified when a link was made, or could not be.
    made: Condvar,
}

#[derive(Default)]
struct Table {
    by_run: HashMap<RunId, Slot>,
    logged: Logged,
    /// No further links are made.
    stopped: bool,
}

/// When the log has said that a server is not reached, by its name; what is longer ago is forgotten.
#[derive(Default)]
struct Logged(HashMap<String, Instant>);

impl Logged {
    /// Whether the log is to say it, which then counts as said.
    fn is_due(&mut self, who: &str, now: Instant) -> bool {
        let Logged(said) = self;
        said.retain(|_, last| now.saturating_duration_since(*last) <= LOG_AGAIN);
        let is_due = !said.contains_key(who);
        if is_due {
            said.insert(who.to_owned(), now);
        }
        is_due
    }
}

enum Slot {
    /// A thread makes it. The frames of events that are to be sent over it wait here.
    Making(Vec<u8>),
    Up(Arc<Link>),
    /// It could not be made, and is not tried before this.
    Down(Instant),
}

/// A link that this thread makes: whoever wants it waits until this is dropped.
struct Making<'a> {
    links: &'a Links,
    to: RunId,
    made: Option<Arc<Link>>,
}

impl Links {
    /// No links yet.
    pub(super) fn new(us: Arc<Us>, homes: Arc<dyn Homes + Send + Sync>, stats: Arc<Stats>) -> Self {
        // It fails only in a build without TLS, which has no certificate either.
        let connector = us.tls.as_ref().and_then(|_| Connector::pinning().ok());
        Links {
            us,
            homes,
            connector,
            stats,
            table: Mutex::default(),
            made: Condvar::new(),
        }
    }

    /// This server's run.
    pub(crate) fn run(&self) -> RunId {
        self.us.run
    }

    /// The link to a run, made if there is none, which may take seconds. One that broke never comes back.
    ///
    /// # Errors
    /// There is no such server, or it is not reached at the moment.
    pub(crate) fn get(&self, to: RunId) -> Result<Arc<Link>, Unreachable> {
        let mut table = self.table.lock();
        loop {
            match table.by_run.get(&to) {
                Some(Slot::Up(link)) if !link.is_broken() => return Ok(Arc::clone(link)),
                Some(Slot::Making(_)) => table = self.made.wait(table),
                _ => {
                    self.begin(table, to, Vec::new())?;
                    return self.made_here(to).make();
                }
            }
        }
    }

    /// Asks another server, and waits for its answer for `patience` at most.
    ///
    /// # Errors
    /// It is not reached, the link broke, or the answer did not come in time.
    pub(crate) fn call(
        &self,
        to: RunId,
        call: &Call,
        patience: Duration,
    ) -> Result<Called, Unreachable> {
        let deadline = clock::now() + patience;
        let link = self.get(to)?;
        link.call(call, deadline.saturating_duration_since(clock::now()))
    }

    /// Tells the session of a user at another server of an event. It does not wait: where there is no link,
    /// a thread makes one. The event is dropped if that server is not reached or takes nothing at the moment.
    pub(crate) fn event(self: &Arc<Self>, to: RunId, told: &Told) {
        let mut table = self.table.lock();
        match table.by_run.get_mut(&to) {
            Some(Slot::Up(link)) if !link.is_broken() => {
                let link = Arc::clone(link);
                drop(table);
                return link.event(told);
            }
            Some(Slot::Making(events)) => {
                if events.len() < MAX_EVENTS {
                    wire::write_event(events, told);
                }
                return;
            }
            _ => {}
        }
        let mut events = Vec::new();
        wire::write_event(&mut events, told);
        if self.begin(table, to, events).is_err() {
            return;
        }
        let links = Arc::clone(self);
        let spawned = sync::spawn("peer-connect", Some(STACK), move || {
            let _unreachable = links.made_here(to).make();
        });
        if spawned.is_err() {
            drop(self.made_here(to));
        }
    }

    /// What [`begin`](Self::begin) has let this thread do.
    fn made_here(&self, to: RunId) -> Making<'_> {
        Making {
            links: self,
            to,
            made: None,
        }
    }

    /// Lets the caller make a link, unless it should not be tried.
    fn begin(
        &self,
        mut table: MutexGuard<'_, Table>,
        to: RunId,
        events: Vec<u8>,
    ) -> Result<(), Unreachable> {
        let now = clock::now();
        let paused = matches!(table.by_run.get(&to), Some(Slot::Down(until)) if now < *until);
        if table.stopped || paused {
            return Err(Unreachable);
        }
        // What is over is forgotten.
        table.by_run.retain(|_, slot| match slot {
            Slot::Making(_) => true,
            Slot::Up(link) => !link.is_broken(),
            Slot::Down(until) => now < *until,
        });
        table.by_run.insert(to, Slot::Making(events));
        Ok(())
    }

    /// Connects to a run.
    fn connect(&self, to: RunId) -> Option<Arc<Link>> {
        let node = match self.homes.nodes() {
            Ok(nodes) => nodes.into_iter().find(|node| node.run == to)?,
            Err(error) => {
                self.log_unreached("another server", &error);
                return None;
            }
        };
        let name = node.name.clone();
        match self.connect_to(node) {
            Ok(link) => Some(link),
            Err(error) => {
                self.log_unreached(&name, &error);
                None
            }
        }
    }

    fn connect_to(&self, node: Node) -> io::Result<Arc<Link>> {
        let at = node.address.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "it has not said yet where it listens",
            )
        })?;
        let name = format!("{} ({at})", node.name);
        let known = handshake::connect(&self.us, self.connector.as_ref(), node.run, at)?;
        Link::begin(name, known, self.us.lease.clone(), Arc::clone(&self.stats))
    }

    /// Says that a server is not reached, but not each time.
    fn log_unreached(&self, who: &str, why: &dyn std::fmt::Display) {
        let now = clock::now();
        let mut table = self.table.lock();
        let is_due = table.logged.is_due(who, now);
        drop(table);
        if !is_due {
            return;
        }
        log::warn(
            None,
            format_args!(
                "{who} is not reached: {why}; see that this machine reaches its --peer-listen and that both \
                 show the same certificate"
            ),
        );
    }

    /// Breaks the link to a run that has ended, at once.
    pub(super) fn ended(&self, run: RunId) {
        let mut table = self.table.lock();
        let link = match table.by_run.get(&run) {
            Some(Slot::Up(link)) => Arc::clone(link),
            _ => return,
        };
        table.by_run.remove(&run);
        drop(table);
        link.break_off("its run has ended");
    }

    /// Makes no further links, and ends those that there are once what waits has left.
    pub(super) fn stop(&self, limit: Duration) {
        let mut table = self.table.lock();
        table.stopped = true;
        let slots: Vec<Slot> = table.by_run.drain().map(|(_, slot)| slot).collect();
        drop(table);
        self.made.notify_all();
        let deadline = clock::now() + limit;
        for slot in slots {
            if let Slot::Up(link) = slot {
                link.finish(deadline.saturating_duration_since(clock::now()));
            }
        }
    }
}

impl Making<'_> {
    fn make(mut self) -> Result<Arc<Link>, Unreachable> {
        self.made = self.links.connect(self.to);
        self.made.clone().ok_or(Unreachable)
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        let mut table = self.links.table.lock();
        let slot = match &self.made {
            Some(link) if !table.stopped => Slot::Up(Arc::clone(link)),
            _ => Slot::Down(clock::now() + PAUSE),
        };
        let waited = table.by_run.insert(self.to, slot);
        let stopped = table.stopped;
        drop(table);
        self.links.made.notify_all();
        match (&self.made, waited) {
            (Some(link), _) if stopped => link.finish(Duration::ZERO),
            (Some(link), Some(Slot::Making(events))) => link.events(&events),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_that_is_not_reached_is_named_once_a_minute() {
        let mut logged = Logged::default();
        let start = Instant::now();
        let seconds = |count| start + Duration::from_secs(count);
        assert!(logged.is_due("first", seconds(0)));
        assert!(logged.is_due("second", seconds(1)));
        assert!(!logged.is_due("first", seconds(60)) && !logged.is_due("second", seconds(60)));
        assert!(logged.is_due("first", seconds(61)) && !logged.is_due("second", seconds(61)));
        assert!(logged.is_due("second", seconds(62)));
        assert!(!logged.is_due("first", seconds(62)));
    }
}
