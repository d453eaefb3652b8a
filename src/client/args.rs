//! The client's command line and environment, parsed into values, and the secrets that they name.
//! What an option leads to is decided where its value is used.
//!
//! | file | what |
//! | --- | --- |
//! | this one | the options, all of which work before and after a command, and `vault` |
//! | `scripts` | the commands for scripts |
//! | `secrets` | reads passwords from files and commands |

pub(crate) mod scripts;
mod secrets;

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueHint};
use zeroize::Zeroizing;

use self::scripts::Script;
use super::messenger::Trust;
use super::net::endpoint::{Endpoint, Protection, SetupError};
use super::terminal::{Colours, Terminal};
use crate::command_line::Program;
use crate::command_line::completions::Shell;
use crate::crypto::account::reset::ResetCode;
use crate::protocol::UserName;
use crate::transport::address::Address;
use crate::transport::fingerprint::Fingerprint;
use crate::xdg;

/// The terminal client of Secure Chat.
#[derive(Debug, Parser)]
#[command(
    name = "client",
    version,
    disable_version_flag = true,
    disable_help_flag = true,
    about = "Secure Chat: encrypted messages on a terminal. Without a command: the chat",
    after_help = "More: what-the-server-knows, options (lists all), exit-codes, man, completions"
)]
pub(crate) struct Options {
    /// HOST:PORT, or chat://FINGERPRINT@HOST:PORT
    #[arg(
        long,
        global = true,
        env = "SECURE_CHAT_SERVER",
        hide_env = true,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080",
        hide_default_value = true
    )]
    pub server: Address,
    /// Read defaults of these options from FILE [default: $XDG_CONFIG_HOME/secure-chat/client.conf or ~/.config/secure-chat/client.conf]
    #[arg(
        long,
        global = true,
        hide = true,
        env = "SECURE_CHAT_CLIENT_CONFIG",
        value_name = "FILE"
    )]
    pub config: Option<PathBuf>,
    /// The certificate that the server must have, by its SHA-256 fingerprint
    #[arg(
        long,
        global = true,
        hide = true,
        env = "SECURE_CHAT_FINGERPRINT",
        value_name = "DIGITS"
    )]
    pub fingerprint: Option<Fingerprint>,
    /// What protects the connection, and how the server is known
    #[arg(
        long,
        global = true,
        hide = true,
        env = "SECURE_CHAT_TLS",
        value_name = "HOW",
        value_enum,
        default_value_t
    )]
    pub tls: Protection,
    /// Where keys and messages are kept [default: $XDG_DATA_HOME/secure-chat or ~/.local/share/secure-chat]
    #[arg(
        long,
        global = true,
        hide = true,
        env = "SECURE_CHAT_CLIENT_DATA",
        value_name = "DIR",
        value_hint = ValueHint::DirPath
    )]
    pub data: Option<PathBuf>,
    /// The account; the chat logs in at once
    #[arg(
        long,
        global = true,
        env = "SECURE_CHAT_USER",
        hide_env = true,
        value_name = "NAME"
    )]
    pub user: Option<UserName>,
    /// The password, on its first line
    #[arg(
        long,
        global = true,
        env = "SECURE_CHAT_PASSWORD_FILE",
        hide_env = true,
        value_name = "FILE"
    )]
    pub password_file: Option<PathBuf>,
    /// Read the password from a command's output, such as "pass show chat".
    /// SECURE_CHAT_PASSWORD works too, and is the weakest: other programs can see it
    #[arg(
        long,
        global = true,
        hide = true,
        env = "SECURE_CHAT_PASSWORD_COMMAND",
        value_name = "CMD"
    )]
    pub password_command: Option<String>,
    /// End another session of the account without asking
    #[arg(long, global = true, hide = true)]
    pub take_over: bool,
    /// How long to wait for a vault that another client has, in seconds
    #[arg(
        long,
        global = true,
        hide = true,
        value_name = "SECONDS",
        default_value = "10",
        value_parser = clap::value_parser!(u32).range(0..=86_400)
    )]
    pub wait: u32,
    /// Replace the account's published identity by this device's without asking
    #[arg(long, global = true, hide = true)]
    pub new_identity: bool,
    /// Let no other command or window of this account work through this client
    #[arg(long, global = true, hide = true, env = "SECURE_CHAT_NO_SOCKET")]
    pub no_socket: bool,
    /// Give the server the password of an account that was imported from the Python program before
    /// this one, once and without asking; --new-password-file has the one that replaces it
    #[arg(long, global = true, hide = true)]
    pub claim: bool,
    /// How to trust identities: first-use takes the first one of somebody and asks about a change;
    /// always also takes changes, with a warning, except of somebody verified; never asks about the
    /// first one, too
    #[arg(
        long,
        global = true,
        hide = true,
        env = "SECURE_CHAT_TRUST",
        value_name = "HOW",
        value_enum,
        default_value_t
    )]
    pub trust: Trust,
    /// When to use colours
    #[arg(
        long,
        global = true,
        hide = true,
        value_name = "WHEN",
        value_enum,
        default_value_t
    )]
    pub color: Colours,
    /// What /passwd changes the password to where there is no terminal, and what a login takes
    /// if the password opens the vault but was changed elsewhere or reset: the first line of a file
    #[arg(long, global = true, hide = true, value_name = "FILE")]
    pub new_password_file: Option<PathBuf>,
    /// The one-time code that the operator has given you, on the first line of a file. It makes
    /// --new-password-file the password; --password-file then opens the vault
    #[arg(long, global = true, hide = true, value_name = "FILE")]
    pub reset_code_file: Option<PathBuf>,
    /// Write a recovery code that is made into a new file, instead of showing it
    #[arg(long, global = true, hide = true, value_name = "FILE")]
    pub recovery_file: Option<PathBuf>,
    /// For screen readers: no banner, no colours, words instead of signs
    #[arg(long, global = true, hide = true, env = "SECURE_CHAT_PLAIN")]
    pub plain: bool,
    /// Ring the terminal's bell when a message arrives
    #[arg(long, global = true, hide = true, env = "SECURE_CHAT_BELL")]
    pub bell: bool,
    /// Say in the terminal's title how many messages are unread
    #[arg(long, global = true, hide = true, env = "SECURE_CHAT_TITLE")]
    pub title: bool,
    /// Run a shell command for each message that arrives; it gets the text on its input
    #[arg(long, global = true, hide = true, value_name = "CMD")]
    pub on_message: Option<String>,
    /// How long the command of --on-message may run, in seconds
    #[arg(
        long,
        global = true,
        hide = true,
        value_name = "SECONDS",
        default_value = "30",
        value_parser = clap::value_parser!(u32).range(1..=86_400)
    )]
    pub on_message_timeout: u32,
    /// Go on after a command from standard input that failed
    #[arg(long, global = true, hide = true)]
    pub keep_going: bool,
    /// Results of a command as JSON, one object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Of all but results, only warnings and errors
    #[arg(long, global = true, hide = true)]
    pub quiet: bool,
    /// Print help
    #[arg(short, long, global = true, action = clap::ArgAction::Help, hide = true)]
    help: Option<bool>,
    /// Print version
    #[arg(short = 'V', long, action = clap::ArgAction::Version, hide = true)]
    version: Option<bool>,
    /// Something else than chatting
    #[command(subcommand)]
    pub task: Option<Action>,
}

