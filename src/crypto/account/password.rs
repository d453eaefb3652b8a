//! From a password to the two keys of an account, with Argon2id (RFC 9106).
//!
//! Argon2id version 1.3 gives 64 bytes. The first 32 seed the Ed25519 *login
//! key*, whose public half is all that the server learns; the other 32 are the
//! *wrapping key*, which opens the vault. What a login signs is in `login_proof`.

use std::fmt;

use argon2::{Config, ThreadMode, Variant, Version};
use ed25519_dalek::{Signer, SigningKey};
use zeroize::Zeroizing;

use crate::crypto::cipher::WrappingKey;
use crate::crypto::kdf;
use crate::crypto::kdf::label;
use crate::crypto::secret::Secret;
use hmac::Mac;

/// Bytes in an account's salt.
pub const SALT_LEN: usize = 16;

/// The environment variable by which the tests' harness asks a debug build for cheap derivations.
const CHEAP: &str = "SECURE_CHAT_TEST_CHEAP_PASSWORDS";

/// What one derivation costs. Public: the server keeps it with the salt and
/// hands it to whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Argon2Params {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes. They are computed one after the other here.
    pub lanes: u32,
}

/// Why a cost that somebody else named is not to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argon2ParamsError {
    /// Below [`Argon2Params::FLOOR`]: the password would be too cheap to guess.
    TooCheap(Argon2Params),
    /// Above [`Argon2Params::CEILING`]: the derivation could exhaust this machine.
    TooDear(Argon2Params),
}

impl fmt::Display for Argon2ParamsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooCheap(cost) => write!(
                f,
                "the server asks to protect the password with {cost}, less than the least allowed, {}",
                Argon2Params::FLOOR
            ),
            Self::TooDear(cost) => write!(
                f,
                "the server asks to protect the password with {cost}, more than the most allowed, {}",
                Argon2Params::CEILING
            ),
        }
    }
}

impl std::error::Error for Argon2ParamsError {}

impl Argon2Params {
    /// What new passwords get: 64 MiB, 3 passes, 1 lane. Measured at 0.3 s on
    /// a machine of two cores.
    pub const DEFAULT: Self = Self {
        memory_kib: 64 * 1024,
        passes: 3,
        lanes: 1,
    };

    /// The least a client accepts from a server: 19 MiB and 2 passes, OWASP's
    /// minimum for Argon2id.
    pub const FLOOR: Self = Self {
        memory_kib: 19 * 1024,
        passes: 2,
        lanes: 1,
    };

    /// The most a client accepts from a server: 1 GiB, 16 passes, 4 lanes.
    pub const CEILING: Self = Self {
        memory_kib: 1024 * 1024,
        passes: 16,
        lanes: 4,
    };

    /// What new passwords and passphrases get: [`DEFAULT`](Self::DEFAULT). Tests derive thousands of
    /// keys, so unit tests, and debug builds where [`CHEAP`] is set, take the least that a client
    /// accepts. Release builds do not look at the variable.
    pub(crate) fn for_new() -> Self {
        let is_test = cfg!(test) || cfg!(debug_assertions) && std::env::var_os(CHEAP).is_some();
        if is_test { Self::FLOOR } else { Self::DEFAULT }
    }

    /// Checks a cost that came from elsewhere against [`FLOOR`](Self::FLOOR) and
    /// [`CEILING`](Self::CEILING), field by field.
    pub fn check(self) -> Result<Self, Argon2ParamsError> {
        let fields = |cost: Self| [cost.memory_kib, cost.passes, cost.lanes];
        let pairs = |other| fields(self).into_iter().zip(fields(other));
        if pairs(Self::FLOOR).any(|(mine, least)| mine < least) {
            return Err(Argon2ParamsError::TooCheap(self));
        }
        if pairs(Self::CEILING).any(|(mine, most)| mine > most) {
            return Err(Argon2ParamsError::TooDear(self));
        }
        Ok(self)
    }

    /// Field by field the higher of the two.
    pub(crate) fn at_least(self, least: Self) -> Self {
        Self {
            memory_kib: self.memory_kib.max(least.memory_kib),
            passes: self.passes.max(least.passes),
            lanes: self.lanes.max(least.lanes),
        }
    }

    /// `memory in KiB (4) || passes (4) || lanes (4)`, big-endian.
    pub fn to_bytes(self) -> [u8; 12] {
        let fields = [self.memory_kib, self.passes, self.lanes].map(u32::to_be_bytes);
        std::array::from_fn(|i| fields[i / 4][i % 4])
    }

    /// Reads what [`to_bytes`](Self::to_bytes) gives. The cost is not checked.
    pub(crate) fn from_bytes(bytes: &[u8; 12]) -> Self {
        let field = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| bytes[at * 4 + i]));
        Self {
            memory_kib: field(0),
            passes: field(1),
            lanes: field(2),
        }
    }
}

impl fmt::Display for Argon2Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            memory_kib,
            passes,
            lanes,
        } = self;
        write!(f, "{memory_kib} KiB, {passes} passes and {lanes} lanes")
    }
}

/// Argon2 can't run with this cost: no memory for each lane, no pass, or more
/// than it can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImpossibleCost(Argon2Params);

impl fmt::Display for ImpossibleCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Argon2id can't run with {}", self.0)
    }
}

impl std::error::Error for ImpossibleCost {}

/// The private half of an account's Ed25519 login key.
#[derive(Clone, Debug)]
pub struct LoginKey(Secret<32>);

