//! What all connections share.

use std::sync::Arc;

use super::config::Config;
use super::delivery::Delivery;
use super::delivery::sessions::Sessions;
use super::delivery::writer::Writer;
use super::limits::Limits;
use super::limits::kdf_queue::Derivations;
use super::stats::Counters;
use crate::store::Store;
use crate::transport::tls::Acceptor;

/// The server's parts, wired together.
pub struct Core {
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
    /// Turns for expensive derivations.
    pub derivations: Derivations,
    /// What any one address, account or connection may ask for.
    pub limits: Limits,
    /// What happened so far.
    pub counters: Arc<Counters>,
}

impl Core {
    /// Wires the parts. The writer's thread is not started yet.
    pub fn new(config: Config, store: Arc<dyn Store>, tls: Option<Acceptor>) -> Self {
        let writer = Arc::new(Writer::default());
        let sessions = Arc::new(Sessions::default());
        let counters = Arc::new(Counters::default());
        let delivery = Arc::new(Delivery::new(
            Arc::clone(&store),
            Arc::clone(&writer),
            Arc::clone(&sessions),
            Arc::clone(&counters),
            config.quota,
            config.unencrypted,
        ));
        let limits = Limits::new(config.limits.clone());
        let derivations = Derivations::new(config.limits.console_logins_per_minute);
        Core {
            config,
            tls,
            store,
            writer,
            sessions,
            delivery,
            derivations,
            limits,
            counters,
        }
    }
}
