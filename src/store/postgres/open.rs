//! Opening a database: connects, makes or checks the tables, and begins a run on it. What a
//! running server asks for is in `read` and `write`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::connection::Connection;
use super::connector::Connector;
use super::failure::Failure;
use super::open_error::{Conflict, OpenError};
use super::runs::{self, Run, Watched};
use super::values::get;
use super::{guesses, promises, read, statements};
use crate::clock;
use crate::store::UserId;
use crate::store::homes::RunId;
use crate::sync;

/// The schema's version, in table `server`.
const VERSION: &str = "version";

/// The version that this server makes and reads.
const OURS: i64 = 2;

/// The version before, of which it makes that.
const EARLIER: &[u8] = b"1";

/// The oldest PostgreSQL that is tested, as `server_version_num` has it.
const OLDEST: i32 = 150_000;

/// The key of the advisory lock under which servers start one after another: "SChs".
const LOCK: i64 = 0x5343_6873;

/// Begins a transaction that waits for as long as another server's start, or its commit, may take.
const IN_TURN: &str = "BEGIN; SET LOCAL lock_timeout = '90s'";

/// A run can give so many numbers: 2 to the power of this, in each mailbox.
const RUN_BITS: u32 = 40;

/// How often a server that waits for the end of another looks.
const LOOK: Duration = Duration::from_millis(250);

/// What an opening leads to.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) run: RunId,
    /// The moment before the lease was taken, by [`clock::since_boot_ms`].
    pub(super) begun: u64,
    pub(super) first_number: u64,
    pub(super) secret: [u8; 32],
    pub(super) epoch: Option<[u8; 16]>,
    pub(super) deleted: Vec<UserId>,
    /// See [`promises`].
    pub(super) weaknesses: Vec<String>,
    /// By which this machine reaches the database.
    pub(super) local_address: IpAddr,
}

/// Who opens the database.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    /// The name that it goes by, which no other server has.
    pub node: &'a str,
    /// The lock that it holds, see [`lock_identity`](crate::fs::lock_identity).
    pub place: &'a str,
    /// It wants no other server beside it.
    pub alone: bool,
    /// For so many synchronous standbys a commit is to wait, or it is said.
    pub standbys: u32,
}

/// Opens the database, and begins a run on it.
pub(super) fn open(connector: &Connector, candidate: Candidate<'_>) -> Result<Opened, OpenError> {
    let mut connection = connector.first()?;
    check_version(&mut connection)?;
    if is_shared(connector, &mut connection)? {
        return Err(OpenError::Pooled);
    }
    let mut watched = Watched::default();
    let (run, begun) = loop {
        let now = clock::since_boot_ms();
        let rivals = match in_turn(&mut connection, |connection| {
            enter(connection, candidate, &watched)
        })? {
            Entered::Run(run) => break (run, now),
            Entered::Blocked(rivals) => rivals,
        };
        let (runs, why): (Vec<Run>, Vec<Conflict>) = rivals.into_iter().unzip();
        if let Some(renewed) = watched.look(&runs, now) {
            let why = runs.iter().zip(why).find(|(run, _)| run.id == renewed.id);
            let why = why.map_or(Conflict::Name, |(_, why)| why);
            return Err(OpenError::InUse(renewed.node.clone(), why));
        }
        sync::sleep(LOOK);
    };
    let secret = read::value(&mut connection, "secret")?;
    let secret = secret.and_then(|secret| secret.try_into().ok());
    let secret = secret.ok_or(Failure::Value("the server's secret"))?;
    let epoch = read::value(&mut connection, "epoch")?;
    let deleted = read::deleted_with_mail(&mut connection)?;
    let weaknesses = promises::weaknesses(&mut connection, candidate.standbys)?;
    let local_address = local_address(&mut connection)?;
    Ok(Opened {
        run,
        begun,
        // As in the SQLite store: each run has numbers of its own, above those of all before.
        first_number: (run.0 as u64) << RUN_BITS,
        secret,
        epoch: epoch.and_then(|epoch| epoch.try_into().ok()),
        deleted,
        connection,
        weaknesses,
        local_address,
    })
}

