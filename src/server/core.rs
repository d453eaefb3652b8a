//! What all connections share.

use std::sync::Arc;

use super::accounts::Derivations;
use super::config::Config;
use super::counters::Counters;
use super::delivery::Delivery;
use super::sessions::Sessions;
use super::writer::Writer;
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
        Core {
            config,
            tls,
            store,
            writer,
            sessions,
            delivery,
            derivations: Derivations::default(),
            counters,
        }
    }
}
