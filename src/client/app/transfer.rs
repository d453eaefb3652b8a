//! `client vault export` and `import`: the passphrase, the file, and what the person
//! is told. The vault decides the contents and the format of an export.

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{by_options, password};
use crate::client::args::{ExportFile, Options};
use crate::client::login::first_login::{read_export, write_export};
use crate::client::login::prompt::cancelled;
use crate::client::login::{LoginError, LoginFlow};
use crate::client::messenger::SessionHandle;
use crate::client::messenger::command::Command;
use crate::client::terminal::{InputEvent, Terminal};
use crate::client::view::{Display, ViewEvent};
use crate::protocol::UserName;

/// The shortest passphrase, in characters. It is long because a thief of the file can try
/// passphrases without limit.
const MIN_PASSPHRASE: usize = 12;

/// How long the new keys may take to be published.
const PUBLISHES_WITHIN: Duration = Duration::from_secs(30);

/// `vault export`; of a vault that may be damaged, what is whole.
///
/// # Errors
/// Nothing was exported.
pub(crate) fn export(
    name: UserName,
    export_file: &ExportFile,
    damaged: bool,
    options: &Options,
    login_flow: &LoginFlow,
    terminal: &mut Terminal,
) -> Result<(), LoginError> {
    let given = export_file.passphrase(terminal).map_err(by_options)?;
    if let Some(passphrase) = &given {
        check(passphrase).map_err(LoginError::Refused)?;
    }
    let mut prompt = password::prompt(terminal, options).map_err(by_options)?;
    let (export, loss) = match damaged {
        true => {
            let (export, loss) = login_flow.export_damaged(name, &mut prompt)?;
            (export, Some(loss))
        }
        false => (login_flow.export(name, &mut prompt)?, None),
    };
    let passphrase = match given {
        Some(passphrase) => passphrase,
        None => new_passphrase(terminal)?,
    };
    let sealed = export.seal(&passphrase).map_err(LoginError::Refused)?;
    write_export(&export_file.file, &sealed).map_err(LoginError::Refused)?;
    terminal.say(&ViewEvent::good(format!(
        "exported to {}: {}",
        export_file.file.display(),
        export.summary()
    )));
    if let Some(loss) = loss {
        terminal.say(&ViewEvent::warning(format!(
            "this is what is whole of the vault ({loss}); there may have been more, and some of it may be older \
             than what you saw last. Nobody counts as verified: after the import, compare safety numbers again \
             with /verify"
        )));
    }
    terminal.say(&ViewEvent::plain(
        "whoever has the file and the passphrase can be you and read all of it; delete it once it is imported",
    ));
    Ok(())
}

/// `vault import`; with an account that is made first, if `register` says so.
///
/// # Errors
/// Nothing was imported, or the new keys were not published.
pub(crate) fn import(
    export_file: &ExportFile,
    register: bool,
    options: &Options,
    login_flow: &LoginFlow,
    terminal: &mut Terminal,
) -> Result<(), LoginError> {
    let passphrase = match export_file.passphrase(terminal).map_err(by_options)? {
        Some(passphrase) => passphrase,
        None => secret(terminal, "Passphrase of the export: ")?,
    };
    let path = &export_file.file;
    let opened = terminal.open_file(path);
    let opened = opened.map_err(|error| LoginError::NoExport(path.clone(), error))?;
    let export = read_export(path, opened, &passphrase)?;
    if let Some(user) = options.user.filter(|user| *user != export.name) {
        return Err(LoginError::Refused(format!(
            "the export is of {}, not of {user}; nothing was imported",
            export.name
        )));
    }
    let mut prompt = password::prompt(terminal, options).map_err(by_options)?;
    let account = match register {
        true => login_flow.register_with(&export, &mut prompt)?,
        false => login_flow.import(&export, &mut prompt)?,
    };
    let display: Arc<dyn Display> = Arc::clone(terminal.screen()) as Arc<dyn Display>;
    let session =
        SessionHandle::start(account, options.trust, display).map_err(LoginError::Thread)?;
    let published = session.run(Command::AwaitAnswers(PUBLISHES_WITHIN));
    session.end();
    terminal.say(&ViewEvent::good(format!(
        "imported {}: {}",
        export.name,
        export.summary()
    )));
    let here = login_flow.endpoint.place();
    terminal.say(&ViewEvent::plain(match export.other_server(here.as_str()) {
        None => {
            "use this machine from now on; the other one's sessions are left behind".to_owned()
        }
        Some(server) => format!(
            "contacts came along with the identities that you know them by, and the history as it was; what \
             was under way at {server} stays there, and so do settings and blocks: /settings and /block make \
             them anew. Each contact reaches you here once they have moved, too"
        ),
    }));
    // What was not sent is sent at the next login.
    let published = published.map(drop);
    published.map_err(|failure| LoginError::Unpublished(failure.why))
}

fn check(passphrase: &str) -> Result<(), String> {
    match passphrase.chars().count() >= MIN_PASSPHRASE {
        true => Ok(()),
        false => Err(format!(
            "a passphrase needs at least {MIN_PASSPHRASE} characters; choose a longer one"
        )),
    }
}

/// Has a passphrase typed twice; asks again after a slip.
fn new_passphrase(terminal: &mut Terminal) -> Result<Zeroizing<String>, LoginError> {
    let prompt = format!("Passphrase for the export (at least {MIN_PASSPHRASE} characters): ");
    loop {
        let passphrase = secret(terminal, &prompt)?;
        if let Err(why) = check(&passphrase) {
            terminal.say(&ViewEvent::bad(why));
            continue;
        }
        let again = secret(terminal, "The same passphrase again: ")?;
        if *again == *passphrase {
            return Ok(passphrase);
        }
        terminal.say(&ViewEvent::bad(
            "the two passphrases are not the same; choose one once more",
        ));
    }
}

fn secret(terminal: &mut Terminal, prompt: &str) -> Result<Zeroizing<String>, LoginError> {
    match terminal.secret(prompt) {
        InputEvent::Line(line) if !line.is_empty() => Ok(line),
        InputEvent::Cancelled | InputEvent::Stop => Err(cancelled()),
        _ => Err(LoginError::Refused(
            "there is no passphrase; run it on a terminal, or use --passphrase-file".to_owned(),
        )),
    }
}
