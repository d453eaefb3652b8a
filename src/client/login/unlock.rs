//! Opening a vault with a password or the recovery code, and making a new one. Which
//! vault, and whether the server accepts the password, is the callers' business.

use super::credentials::{Credentials, derive};
use super::error::LoginError;
use crate::client::vault;
use crate::client::vault::{Closed, Opened, Vault, VaultError, VaultFile};
use crate::crypto::account::password::Derived;
use crate::crypto::account::recovery::RecoveryCode;
use crate::crypto::keys::IdentityKeys;
use crate::crypto::os_rng;
use crate::protocol::request::KdfParams;

/// An open vault, and what logs in to its account.
pub(crate) struct Unlocked {
    /// The account's vault on this device.
    pub vault: Vault,
    /// From the password that opened it.
    pub credentials: Credentials,
}

/// Opens a vault with a password. While a change of password is unfinished, either of
/// the two opens it.
pub(crate) fn open(mut closed: Closed, password: &str) -> Result<Opened<Unlocked>, LoginError> {
    let kdfs: Vec<KdfParams> = closed.passwords().collect();
    for kdf in kdfs {
        let derived = derive(password, kdf)?;
        closed = match closed.open(&derived.wrapping_key)? {
            Opened::Open(vault) => {
                let login_key = derived.login_key;
                let credentials = Credentials { kdf, login_key };
                return Ok(Opened::Open(Unlocked { vault, credentials }));
            }
            Opened::WrongKey(closed) => *closed,
        };
    }
    Ok(Opened::WrongKey(Box::new(closed)))
}

/// Opens a vault with an earlier password or the recovery code.
pub(super) fn open_with_former(closed: Closed, secret: &str) -> Result<Opened<Vault>, LoginError> {
    if let Ok(code) = RecoveryCode::parse(secret) {
        return Ok(closed.open(&code.wrapping_key())?);
    }
    Ok(match open(closed, secret)? {
        Opened::Open(unlocked) => Opened::Open(unlocked.vault),
        Opened::WrongKey(closed) => Opened::WrongKey(closed),
    })
}

/// Opens the vault of a registration that was cut off before the server answered.
pub(super) fn open_unfinished(closed: Closed, password: &str) -> Result<Unlocked, LoginError> {
    let path = closed.path().to_owned();
    match open(closed, password)? {
        Opened::Open(unlocked) if !unlocked.vault.device()?.registered => Ok(unlocked),
        _ => Err(VaultError::Exists(path).into()),
    }
}

/// Makes a vault with the contents that `fill` writes.
pub(super) fn create_vault(
    file: VaultFile,
    kdf: KdfParams,
    derived: &Derived,
    fill: impl FnOnce(&mut Vault) -> vault::Result<()>,
) -> Result<(Vault, RecoveryCode), LoginError> {
    let code = RecoveryCode::generate(&mut os_rng());
    let vault = file.create(kdf, &derived.wrapping_key, &code.wrapping_key(), fill)?;
    Ok((vault, code))
}

/// Replaces a recovery code that was never shown.
pub(super) fn renew_recovery_code(vault: &mut Vault) -> Result<RecoveryCode, LoginError> {
    let code = RecoveryCode::generate(&mut os_rng());
    vault.replace_recovery(&code.wrapping_key())?;
    Ok(code)
}

/// The vault's identity, which is made if there is none.
pub(super) fn identity(vault: &mut Vault) -> Result<IdentityKeys, LoginError> {
    match vault.identity()? {
        Some(keys) => Ok(keys),
        None => Ok(vault.make_identity()?),
    }
}
