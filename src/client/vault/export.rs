//! What moves to another machine: identity, contacts and history in one file,
//! sealed under a passphrase.
//!
//! Never in it: ratchets and the private halves of prekeys. Two machines that
//! went on with the same ratchet would use its keys twice; an imported vault opens
//! new sessions under the old identity instead, and an old export can do no harm.
//!
//! The file: `"secure-chat export 1\n" || salt (16) || Argon2id's cost (12) || a
//! random key under the passphrase's (96) || sealed JSON`. Everything before the
//! JSON is in its associated data.

use std::fmt;

use rand::Rng;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::control_messages::REMEMBERED_MS;
use super::{
    Contact, DeliveryState, EncryptionStatus, MessageRecord, Renewal, Result, Vault, VaultError,
    secret_json,
};
use crate::crypto::account::password;
use crate::crypto::account::password::Argon2Params;
use crate::crypto::cipher::{NotAuthentic, SealKey, WRAPPED_LEN};
use crate::crypto::keys::IdentityKeys;
use crate::crypto::os_rng;
use crate::protocol::{MessageId, UserName};

const MAGIC: &[u8] = b"secure-chat export ";

/// The first line, its version included.
pub(crate) const FIRST_LINE: &[u8] = b"secure-chat export 1\n";

/// The length of the identity's private halves, in bytes.
const IDENTITY_LEN: usize = 64;

const SALT_AT: usize = FIRST_LINE.len();
const COST_AT: usize = SALT_AT + 16;
const KEY_AT: usize = COST_AT + 12;
const SEALED_AT: usize = KEY_AT + WRAPPED_LEN;

/// The contents of an export.
#[derive(Serialize, Deserialize)]
pub struct Export {
    /// The account.
    pub name: UserName,
    identity: ExportSecret,
    contacts: Vec<Contact>,
    messages: Vec<Exported>,
    /// The person wants no receipts to be sent.
    #[serde(default)]
    no_receipts: bool,
    /// The person hides when they are online.
    #[serde(default)]
    hidden: bool,
    /// The server that the account is at, as the text of its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server: Option<String>,
}

/// The identity's private halves.
#[derive(Serialize, Zeroize, ZeroizeOnDrop)]
struct ExportSecret(Vec<u8>);

/// Puts the bytes where they stay: a vector that grows while it is read leaves copies.
impl<'de> Deserialize<'de> for ExportSecret {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Bytes;
        impl<'de> serde::de::Visitor<'de> for Bytes {
            type Value = ExportSecret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{IDENTITY_LEN} bytes")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> std::result::Result<ExportSecret, A::Error> {
                let mut bytes = Zeroizing::new(Vec::with_capacity(IDENTITY_LEN));
                while let Some(byte) = seq.next_element()? {
                    if bytes.len() == IDENTITY_LEN {
                        return Err(serde::de::Error::invalid_length(bytes.len() + 1, &self));
                    }
                    bytes.push(byte);
                }
                Ok(ExportSecret(std::mem::take(&mut *bytes)))
            }
        }
        from.deserialize_seq(Bytes)
    }
}

/// The words of messages are secrets, too.
impl Drop for Export {
    fn drop(&mut self) {
        for message in &mut self.messages {
            message.record.text.zeroize();
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Exported {
    with: UserName,
    mid: MessageId,
    at: u64,
    record: MessageRecord,
}

/// Why a file gives no export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportError {
    /// It is something else.
    NotAnExport,
    /// A newer version of the client wrote it.
    Newer,
    /// The passphrase is wrong, or the file was changed or cut off: the two can't
    /// be told apart.
    WrongPassphrase,
    /// It opened and makes no sense, or its cost is out of bounds.
    Damaged(String),
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExportError::NotAnExport => {
                f.write_str("it is not an export; make one with: client vault export FILE")
            }
            ExportError::Newer => {
                f.write_str("a newer version of this client wrote it; update the client")
            }
            ExportError::WrongPassphrase => f.write_str(
                "the passphrase is wrong, or the file was changed or cut off; try again, or export anew",
            ),
            ExportError::Damaged(why) => write!(f, "it is damaged ({why}); export anew"),
        }
    }
}

impl std::error::Error for ExportError {}

