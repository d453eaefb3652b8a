//! What all connections share.

use std::sync::Arc;

use super::config::Config;
use super::delivery::Delivery;
use super::delivery::sessions::Sessions;
use super::delivery::writer::Writer;
use super::limits::Limits;
use super::limits::kdf_queue::KdfQueue;
use super::stats::Stats;
use crate::store::Store;
use crate::transport::tls::Acceptor;

/// The server's parts, wired together.
pub(crate) struct Shared {
    /// As set.
    pub config: Config,
    /// TLS; without it the port speaks plain TCP only.
    pub tls: Option<Acceptor>,
    /// To read from; `writer` changes it.
    pub store: Arc<dyn Store>,
    /// The one thread that writes.
    pub writer: Arc<Writer>,
    /// Who is logged in.
    pub sessions: Arc<Sessions>,
    /// Mailboxes.
    pub delivery: Arc<Delivery>,
    /// WaitingLine for expensive derivations.
    pub kdf_queue: KdfQueue,
    /// What any one address, account or connection may ask for.
    pub limits: Limits,
    /// What happened so far.
    pub stats: Arc<Stats>,
}

impl Shared {
    /// Wires the parts. The writer's thread is not started yet.
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
        let limits = Limits::new(config.limits.clone());
        let kdf_queue = KdfQueue::new(config.limits.console_logins_per_minute);
        Shared {
            config,
            tls,
            store,
            writer,
            sessions,
            delivery,
            kdf_queue,
            limits,
            stats,
        }
    }
}
