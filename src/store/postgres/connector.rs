//! Makes connections to one database, encrypted or not, and sets their sessions up.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use postgres::config::LoadBalanceHosts;
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

    /// A connection whose session is set up.
    pub(super) fn connect(&self) -> Result<Connection, Failure> {
        self.connect_in(self.parameters.get_load_balance_hosts())
    }

    /// The same, and if there is none, why, for the operator.
    pub(super) fn first(&self) -> Result<Connection, OpenError> {
        self.connect().map_err(|failure| match failure {
            Failure::Database(error) => OpenError::Connect(error),
            failure => OpenError::Failed(failure),
        })
    }

    /// Looks whether one of several hosts has become the primary, while another one still takes itself
    /// for it, and breaks off what waits there.
    pub(super) fn look_for_another_primary(&self) {
        if self.parameters.get_hosts().len() > 1 {
            // Whichever host it is, its timeline is noted.
            let _found = self.connect_in(LoadBalanceHosts::Random);
        }
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

    fn connect_in(&self, order: LoadBalanceHosts) -> Result<Connection, Failure> {
        let warned = Arc::new(AtomicBool::new(false));
        let mut parameters = self.parameters.clone();
        parameters.load_balance_hosts(order).notice_callback({
            let warned = Arc::clone(&warned);
            move |notice| {
                if notice.parsed_severity() == Some(Severity::Warning) {
                    warned.store(true, Ordering::Release);
                }
            }
        });
        let mut client = self.client(&parameters)?;
        client.batch_execute(SESSION)?;
        let timeline = timeline(&mut client)?;
        self.timelines.meet(timeline);
        if self.timelines.is_outdated(timeline) {
            return match order {
                // Its address may be the first of several.
                LoadBalanceHosts::Disable if parameters.get_hosts().len() > 1 => {
                    self.connect_in(LoadBalanceHosts::Random)
                }
                _ => Err(Failure::Outdated),
            };
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

    fn client(&self, parameters: &postgres::Config) -> Result<Client, postgres::Error> {
        match &self.tls {
            None => parameters.connect(NoTls),
            Some(tls) => parameters.connect(tls.clone()),
        }
    }
}

#[cfg(test)]
impl Connector {
    /// As if a host of this timeline had been met.
    pub(super) fn meet(&self, timeline: u32) {
        self.timelines.meet(timeline);
    }
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
