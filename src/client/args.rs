//! The client's command line and environment, parsed into values, and the secrets that they name.
//! What an option leads to is decided where its value is used.

use std::error::Error;
use std::fmt;
use std::fs;
use std::io;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Parser, Subcommand};
use zeroize::Zeroizing;

use super::messenger::Trust;
use super::net::endpoint::{Endpoint, Protection, SetupError};
use super::terminal::Colours;
use crate::protocol::UserName;
use crate::transport::address::Address;
use crate::transport::fingerprint::Fingerprint;

/// The longest password file or output of a password command that is read.
const MAX_SECRET: u64 = 4096;

/// The terminal client of Secure Chat.
#[derive(Debug, Parser)]
#[command(
    name = "client",
    version,
    about = "Secure Chat: encrypted messages on a terminal",
    after_help = "Exit codes: 0 fine, 1 something failed, 2 wrong usage, 3 login refused, 4 no connection, 5 the vault, 6 not the right server, 7 the output could not be written, 128 and a signal's number after that signal.\n\
                  Without a terminal, commands are read from stdin, one a line; /help lists them."
)]
pub(crate) struct Options {
    /// The server: HOST:PORT, or chat://FINGERPRINT@HOST:PORT as its operator gives it out;
    /// without a port, 8080
    #[arg(
        long,
        env = "SECURE_CHAT_SERVER",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080"
    )]
    pub server: Address,
    /// The certificate that the server must have, by its SHA-256 fingerprint
    #[arg(long, env = "SECURE_CHAT_FINGERPRINT", value_name = "DIGITS")]
    pub fingerprint: Option<Fingerprint>,
    /// What protects the connection, and how the server is known
    #[arg(
        long,
        env = "SECURE_CHAT_TLS",
        value_name = "HOW",
        value_enum,
        default_value_t
    )]
    pub tls: Protection,
    /// Where keys and messages are kept [default: $XDG_DATA_HOME/secure-chat or ~/.local/share/secure-chat]
    #[arg(long, env = "SECURE_CHAT_CLIENT_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Log in as this user at once
    #[arg(long, env = "SECURE_CHAT_USER", value_name = "NAME")]
    pub user: Option<UserName>,
    /// Read the password, or the recovery code, from the first line of a file
    #[arg(long, env = "SECURE_CHAT_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Read the password from a command's output, such as "pass show chat".
    /// SECURE_CHAT_PASSWORD works too, and is the weakest: other programs can see it
    #[arg(
        long,
        env = "SECURE_CHAT_PASSWORD_COMMAND",
        value_name = "CMD",
        conflicts_with = "password_file"
    )]
    pub password_command: Option<String>,
    /// End another session of the account without asking
    #[arg(long)]
    pub take_over: bool,
    /// Replace the account's published identity by this device's without asking
    #[arg(long)]
    pub new_identity: bool,
    /// How to trust identities
    #[arg(
        long,
        env = "SECURE_CHAT_TRUST",
        value_name = "HOW",
        value_enum,
        default_value_t
    )]
    pub trust: Trust,
    /// When to use colours
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub color: Colours,
    /// What /passwd changes the password to where there is no terminal, and what a login takes
    /// if the password opens the vault but was changed elsewhere or reset: the first line of a file
    #[arg(long, value_name = "FILE")]
    pub new_password_file: Option<PathBuf>,
    /// Write a recovery code that is made into a new file, instead of showing it
    #[arg(long, value_name = "FILE")]
    pub recovery_file: Option<PathBuf>,
    /// For screen readers: no banner, no colours, words instead of signs
    #[arg(long, env = "SECURE_CHAT_PLAIN")]
    pub plain: bool,
    /// Something else than chatting
    #[command(subcommand)]
    pub task: Option<Action>,
}

/// What to do instead of chatting.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Move identity, contacts and history to another machine, or read the history without a server
    #[command(subcommand)]
    Vault(VaultTask),
}

/// What to do with a vault.
#[derive(Debug, Subcommand)]
pub(crate) enum VaultTask {
    /// Write identity, contacts and history of --user to a new FILE, sealed under a passphrase
    ///
    /// Sessions and prekeys stay here: the other machine makes its own. Export while the client is not running.
    Export(ExportFile),
    /// Log in on a machine without a vault, with identity, contacts and history from FILE
    ///
    /// Use one of the two machines from then on: each gets only what arrives while it is logged in.
    Import(ExportFile),
    /// Show the history of --user from its vault, without a server; the recovery code opens it, too
    Read {
        /// Only the messages with this person
        with: Option<UserName>,
    },
}

