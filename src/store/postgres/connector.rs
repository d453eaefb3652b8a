//! Makes connections to one database, encrypted or not, and sets their sessions up.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use postgres::config::Host;
use postgres::error::Severity;
use postgres::{CancelToken, Client, NoTls};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::{DatabaseTls, StoreAddress};
use super::connection::{Connection, Timelines};
use super::failure::Failure;
use super::open_error::OpenError;
use super::values::get;
use crate::sync::Mutex;

/// What each session is set to. A commit returns when its bytes are synced, by a synchronous standby too if
/// there is one, whatever the database's own setting is. A server that stands still in a transaction holds
/// its rows for no longer than others wait for the end of its lease.
const SESSION: &str = "
    SET synchronous_commit = on;
    SET idle_in_transaction_session_timeout = '5s';
    SET lock_timeout = '2s';
    SET enable_seqscan = off;
    SET tcp_keepalives_idle = 5;
    SET tcp_keepalives_interval = 3;
    SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = '15s';
    SET client_min_messages = warning;
    SET standard_conforming_strings = on;
    SET default_transaction_isolation = 'read committed'";

/// Makes connections to one database.
#[derive(Clone)]
pub(super) struct Connector {
    parameters: postgres::Config,
    tls: Option<MakeRustlsConnect>,
    timelines: Timelines,
    /// The connections that were made, to break those off that lead to a primary of before. It is whole at
    /// every step, and held for one.
    made: Arc<Mutex<Vec<Made>>>,
}

/// A connection, as long as it is used.
struct Made {
    timeline: u32,
    token: CancelToken,
    /// The connection has the other end of this.
    used: Weak<AtomicBool>,
}

impl Made {
    fn is_used(&self) -> bool {
        self.used.strong_count() > 0
    }
}

impl Connector {
    pub(super) fn new(address: &StoreAddress) -> Result<Self, OpenError> {
        let parameters = address.parameters().map_err(OpenError::Address)?;
        let tls = match address.tls() {
            DatabaseTls::Off => None,
            DatabaseTls::Verified(file) => Some(verified(file.as_ref())?),
        };
        Ok(Connector {
            parameters,
            tls,
            timelines: Timelines::default(),
            made: Arc::default(),
        })
    }

    /// A connection whose session is set up. Of several hosts it leads to one that takes writes and was not replaced
    /// by another.
    pub(super) fn connect(&self) -> Result<Connection, Failure> {
        match self.connect_with(&self.parameters) {
            Err(Failure::Outdated) => {
                let mut others = each_host(&self.parameters);
                let found = others.find_map(|host| self.connect_with(&host).ok());
                found.ok_or(Failure::Outdated)
            }
            connected => connected,
        }
    }

    /// The first connection of all, and if there is none, why, for the operator. Of several hosts that are
    /// primaries, it leads to the newest.
    pub(super) fn first(&self) -> Result<Connection, OpenError> {
        self.meet_all();
        self.connect().map_err(|failure| match failure {
            Failure::Database(error) => OpenError::Connect(error),
            failure => OpenError::Failed(failure),
        })
    }

    /// Looks whether one of several hosts has become the primary, while another one still takes itself
    /// for it, and breaks off what waits there.
    pub(super) fn look_for_another_primary(&self) {
        self.meet_all();
        let mut outdated = Vec::new();
        self.made.lock().retain(|made| {
            let is_outdated = self.timelines.is_outdated(made.timeline);
            if made.is_used() && is_outdated {
                outdated.push(made.token.clone());
            }
            made.is_used() && !is_outdated
        });
        for token in outdated {
            // Where nobody answers, nobody waits for an answer for long either.
            let _cancelled = match &self.tls {
                None => token.cancel_query(NoTls),
                Some(tls) => token.cancel_query(tls.clone()),
            };
        }
    }

    /// Notes the timeline of each of several hosts that is a primary.
    fn meet_all(&self) {
        if self.parameters.get_hosts().len() < 2 {
            return;
        }
        for parameters in each_host(&self.parameters) {
            // One that is not reached, or is a standby, has none that matters.
            let _known_then = self.begin(&parameters);
        }
    }

    /// A connection whose session is set up, and its timeline, of which note is taken.
    fn begin(&self, parameters: &postgres::Config) -> Result<(Client, u32), Failure> {
        let mut client = match &self.tls {
            None => parameters.connect(NoTls),
            Some(tls) => parameters.connect(tls.clone()),
        }?;
        client.batch_execute(SESSION)?;
        let timeline = timeline(&mut client)?;
        self.timelines.meet(timeline);
        Ok((client, timeline))
    }

