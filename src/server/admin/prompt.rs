//! Asks for the password of a new account, and turns it into what a server may know of it. A password
//! never stands on a command line, where every user of the machine could see it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

use super::error::AdminError;
use crate::command_line::secret_file;
use crate::crypto::account::password::{Argon2Params, derive};
use crate::protocol::ids::ByteArray;
use crate::protocol::limits::{MAX_PASSWORD, MIN_PASSWORD};
use crate::protocol::request::KdfParams;
use crate::server::args::tasks::AddUser;
use crate::server::requests::auth::random;

/// The derivation and the login key of a new account's password.
///
/// # Errors
/// There is no password, or it is too short.
pub(super) fn new_login(add: &AddUser) -> Result<(KdfParams, ByteArray<32>), AdminError> {
    let password = match &add.password_file {
        Some(path) if path == Path::new("-") => first_line(&mut io::stdin(), "standard input")?,
        Some(path) => {
            let mut file = File::open(path)
                .map_err(|error| unreadable(&path.display().to_string(), &error))?;
            first_line(&mut file, &path.display().to_string())?
        }
        None => typed_twice()?,
    };
    if password.chars().count() < MIN_PASSWORD || password.len() > MAX_PASSWORD {
        return Err(fail(format!(
            "a password has at least {MIN_PASSWORD} characters and at most {MAX_PASSWORD} bytes; choose \
             another"
        )));
    }
    let cost = Argon2Params::DEFAULT;
    let salt: [u8; 16] = random()?;
    let derived = derive(&password, &salt, cost)
        .map_err(|error| fail(format!("the password's key can't be derived: {error}")))?;
    let kdf = KdfParams {
        salt: ByteArray(salt),
        memory_kib: cost.memory_kib,
        passes: cost.passes,
        lanes: cost.lanes,
    };
    Ok((kdf, ByteArray(derived.login_key.public())))
}

fn fail(why: String) -> AdminError {
    AdminError::Password(why)
}

fn unreadable(name: &str, error: &io::Error) -> AdminError {
    fail(format!(
        "the password can't be read from {name}: {error}; give its file with --password-file"
    ))
}

/// The first line of a file.
fn first_line(file: &mut dyn Read, name: &str) -> Result<Zeroizing<String>, AdminError> {
    let line = secret_file::first_line(file, 4 * MAX_PASSWORD as u64)
        .map_err(|error| unreadable(name, &error))?;
    match line.is_empty() {
        false => Ok(line),
        true => Err(fail(format!(
            "{name}: the first line is empty; the password belongs there"
        ))),
    }
}

fn typed_twice() -> Result<Zeroizing<String>, AdminError> {
    let mut terminal = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(|_| {
            fail(
                "there is no terminal to type the password on; use --password-file FILE, or - for \
                  standard input"
                    .to_owned(),
            )
        })?;
    let password = ask(&mut terminal, "Password for the account: ")?;
    let again = ask(&mut terminal, "The same password again: ")?;
    match *password == *again {
        true => Ok(password),
        false => Err(fail(
            "the two passwords are not the same; nothing was done, so try again".to_owned(),
        )),
    }
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Unseen<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Unseen<'a> {
    /// Keys come one at a time, Ctrl-C among them, so that no signal ends the program while the
    /// terminal shows nothing.
    fn begin(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut unseen = before.clone();
        unseen.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        unseen.special_codes[SpecialCodeIndex::VMIN] = 1;
        unseen.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(terminal, OptionalActions::Now, &unseen)?;
        Ok(Unseen { terminal, before })
    }
}

impl Drop for Unseen<'_> {
    fn drop(&mut self) {
        // There is nothing to do about a terminal that has gone.
        let _restored = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

fn ask(terminal: &mut File, question: &str) -> Result<Zeroizing<String>, AdminError> {
    let failed = |error: io::Error| {
        fail(format!(
            "the terminal can't be used: {error}; use --password-file FILE"
        ))
    };
    terminal.write_all(question.as_bytes()).map_err(failed)?;
    let typed = {
        let unseen = Unseen::begin(terminal).map_err(failed)?;
        read_keys(unseen.terminal)
    };
    terminal.write_all(b"\n").map_err(failed)?;
    match typed.map_err(failed)? {
        Some(bytes) => match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Zeroizing::new(text.to_owned())),
            Err(_) => Err(fail(
                "what was typed is not UTF-8 text, so nothing was done; try again".to_owned(),
            )),
        },
        None => Err(fail("nothing was done".to_owned())),
    }
}

/// What is typed up to Enter; `None` for Ctrl-C, or Ctrl-D or the end with nothing typed.
fn read_keys(mut terminal: &File) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    const CTRL_C: u8 = 3;
    const CTRL_D: u8 = 4;
    const CTRL_U: u8 = 21;
    let mut typed = Zeroizing::new(Vec::with_capacity(4 * MAX_PASSWORD));
    let mut key = [0];
    loop {
        match terminal.read(&mut key) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(0) => return Ok(None),
            read => read?,
        };
        match key[0] {
            b'\r' | b'\n' => return Ok(Some(typed)),
            CTRL_C => return Ok(None),
            CTRL_D if typed.is_empty() => return Ok(None),
            CTRL_U => typed.clear(),
            0x7f | 0x08 => {
                // The last character with all its bytes.
                while typed.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            byte if typed.len() < 4 * MAX_PASSWORD => typed.push(byte),
            _ => {}
        }
    }
}
