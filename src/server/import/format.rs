//! Finds out how a file of an export is written, and opens it: JSON or BSON, compressed with gzip or
//! not. The first bytes tell; the file's name does not count.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::document::{Document, FormatError, Position};
use super::{bson, json};

/// Bytes of one read.
const BUFFER: usize = 64 * 1024;

/// What gzip begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What `mongodump --archive` begins with.
const ARCHIVE: [u8; 4] = [0x6d, 0xe2, 0x99, 0x81];

/// What some programs put before UTF-8.
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// The documents of one file.
pub(super) struct Documents {
    inner: Inner,
    /// How many bytes of the file were read.
    read: Arc<AtomicU64>,
}

enum Inner {
    Json(json::Documents<Box<dyn BufRead>>),
    Bson(bson::Documents<Box<dyn BufRead>>),
}

impl Documents {
    /// Opens a file.
    ///
    /// # Errors
    /// It can't be read, or it is an archive.
    pub(super) fn open(path: &Path) -> Result<Self, FormatError> {
        let read = Arc::new(AtomicU64::new(0));
        let file = Counted {
            file: File::open(path)?,
            read: Arc::clone(&read),
        };
        let inner = of_stream(Box::new(BufReader::with_capacity(BUFFER, file)))?;
        Ok(Documents { inner, read })
    }

    /// Those of a file's content.
    ///
    /// # Errors
    /// It is an archive.
    pub(super) fn of_bytes(content: Vec<u8>) -> Result<Self, FormatError> {
        Ok(Documents {
            inner: of_stream(Box::new(Cursor::new(content)))?,
            read: Arc::default(),
        })
    }

    /// How many bytes of the file were read.
    pub(super) fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// The next document; `None` at the end.
    ///
    /// # Errors
    /// Reading failed, or what comes is no whole document.
    pub(super) fn next(&mut self) -> Result<Option<(Position, Document)>, FormatError> {
        match &mut self.inner {
            Inner::Json(documents) => documents.next(),
            Inner::Bson(documents) => documents.next(),
        }
    }
}

fn of_stream(source: Box<dyn BufRead>) -> Result<Inner, FormatError> {
    let (mut first, mut source) = peek(source)?;
    if first.starts_with(&GZIP) {
        let plain = BufReader::with_capacity(BUFFER, MultiGzDecoder::new(source));
        (first, source) = peek(Box::new(plain))?;
    }
    if first == ARCHIVE {
        return Err(FormatError::Archive);
    }
    if first.starts_with(&BYTE_ORDER_MARK) {
        source.consume(BYTE_ORDER_MARK.len());
    }
    // A length in BSON is little-endian and at most 16 MiB, so its fourth byte is 0 or 1, which no
    // JSON has.
    let is_bson = matches!(*first, [_, _, _, 0 | 1]);
    Ok(match is_bson {
        true => Inner::Bson(bson::Documents::new(source)),
        false => Inner::Json(json::Documents::new(source)),
    })
}

/// The first four bytes, fewer if there are no more, and a stream that begins with them.
fn peek(mut source: Box<dyn BufRead>) -> io::Result<(Vec<u8>, Box<dyn BufRead>)> {
    let mut first = Vec::new();
    Read::by_ref(&mut source).take(4).read_to_end(&mut first)?;
    let whole = Cursor::new(first.clone()).chain(source);
    Ok((first, Box::new(whole)))
}

/// Counts what is read of a file.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
