//! Reads documents as `mongodump` writes them: BSON, one after the other
//! (<https://bsonspec.org/spec.html>). Every length is checked against what is there, and nothing is
//! allocated for a length that the file only claims.

use std::io::{self, Read};

use super::document::{Document, FormatError, MAX_DOCUMENT, Position, Value};

/// The documents of a stream.
pub(super) struct Documents<R> {
    source: R,
    buffer: Vec<u8>,
    /// How many were read.
    count: u64,
}

impl<R: Read> Documents<R> {
    /// Those of a stream from here on.
    pub(super) fn new(source: R) -> Self {
        Documents {
            source,
            buffer: Vec::new(),
            count: 0,
        }
    }

    /// The next one; `None` at the end.
    ///
    /// # Errors
    /// Reading failed, or what comes is no whole document.
    pub(super) fn next(&mut self) -> Result<Option<(Position, Document)>, FormatError> {
        let position = Position::Document(self.count + 1);
        let wrong = |why| FormatError::Wrong(position, why);
        self.read_up_to(4)?;
        let Ok(length) = <[u8; 4]>::try_from(&*self.buffer) else {
            return match self.buffer.is_empty() {
                true => Ok(None),
                false => Err(FormatError::Cut(position)),
            };
        };
        let length = usize::try_from(i32::from_le_bytes(length)).unwrap_or(0);
        if !(5..=MAX_DOCUMENT).contains(&length) {
            return Err(wrong("it claims an impossible length"));
        }
        self.read_up_to(length - 4)?;
        if self.buffer.len() < length - 4 {
            return Err(FormatError::Cut(position));
        }
        let document = parse(&self.buffer).map_err(wrong)?;
        self.count += 1;
        Ok(Some((position, document)))
    }

    /// Fills the buffer with the next bytes, fewer only at the end of the stream.
    fn read_up_to(&mut self, count: usize) -> io::Result<()> {
        self.buffer.clear();
        let mut part = Read::by_ref(&mut self.source).take(count as u64);
        part.read_to_end(&mut self.buffer).map(drop)
    }
}

/// The elements of a document, behind its length.
fn parse(elements: &[u8]) -> Result<Document, &'static str> {
    let mut rest = elements;
    let mut document = Document::default();
    loop {
        let [kind] = take(&mut rest)?;
        if kind == 0 {
            return match rest.is_empty() {
                true => Ok(document),
                false => Err("it ends before its length says"),
            };
        }
        let name = key(&mut rest)?;
        let value = value(kind, &mut rest)?;
        document.keep(name, value);
    }
}

fn value(kind: u8, rest: &mut &[u8]) -> Result<Value, &'static str> {
    let fixed = match kind {
        0x02 => return string(rest).map(|text| Value::Text(text.to_owned())),
        0x05 => return binary(rest),
        0x07 => return take(rest).map(Value::ObjectId),
        // A document or an array: its length counts itself.
        0x03 | 0x04 => sized(rest, 5, 4)?,
        0x0f => sized(rest, 14, 4)?,
        0x0b => {
            key(rest)?;
            key(rest)?;
            0
        }
        0x0c => {
            string(rest)?;
            12
        }
        0x0d | 0x0e => {
            string(rest)?;
            0
        }
        0x06 | 0x0a | 0x7f | 0xff => 0,
        0x08 => 1,
        0x10 => 4,
        0x01 | 0x09 | 0x11 | 0x12 => 8,
        0x13 => 16,
        _ => return Err("it has a value of a type that BSON does not have"),
    };
    split(rest, fixed)?;
    Ok(Value::Other)
}

/// How many bytes follow a length of at least `least`, which counts `counted` bytes of its own.
fn sized(rest: &mut &[u8], least: usize, counted: usize) -> Result<usize, &'static str> {
    let length = i32::from_le_bytes(take(rest)?);
    match usize::try_from(length) {
        Ok(length) if length >= least => Ok(length - counted),
        _ => Err(OUTSIDE),
    }
}

