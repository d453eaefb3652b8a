//! A file sealed under a passphrase, in pieces: it may be larger than memory.
//!
//! The file: `"secure-chat sealed backup 1\n" || salt (16) || Argon2id's cost (12) || a random key
//! under the passphrase's (96) || pieces`. A piece is `length (4) || sealed bytes`. Its associated
//! data is all that stands before the first piece, its number (8) and whether it is the last (1), so
//! that no piece can be left out, moved, or taken from another file.

use std::error::Error;
use std::fmt;
use std::io::{self, Read, Write};

use rand::Rng;

use super::account::password;
use super::account::password::Argon2Params;
use super::cipher::{NotAuthentic, SEAL_OVERHEAD, SealKey, WRAPPED_LEN};
use super::os_rng;

const MAGIC: &[u8] = b"secure-chat sealed backup ";

/// The first line, its version included.
const FIRST_LINE: &[u8] = b"secure-chat sealed backup 1\n";

/// Bytes of a piece before it is sealed.
const PIECE: usize = 256 * 1024;

const COST_AT: usize = FIRST_LINE.len() + password::SALT_LEN;
const KEY_AT: usize = COST_AT + 12;
const HEADER_LEN: usize = KEY_AT + WRAPPED_LEN;

/// Why a file could not be opened.
#[derive(Debug)]
pub enum ArchiveError {
    /// It is something else.
    NotSealed,
    /// A newer version sealed it.
    Newer,
    /// The passphrase is wrong, or what the passphrase opens was changed.
    WrongPassphrase,
    /// It was changed or cut off.
    Damaged,
    /// Reading or writing failed.
    Io(io::Error),
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArchiveError::NotSealed => f.write_str("it is not sealed under a passphrase"),
            ArchiveError::Newer => f.write_str("a newer version of the server sealed it"),
            ArchiveError::WrongPassphrase => {
                f.write_str("the passphrase is wrong, or the file was changed")
            }
            ArchiveError::Damaged => f.write_str("it was changed or cut off"),
            ArchiveError::Io(error) => error.fmt(f),
        }
    }
}

impl Error for ArchiveError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ArchiveError::Io(error) => error.source(),
            _ => None,
        }
    }
}

impl From<io::Error> for ArchiveError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => ArchiveError::Damaged,
            _ => ArchiveError::Io(error),
        }
    }
}

/// Whether a file that begins like this is a sealed one, of whatever version.
pub fn is_sealed(beginning: &[u8]) -> bool {
    beginning.starts_with(MAGIC)
}

/// Seals all that `from` gives.
///
/// # Errors
/// Reading or writing failed.
pub fn seal(passphrase: &str, mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut salt = [0; password::SALT_LEN];
    os_rng().fill_bytes(&mut salt);
    let cost = Argon2Params::for_new();
    let derived = password::derive(passphrase, &salt, cost).map_err(io::Error::other)?;
    let mut header = [FIRST_LINE, &salt, &cost.to_bytes()].concat();
    let key = SealKey::generate(&mut os_rng());
    let wrapped = derived.wrapping_key.wrap(&mut os_rng(), &header, &key);
    header.extend_from_slice(&wrapped);
    to.write_all(&header)?;
    let mut piece = read_piece(&mut from)?;
    for number in 0.. {
        let next = read_piece(&mut from)?;
        let last = next.is_empty();
        let sealed = key.seal(&mut os_rng(), &place(&header, number, last), &piece);
        let length = u32::try_from(sealed.len()).map_err(io::Error::other)?;
        to.write_all(&length.to_be_bytes())?;
        to.write_all(&sealed)?;
        if last {
            break;
        }
        piece = next;
    }
    to.flush()
}

