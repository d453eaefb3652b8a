//! The operator's settings. `args` reads them from the command line and the environment.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::delivery::mailbox::Quota;
use super::limits::Settings;
use super::limits::ip_prefix::IpPrefix;
use super::listen::ListenOn;
use super::log;
use crate::store::StoreAddress;

/// Who may make an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Registration {
    /// Anybody
    #[value(alias = "true")]
    Open,
    /// Who has an invitation
    Invite,
    /// Nobody; the operator adds accounts
    #[value(alias = "false")]
    Closed,
}

/// The server's settings.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The addresses and ports to listen on, at least one.
    pub listen: Vec<ListenOn>,
    /// The folder of the database; made if it is missing.
    pub data: PathBuf,
    /// The database that holds accounts and mail, and the name that this server goes by there; without
    /// it, the file in the folder holds them.
    pub store: Option<(StoreAddress, String)>,
    /// Where other servers of the database reach this one; where it chooses, without it.
    pub peer_listen: Option<SocketAddr>,
    /// For so many synchronous standbys each commit to the database is to wait, or it is said.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(dead_code, reason = "only a database has standbys")
    )]
    pub standbys: u32,
    /// Whether no other server may use the database meanwhile, as for a command on a stopped server.
    pub alone: bool,
    /// Whether to begin anew where the folder has lost its database or its certificate.
    pub new: bool,
    /// The most connections.
    pub max_clients: usize,
    /// The longest line taken, in bytes.
    pub max_line: usize,
    /// The longest time from connecting, or logging out, to a login.
    pub login_time: Duration,
    /// The longest time that a TLS handshake takes.
    pub handshake_time: Duration,
    /// The silence after which a client is sent a ping.
    pub ping_after: Duration,
    /// The silence after which a client is disconnected.
    pub idle_limit: Duration,
    /// How much a mailbox holds.
    pub quota: Quota,
    /// What any one address, account or connection may ask for.
    pub limits: Settings,
    /// For how long it is kept when people were last seen; for ever without it.
    pub keep_last_seen: Option<Duration>,
    /// For how long mail waits for its recipient; for ever without it.
    pub keep_mail: Option<Duration>,
    /// Whether to accept unencrypted messages.
    pub unencrypted: bool,
    /// Who may make an account.
    pub registration: Registration,
    /// How many invitations a member may have open; zero is none.
    pub member_invitations: u32,
    /// Whether to accept plain TCP from other machines as well.
    pub plaintext: bool,
    /// From where, besides this machine, the console may be used.
    pub console_from: Vec<IpPrefix>,
    /// Where changes are written that a restore must not undo; nowhere without it.
    pub journal: Option<PathBuf>,
    /// Addresses of proxies: each connection from there says in a PROXY header whose it is.
    pub proxy_from: Vec<IpPrefix>,
    /// Where the log goes, and what is in it.
    pub log: log::Settings,
    /// Where Prometheus may fetch the metrics; nowhere without it.
    pub metrics: Option<SocketAddr>,
    /// The files of the operator's own certificate and its key. With `None`, the server makes one.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl Config {
    /// Whether connections from this address are a proxy's.
    pub(crate) fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxy_from.iter().any(|net| net.contains(address))
    }

    /// These settings with those of `new` that a running server takes.
    pub(crate) fn taking(&self, new: Config) -> Config {
        Config {
            login_time: new.login_time,
            handshake_time: new.handshake_time,
            ping_after: new.ping_after,
            idle_limit: new.idle_limit,
            limits: Settings {
                console_logins_per_minute: self.limits.console_logins_per_minute,
                ..new.limits
            },
            keep_last_seen: new.keep_last_seen,
            keep_mail: new.keep_mail,
            unencrypted: new.unencrypted,
            registration: new.registration,
            member_invitations: new.member_invitations,
            plaintext: new.plaintext,
            console_from: new.console_from,
            proxy_from: new.proxy_from,
            log: log::Settings {
                level: new.log.level,
                ..self.log.clone()
            },
            ..self.clone()
        }
    }
}