fn string<'a>(rest: &mut &'a [u8]) -> Result<&'a str, &'static str> {
    let length = sized(rest, 1, 0)?;
    let bytes = split(rest, length)?;
    let Some((0, text)) = bytes.split_last() else {
        return Err("a string does not end with a zero");
    };
    std::str::from_utf8(text).map_err(|_| NOT_UTF8)
}

fn binary(rest: &mut &[u8]) -> Result<Value, &'static str> {
    let length = sized(rest, 0, 0)?;
    let [subtype] = take(rest)?;
    let mut bytes = split(rest, length)?;
    // The old form has the length once more within.
    if subtype == 2 {
        let inner = sized(&mut bytes, 0, 0)?;
        if inner != bytes.len() {
            return Err(OUTSIDE);
        }
    }
    Ok(Value::Binary(bytes.to_owned()))
}

/// A text up to a zero.
fn key<'a>(rest: &mut &'a [u8]) -> Result<&'a str, &'static str> {
    let end = memchr::memchr(0, rest).ok_or(OUTSIDE)?;
    let text = split(rest, end)?;
    *rest = rest.get(1..).ok_or(OUTSIDE)?;
    std::str::from_utf8(text).map_err(|_| NOT_UTF8)
}

fn split<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], &'static str> {
    let (head, tail) = rest.split_at_checked(count).ok_or(OUTSIDE)?;
    *rest = tail;
    Ok(head)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], &'static str> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(OUTSIDE)?;
    *rest = tail;
    Ok(*head)
}

const OUTSIDE: &str = "a length in it does not fit";
const NOT_UTF8: &str = "a text in it is not UTF-8";

#[cfg(test)]
mod tests {
    use super::*;

    /// `{"_id": ObjectId, "username": "bob", "n": 1 (int32), "message": Binary}`.
    fn sample() -> Vec<u8> {
        let elements = [
            &b"\x07_id\0abcdefghijkl"[..],
            b"\x02username\0\x04\0\0\0bob\0",
            b"\x10n\0\x01\0\0\0",
            b"\x05message\0\x02\0\0\0\0\xff\xfe",
            b"\x03sub\0\x05\0\0\0\0",
            b"\0",
        ]
        .concat();
        let length = (elements.len() + 4) as i32;
        [&length.to_le_bytes()[..], &elements].concat()
    }

    fn all(bytes: &[u8]) -> Result<Vec<Document>, FormatError> {
        let mut documents = Documents::new(bytes);
        let mut found = Vec::new();
        while let Some((_, document)) = documents.next()? {
            found.push(document);
        }
        Ok(found)
    }

    #[test]
    fn documents_are_read_one_after_the_other() {
        let found = all(&[sample(), sample()].concat()).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].object_id(), Some(*b"abcdefghijkl"));
        assert_eq!(found[0].username, Some(Value::Text("bob".to_owned())));
        assert_eq!(found[0].message, Some(Value::Binary(vec![0xff, 0xfe])));
        assert_eq!(all(b"").unwrap(), []);
    }

    #[test]
    fn a_stream_that_is_cut_anywhere_is_told_from_one_that_ends() {
        let whole = sample();
        for end in 1..whole.len() {
            let cut = all(&whole[..end]);
            assert!(matches!(cut, Err(FormatError::Cut(_))), "{end}: {cut:?}");
        }
    }

    #[test]
    fn no_changed_byte_or_length_makes_it_panic() {
        let whole = sample();
        for at in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] = byte;
                // What it says is not the point; that it says something is.
                let _said = all(&changed);
            }
        }
        for length in [i32::MIN, -1, 0, 4, i32::MAX] {
            let mut changed = whole.clone();
            changed[..4].copy_from_slice(&length.to_le_bytes());
            assert!(matches!(all(&changed), Err(FormatError::Wrong(..))));
        }
        let twice = [
            &b"\x02username\0\x02\0\0\0a\0"[..],
            b"\x02username\0\x02\0\0\0b\0\0",
        ];
        assert!(parse(&twice.concat()).unwrap().is_ambiguous);
        assert!(parse(b"\x02username\0\x02\0\0\0\xff\0\0").is_err());
        assert!(parse(b"\x02username\0\xff\xff\xff\x7fa\0\0").is_err());
        assert!(parse(b"\x08b\0\x01\0\0").is_err());
    }
}