/// What to do instead of chatting.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    #[command(flatten)]
    Script(Script),
    /// Move to another machine, or read the history without a server
    #[command(subcommand)]
    Vault(VaultTask),
    /// List every option
    #[command(hide = true)]
    Options,
    /// List the exit codes
    #[command(hide = true)]
    ExitCodes,
    /// Print the manual page
    #[command(hide = true)]
    Man,
    /// Print completions for a shell
    #[command(hide = true)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// What to do with a vault.
#[derive(Debug, Subcommand)]
pub(crate) enum VaultTask {
    /// Write identity, contacts and history of --user to a new FILE, sealed under a passphrase
    ///
    /// Sessions and prekeys stay here: the other machine makes its own. End the client first; --wait waits for that.
    Export {
        #[command(flatten)]
        to: ExportFile,
        /// Take out what is whole of a vault that is damaged; nobody counts as verified then
        #[arg(long)]
        damaged: bool,
    },
    /// Log in on a machine without a vault, with identity, contacts and history from FILE
    ///
    /// Use one of the two machines from then on: each gets only what arrives while it is logged in. At
    /// another server use --register; its people are known by the same names only if they have moved, too.
    Import {
        #[command(flatten)]
        from: ExportFile,
        /// Make the account at --server first: for a move to a server that has none of this name
        #[arg(long)]
        register: bool,
    },
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
    pub(crate) fn passphrase(
        &self,
        terminal: &Terminal,
    ) -> Result<Option<Zeroizing<String>>, OptionsError> {
        let path = self.passphrase_file.as_deref();
        secret_file(terminal, "--passphrase-file", path)
    }
}

