//! Why a database can't be used, each a sentence that says what to do next.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use postgres::error::SqlState;
use rustls::pki_types::pem;

use super::address::AddressError;
use super::failure::Failure;

/// Why two servers can't use a database at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// They have one name.
    Name,
    /// This one wants it alone.
    Alone,
    /// The other one does.
    OtherAlone,
    /// The other one is of an earlier version, which has it alone.
    Earlier,
}

/// Why a database can't be used.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// The files of passwords or services.
    Address(AddressError),
    /// The roots that vouch for the database's certificate.
    Roots(PathBuf, pem::Error),
    /// The system has no such roots.
    NoRoots,
    /// TLS itself.
    Tls(rustls::Error),
    /// No connection.
    Connect(postgres::Error),
    /// PostgreSQL is too old.
    Old(i32),
    /// Another server stands in the way, of this name.
    InUse(String, Conflict),
    /// Tables of another program are there.
    Foreign,
    /// A newer version of this server has made the tables.
    Newer,
    /// The system has no thread to give.
    NoThread(io::Error),
    /// Something between it and the server shares its connections.
    Pooled,
    /// Anything else.
    Failed(Failure),
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        OpenError::Failed(failure)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Address(error) => write!(f, "{error}"),
            OpenError::Roots(path, error) => write!(
                f,
                "the certificates in {} (sslrootcert) can't be read: {error}",
                path.display()
            ),
            OpenError::NoRoots => f.write_str(
                "this system has no root certificates to verify the database with; install them, \
                 or name a file with sslrootcert=FILE",
            ),
            OpenError::Tls(error) => write!(f, "TLS to the database can't be set up: {error}"),
            OpenError::Connect(error) => write_connect(f, error),
            OpenError::Old(version) => write!(
                f,
                "the database is PostgreSQL {}, and 15 or later is needed",
                version / 10_000
            ),
            OpenError::InUse(node, why) => write_in_use(f, node, *why),
            OpenError::Foreign => f.write_str(
                "the database has tables of another program that are named as ours; make a \
                 database of its own for this server",
            ),
            OpenError::Newer => f.write_str(
                "a newer version of this server has made the tables of this database; start that \
                 version",
            ),
            OpenError::NoThread(error) => write!(f, "the system has no thread: {error}"),
            OpenError::Pooled => f.write_str(
                "between this server and the database is a pooler that shares connections, as PgBouncer \
                 does in transaction mode; connect to PostgreSQL itself, or to a pool with \
                 pool_mode=session",
            ),
            OpenError::Failed(failure) => write_failed(f, failure),
        }
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            OpenError::Address(error) => Some(error),
            OpenError::Roots(_, error) => Some(error),
            OpenError::Tls(error) => Some(error),
            OpenError::Connect(error) => Some(error),
            OpenError::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}

fn write_in_use(f: &mut fmt::Formatter<'_>, node: &str, why: Conflict) -> fmt::Result {
    match why {
        Conflict::Name => write!(
            f,
            "another server of this database has the name {node} too; give each a name of its own \
             with --node, or stop that one first"
        ),
        Conflict::Alone => write!(
            f,
            "another server uses this database, {node}; stop all its servers first, or give the \
             command in the data folder of one that runs"
        ),
        Conflict::OtherAlone => write!(
            f,
            "{node} has this database alone at the moment; start again when that has ended"
        ),
        Conflict::Earlier => write!(
            f,
            "a server of an earlier version uses this database, {node}; stop all servers of that \
             version first, then start this one, which changes the tables for its version"
        ),
    }
}

fn write_connect(f: &mut fmt::Formatter<'_>, error: &postgres::Error) -> fmt::Result {
    let Some(said) = error.as_db_error() else {
        if let Some(cause) = tls_error(error) {
            return write_tls(f, cause);
        }
        let why = Failure::message(error);
        return match why.contains("password missing") {
            true => f.write_str(
                "the database asks for a password; put it into the environment variable PGPASSWORD, or \
                 into a file of mode 0600 that PGPASSFILE names, one line \
                 HOST:PORT:DATABASE:USER:PASSWORD",
            ),
            false if why.contains("does not allow writes") => f.write_str(
                "the database is read-only: it is a standby, or is set to be; name the primary, or all \
                 hosts with commas between them",
            ),
            false if why.contains("does not support TLS") => f.write_str(
                "the database offers no TLS; set ssl=on there, or, if it is on this machine or in a network \
                 of your own, write sslmode=disable into --store",
            ),
            false => write!(
                f,
                "the database can't be reached: {why}; check that it runs, and the host and port of \
                 --store"
            ),
        };
    };
    let remedy = match said.code() {
        &SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "check the user in --store, the password in PGPASSWORD or PGPASSFILE, and pg_hba.conf"
        }
        &SqlState::INVALID_CATALOG_NAME => "make it with createdb, or name another with --store",
        &SqlState::TOO_MANY_CONNECTIONS | &SqlState::CONFIGURATION_LIMIT_EXCEEDED => {
            "a server needs 7; raise max_connections, or the limit of the role or the database"
        }
        &SqlState::INSUFFICIENT_PRIVILEGE => "give the server's role the right to connect",
        &SqlState::CANNOT_CONNECT_NOW => "it is starting or stopping, so try again",
        _ => "see the log of PostgreSQL",
    };
    write!(f, "the database refuses: {}; {remedy}", said.message())
}

/// What TLS itself has found wrong.
fn tls_error(error: &postgres::Error) -> Option<&rustls::Error> {
    let cause: &io::Error = error.source()?.downcast_ref()?;
    cause.get_ref()?.downcast_ref()
}

fn write_tls(f: &mut fmt::Formatter<'_>, error: &rustls::Error) -> fmt::Result {
    use rustls::CertificateError as Certificate;
    let rustls::Error::InvalidCertificate(why) = error else {
        return write!(
            f,
            "the database can't be reached under TLS: {error}; see its log"
        );
    };
    match why {
        // The signature is bad if somebody else has the name of who signed it.
        Certificate::UnknownIssuer | Certificate::BadSignature => f.write_str(
            "nobody whom this system trusts vouches for the database's certificate; name the file with the \
             certificate of who does, with sslrootcert=FILE in --store",
        ),
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => write!(
            f,
            "the database's certificate is for another name than the host in --store ({why}); write the name \
             that it has, or give the database a certificate for this one"
        ),
        _ => write!(
            f,
            "the database's certificate is not taken: {why}; give the database another one"
        ),
    }
}

fn write_failed(f: &mut fmt::Formatter<'_>, failure: &Failure) -> fmt::Result {
    let remedy = match failure.state() {
        Some(state)
            if [
                &SqlState::INSUFFICIENT_PRIVILEGE,
                &SqlState::INVALID_SCHEMA_NAME,
            ]
            .contains(&state) =>
        {
            "make the server's role the owner of the database, or grant it all rights in the schema"
        }
        Some(state) if *state == SqlState::READ_ONLY_SQL_TRANSACTION => {
            "it is read-only: name the primary, or set default_transaction_read_only=off"
        }
        Some(state) if *state == SqlState::DISK_FULL => "make room on its disk",
        _ => "see the log of PostgreSQL",
    };
    write!(f, "the database can't be opened: {failure}; {remedy}")
}
