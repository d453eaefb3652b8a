//! Opening a vault with a password or the recovery code, and making a new one. Which
//! vault, and whether the server accepts the password, is the callers' business.

use super::credentials::{Credentials, DeriveError, derive};
use super::error::LoginError;
use crate::client::vault;
use crate::client::vault::{
    Closed, Opened, PasswordKey, Salvaged, SlotKdf, Vault, VaultError, VaultFile,
};
use crate::crypto::account::password::{Argon2Params, Derived};
use crate::crypto::account::recovery::RecoveryCode;
use crate::crypto::cipher::WrappingKey;
use crate::crypto::keys::IdentityKeys;
use crate::protocol::request::KdfParams;

/// An open vault, and what opened it.
pub(crate) struct Unlocked {
    /// The account's vault on this device.
    pub vault: Vault,
    /// Which kind of secret it was.
    pub by: OpenedBy,
}

/// The secret that opened a vault.
pub(crate) enum OpenedBy {
    /// A password, by the derivation of its slot.
    Password(SlotKdf, Derived),
    /// The recovery code.
    RecoveryCode,
}

/// Opens a vault with a password or the recovery code. While a change of password is
/// unfinished, either of the two passwords opens it.
pub(crate) fn open(closed: Closed, secret: &str) -> Result<Opened<Unlocked>, LoginError> {
    Ok(match try_secret(closed, secret, Closed::open)? {
        Opened::Open((vault, by)) => Opened::Open(Unlocked { vault, by }),
        Opened::WrongKey(closed) => Opened::WrongKey(closed),
    })
}

/// Opens what is whole of a damaged vault, with a password or the recovery code.
pub(super) fn salvage(closed: Closed, secret: &str) -> Result<Opened<Salvaged>, LoginError> {
    Ok(match try_secret(closed, secret, Closed::salvage)? {
        Opened::Open((salvaged, _)) => Opened::Open(salvaged),
        Opened::WrongKey(closed) => Opened::WrongKey(closed),
    })
}

/// Tries each slot that a secret may open.
fn try_secret<T>(
    mut closed: Closed,
    secret: &str,
    open: fn(Closed, &WrappingKey) -> vault::Result<Opened<T>>,
) -> Result<Opened<(T, OpenedBy)>, LoginError> {
    // Nobody mistypes a password into a code with the right checksum.
    if let Ok(code) = RecoveryCode::parse(secret) {
        closed = match open(closed, &code.wrapping_key())? {
            Opened::Open(opened) => return Ok(Opened::Open((opened, OpenedBy::RecoveryCode))),
            Opened::WrongKey(closed) => *closed,
        };
    }
    let slots: Vec<SlotKdf> = closed.passwords().collect();
    for slot in slots {
        let derived = closed.derive(slot, secret)?;
        closed = match open(closed, &derived.wrapping_key)? {
            Opened::Open(opened) => {
                return Ok(Opened::Open((opened, OpenedBy::Password(slot, derived))));
            }
            Opened::WrongKey(closed) => *closed,
        };
    }
    Ok(Opened::WrongKey(Box::new(closed)))
}

impl Unlocked {
    /// What logs in with the password that opened the vault; `None` for the recovery code.
    /// Costs a second derivation, since slot and account have a salt each; none in a vault
    /// whose slot has no derivation of its own yet.
    pub(super) fn credentials(&self, password: &str) -> Result<Option<Credentials>, LoginError> {
        let OpenedBy::Password(slot, derived) = &self.by else {
            return Ok(None);
        };
        Ok(Some(match self.vault.account_kdf(*slot)? {
            Some(kdf) => Credentials {
                kdf,
                login_key: derive(password, kdf)?.login_key,
            },
            None => Credentials {
                kdf: slot.as_account(),
                login_key: derived.login_key.clone(),
            },
        }))
    }
}

/// A password's key to a slot of the vault, at no lower cost than the slots so far.
pub(super) fn password_key(vault: &Vault, password: &str) -> Result<PasswordKey, LoginError> {
    let key = PasswordKey::derive(password, vault.password_cost()?);
    Ok(key.map_err(DeriveError::Impossible)?)
}

/// Opens the vault of a registration that was cut off before the server answered.
pub(super) fn open_unfinished(closed: Closed, password: &str) -> Result<Unlocked, LoginError> {
    let path = closed.path().to_owned();
    match open(closed, password)? {
        Opened::Open(unlocked) if !unlocked.vault.device()?.registered => Ok(unlocked),
        _ => Err(VaultError::Exists(path).into()),
    }
}

/// Makes a vault with the contents that `fill` writes. `account` says how the login key is
/// derived from the same password.
pub(super) fn create_vault(
    file: VaultFile,
    password: &str,
    account: KdfParams,
    code: &RecoveryCode,
    fill: impl FnOnce(&mut Vault) -> vault::Result<()>,
) -> Result<Vault, LoginError> {
    let key = PasswordKey::derive(password, Argon2Params::for_new());
    let key = key.map_err(DeriveError::Impossible)?;
    Ok(file.create(&key, account, &code.wrapping_key(), fill)?)
}

/// The vault's identity, which is made if there is none.
pub(super) fn identity(vault: &mut Vault) -> Result<IdentityKeys, LoginError> {
    match vault.identity()? {
        Some(keys) => Ok(keys),
        None => Ok(vault.make_identity()?),
    }
}
