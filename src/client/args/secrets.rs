//! Reads a password, passphrase or recovery code from the first line of a file or of a command's
//! output. Which of them is wanted is decided by the options.

use std::fs::File;
use std::io::{self, Read};
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use crate::command_line::secret_file;

/// The longest file or output that is read, in bytes.
const MAX_SECRET: u64 = 4096;

/// That nobody but its owner can read a file.
///
/// # Errors
/// Others can, or the file does not say its mode.
pub(super) fn check_private(file: &File) -> io::Result<()> {
    match crate::fs::open_mode(file)? {
        None => Ok(()),
        Some(mode) => Err(io::Error::other(format!(
            "its mode is {mode:03o}, so others can read or change it; chmod 600 it, and use another \
             password if somebody may have seen this one"
        ))),
    }
}

/// The first line of a command's output.
///
/// # Errors
/// The command fails, or the line is empty.
pub(super) fn from_command(command: &str) -> io::Result<Zeroizing<String>> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        .spawn()?;
    let read = match child.stdout.take() {
        Some(mut output) => first_line(&mut output),
        None => Err(io::Error::other("it has no output")),
    };
    let status = child.wait()?;
    match status.success() {
        true => read,
        false => Err(io::Error::other(format!("it failed ({status})"))),
    }
}

/// The first line, without the byte order mark and the line end of an editor on Windows.
///
/// # Errors
/// Reading failed, or the line is empty.
pub(super) fn first_line(source: &mut dyn Read) -> io::Result<Zeroizing<String>> {
    let line = secret_file::first_line(source, MAX_SECRET).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => io::Error::other("it is not UTF-8; save it as UTF-8"),
        _ => error,
    })?;
    let line = line.strip_prefix('\u{feff}').unwrap_or(&line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(io::Error::other("its first line is empty"));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn marks_and_line_ends_of_other_systems_are_no_part_of_a_secret() {
        for text in [
            "s p\n",
            "s p",
            "s p\r\n",
            "s p\r",
            "\u{feff}s p\r\nmore",
            "s p\nmore",
        ] {
            let line = first_line(&mut text.as_bytes()).unwrap();
            assert_eq!(*line, "s p", "{text:?}");
        }
        for text in ["", "\n", "\u{feff}\n", "\r\nmore"] {
            assert!(first_line(&mut text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(first_line(&mut &b"\xff\xfes\0"[..]).is_err());
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "secret\n").unwrap();
        for (mode, works) in [(0o600, true), (0o400, true), (0o644, false), (0o640, false)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let read = check_private(&File::open(&path).unwrap());
            assert_eq!(read.is_ok(), works, "{mode:o} {read:?}");
        }
        let said = check_private(&File::open(&path).unwrap()).unwrap_err();
        let said = said.to_string();
        assert!(said.contains("640") && said.contains("chmod 600"), "{said}");
    }
}
