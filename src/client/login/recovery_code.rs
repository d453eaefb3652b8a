//! Handing a recovery code to the person: on the screen, or in a new file, so that a script
//! keeps it out of its log. Which key the code wraps is the vault's business.

use std::fs;
use std::path::{Path, PathBuf};

use crate::client::view::ViewEvent;
use crate::crypto::account::recovery::RecoveryCode;
use crate::crypto::os_rng;

/// A new recovery code on its way to the person.
pub(crate) struct NewCode {
    /// The code.
    pub code: RecoveryCode,
    /// The file that it goes into; `None` for the screen.
    file: Option<PathBuf>,
}

impl NewCode {
    /// A new code. One that goes into a file is written there at once, because after that
    /// nothing can fail: the vault must not get a code that nobody has.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(crate) fn make(file: Option<&Path>) -> Result<Self, String> {
        let code = RecoveryCode::generate(&mut os_rng());
        if let Some(file) = file {
            let text = code.to_text();
            let line = zeroize::Zeroizing::new(format!("{}\n", *text));
            crate::fs::write_new(file, line.as_bytes()).map_err(|error| refusal(file, &error))?;
        }
        Ok(NewCode {
            code,
            file: file.map(Path::to_owned),
        })
    }

    /// What to show once the code opens the vault.
    pub(crate) fn lines(&self) -> Vec<ViewEvent> {
        match &self.file {
            Some(file) => vec![ViewEvent::good(format!(
                "the recovery code is in {}; no other one opens the vault",
                file.display()
            ))],
            None => vec![
                ViewEvent::warning(
                    "Write down this recovery code. It opens your messages and keys on this device if the \
                     password is lost, it is shown only now, and whoever has it and this device needs no password:",
                ),
                ViewEvent::plain(format!("    {}", *self.code.to_text())),
            ],
        }
    }

    /// Takes the code back: it opens nothing.
    pub(crate) fn discard(self) {
        if let Some(file) = self.file {
            // A code that opens nothing does no harm where it can't be removed.
            let _removed = fs::remove_file(file);
        }
    }
}

/// Checks that a code can go into the file, before anything is done that leads to one.
///
/// # Errors
/// A sentence that names the file: there is one already.
pub(crate) fn check_file(file: Option<&Path>) -> Result<(), String> {
    match file {
        Some(file) if file.symlink_metadata().is_ok() => Err(refusal(file, &"it exists already")),
        _ => Ok(()),
    }
}

fn refusal(file: &Path, why: &dyn std::fmt::Display) -> String {
    format!(
        "--recovery-file {}: {why}; name a file that does not exist, in a folder that you can write to",
        file.display()
    )
}
