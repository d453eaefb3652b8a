//! Whose connection it is that a proxy has made: the header that it has to begin with, and what is
//! decided by the client's address once that is known. What a header looks like is in
//! [`proxy_header`].

use std::sync::Arc;

use super::Connection;
use crate::server::net::disconnect;
use crate::server::net::disconnect::Disconnect;
use crate::server::net::registry::Connections;
use crate::transport::proxy_header;

impl Connection {
    /// Takes the proxy's header from what was read, if this is a proxy's connection and nothing
    /// has said yet whose it is. Returns `false` if more of the header has to come.
    pub(super) fn take_proxy_header(&mut self) -> Result<bool, Disconnect> {
        let Some(connections) = self.unidentified.clone() else {
            return Ok(true);
        };
        let parsed = proxy_header::parse(self.lines.rest());
        let Some(header) = parsed.map_err(disconnect::bad_proxy_header)? else {
            return Ok(false);
        };
        self.unidentified = None;
        self.deadlines.proxy_header = None;
        self.lines.skip(header.length);
        if let Some(client) = header.client {
            self.peer = client;
            self.handler.set_peer(client);
            self.is_of_proxy = false;
            self.is_here &= client.ip().is_loopback();
            self.identify(&connections)?;
        }
        Ok(true)
    }

    /// Counts the connection for its client's address, and ends it if that has too many or is
    /// banned. A ban that comes meanwhile finds it in the registry.
    fn identify(&mut self, connections: &Arc<Connections>) -> Result<(), Disconnect> {
        let limits = &self.shared.limits;
        let from = limits.counted_address(self.peer.ip());
        let most = limits.settings().clients_per_address;
        let identified = connections.identify(self.id, self.peer, from, most);
        identified.map_err(|too_many| Disconnect::Refused(disconnect::too_many(too_many)))?;
        if limits.is_banned(self.peer.ip()) {
            return Err(Disconnect::Refused(disconnect::banned()));
        }
        self.handler.set_network(from);
        Ok(())
    }
}