/// The file of an export.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportFile {
    /// The export
    pub file: PathBuf,
    /// Read the passphrase from the first line of a file
    #[arg(long, env = "SECURE_CHAT_PASSPHRASE_FILE", value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// Why options can't be followed.
#[derive(Debug)]
pub(crate) enum OptionsError {
    /// Neither an option nor the environment names a folder for the vaults.
    NoFolder,
    /// Two options name different certificates.
    TwoCertificates,
    /// The program or the system lacks what the connection needs.
    Endpoint(SetupError),
    /// The file that an option names gives no secret.
    SecretFile(&'static str, PathBuf, io::Error),
    /// The password command gives no password.
    PasswordCommand(io::Error),
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionsError::NoFolder => {
                f.write_str("neither XDG_DATA_HOME nor HOME is set; use --data DIR")
            }
            OptionsError::TwoCertificates => f.write_str(
                "--fingerprint and the address name different certificates; leave out the wrong one",
            ),
            OptionsError::Endpoint(error) => error.fmt(f),
            OptionsError::SecretFile(option, path, error) => {
                write!(f, "{option} {}: {error}", path.display())
            }
            OptionsError::PasswordCommand(error) => write!(f, "--password-command: {error}"),
        }
    }
}

impl Error for OptionsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            OptionsError::NoFolder | OptionsError::TwoCertificates => None,
            // It is shown as it is, so what is below it is below this.
            OptionsError::Endpoint(error) => error.source(),
            OptionsError::SecretFile(_, _, error) | OptionsError::PasswordCommand(error) => {
                Some(error)
            }
        }
    }
}

impl ExportFile {
    /// The passphrase, if a file gives it.
    ///
    /// # Errors
    /// The file can't be read, or its first line is empty.
    pub(crate) fn passphrase(&self) -> Result<Option<Zeroizing<String>>, OptionsError> {
        secret_file("--passphrase-file", self.passphrase_file.as_deref())
    }
}

impl Options {
    /// The folder of the vaults.
    ///
    /// # Errors
    /// Neither an option nor the environment names a folder.
    pub(crate) fn data(&self) -> Result<PathBuf, OptionsError> {
        if let Some(data) = &self.data {
            return Ok(data.clone());
        }
        let folder = |name: &str| {
            let path = std::env::var_os(name).map(PathBuf::from);
            path.filter(|path| path.is_absolute())
        };
        folder("XDG_DATA_HOME")
            .or_else(|| folder("HOME").map(|home| home.join(".local/share")))
            .map(|share| share.join("secure-chat"))
            .ok_or(OptionsError::NoFolder)
    }

    /// The server, and how its certificate is checked.
    ///
    /// # Errors
    /// Two options contradict each other, or this system lacks what they need.
    pub(crate) fn endpoint(&self, data: &Path) -> Result<Endpoint, OptionsError> {
        let mut address = self.server.clone();
        match (self.fingerprint, address.fingerprint) {
            (Some(one), Some(other)) if one != other => {
                return Err(OptionsError::TwoCertificates);
            }
            (Some(named), _) => address.fingerprint = Some(named),
            (None, _) => {}
        }
        Endpoint::new(address, self.tls, data).map_err(OptionsError::Endpoint)
    }

    /// The new password of a change, if a file gives it.
    ///
    /// # Errors
    /// The file can't be read, or its first line is empty.
    pub(crate) fn new_password(&self) -> Result<Option<Zeroizing<String>>, OptionsError> {
        secret_file("--new-password-file", self.new_password_file.as_deref())
    }

    /// The password, if a file, a command or the environment gives it.
    ///
    /// # Errors
    /// The file can't be read, the command fails, or the first line is empty.
    pub(crate) fn password(&self) -> Result<Option<Zeroizing<String>>, OptionsError> {
        if self.password_file.is_some() {
            return secret_file("--password-file", self.password_file.as_deref());
        }
        if let Some(command) = &self.password_command {
            return from_command(command)
                .map(Some)
                .map_err(OptionsError::PasswordCommand);
        }
        Ok(std::env::var("SECURE_CHAT_PASSWORD")
            .ok()
            .map(Zeroizing::new))
    }
}

fn secret_file(
    option: &'static str,
    path: Option<&Path>,
) -> Result<Option<Zeroizing<String>>, OptionsError> {
    let read = |path: &Path| {
        fs::File::open(path)
            .and_then(|mut file| first_line(&mut file))
            .map_err(|error| OptionsError::SecretFile(option, path.to_owned(), error))
    };
    path.map(read).transpose()
}

fn first_line(source: &mut dyn Read) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    source.take(MAX_SECRET).read_to_string(&mut text)?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(io::Error::other("its first line is empty"));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

fn from_command(command: &str) -> io::Result<Zeroizing<String>> {
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
