//! Decides which account or message of an export is taken, and why another is not.
//!
//! A name that is good here, apart from upper-case letters, is kept in lower case; another one is taken
//! only under a name that the operator gives. Of two that come to the same name the first is taken. Mail
//! goes to a person by the spelling of then, so that nobody gets that of another.

use std::collections::HashMap;
use std::fmt;

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use zeroize::Zeroizing;

use super::document::{Document, Value};
use super::error::ImportError;
use crate::clock;
use crate::crypto::account::password::Argon2Params;
use crate::crypto::original;
use crate::protocol::ids::{ByteArray, MessageId};
use crate::protocol::limits::MAX_TEXT;
use crate::protocol::name::{NameError, UserName};
use crate::protocol::request::KdfParams;
use crate::server::delivery::mailbox::Quota;
use crate::server::requests::auth::random;
use crate::store::UserId;
use crate::store::sqlite::import::{Importer, NewMail, NewPerson, Person};

/// What stands before an ObjectId in the id of a message: "Mong".
const OF_MONGO: [u8; 4] = *b"Mong";

/// Why a document is skipped. The rest of the export is imported.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Skip {
    /// It is of no collection of the original's.
    Unknown,
    /// A field came twice.
    Ambiguous,
    /// The field is missing, or of another type.
    Field(&'static str),
    /// The password's hash is none.
    NoHash,
    /// The name is not possible here.
    BadName(String, NameError),
    /// The name belongs to somebody else here.
    NameTaken(String, UserName),
    /// It was imported before.
    Before,
    /// Nobody of this name was imported.
    NoRecipient(String),
    /// The recipient's account was deleted since.
    Deleted(UserName),
    /// The sender's account was purged since.
    Purged(String),
    /// The recipient does not take it.
    Unwanted(UserName),
    /// It does not decrypt to a text.
    NotDecrypted(String),
    /// The text is empty or too long.
    Length(usize),
    /// The recipient's mailbox is full.
    Full(UserName),
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Skip::Unknown => f.write_str("it is no account, no message and no peer"),
            Skip::Ambiguous => f.write_str("a field comes twice"),
            Skip::Field(name) => write!(f, "its {name} is missing or of another type"),
            Skip::NoHash => f.write_str("its password is no SHA-256 in hexadecimal"),
            Skip::BadName(name, why) => {
                write!(f, "the name {name:?}: {why}, with --rename {name}=ANOTHER")
            }
            Skip::NameTaken(name, here) => write!(
                f,
                "the name {here} is somebody else's here; --rename {name}=ANOTHER takes {name:?} \
                 under another one"
            ),
            Skip::Before => f.write_str("it was imported already"),
            Skip::NoRecipient(name) => {
                write!(f, "no account {name:?} was imported, to which it would go")
            }
            Skip::Deleted(name) => write!(f, "{name} has deleted the account"),
            Skip::Purged(name) => write!(
                f,
                "the account of {name:?}, who sent it, was purged when its name was given away"
            ),
            Skip::Unwanted(name) => write!(
                f,
                "{name} blocks the sender, or takes no unencrypted messages"
            ),
            Skip::NotDecrypted(name) => {
                write!(f, "it is not encrypted for {name:?}, or is no text")
            }
            Skip::Length(bytes) => {
                write!(f, "its text has {bytes} bytes; 1 to {MAX_TEXT} are taken")
            }
            Skip::Full(name) => write!(
                f,
                "the mailbox of {name} is full; import again when they have read their messages, or \
                 raise --mailbox-messages and --mailbox-mib"
            ),
        }
    }
}

/// Taken, or skipped; the error outside of it ends the import.
type Taken = Result<Result<(), Skip>, ImportError>;

/// An import under way.
pub(super) struct Import<'a, 'b> {
    importer: &'a mut Importer<'b>,
    renames: HashMap<String, UserName>,
    quota: Quota,
}

/// Returns early with the reason why a document is skipped.
macro_rules! or_skip {
    ($tried:expr) => {
        match $tried {
            Ok(value) => value,
            Err(skip) => return Ok(Err(skip)),
        }
    };
}

impl<'a, 'b> Import<'a, 'b> {
    /// An import with these new names for names of then.
    pub(super) fn new(
        importer: &'a mut Importer<'b>,
        renames: &[(String, UserName)],
        quota: Quota,
    ) -> Self {
        Import {
            importer,
            renames: renames.iter().cloned().collect(),
            quota,
        }
    }

