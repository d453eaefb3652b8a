//! What an operator can set. `args` fills it from the command line and the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::delivery::mailbox::Quota;
use super::limits::Settings;

/// The server's settings, with units.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The folder of the database; made if it is missing.
    pub data: PathBuf,
    /// Begin anew where the folder has lost its database or its certificate.
    pub new: bool,
    /// Connections at most.
    pub max_clients: usize,
    /// The longest line taken, in bytes.
    pub max_line: usize,
    /// Time from connecting, or logging out, to a login.
    pub login_time: Duration,
    /// Time for a TLS handshake.
    pub handshake_time: Duration,
    /// Silence after which a client is asked whether it is there.
    pub ping_after: Duration,
    /// Silence after which a client is dropped.
    pub idle_limit: Duration,
    /// How much a mailbox holds.
    pub quota: Quota,
    /// What any one address, account or connection may ask for.
    pub limits: Settings,
    /// Take unencrypted messages at all.
    pub unencrypted: bool,
    /// Let people make accounts.
    pub registration: bool,
    /// Take plain TCP from other machines too.
    pub plaintext: bool,
    /// The operator's own certificate and its key; otherwise one is made.
    pub certificate: Option<(PathBuf, PathBuf)>,
}