    fn connect_with(&self, parameters: &postgres::Config) -> Result<Connection, Failure> {
        let warned = Arc::new(AtomicBool::new(false));
        let mut parameters = parameters.clone();
        parameters.notice_callback({
            let warned = Arc::clone(&warned);
            move |notice| {
                if notice.parsed_severity() == Some(Severity::Warning) {
                    warned.store(true, Ordering::Release);
                }
            }
        });
        let (client, timeline) = self.begin(&parameters)?;
        if self.timelines.is_outdated(timeline) {
            return Err(Failure::Outdated);
        }
        let mut made = self.made.lock();
        made.retain(Made::is_used);
        made.push(Made {
            timeline,
            token: client.cancel_token(),
            used: Arc::downgrade(&warned),
        });
        drop(made);
        let timelines = self.timelines.clone();
        Ok(Connection::new(client, warned, timeline, timelines))
    }
}

#[cfg(test)]
impl Connector {
    /// As if a host of this timeline had been met.
    pub(super) fn meet(&self, timeline: u32) {
        self.timelines.meet(timeline);
    }
}

/// How to connect to each of several hosts alone.
fn each_host(parameters: &postgres::Config) -> impl Iterator<Item = postgres::Config> {
    let ports = parameters.get_ports();
    let hosts = parameters.get_hosts().iter().enumerate();
    hosts.map(move |(place, host)| {
        let mut one = postgres::Config::new();
        match host {
            Host::Tcp(name) => one.host(name),
            Host::Unix(folder) => one.host_path(folder),
        };
        if let Some(address) = parameters.get_hostaddrs().get(place) {
            one.hostaddr(*address);
        }
        if let Some(port) = ports.get(place).or(ports.first()) {
            one.port(*port);
        }
        if let Some(user) = parameters.get_user() {
            one.user(user);
        }
        if let Some(password) = parameters.get_password() {
            one.password(password);
        }
        if let Some(name) = parameters.get_dbname() {
            one.dbname(name);
        }
        if let Some(options) = parameters.get_options() {
            one.options(options);
        }
        if let Some(name) = parameters.get_application_name() {
            one.application_name(name);
        }
        if let Some(time) = parameters.get_connect_timeout() {
            one.connect_timeout(*time);
        }
        if let Some(time) = parameters.get_tcp_user_timeout() {
            one.tcp_user_timeout(*time);
        }
        if let Some(time) = parameters.get_keepalives_interval() {
            one.keepalives_interval(time);
        }
        if let Some(count) = parameters.get_keepalives_retries() {
            one.keepalives_retries(count);
        }
        one.keepalives_idle(parameters.get_keepalives_idle())
            .ssl_mode(parameters.get_ssl_mode())
            .ssl_negotiation(parameters.get_ssl_negotiation())
            .channel_binding(parameters.get_channel_binding())
            .target_session_attrs(parameters.get_target_session_attrs());
        one
    })
}

/// The timeline of a primary: the first part of its log's file names.
fn timeline(client: &mut Client) -> Result<u32, Failure> {
    let row = client.query_one("SELECT pg_walfile_name(pg_current_wal_lsn())", &[])?;
    let name: String = get(&row, 0)?;
    let timeline = name
        .get(..8)
        .and_then(|part| u32::from_str_radix(part, 16).ok());
    timeline.ok_or(Failure::Value("the name of a file of the log"))
}

/// TLS that takes only a certificate of the database's own name.
fn verified(file: Option<&PathBuf>) -> Result<MakeRustlsConnect, OpenError> {
    let mut roots = RootCertStore::empty();
    let given = match file {
        None => rustls_native_certs::load_native_certs().certs,
        Some(path) => CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .map_err(|error| OpenError::Roots(path.clone(), error))?,
    };
    if roots.add_parsable_certificates(given).0 == 0 {
        return Err(OpenError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(OpenError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_alone_is_reached_as_among_others() {
        let rest = "/chat?user=me&password=secret&application_name=a&options=-c%20x%3D1&connect_timeout=3&channel_binding=require";
        let of = |hosts: &str| {
            let address: StoreAddress = format!("postgres://{hosts}{rest}").parse().unwrap();
            address.parameters().unwrap()
        };
        let (both, first, second) = (of("one:1,two:2"), of("one:1"), of("two:2"));
        let alone: Vec<postgres::Config> = each_host(&both).collect();
        let shown = |parameters: &postgres::Config| format!("{parameters:?}");
        assert_eq!(
            alone.iter().map(shown).collect::<Vec<_>>(),
            [shown(&first), shown(&second)]
        );
        for parameters in &alone {
            assert_eq!(parameters.get_password(), Some(&b"secret"[..]));
        }
        let one_port = of("one,two").get_ports().len();
        assert_eq!(one_port, 2, "the driver names the port of each host");
    }
}
