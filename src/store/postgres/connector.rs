//! Makes connections to one database, encrypted or not, and sets their sessions up.

use std::path::PathBuf;
use std::sync::Arc;

use postgres::{Client, NoTls};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::{DatabaseTls, StoreAddress};
use super::connection::Connection;
use super::failure::Failure;
use super::open_error::OpenError;

/// What each session is set to. A commit returns when its bytes are synced, whatever the
/// database's own setting is.
const SESSION: &str = "
    SET synchronous_commit = on;
    SET idle_in_transaction_session_timeout = '60s';
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
}

impl Connector {
    pub(super) fn new(address: &StoreAddress) -> Result<Self, OpenError> {
        let parameters = address.parameters().map_err(OpenError::Address)?;
        let tls = match address.tls() {
            DatabaseTls::Off => None,
            DatabaseTls::Verified(file) => Some(verified(file.as_ref())?),
        };
        Ok(Connector { parameters, tls })
    }

    /// A connection whose session is set up.
    pub(super) fn connect(&self) -> Result<Connection, Failure> {
        let mut client = self.client()?;
        client.batch_execute(SESSION)?;
        Ok(Connection::new(client))
    }

    /// The same, and if there is none, why, for the operator.
    pub(super) fn first(&self) -> Result<Connection, OpenError> {
        let mut client = self.client().map_err(OpenError::Connect)?;
        client.batch_execute(SESSION).map_err(OpenError::Connect)?;
        Ok(Connection::new(client))
    }

    fn client(&self) -> Result<Client, postgres::Error> {
        match &self.tls {
            None => self.parameters.connect(NoTls),
            Some(tls) => self.parameters.connect(tls.clone()),
        }
    }
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
