//! Opening a database: connects, makes or checks the tables, and begins a run on it. What a
//! running server asks for is in `read` and `write`.

use std::time::Duration;

use super::connection::Connection;
use super::connector::Connector;
use super::failure::Failure;
use super::lease::Seen;
use super::open_error::OpenError;
use super::values::get;
use super::{lease, read, statements};
use crate::clock;
use crate::store::UserId;
use crate::sync;

/// The schema's version, in table `server`.
const VERSION: &str = "version";

/// The version that this server makes and reads.
const OURS: &[u8] = b"1";

/// The oldest PostgreSQL that is tested, as `server_version_num` has it.
const OLDEST: i32 = 150_000;

/// The key of the advisory lock under which servers start one after another: "SChs".
const LOCK: i64 = 0x5343_6873;

/// A run can give so many numbers: 2 to the power of this, in each mailbox.
pub(super) const RUN_BITS: u32 = 40;

/// The pause before a server that waits connects again.
const RECONNECT: Duration = Duration::from_secs(1);

/// What an opening leads to.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) run: i64,
    /// The moment before the lease was taken, by [`clock::since_boot_ms`].
    pub(super) begun: u64,
    pub(super) first_number: u64,
    pub(super) secret: [u8; 32],
    pub(super) epoch: Option<[u8; 16]>,
    pub(super) deleted: Vec<UserId>,
}

/// Who opens the database, and what it does if another server uses it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    /// The name that it goes by.
    pub node: &'a str,
    /// The lock that it holds, see [`lock_identity`](crate::fs::lock_identity).
    pub place: &'a str,
    /// It waits for the end of the other, instead of giving up.
    pub standby: bool,
}

/// Opens the database for this server alone.
pub(super) fn open(connector: &Connector, candidate: Candidate<'_>) -> Result<Opened, OpenError> {
    loop {
        match try_open(connector, candidate) {
            // While it waits for another server, a database may come and go.
            Err(error) if candidate.standby && error.is_disconnection() => {
                sync::sleep(RECONNECT);
            }
            opened => return opened,
        }
    }
}

fn try_open(connector: &Connector, candidate: Candidate<'_>) -> Result<Opened, OpenError> {
    let mut connection = connector.first()?;
    check_version(&mut connection)?;
    if is_shared(connector, &mut connection)? {
        return Err(OpenError::Pooled);
    }
    in_turn(&mut connection, make_tables)?;
    let (run, begun) = loop {
        let seen = lease::wait(&mut connection, candidate.place, candidate.standby)?;
        let begun = clock::since_boot_ms();
        let run = in_turn(&mut connection, |connection| {
            begin(connection, candidate, seen.as_ref())
        })?;
        if let Some(run) = run {
            break (run, begun);
        }
    };
    let secret = read::value(&mut connection, "secret")?;
    let secret = secret.and_then(|secret| secret.try_into().ok());
    let secret = secret.ok_or(Failure::Value("the server's secret"))?;
    let epoch = read::value(&mut connection, "epoch")?;
    let deleted = read::deleted_with_mail(&mut connection)?;
    Ok(Opened {
        run,
        begun,
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

/// Runs a transaction while no other server starts.
fn in_turn<T>(
    connection: &mut Connection,
    run: impl FnOnce(&mut Connection) -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    connection.run("BEGIN")?;
    let done = connection
        .execute(statements::LOCK_STARTS, &[&LOCK])
        .map_err(OpenError::from)
        .and_then(|_| run(connection));
    match done {
        Ok(value) => {
            connection.run("COMMIT")?;
            Ok(value)
        }
        Err(error) => {
            let _usable = connection.roll_back();
            Err(error)
        }
    }
}

/// Makes the tables if there are none.
fn make_tables(connection: &mut Connection) -> Result<(), OpenError> {
    let found = connection.row("SELECT to_regclass('server') IS NOT NULL", &[])?;
    if found.map_or(Ok(false), |row| get(&row, 0))? {
        return match read::value(connection, VERSION) {
            Ok(Some(version)) if version == OURS => Ok(()),
            Ok(Some(_)) => Err(OpenError::Newer),
            Err(failure) if failure.is_disconnection() => Err(failure.into()),
            Ok(None) | Err(_) => Err(OpenError::Foreign),
        };
    }
    connection.run(include_str!("schema.sql"))?;
    let mut secret = [0; 32];
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut secret)
        .map_err(|_| Failure::Value("the system's randomness"))?;
    connection.execute(statements::ADD_VALUE, &[&"secret", &&secret[..]])?;
    connection.execute(statements::ADD_VALUE, &[&VERSION, &OURS])?;
    Ok(())
}

/// Ends the lease that was watched, and all earlier runs, and begins one with a lease of its own. `None` if
/// the lease was renewed, or another server has taken one.
fn begin(
    connection: &mut Connection,
    candidate: Candidate<'_>,
    seen: Option<&Seen>,
) -> Result<Option<i64>, OpenError> {
    if let Some(seen) = seen
        && !lease::end(connection, seen)?
    {
        return Ok(None);
    }
    if lease::look(connection)?.is_some() {
        return Ok(None);
    }
    connection.execute(statements::END_RUNS, &[])?;
    let row = connection.row(statements::BEGIN_RUN, &[&candidate.node])?;
    let run: i64 = row.map_or(Ok(0), |row| get(&row, 0))?;
    connection.execute(statements::TAKE_LEASE, &[&run, &candidate.place])?;
    Ok(Some(run))
}

/// SHA-256 of the certificate that the database's servers show, where one has begun to. Nothing is made.
pub(super) fn peek_face(connector: &Connector) -> Result<Option<Vec<u8>>, OpenError> {
    let mut connection = connector.first()?;
    let found = connection.row("SELECT to_regclass('server') IS NOT NULL", &[])?;
    match found.map_or(Ok(false), |row| get(&row, 0))? {
        true => Ok(read::value(&mut connection, super::FACE)?),
        false => Ok(None),
    }
}