impl Export {
    /// Seals it under a passphrase: the file's bytes.
    ///
    /// # Errors
    /// That the key could not be derived.
    pub fn seal(&self, passphrase: &str) -> std::result::Result<Vec<u8>, String> {
        let mut salt = [0; 16];
        os_rng().fill_bytes(&mut salt);
        let cost = Argon2Params::for_new();
        let derived =
            password::derive(passphrase, &salt, cost).map_err(|error| error.to_string())?;
        let json = secret_json(self).map_err(|error| error.to_string())?;
        let mut file = [FIRST_LINE, &salt, &cost.to_bytes()].concat();
        let key = SealKey::generate(&mut os_rng());
        let wrapped = derived.wrapping_key.wrap(&mut os_rng(), &file, &key);
        file.extend_from_slice(&wrapped);
        let sealed = key.seal(&mut os_rng(), &file, &json);
        file.extend_from_slice(&sealed);
        Ok(file)
    }

    /// That a file begins like an export of this version.
    ///
    /// # Errors
    /// It does not.
    pub fn check_first_line(file: &[u8]) -> std::result::Result<(), ExportError> {
        match (file.starts_with(FIRST_LINE), file.starts_with(MAGIC)) {
            (true, _) => Ok(()),
            (false, true) => Err(ExportError::Newer),
            (false, false) => Err(ExportError::NotAnExport),
        }
    }

    /// Opens a file with its passphrase.
    ///
    /// # Errors
    /// Why it gives none.
    pub fn open(file: &[u8], passphrase: &str) -> std::result::Result<Self, ExportError> {
        Export::check_first_line(file)?;
        let (header, sealed) = file
            .split_at_checked(SEALED_AT)
            .ok_or(ExportError::NotAnExport)?;
        let cost = Argon2Params::from_bytes(&std::array::from_fn(|i| header[COST_AT + i]));
        let damaged = |error: &dyn fmt::Display| ExportError::Damaged(error.to_string());
        let cost = cost
            .check()
            .map_err(|_| damaged(&format!("its cost is {cost}")))?;
        let salt: [u8; 16] = std::array::from_fn(|i| header[SALT_AT + i]);
        let derived = password::derive(passphrase, &salt, cost).map_err(|e| damaged(&e))?;
        let wrong = |NotAuthentic| ExportError::WrongPassphrase;
        let key = derived
            .wrapping_key
            .unwrap(&header[..KEY_AT], &header[KEY_AT..])
            .map_err(wrong)?;
        let json = key.open(header, sealed).map_err(wrong)?;
        serde_json::from_slice(&json).map_err(|error| damaged(&error))
    }

    /// This account's identity.
    ///
    /// # Errors
    /// That it has the wrong length.
    pub fn identity(&self) -> std::result::Result<IdentityKeys, ExportError> {
        let bytes: &[u8; IDENTITY_LEN] = self
            .identity
            .0
            .as_slice()
            .try_into()
            .map_err(|_| ExportError::Damaged("the identity's length".to_owned()))?;
        Ok(IdentityKeys::from_bytes(bytes))
    }

    /// The server that the account is at, if the export says so and it is another one than this.
    pub fn other_server(&self, server: &str) -> Option<&str> {
        self.server.as_deref().filter(|place| *place != server)
    }

    /// What it holds, in words.
    pub fn summary(&self) -> String {
        let (contacts, messages) = (self.contacts.len(), self.messages.len());
        let s = |count| if count == 1 { "" } else { "s" };
        format!(
            "the identity, {contacts} contact{}, {messages} message{}",
            s(contacts),
            s(messages)
        )
    }
}

impl Vault {
    /// What is to move to another machine: all of it.
    ///
    /// # Errors
    /// That it could not be read, or that there is no identity yet.
    pub fn export(&self, name: UserName) -> Result<Export> {
        match self.export_whole(name)? {
            (export, None) => Ok(export),
            (_, Some(changed)) => Err(changed),
        }
    }

    /// What is to move to another machine, without the messages whose rows were changed; and
    /// the first of these, if there are any.
    ///
    /// # Errors
    /// That it could not be read, or that there is no identity yet.
    pub(super) fn export_whole(&self, name: UserName) -> Result<(Export, Option<VaultError>)> {
        let identity = self
            .identity()?
            .ok_or_else(|| self.damaged("it has no identity"))?;
        let device = self.device()?;
        let (mut messages, mut changed) = (Vec::new(), None);
        for read in self.all_messages()? {
            let message = match read {
                Err(error @ VaultError::Damaged(..)) => {
                    changed.get_or_insert(error);
                    continue;
                }
                read => read?,
            };
            if let Some(contact) = self.contact_by_id(message.contact) {
                messages.push(Exported {
                    with: contact.name,
                    mid: message.mid,
                    at: message.at,
                    record: message.record,
                });
            }
        }
        let export = Export {
            name,
            identity: ExportSecret(identity.to_bytes().to_vec()),
            contacts: self.contacts().to_vec(),
            messages,
            no_receipts: device.no_receipts,
            hidden: device.hidden,
            server: self.server()?,
        };
        Ok((export, changed))
    }