impl LoginKey {
    pub(super) fn from_seed(seed: Secret<32>) -> Self {
        Self(seed)
    }

    /// The 32-byte public half, which the server keeps.
    pub fn public(&self) -> [u8; 32] {
        self.signing_key().verifying_key().to_bytes()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing_key().sign(message).to_bytes()
    }

    fn signing_key(&self) -> SigningKey {
        SigningKey::from_bytes(self.0.expose())
    }
}

/// The two keys of a password.
#[derive(Clone, Debug)]
pub struct Derived {
    /// Proves to the server that the password is known.
    pub login_key: LoginKey,
    /// Opens the vault.
    pub wrapping_key: WrappingKey,
}

/// Derives both keys. Takes as long and as much memory as `cost` says.
///
/// A cost from elsewhere must have passed [`Argon2Params::check`], which this function
/// leaves to its caller: the server derives for console logins with the cost
/// that it stored itself. Fails only if Argon2 can't run with the cost at all.
pub fn derive(
    password: &str,
    salt: &[u8; SALT_LEN],
    cost: Argon2Params,
) -> Result<Derived, ImpossibleCost> {
    let config = Config {
        ad: &[],
        hash_length: 64,
        lanes: cost.lanes,
        mem_cost: cost.memory_kib,
        secret: &[],
        thread_mode: ThreadMode::Sequential,
        time_cost: cost.passes,
        variant: Variant::Argon2id,
        version: Version::Version13,
    };
    let output = argon2::hash_raw(password.as_bytes(), salt, &config).map(Zeroizing::new);
    let output = output.map_err(|_| ImpossibleCost(cost))?;
    let (seed, wrapping) = output
        .split_first_chunk::<32>()
        .ok_or(ImpossibleCost(cost))?;
    let wrapping = wrapping.try_into().map_err(|_| ImpossibleCost(cost))?;
    Ok(Derived {
        login_key: LoginKey(Secret::from_bytes(seed)),
        wrapping_key: WrappingKey::new(Secret::from_bytes(wrapping)),
    })
}

/// The salt that a server shows for an account that doesn't exist: always the
/// same for one name, and as random as a real one to whoever lacks `secret`.
pub fn fake_salt(secret: &[u8; 32], name: &str) -> [u8; SALT_LEN] {
    let mut mac = kdf::hmac(secret);
    mac.update(label::FAKE_SALT);
    mac.update(name.as_bytes());
    let tag = mac.finalize().into_bytes();
    std::array::from_fn(|i| tag[i])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::cipher::SealKey;
    use crate::crypto::testing::{array, bytes, number, text, vectors};

    #[test]
    fn keys_agree_with_argon2_cffi_and_pycryptodome() {
        for case in vectors(include_str!("../../../tests/vectors/password.json")) {
            let cost = Argon2Params {
                memory_kib: number(&case, "memory_kib"),
                passes: number(&case, "passes"),
                lanes: number(&case, "lanes"),
            };
            let derived = derive(text(&case, "password"), &array(&case, "salt"), cost).unwrap();
            assert_eq!(derived.login_key.public(), array(&case, "login_public"));
            let opened = derived
                .wrapping_key
                .unwrap(b"vault", &bytes(&case, "wrapped"));
            let expected = SealKey::from_bytes(&array(&case, "vault_key"));
            assert_eq!(opened.unwrap().to_bytes(), expected.to_bytes());
        }
    }

    #[test]
    fn costs_outside_the_bounds_are_refused_field_by_field() {
        for good in [
            Argon2Params::DEFAULT,
            Argon2Params::FLOOR,
            Argon2Params::CEILING,
        ] {
            assert_eq!(good.check(), Ok(good));
        }
        let changes: [fn(&mut Argon2Params) -> &mut u32; 3] = [
            |cost| &mut cost.memory_kib,
            |cost| &mut cost.passes,
            |cost| &mut cost.lanes,
        ];
        for field in changes {
            let (mut cheap, mut dear) = (Argon2Params::FLOOR, Argon2Params::CEILING);
            *field(&mut cheap) -= 1;
            *field(&mut dear) += 1;
            assert_eq!(cheap.check(), Err(Argon2ParamsError::TooCheap(cheap)));
            assert_eq!(dear.check(), Err(Argon2ParamsError::TooDear(dear)));
        }
        assert_eq!(
            Argon2Params {
                memory_kib: 8,
                passes: 1,
                lanes: 1
            }
            .check()
            .unwrap_err()
            .to_string(),
            "the server asks to protect the password with 8 KiB, 1 passes and 1 lanes, \
             less than the least allowed, 19456 KiB, 2 passes and 1 lanes"
        );
    }

    #[test]
    fn a_cost_that_argon2_cannot_run_is_an_error() {
        let cost = Argon2Params {
            memory_kib: 0,
            passes: 0,
            lanes: 0,
        };
        assert_eq!(
            derive("", &[0; 16], cost).map(|_| ()),
            Err(ImpossibleCost(cost))
        );
    }

    #[test]
    fn debug_output_is_silent() {
        let cost = Argon2Params {
            memory_kib: 8,
            passes: 1,
            lanes: 1,
        };
        assert_eq!(
            format!("{:?}", derive("secret", &[0; 16], cost).unwrap()),
            "Derived { login_key: LoginKey([redacted]), wrapping_key: WrappingKey([redacted]) }"
        );
    }
}