/// Opens what [`seal`] made. What was written before an error is not to be used.
///
/// # Errors
/// Why it can't be opened.
pub fn open(passphrase: &str, mut from: impl Read, mut to: impl Write) -> Result<(), ArchiveError> {
    let mut header = vec![0; HEADER_LEN];
    let (first, rest) = header.split_at_mut(FIRST_LINE.len());
    from.read_exact(first)?;
    if first != FIRST_LINE {
        return Err(match is_sealed(first) {
            true => ArchiveError::Newer,
            false => ArchiveError::NotSealed,
        });
    }
    from.read_exact(rest)?;
    let cost = Argon2Params::from_bytes(&std::array::from_fn(|i| header[COST_AT + i]));
    let cost = cost.check().map_err(|_| ArchiveError::Damaged)?;
    let salt: [u8; password::SALT_LEN] = std::array::from_fn(|i| header[FIRST_LINE.len() + i]);
    let derived = password::derive(passphrase, &salt, cost).map_err(|_| ArchiveError::Damaged)?;
    let wrapping = derived.wrapping_key;
    let key = wrapping
        .unwrap(&header[..KEY_AT], &header[KEY_AT..])
        .map_err(|NotAuthentic| ArchiveError::WrongPassphrase)?;
    let mut upcoming = read_sealed(&mut from)?.ok_or(ArchiveError::Damaged)?;
    for number in 0.. {
        let next = read_sealed(&mut from)?;
        let ad = place(&header, number, next.is_none());
        let piece = key.open(&ad, &upcoming);
        to.write_all(&piece.map_err(|NotAuthentic| ArchiveError::Damaged)?)?;
        match next {
            Some(next) => upcoming = next,
            None => break,
        }
    }
    Ok(to.flush()?)
}

/// The associated data of a piece.
fn place(header: &[u8], number: u64, last: bool) -> Vec<u8> {
    [header, &number.to_be_bytes(), &[u8::from(last)]].concat()
}

/// The next bytes to be sealed; none at the end.
fn read_piece(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(PIECE);
    Read::by_ref(from)
        .take(PIECE as u64)
        .read_to_end(&mut piece)?;
    Ok(piece)
}

/// The next sealed piece; `None` at the end.
fn read_sealed(from: &mut impl Read) -> Result<Option<Vec<u8>>, ArchiveError> {
    let mut length = Vec::with_capacity(4);
    Read::by_ref(from).take(4).read_to_end(&mut length)?;
    if length.is_empty() {
        return Ok(None);
    }
    let length: [u8; 4] = length.try_into().map_err(|_| ArchiveError::Damaged)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > PIECE + SEAL_OVERHEAD {
        return Err(ArchiveError::Damaged);
    }
    let mut sealed = vec![0; length];
    from.read_exact(&mut sealed)?;
    Ok(Some(sealed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(plain: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        seal("open sesame", plain, &mut sealed).unwrap();
        sealed
    }

    fn opened(sealed: &[u8], passphrase: &str) -> Result<Vec<u8>, ArchiveError> {
        let mut plain = Vec::new();
        open(passphrase, sealed, &mut plain).map(|()| plain)
    }

    #[test]
    fn what_was_sealed_opens_whatever_its_length() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE] {
            let plain = vec![7; length];
            let sealed = sealed(&plain);
            assert!(is_sealed(&sealed));
            assert_eq!(opened(&sealed, "open sesame").unwrap(), plain, "{length}");
        }
        assert!(matches!(
            opened(&sealed(b"x"), "open sesam"),
            Err(ArchiveError::WrongPassphrase)
        ));
    }

    #[test]
    fn what_was_cut_moved_or_changed_does_not_open() {
        let mut plain = vec![1; PIECE];
        plain.resize(2 * PIECE, 2);
        let whole = sealed(&plain);
        let piece = (whole.len() - HEADER_LEN) / 2;
        let (first, second) = whole[HEADER_LEN..].split_at(piece);
        let header = &whole[..HEADER_LEN];
        let refused = |parts: &[&[u8]]| {
            let error = opened(&parts.concat(), "open sesame").unwrap_err();
            assert!(matches!(error, ArchiveError::Damaged), "{error}");
        };
        refused(&[header]);
        refused(&[header, first]);
        refused(&[header, second, first]);
        refused(&[header, first, first, second]);
        refused(&[&whole, b"x"]);
        refused(&[&whole[..whole.len() - 1]]);
        refused(&[header, &[0xff; 8]]);
        let mut changed = whole.clone();
        changed[HEADER_LEN + 40] ^= 1;
        refused(&[&changed]);
        let newer = [b"secure-chat sealed backup 2\n", &whole[FIRST_LINE.len()..]].concat();
        assert!(matches!(opened(&newer, ""), Err(ArchiveError::Newer)));
        let other = opened(&[b'x'; 1000], "");
        assert!(matches!(other, Err(ArchiveError::NotSealed)));
    }
}