    /// Fills a vault that was just made. What was under way when the export was
    /// made is the other machine's to finish; what could not be decrypted there is
    /// asked for once more.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn import(&mut self, export: &Export, now: u64) -> Result<()> {
        let identity = export
            .identity()
            .map_err(|error| VaultError::Damaged(self.path.clone(), error.to_string()))?;
        self.transact(|vault| {
            vault.set_identity(&identity)?;
            let here = vault.server()?.unwrap_or_default();
            let has_moved = export.other_server(&here).is_some();
            for contact in &export.contacts {
                let id = vault.contact_or_new(&contact.name)?.id;
                vault.save_contact(&Contact {
                    id,
                    renewal: contact.identity.map(|_| Renewal::Imported),
                    imported_at: contact.identity.map(|_| now),
                    paused: false,
                    asked: 0,
                    number_shown: None,
                    last_handle: contact.last_handle.filter(|_| !has_moved),
                    ..contact.clone()
                })?;
            }
            for message in &export.messages {
                vault.import_message(message, now)?;
            }
            let mut device = vault.device()?;
            device.no_receipts = export.no_receipts;
            device.hidden = export.hidden;
            if has_moved {
                device.sent_elsewhere = vault.rows.root.last_number;
            }
            vault.save_device(&device)
        })
    }

    fn import_message(&mut self, message: &Exported, now: u64) -> Result<()> {
        let contact = self.contact_or_new(&message.with)?.id;
        let mut record = message.record.clone();
        if record.state == DeliveryState::Waiting {
            record.state =
                DeliveryState::Failed("it waited on the machine of the export".to_owned());
        }
        if record.form == EncryptionStatus::Held {
            record.form = EncryptionStatus::Undecryptable(
                "it was held on the machine of the export".to_owned(),
            );
        }
        self.add_message(contact, &message.mid, message.at, &record)?;
        if record.outgoing {
            return Ok(());
        }
        let lost = matches!(record.form, EncryptionStatus::Undecryptable(_));
        if lost && now.saturating_sub(message.at) < REMEMBERED_MS {
            self.want(contact, &message.mid)?;
        }
        match self.is_seen(contact, &message.mid)? {
            true => Ok(()),
            false => self.mark_seen(contact, &message.mid),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::client::vault::tests::{alice, create, record};
    use crate::crypto::testing::Needle;

    /// A part of the identity as JSON spells it.
    fn spelled(secret: &[u8]) -> Needle {
        Needle::of(|each| {
            for byte in secret {
                let digits = [byte / 100, byte / 10 % 10, byte % 10];
                let leading = digits[..2].iter().take_while(|digit| **digit == 0).count();
                digits[leading..]
                    .iter()
                    .for_each(|digit| each(b'0' + digit));
                each(b',');
            }
        })
    }

    #[test]
    fn an_export_leaves_no_secret_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let (mut vault, _) = create(&dir);
        let keys = vault.make_identity().unwrap();
        let needle = spelled(&keys.to_bytes()[24..40]);
        drop(keys);
        // Behind the identity, so that what is written outgrows its place several times.
        vault
            .transact(|vault| {
                let contact = vault.contact_or_new(&"bob".parse().unwrap())?.id;
                for number in 0..50 {
                    let mid = MessageId([number; 16]);
                    vault.add_message(contact, &mid, 9, &record("many words"))?;
                }
                Ok(())
            })
            .unwrap();
        let export = vault.export(alice()).unwrap();
        let file = export.seal("a long passphrase").unwrap();
        drop(export);
        assert_eq!(needle.count_in_memory(), 0);
        let export = Export::open(&file, "a long passphrase").unwrap();
        assert!(export.identity().is_ok());
        assert_eq!(needle.count_in_memory(), 0);
    }

    /// Writes a needle, and takes memory meanwhile, so that what is written can't grow where
    /// it stands.
    struct Spread<'a>(&'a Needle);

    impl Serialize for Spread<'_> {
        fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq;
            let mut seq = to.serialize_seq(None)?;
            let mut taken = Vec::new();
            let mut done = self.0.spell_into(|text| seq.serialize_element(text));
            for number in 0..2000 {
                taken.push(vec![1_u8; 200]);
                done = done.and_then(|()| seq.serialize_element(&number));
            }
            done?;
            seq.end()
        }
    }

    #[test]
    fn json_that_grows_leaves_no_copy() {
        let needle = Needle::random();
        let json = secret_json(&Spread(&needle)).unwrap();
        assert_eq!(needle.count_in_memory(), 1);
        drop(json);
        assert_eq!(needle.count_in_memory(), 0);
    }
}