    /// Makes an account.
    pub(super) fn account(&mut self, document: &Document) -> Taken {
        let username = or_skip!(text(&document.username, "username"));
        let hash = or_skip!(text(&document.password, "password"));
        let hash = or_skip!(hash_of(hash));
        let known = self.importer.person(username)?;
        if known.is_some_and(|person| !person.only_sender && !person.lacks_verifier) {
            return Ok(Err(Skip::Before));
        }
        let name = match known {
            Some(person) => person.name,
            None => or_skip!(self.free_name(username)?),
        };
        let kdf = new_kdf()?;
        let verifier = original::verifier(&hash, &kdf.salt.0, Argon2Params::for_new())?;
        let person = NewPerson {
            original: username,
            name,
            kdf,
            verifier: ByteArray(verifier),
            created: time_of(document.object_id()),
        };
        let reserved = known.map(|person| person.id);
        self.importer.add_person(&person, reserved)?;
        Ok(Ok(()))
    }

    /// Puts a message into its recipient's mailbox.
    pub(super) fn message(&mut self, document: &Document) -> Taken {
        let id = document.object_id();
        let id = or_skip!(id.ok_or(Skip::Field("_id")));
        if self.importer.is_known(&id)? {
            return Ok(Err(Skip::Before));
        }
        let to = or_skip!(text(&document.username, "username"));
        let from = or_skip!(text(&document.sender, "sender"));
        let sealed = document.message.as_ref().ok_or(Skip::Field("message"));
        let sealed = or_skip!(sealed);
        let recipient = match self.importer.person(to)? {
            None => return Ok(Err(Skip::NoRecipient(to.to_owned()))),
            Some(person) if person.only_sender => {
                return Ok(Err(Skip::NoRecipient(to.to_owned())));
            }
            Some(person) if person.deleted => return Ok(Err(Skip::Deleted(person.name))),
            Some(person) => person,
        };
        let text = decrypt(to, sealed).ok_or_else(|| Skip::NotDecrypted(to.to_owned()));
        let text = or_skip!(text);
        if text.is_empty() || text.len() > MAX_TEXT {
            return Ok(Err(Skip::Length(text.len())));
        }
        let waiting = self.importer.waiting(recipient.id)?;
        let is_full = waiting.messages() >= self.quota.messages
            || waiting.bytes + text.len() as u64 > self.quota.bytes;
        if is_full {
            return Ok(Err(Skip::Full(recipient.name)));
        }
        let at = time_of(Some(id));
        let sender = or_skip!(self.sender(from, at)?);
        if recipient.refuses_plain || self.importer.blocks(recipient.id, sender)? {
            return Ok(Err(Skip::Unwanted(recipient.name)));
        }
        self.importer.add_mail(&NewMail {
            object_id: id,
            recipient: recipient.id,
            sender,
            mid: message_id(&id),
            at,
            text: &text,
        })?;
        Ok(Ok(()))
    }

    /// Who sent a message. The name of somebody without an account is reserved, so that nobody is
    /// taken for them.
    fn sender(&mut self, name: &str, at: u64) -> Result<Result<UserId, Skip>, ImportError> {
        match self.importer.person(name)? {
            Some(Person { released: true, .. }) => {
                return Ok(Err(Skip::Purged(name.to_owned())));
            }
            Some(person) => return Ok(Ok(person.id)),
            None => {}
        }
        let here = or_skip!(self.free_name(name)?);
        let id = self.importer.add_sender(name, &here, at)?;
        Ok(id.ok_or_else(|| Skip::NameTaken(name.to_owned(), here)))
    }

    /// The name that somebody gets here.
    fn free_name(&self, original: &str) -> Result<Result<UserName, Skip>, ImportError> {
        let name = match self.renames.get(original) {
            Some(name) => Ok(*name),
            None => original.parse::<UserName>(),
        };
        let name = name.map_err(|why| Skip::BadName(original.to_owned(), why));
        let name = or_skip!(name);
        Ok(match self.importer.is_taken(&name)? {
            true => Err(Skip::NameTaken(original.to_owned(), name)),
            false => Ok(name),
        })
    }
}

fn text<'a>(value: &'a Option<Value>, field: &'static str) -> Result<&'a str, Skip> {
    let text = value.as_ref().and_then(Value::text);
    text.ok_or(Skip::Field(field))
}

