//! Opening a database: connects, makes or checks the tables, and begins a run on it. What a
//! running server asks for is in `read` and `write`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use postgres::{Client, NoTls};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::{DatabaseTls, StoreAddress};
use super::connection::Connection;
use super::failure::Failure;
pub(crate) use super::open_error::OpenError;
use super::values::get;
use super::{read, statements};
use crate::clock;
use crate::store::UserId;
use crate::sync;

/// The schema's version, in table `server`.
const VERSION: &str = "version";

/// The version that this server makes and reads.
const OURS: &[u8] = b"1";

/// The oldest PostgreSQL that is tested, as `server_version_num` has it.
const OLDEST: i32 = 150_000;

/// The key of the advisory lock that a server holds: "SChs".
const LOCK: i64 = 0x5343_6873;

/// A run can give so many numbers: 2 to the power of this, in each mailbox.
const RUN_BITS: u32 = 40;

/// How long the database has to notice the end of the server before, and how often it is looked at.
const LAST_SERVER: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What each session is set to. A commit returns when its bytes are synced, whatever the
/// database's own setting is.
const SESSION: &str = "
    SET synchronous_commit = on;
    SET idle_in_transaction_session_timeout = '60s';
    SET client_min_messages = warning;
    SET standard_conforming_strings = on;
    SET default_transaction_isolation = 'read committed'";

/// Makes connections to one database.
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

/// What an opening leads to.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) run: i64,
    pub(super) first_number: u64,
    pub(super) secret: [u8; 32],
    pub(super) epoch: Option<[u8; 16]>,
    pub(super) deleted: Vec<UserId>,
}

/// Opens the database for this server alone.
pub(super) fn open(connector: &Connector, node: &str) -> Result<Opened, OpenError> {
    let mut client = connector.client().map_err(OpenError::Connect)?;
    client.batch_execute(SESSION).map_err(OpenError::Connect)?;
    let mut connection = Connection::new(client);
    check_version(&mut connection)?;
    if is_shared(connector, &mut connection)? {
        return Err(OpenError::Pooled);
    }
    let deadline = clock::now() + LAST_SERVER;
    while !lock(&mut connection)? {
        if clock::now() >= deadline {
            return Err(OpenError::InUse);
        }
        sync::sleep(LOOK_AGAIN);
    }
    let begun = begin(&mut connection, node);
    if begun.is_err() {
        let _usable = connection.roll_back();
    }
    let run = begun?;
    let secret = read::value(&mut connection, "secret")?;
    let secret = secret.and_then(|secret| secret.try_into().ok());
    let secret = secret.ok_or(Failure::Value("the server's secret"))?;
    let epoch = read::value(&mut connection, "epoch")?;
    let deleted = read::deleted_with_mail(&mut connection)?;
    Ok(Opened {
        run,
        // As in the SQLite store: each run has numbers of its own, above those of all before.
        first_number: (run as u64) << RUN_BITS,
        secret,
        epoch: epoch.and_then(|epoch| epoch.try_into().ok()),
        deleted,
        connection,
    })
}

fn check_version(connection: &mut Connection) -> Result<(), OpenError> {
    let row = connection.row("SELECT current_setting('server_version_num')::int", &[])?;
    let version: i32 = row.map_or(Ok(0), |row| get(&row, 0))?;
    match version {
        OLDEST.. => Ok(()),
        _ => Err(OpenError::Old(version)),
    }
}

/// Whether two connections are one to the database, as through a pooler that gives each transaction the
/// connection that was free last. Locks and prepared statements would be lost there.
fn is_shared(connector: &Connector, first: &mut Connection) -> Result<bool, Failure> {
    let process = |connection: &mut Connection| -> Result<i32, Failure> {
        let row = connection.query("SELECT pg_backend_pid()")?;
        row.first().map_or(Ok(0), |row| get(row, 0))
    };
    let mut second = connector.connect()?;
    let before = process(first)?;
    second.run("BEGIN")?;
    let shared = process(&mut second)? == before;
    // A farewell that is not heard leaves nothing behind.
    let _said = second.close();
    Ok(shared)
}

/// Takes the lock that says who uses the database. It lasts as long as the connection does, so it
/// is a courtesy to the operator; what keeps two servers apart is their runs' rows.
pub(super) fn lock(connection: &mut Connection) -> Result<bool, Failure> {
    let row = connection.row(statements::TRY_LOCK, &[&LOCK])?;
    row.map_or(Ok(false), |row| get(&row, 0))
}

/// Makes the tables if there are none, ends all earlier runs, and begins one.
fn begin(connection: &mut Connection, node: &str) -> Result<i64, OpenError> {
    connection.run("BEGIN")?;
    let found = connection.row("SELECT to_regclass('server') IS NOT NULL", &[])?;
    if found.map_or(Ok(false), |row| get(&row, 0))? {
        match read::value(connection, VERSION) {
            Ok(Some(version)) if version == OURS => {}
            Ok(Some(_)) => return Err(OpenError::Newer),
            Ok(None) => return Err(OpenError::Foreign),
            Err(failure) if failure.is_disconnection() => return Err(failure.into()),
            Err(_) => return Err(OpenError::Foreign),
        }
    } else {
        connection.run(include_str!("schema.sql"))?;
        let mut secret = [0; 32];
        rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut secret)
            .map_err(|_| Failure::Value("the system's randomness"))?;
        connection.execute(statements::ADD_VALUE, &[&"secret", &&secret[..]])?;
        connection.execute(statements::ADD_VALUE, &[&VERSION, &OURS])?;
    }
    connection.execute(statements::END_RUNS, &[])?;
    let row = connection.row(statements::BEGIN_RUN, &[&node])?;
    let run = row.map_or(Ok(0), |row| get(&row, 0))?;
    connection.run("COMMIT")?;
    Ok(run)
}
