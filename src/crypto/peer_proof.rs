//! How two servers on one store prove to each other that each has the store's secret.
//!
//! Three proofs, each an HMAC over all that both know by then:
//!
//! ```text
//! proof = HMAC-SHA-256(store's secret (32), PEER || version (1) || step (1)
//!         || connecting run (8) || accepting run (8) || connecting nonce (32) || accepting nonce (32)
//!         || 1 || certificate's fingerprint (32), or 0 over plain TCP)
//! ```
//!
//! The first one goes with the connecting server's nonce, so the accepting one says nothing at all to a
//! stranger; its nonce is 32 zero bytes there. The second answers with the other nonce, and the third proves that the
//! connection is no recording. Making nonces and sending is the caller's part.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::kdf::{self, label};

/// Bytes in a proof.
pub const PROOF_LEN: usize = 32;

/// Which of the three proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// By the connecting server, with its nonce.
    Hello = 1,
    /// By the accepting server, with its nonce.
    Accept = 2,
    /// By the connecting server, over both nonces.
    Confirm = 3,
}

/// What a proof is about.
#[derive(Debug, Clone, Copy)]
pub struct PeerHandshake {
    /// The version of what the servers speak afterwards.
    pub version: u8,
    /// The number of the run that connects.
    pub connecting: i64,
    /// The number of the run that accepts.
    pub accepting: i64,
    /// Random bytes of the one that connects.
    pub connecting_nonce: [u8; 32],
    /// Random bytes of the one that accepts; zero in the first proof.
    pub accepting_nonce: [u8; 32],
    /// SHA-256 of the certificate that the connection is under, if it is.
    pub fingerprint: Option<[u8; 32]>,
}

impl PeerHandshake {
    /// The proof of a step.
    pub fn prove(&self, secret: &[u8; 32], step: Step) -> [u8; PROOF_LEN] {
        self.mac(secret, step).finalize().into_bytes().into()
    }

    /// Whether it is the proof of a step. It takes as long for every wrong one.
    pub fn verify(&self, secret: &[u8; 32], step: Step, proof: &[u8; PROOF_LEN]) -> bool {
        self.mac(secret, step).verify_slice(proof).is_ok()
    }

    fn mac(&self, secret: &[u8; 32], step: Step) -> Hmac<Sha256> {
        let mut mac = kdf::hmac(secret);
        mac.update(label::PEER);
        mac.update(&[self.version, step as u8]);
        mac.update(&self.connecting.to_be_bytes());
        mac.update(&self.accepting.to_be_bytes());
        mac.update(&self.connecting_nonce);
        mac.update(&self.accepting_nonce);
        match &self.fingerprint {
            Some(fingerprint) => {
                mac.update(&[1]);
                mac.update(fingerprint);
            }
            None => mac.update(&[0]),
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 32] = [5; 32];

    fn handshake() -> PeerHandshake {
        PeerHandshake {
            version: 1,
            connecting: 7,
            accepting: 8,
            connecting_nonce: [1; 32],
            accepting_nonce: [2; 32],
            fingerprint: Some([3; 32]),
        }
    }

    #[test]
    fn a_proof_fits_one_handshake_one_step_and_one_secret() {
        let proof = handshake().prove(&SECRET, Step::Confirm);
        assert!(handshake().verify(&SECRET, Step::Confirm, &proof));
        assert!(!handshake().verify(&[6; 32], Step::Confirm, &proof));
        assert!(!handshake().verify(&SECRET, Step::Hello, &proof));
        assert!(!handshake().verify(&SECRET, Step::Accept, &proof));
        let changes: [fn(&mut PeerHandshake); 7] = [
            |it| it.version = 2,
            |it| std::mem::swap(&mut it.connecting, &mut it.accepting),
            |it| it.accepting = 9,
            |it| it.connecting_nonce[31] = 0,
            |it| it.accepting_nonce[0] = 0,
            |it| it.fingerprint = Some([4; 32]),
            |it| it.fingerprint = None,
        ];
        for change in changes {
            let mut other = handshake();
            change(&mut other);
            assert!(!other.verify(&SECRET, Step::Confirm, &proof), "{other:?}");
        }
    }
}