/// The hash of a password in lower case, if it is one.
fn hash_of(text: &str) -> Result<Zeroizing<String>, Skip> {
    let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match is_hash {
        true => Ok(Zeroizing::new(text.to_ascii_lowercase())),
        false => Err(Skip::NoHash),
    }
}

/// The text of a message: PyCryptodome's bytes, as they are or as base64 or hexadecimal digits.
fn decrypt(recipient: &str, sealed: &Value) -> Option<String> {
    let open = |bytes: &[u8]| {
        let opened = original::open_message(recipient, bytes)?;
        String::from_utf8(opened.to_vec()).ok()
    };
    match sealed {
        Value::Binary(bytes) => {
            // Base64 that was not made a string is bytes, too.
            let digits = || {
                std::str::from_utf8(bytes)
                    .ok()
                    .and_then(|text| from_digits(text, &open))
            };
            open(bytes).or_else(digits)
        }
        Value::Text(text) => from_digits(text, &open),
        Value::ObjectId(_) | Value::Other => None,
    }
}

fn from_digits(text: &str, open: &dyn Fn(&[u8]) -> Option<String>) -> Option<String> {
    let text = text.trim().as_bytes();
    let hex = HEXLOWER_PERMISSIVE.decode(text).ok();
    let base64 = || BASE64.decode(text).ok();
    hex.and_then(|bytes| open(&bytes))
        .or_else(|| open(&base64()?))
}

/// The time that an ObjectId tells, in ms since 1970, and at most the present one.
fn time_of(id: Option<[u8; 12]>) -> u64 {
    let now = clock::unix_ms();
    let Some([a, b, c, d, ..]) = id else {
        return now;
    };
    now.min(u64::from(u32::from_be_bytes([a, b, c, d])) * 1000)
}

/// The id here of a message with this ObjectId.
fn message_id(id: &[u8; 12]) -> MessageId {
    let (mark, rest) = (OF_MONGO, id);
    MessageId(std::array::from_fn(|at| match at.checked_sub(mark.len()) {
        None => mark[at],
        Some(at) => rest[at],
    }))
}

fn new_kdf() -> Result<KdfParams, ImportError> {
    let cost = Argon2Params::for_new();
    Ok(KdfParams {
        salt: ByteArray(random()?),
        memory_kib: cost.memory_kib,
        passes: cost.passes,
        lanes: cost.lanes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEALED: &str = "pUKYLV8efi6QxhqyP0VPFA==";

    #[test]
    fn a_message_may_be_bytes_or_digits() {
        let bytes = BASE64.decode(SEALED.as_bytes()).unwrap();
        let hex = data_encoding::HEXUPPER.encode(&bytes);
        for sealed in [
            Value::Text(SEALED.to_owned()),
            Value::Text(format!("{SEALED}\n")),
            Value::Text(hex.clone()),
            Value::Binary(bytes),
            Value::Binary(SEALED.as_bytes().to_owned()),
            Value::Binary(hex.into_bytes()),
        ] {
            assert_eq!(
                decrypt("bob", &sealed).as_deref(),
                Some("grüße, bob"),
                "{sealed:?}"
            );
            assert_eq!(decrypt("bo", &sealed), None);
        }
        assert_eq!(decrypt("bob", &Value::Text("hello".to_owned())), None);
        assert_eq!(decrypt("bob", &Value::Other), None);
    }

    #[test]
    fn a_message_has_the_time_and_the_id_of_its_object_id() {
        let mut id = [7; 12];
        id[..4].copy_from_slice(&1_600_000_000_u32.to_be_bytes());
        assert_eq!(time_of(Some(id)), 1_600_000_000_000);
        assert_eq!(
            message_id(&id).0[..8],
            [b'M', b'o', b'n', b'g', 0x5f, 0x5e, 0x10, 0]
        );
        assert_eq!(message_id(&id).0[8..], [7; 8]);
        assert!(time_of(Some([0xff; 12])) <= clock::unix_ms());
    }

    #[test]
    fn a_hash_is_taken_in_both_cases_and_nothing_else() {
        let hash = "AB".repeat(32);
        assert_eq!(*hash_of(&hash).unwrap(), "ab".repeat(32));
        for wrong in [
            "",
            "password",
            &"ab".repeat(31),
            &"xy".repeat(32),
            &"ä".repeat(32),
        ] {
            assert_eq!(hash_of(wrong), Err(Skip::NoHash), "{wrong}");
        }
    }
}
