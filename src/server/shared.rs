//! The parts of the server that all connections share, wired together. What they do is decided
//! in their own modules.

use std::sync::Arc;

use super::config::Config;
use super::delivery::Delivery;
use super::delivery::sessions::Sessions;
use super::delivery::writer::Writer;
use super::limits::Limits;
use super::limits::kdf_queue::KdfQueue;
use super::log;
use super::rotation::Rotation;
use super::stats::Stats;
use crate::store::Store;
use crate::sync::Mutex;
use crate::transport::tls::Acceptor;

/// One of each part.
pub(crate) struct Shared {
    /// What the operator has set. Held to copy the pointer or to exchange it, alone.
    config: Mutex<Arc<Config>>,
    /// Accepts TLS. A build without TLS has none and speaks plain TCP only.
    pub tls: Option<Arc<Acceptor>>,
    /// Which certificates the servers of the store may show.
    pub rotation: Arc<Rotation>,
    /// For reading; only `writer` changes it.
    pub store: Arc<dyn Store>,
    /// The queue of the one thread that writes to the store.
    pub writer: Arc<Writer>,
    /// Who is logged in.
    pub sessions: Arc<Sessions>,
    /// The mailboxes.
    pub delivery: Arc<Delivery>,
    /// Who may have a key derived from a console password.
    pub kdf_queue: KdfQueue,
    /// What any one address, account or connection may ask for.
    pub limits: Limits,
    /// Counts of what has happened since the start.
    pub stats: Arc<Stats>,
}

impl Shared {
    /// Makes the parts. It starts no thread.
    pub(crate) fn new(config: Config, store: Arc<dyn Store>, tls: Option<Acceptor>) -> Self {
        let writer = Arc::new(Writer::default());
        let sessions = Arc::new(Sessions::default());
        let stats = Arc::new(Stats::default());
        let delivery = Arc::new(Delivery::new(
            Arc::clone(&store),
            Arc::clone(&writer),
            Arc::clone(&sessions),
            Arc::clone(&stats),
            config.quota,
            config.unencrypted,
        ));
        let limits = Limits::new(config.limits);
        let kdf_queue = KdfQueue::new(config.limits.console_logins_per_minute);
        Shared {
            config: Mutex::new(Arc::new(config)),
            tls: tls.map(Arc::new),
            rotation: Arc::new(Rotation::new(Arc::clone(&store))),
            store,
            writer,
            sessions,
            delivery,
            kdf_queue,
            limits,
            stats,
        }
    }

    /// What the operator has set, at this moment.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.lock())
    }

    /// Goes on with other settings; what can't change while it runs is as it was in them. Open
    /// connections keep the times that they began with.
    pub(crate) fn set_config(&self, config: Config) {
        self.limits.set(config.limits);
        self.delivery.set_accepts_unencrypted(config.unencrypted);
        log::set_level(config.log.level);
        *self.config.lock() = Arc::new(config);
    }
}