/// The address by which the database sees this machine: loopback, over a socket file.
fn local_address(connection: &mut Connection) -> Result<IpAddr, Failure> {
    let row = connection.row("SELECT host(inet_client_addr())", &[])?;
    let address: Option<String> = row.map_or(Ok(None), |row| get(&row, 0))?;
    let address = address.and_then(|address| address.parse().ok());
    Ok(address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)))
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
    connection.run(IN_TURN)?;
    let done = connection
        .execute(statements::LOCK_STARTS, &[&LOCK])
        .map_err(OpenError::from)
        .and_then(|_| run(connection));
    match done {
        Ok(value) => {
            connection.commit()?;
            Ok(value)
        }
        Err(error) => {
            let _usable = connection.roll_back();
            Err(error)
        }
    }
}

/// What came of trying to begin a run.
enum Entered {
    Run(RunId),
    /// These stand in the way.
    Blocked(Vec<(Run, Conflict)>),
}

/// Makes the tables of this version, and begins a run with a lease, unless others stand in the way. Those
/// whose lease is dead are ended, and so is the run of this server's own process of before.
fn enter(
    connection: &mut Connection,
    candidate: Candidate<'_>,
    watched: &Watched,
) -> Result<Entered, OpenError> {
    match tables(connection)? {
        Tables::None => make_tables(connection)?,
        Tables::Earlier => {
            let old = runs::list_old(connection)?.into_iter();
            let old = old.filter(|run| !run.is_at(candidate.place) && !watched.is_dead(run));
            let old: Vec<_> = old.map(|run| (run, Conflict::Earlier)).collect();
            if !old.is_empty() {
                return Ok(Entered::Blocked(old));
            }
            connection.run(include_str!("schema_from_1.sql"))?;
            let version = OURS.to_string();
            connection.execute(statements::SET_VALUE, &[&VERSION, &version.as_bytes()])?;
        }
        Tables::Ours => {}
    }
    guesses::make_table(connection)?;
    let mut rivals = Vec::new();
    for run in runs::list(connection, RunId(i64::MAX))? {
        let conflict = Conflict::of(&run, candidate);
        let is_over = run.is_at(candidate.place) || (conflict.is_some() && watched.is_dead(&run));
        if let Some(conflict) = conflict
            && !(is_over && runs::end(connection, &run)?)
        {
            rivals.push((run, conflict));
        }
    }
    if !rivals.is_empty() {
        return Ok(Entered::Blocked(rivals));
    }
    let (node, alone) = (candidate.node, candidate.alone);
    let row = connection.row(statements::BEGIN_RUN, &[&node, &OURS, &alone])?;
    let run: i64 = row.map_or(Ok(0), |row| get(&row, 0))?;
    connection.execute(statements::TAKE_LEASE, &[&run, &candidate.place])?;
    Ok(Entered::Run(RunId(run)))
}

impl Conflict {
    /// Why a server can't run beside that run.
    fn of(run: &Run, candidate: Candidate<'_>) -> Option<Self> {
        if candidate.alone {
            Some(Conflict::Alone)
        } else if run.alone {
            Some(Conflict::OtherAlone)
        } else if run.node == candidate.node || run.is_at(candidate.place) {
            Some(Conflict::Name)
        } else {
            None
        }
    }
}

/// What tables the database has.
enum Tables {
    None,
    Earlier,
    Ours,
}

fn tables(connection: &mut Connection) -> Result<Tables, OpenError> {
    let found = connection.row("SELECT to_regclass('server') IS NOT NULL", &[])?;
    if !found.map_or(Ok(false), |row| get(&row, 0))? {
        return Ok(Tables::None);
    }
    match read::value(connection, VERSION) {
        Ok(Some(version)) if version == OURS.to_string().as_bytes() => Ok(Tables::Ours),
        Ok(Some(version)) if version == EARLIER => Ok(Tables::Earlier),
        Ok(Some(_)) => Err(OpenError::Newer),
        Err(failure) if failure.is_disconnection() => Err(failure.into()),
        Ok(None) | Err(_) => Err(OpenError::Foreign),
    }
}

fn make_tables(connection: &mut Connection) -> Result<(), OpenError> {
    connection.run(include_str!("schema.sql"))?;
    let mut secret = [0; 32];
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut secret)
        .map_err(|_| Failure::Value("the system's randomness"))?;
    connection.execute(statements::ADD_VALUE, &[&"secret", &&secret[..]])?;
    let version = OURS.to_string();
    connection.execute(statements::ADD_VALUE, &[&VERSION, &version.as_bytes()])?;
    Ok(())
}
