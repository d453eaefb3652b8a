//! Logging in on a machine that has no vault of the account: with a new identity,
//! or with the one from an export of the old machine. And making that export.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::credentials::{Credentials, derive, login_request};
use super::{
    LoginError, LoginFlow, Prompt, Result, create_vault, identity, known_password, open,
    show_recovery_code,
};
use crate::client::messenger::account::Account;
use crate::client::messenger::identity::wire_identity;
use crate::client::net::connection::{CallError, Connection};
use crate::client::net::event_queue::EventQueue;
use crate::client::vault::{Export, VaultError, VaultFile};
use crate::clock;
use crate::protocol::reply::{Done, Welcome};
use crate::protocol::request::{KdfParams, SessionOptions, UserRef};
use crate::protocol::{Code, Request, UserName};

/// The largest export that is read.
const MAX_EXPORT: u64 = 1024 * 1024 * 1024;

impl LoginFlow {
    /// Logs in with an export's identity, contacts and history on a machine that
    /// has no vault of the account.
    ///
    /// # Errors
    /// Why nobody got in; there is no vault then.
    pub(crate) fn import(&self, export: &Export, ask: &mut dyn Prompt) -> Result<Account> {
        let file = VaultFile::take(&self.data, self.endpoint.place(), &export.name)?;
        if file.exists() {
            return Err(VaultError::Exists(file.path().to_owned()).into());
        }
        let mut events = EventQueue::new();
        let connection = self.connect(&mut events, ask)?;
        self.log_in_fresh(export.name, file, (connection, events), Some(export), ask)
    }

    /// What is to move to another machine, from the vault that is here.
    ///
    /// # Errors
    /// That it does not open.
    pub(crate) fn export(&self, name: UserName, ask: &mut dyn Prompt) -> Result<Export> {
        let file = VaultFile::take(&self.data, self.endpoint.place(), &name)?;
        if !file.exists() {
            return Err(LoginError::Refused(format!(
                "there is no vault of {name} at {} here; nothing was exported",
                self.endpoint.place()
            )));
        }
        let password = known_password(&name, ask)?;
        match open(file.read()?, &password)? {
            Ok((vault, _)) => Ok(vault.export(name)?),
            Err(_) => Err(VaultError::WrongKey.into()),
        }
    }

    pub(super) fn log_in_fresh(
        &self,
        name: UserName,
        file: VaultFile,
        (mut connection, mut events): (Connection, EventQueue),
        export: Option<&Export>,
        ask: &mut dyn Prompt,
    ) -> Result<Account> {
        let kdf: KdfParams = connection.call(&mut events, &Request::Kdf(UserRef { name }))?;
        let password = known_password(&name, ask)?;
        let derived = derive(&password, kdf).map_err(LoginError::Refused)?;
        let login_key = derived.login_key.clone();
        let credentials = Credentials { kdf, login_key };
        let mut agreed = false;
        let welcome = match try_to_enter(&name, &credentials, &mut connection, &mut events)? {
            Some(welcome) => welcome,
            None => {
                // Whoever is online has keys that this machine lacks: no session is
                // ended before it is clear that those are to be replaced.
                if export.is_none() {
                    agreed = self.agree(&name, None, ask)?;
                }
                self.enter(&name, &credentials, None, &mut connection, &mut events, ask)?
            }
        };
        let wanted = match export {
            Some(export) => Some(export.identity().map_err(refused)?),
            None => None,
        };
        let wanted = wanted.map(|keys| wire_identity(&keys.public()));
        let replaces = welcome.identity.is_some() && welcome.identity != wanted;
        if replaces
            && !agreed
            && let Err(refused) = self.agree(&name, export, ask)
        {
            // The server notices the closed connection, too.
            let _answer = connection.call::<Done>(&mut events, &Request::Logout);
            return Err(refused);
        }
        let (mut vault, code) = create_vault(file, kdf, &derived, |vault| match export {
            Some(export) => vault.import(export, clock::unix_ms()),
            None => vault.make_identity().map(drop),
        })?;
        show_recovery_code(&code, ask);
        Ok(Account {
            name,
            endpoint: self.endpoint.clone(),
            keys: identity(&mut vault)?,
            vault,
            credentials,
            connection,
            events,
            welcome,
            new_identity: replaces,
        })
    }

    /// Whether this machine's identity may replace the published one.
    fn agree(
        &self,
        name: &UserName,
        export: Option<&Export>,
        ask: &mut dyn Prompt,
    ) -> Result<bool> {
        let question = match export {
            None => format!(
                "{name} has used another device, and its keys are not on this one. A new identity \
                 makes everybody you talk to see a warning, and messages encrypted to the old one \
                 can't be read here before their senders send them again. \
                 Make a new identity on this device?"
            ),
            Some(_) => format!(
                "{name} has made a new identity since this export, and that one is published now. \
                 Going back to the exported one makes everybody you talk to see a warning. Go back to it?"
            ),
        };
        match self.new_identity || ask.yes(&question) {
            true => Ok(true),
            false => Err(LoginError::Refused(
                "nothing was changed; bring the identity from the other device with \
                 `client vault export` there and `client vault import` here, or use --new-identity"
                    .to_owned(),
            )),
        }
    }
}

/// Logs in without ending another session; `None` if there is one.
fn try_to_enter(
    name: &UserName,
    credentials: &Credentials,
    connection: &mut Connection,
    events: &mut EventQueue,
) -> Result<Option<Box<Welcome>>> {
    let request = login_request(name, credentials, connection, SessionOptions::default());
    match connection.call(events, &request) {
        Ok(welcome) => Ok(Some(Box::new(welcome))),
        Err(CallError::Refused(refusal)) if refusal.code == Code::AlreadyOnline => {
            connection.hello(events)?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes a file that only its owner can read and that was not there before.
///
/// # Errors
/// A sentence.
pub(crate) fn write_export(path: &Path, bytes: &[u8]) -> std::result::Result<(), String> {
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
    written.map_err(|error| {
        format!(
            "{}: {error}; name a file that does not exist, in a folder that you can write to",
            path.display()
        )
    })
}

/// Reads an export and opens it.
///
/// # Errors
/// A sentence.
pub(crate) fn read_export(path: &Path, passphrase: &str) -> std::result::Result<Export, String> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let length = fs::metadata(path).map_err(|error| named(&error))?.len();
    if length > MAX_EXPORT {
        return Err(named(&"it is too large to be an export"));
    }
    let bytes = fs::read(path).map_err(|error| named(&error))?;
    Export::open(&bytes, passphrase).map_err(|error| named(&error))
}

fn refused(error: impl std::fmt::Display) -> LoginError {
    LoginError::Refused(error.to_string())
}
