//! The certificate that the servers of a database show, and how it is replaced.

use super::connection::Connection;
use super::failure::Failure;
use super::{read, statements};
use crate::protocol::reply::Succession;
use crate::store::Changed;
use crate::store::successions;
use crate::store::successions::Successions;

/// The key, among the server's own values, of the fingerprint of the certificate that all show.
const FACE: &str = "certificate";

/// SHA-256 of the certificate that the servers show, once one has begun to.
pub(super) fn face(connection: &mut Connection) -> Result<Option<[u8; 32]>, Failure> {
    let face = read::value(connection, FACE)?;
    Ok(face.and_then(|face| face.try_into().ok()))
}

/// Makes this certificate the one that the servers show, if they show none yet or `replace` is set, which
/// ends a succession that is under way. Returns whether a server may show it.
pub(super) fn show(
    connection: &mut Connection,
    shown: [u8; 32],
    replace: bool,
) -> Result<bool, Failure> {
    if replace {
        // First, so that a crash leaves no certificate that may be shown besides.
        let mut known = successions(connection)?;
        if known.end().is_some() {
            set_successions(connection, &known)?;
        }
        connection.execute(statements::SET_VALUE, &[&FACE, &&shown[..]])?;
        return Ok(true);
    }
    connection.execute(statements::ADD_VALUE, &[&FACE, &&shown[..]])?;
    let known = successions(connection)?;
    let next = known.steps.last().filter(|_| known.under_way);
    Ok(face(connection)? == Some(shown) || next.is_some_and(|step| step.next.0 == shown))
}

pub(super) fn successions(connection: &mut Connection) -> Result<Successions, Failure> {
    let value = read::value(connection, successions::KEY)?;
    Successions::parse(value.as_deref()).map_err(|_| Failure::Value("a succession of certificates"))
}

pub(super) fn announce(connection: &mut Connection, step: &Succession) -> Result<Changed, Failure> {
    let mut known = locked(connection)?;
    known.announce(step);
    set_successions(connection, &known)
}

pub(super) fn end_succession(connection: &mut Connection) -> Result<Changed, Failure> {
    let mut known = locked(connection)?;
    let Some(next) = known.end() else {
        return Ok(Changed::Unknown);
    };
    connection.execute(statements::SET_VALUE, &[&FACE, &&next[..]])?;
    set_successions(connection, &known)
}

/// The successions, which no other server changes before the transaction has ended.
fn locked(connection: &mut Connection) -> Result<Successions, Failure> {
    connection.row(statements::LOCK_VALUE, &[&FACE])?;
    successions(connection)
}

fn set_successions(connection: &mut Connection, known: &Successions) -> Result<Changed, Failure> {
    let value = known
        .to_value()
        .map_err(|_| Failure::Value("a succession of certificates"))?;
    connection.execute(statements::SET_VALUE, &[&successions::KEY, &value])?;
    Ok(Changed::Done)
}