impl Options {
    /// The folder of the vaults.
    ///
    /// # Errors
    /// Neither an option nor the environment names a folder.
    pub(crate) fn data(&self) -> Result<PathBuf, OptionsError> {
        let named = self.data.clone();
        named.or_else(xdg::data).ok_or(OptionsError::NoFolder)
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
    pub(crate) fn new_password(
        &self,
        terminal: &Terminal,
    ) -> Result<Option<Zeroizing<String>>, OptionsError> {
        let path = self.new_password_file.as_deref();
        secret_file(terminal, "--new-password-file", path)
    }

    /// The operator's one-time code, if a file gives it.
    ///
    /// # Errors
    /// The file can't be read, or its first line is no such code.
    pub(crate) fn reset_code(
        &self,
        terminal: &Terminal,
    ) -> Result<Option<ResetCode>, OptionsError> {
        let path = self.reset_code_file.as_deref();
        let text = secret_file(terminal, "--reset-code-file", path)?;
        let code = text.map(|text| ResetCode::parse(&text)).transpose();
        code.map_err(|error| {
            let path = self.reset_code_file.clone().unwrap_or_default();
            OptionsError::SecretFile("--reset-code-file", path, io::Error::other(error))
        })
    }

    /// Whether an option or the environment gives the password, so that it is not typed.
    pub(crate) fn gives_password(&self) -> bool {
        let in_environment = std::env::var_os("SECURE_CHAT_PASSWORD");
        self.password_file.is_some()
            || self.password_command.is_some()
            || in_environment.is_some_and(|given| !given.is_empty())
    }

    /// The password, if a file, a command or the environment gives it.
    ///
    /// # Errors
    /// The file can't be read or others can read it, the command fails, or the first line is empty.
    pub(crate) fn password(
        &self,
        terminal: &Terminal,
    ) -> Result<Option<Zeroizing<String>>, OptionsError> {
        if self.password_file.is_some() {
            return secret_file(terminal, "--password-file", self.password_file.as_deref());
        }
        if let Some(command) = &self.password_command {
            return secrets::from_command(command)
                .map(Some)
                .map_err(OptionsError::PasswordCommand);
        }
        let given = std::env::var("SECURE_CHAT_PASSWORD").ok();
        Ok(given.filter(|given| !given.is_empty()).map(Zeroizing::new))
    }
}

impl Program for Options {
    const TYPED_ONLY: &'static [&'static str] = &[
        "config",
        "take-over",
        "new-identity",
        "claim",
        "new-password-file",
        "recovery-file",
        "keep-going",
        "json",
        "quiet",
    ];
    const SHORT_HELP: &'static [&'static str] = &[];
    const GROUPS: &'static [&'static [&'static str]] = &[&["password_file", "password_command"]];

    fn config_file() -> Option<PathBuf> {
        xdg::config().map(|folder| folder.join("client.conf"))
    }

    fn contradiction(&self, given: &dyn Fn(&str) -> bool) -> Option<&'static str> {
        let is_data = matches!(self.task, Some(Action::Script(_)));
        if self.password_file.is_some() && self.password_command.is_some() {
            return Some("--password-file and --password-command both give the password; use one");
        }
        if self.json && !is_data {
            return Some("--json is for commands such as send and listen; the chat has no JSON");
        }
        if self.quiet && !is_data {
            return Some("--quiet is for commands such as send and listen");
        }
        if self.keep_going && is_data {
            return Some("--keep-going is for commands that are read from standard input");
        }
        match &self.task {
            Some(Action::Script(script)) => script.contradiction(self, given),
            _ => None,
        }
    }
}

fn secret_file(
    terminal: &Terminal,
    option: &'static str,
    path: Option<&Path>,
) -> Result<Option<Zeroizing<String>>, OptionsError> {
    let read = |path: &Path| {
        terminal
            .open_file(path)
            .and_then(|mut input| {
                secrets::check_private(input.file())?;
                secrets::first_line(&mut input)
            })
            .map_err(|error| OptionsError::SecretFile(option, path.to_owned(), error))
    };
    path.map(read).transpose()
}
