//! Reads the first line of a file, which holds a secret. What the secret is for, and what is said
//! of a file that has none, is decided where it is used.

use std::io::{self, Read};

use zeroize::Zeroizing;

/// The first line without its end, empty if there is none. At most `limit` bytes are read.
///
/// # Errors
/// Reading failed, or what was read is no UTF-8.
pub(crate) fn first_line(source: impl Read, limit: u64) -> io::Result<Zeroizing<String>> {
    // A string that grows while it is read leaves copies: it is as long as it can get, and
    // what the standard library wants to have free behind that.
    let mut text = Zeroizing::new(String::with_capacity(2 * limit as usize));
    source.take(limit).read_to_string(&mut text)?;
    Ok(Zeroizing::new(
        text.lines().next().unwrap_or_default().to_owned(),
    ))
}
