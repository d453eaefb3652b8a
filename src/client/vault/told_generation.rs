//! The vault's generation as the server is told it at a login, and what the server says that it
//! was told: a vault that is behind that was put back from a copy.
//!
//! With the generation goes a proof under a key of the identity, which copies of a vault share. So
//! a server can repeat what a vault has told it, or keep it back. It can't make up a later
//! generation, for which this vault would give up its sessions and start ones that go on from none.
//!
//! ```text
//! proof = random (4) || HMAC-SHA-256(HKDF(32 zero bytes, private identity (64), "secure-chat/1 told", 32), generation (8) || random (4))[..12]
//! ```
//!
//! The random bytes tell two copies apart that name one generation.

use hmac::Mac;
use rand::Rng;

use super::{Result, Vault};
use crate::crypto::kdf::label;
use crate::crypto::keys::IdentityKeys;
use crate::crypto::secret::Secret;
use crate::crypto::{kdf, os_rng};
use crate::protocol::ByteArray;

/// A generation that a server is told, or says that it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ToldGeneration {
    /// How many transactions there were.
    pub generation: u64,
    /// Proof that a vault with this identity has told it; none from earlier clients.
    pub proof: Option<ByteArray<16>>,
}

impl Vault {
    /// What the server is told of this vault's generation, which is on the disk; `None` if the
    /// vault has no identity yet. It is the same until the generation changes.
    ///
    /// # Errors
    /// That the identity could not be read.
    pub(crate) fn generation_to_tell(&mut self) -> Result<Option<ToldGeneration>> {
        let generation = self.generation();
        match self.told {
            Some(told) if told.generation == generation => return Ok(Some(told)),
            // The server may repeat it to a later login of this vault.
            Some(told) => self.known_generation = self.known_generation.max(told.generation),
            None => {}
        }
        let Some(keys) = self.identity()? else {
            return Ok(None);
        };
        let mut random = [0; 4];
        os_rng().fill_bytes(&mut random);
        let proof = Some(prove(&keys, generation, random));
        self.told = Some(ToldGeneration { generation, proof });
        Ok(self.told)
    }

    /// Whether a vault with this identity has told this, as it proves. A vault that has itself
    /// told a proof, as `is_proof_due` says, believes nothing without one.
    ///
    /// # Errors
    /// That the identity could not be read.
    pub(crate) fn is_own_generation(
        &self,
        told: &ToldGeneration,
        is_proof_due: bool,
    ) -> Result<bool> {
        let (Some(proof), Some(keys)) = (told.proof, self.identity()?) else {
            return Ok(told.proof.is_none() && !is_proof_due);
        };
        let [random @ .., _, _, _, _, _, _, _, _, _, _, _, _] = proof.0;
        Ok(prove(&keys, told.generation, random) == proof)
    }

    /// Whether another vault with this identity has told a later generation than the one that
    /// this vault had: then this one is not the vault that logged in last.
    ///
    /// # Errors
    /// As for [`is_own_generation`](Self::is_own_generation).
    pub(crate) fn is_behind(&self, told: &ToldGeneration, is_proof_due: bool) -> Result<bool> {
        let is_later = told.generation > self.known_generation && self.told != Some(*told);
        Ok(is_later && self.is_own_generation(told, is_proof_due)?)
    }
}

fn prove(keys: &IdentityKeys, generation: u64, random: [u8; 4]) -> ByteArray<16> {
    let key: Secret<32> = kdf::hkdf(&kdf::NO_SALT, &*keys.to_bytes(), label::TOLD);
    let mut mac = kdf::hmac(key.expose());
    mac.update(&generation.to_be_bytes());
    mac.update(&random);
    let mac = mac.finalize().into_bytes();
    let bytes = random.into_iter().chain(mac);
    let mut proof = [0; 16];
    proof
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, byte)| *to = byte);
    ByteArray(proof)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::vault::tests::create;

    fn told(keys: &IdentityKeys, generation: u64, random: u8) -> ToldGeneration {
        let proof = Some(prove(keys, generation, [random; 4]));
        ToldGeneration { generation, proof }
    }

    #[test]
    fn a_later_generation_is_believed_only_with_its_proof() {
        let dir = tempfile::tempdir().unwrap();
        let (mut vault, _) = create(&dir);
        assert_eq!(vault.generation_to_tell().unwrap(), None);
        let keys = vault.make_identity().unwrap();
        let later = told(&keys, vault.generation() + 9, 7);
        assert!(vault.is_behind(&later, true).unwrap());
        for byte in 0..16 {
            let mut forged = later;
            forged.proof.as_mut().unwrap().0[byte] ^= 1;
            assert!(!vault.is_behind(&forged, true).unwrap(), "{byte}");
        }
        let generation = later.generation + 1;
        let forged = ToldGeneration {
            generation,
            ..later
        };
        assert!(!vault.is_behind(&forged, true).unwrap());
        let other = IdentityKeys::generate(&mut os_rng());
        let others = told(&other, later.generation, 7);
        assert!(!vault.is_behind(&others, true).unwrap());
        // Earlier clients told the bare number.
        let proof = None;
        let bare = ToldGeneration { proof, ..later };
        assert!(!vault.is_behind(&bare, true).unwrap());
        assert!(vault.is_behind(&bare, false).unwrap());
    }

    #[test]
    fn what_this_vault_has_told_is_not_another_vaults() {
        let dir = tempfile::tempdir().unwrap();
        let (mut vault, _) = create(&dir);
        let keys = vault.make_identity().unwrap();
        let mut all = Vec::new();
        for _ in 0..3 {
            let told = vault.note_login_tried().unwrap().unwrap();
            assert_eq!(vault.generation_to_tell().unwrap(), Some(told));
            all.push(told);
            for told in &all {
                assert!(!vault.is_behind(told, true).unwrap());
            }
        }
        // A copy that was opened in the same state, and logged in first.
        let of_copy = told(&keys, vault.generation(), 7);
        assert!(vault.is_behind(&of_copy, true).unwrap());
    }
}
