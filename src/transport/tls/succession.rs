//! One certificate's word about the next, so that clients that know the one accept the other.
//!
//! ```text
//! signed with the key of the certificate that announces:
//! SUCCESSION || its fingerprint (32) || the fingerprint of the next one (32) || time (8, ms since 1970)
//! ```
//!
//! The signature is one of TLS 1.3, by the key that the certificate has. It can't be taken for one of a
//! handshake, which begins with 64 spaces (RFC 8446, section 4.4.3). Which certificate a client knows,
//! and where the announcements are kept, is not decided here.

use std::fmt;

use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::certificate::Certificate;
use super::provider;
use crate::protocol::ids::{Blob, ByteArray};
use crate::protocol::limits::{MAX_CERTIFICATE, MAX_SUCCESSIONS};
use crate::protocol::reply::Succession;
use crate::transport::fingerprint::Fingerprint;

/// The first input of each signature.
const SUCCESSION: &[u8] = b"secure-chat/1 certificate-succession";

/// The schemes of TLS 1.3 that keys of certificates have, the one to prefer first.
const SCHEMES: &[SignatureScheme] = &[
    SignatureScheme::ED25519,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::RSA_PSS_SHA256,
];

/// Why announcements do not lead from the one certificate to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFollowed {
    /// There is none.
    Nothing,
    /// There are more than anybody needs.
    TooMany,
    /// One is by another certificate than the one that is trusted at that step.
    Stranger,
    /// A signature is not by the key of its certificate.
    Signature,
    /// They come back to where they have been.
    Circle,
    /// They end at another certificate than the one that is shown.
    Elsewhere,
}

impl fmt::Display for NotFollowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotFollowed::Nothing => "the one before has not announced it",
            NotFollowed::TooMany => "there are too many announcements",
            NotFollowed::Stranger => "a certificate announces it that is not known",
            NotFollowed::Signature => "the announcement is not signed by the one before",
            NotFollowed::Circle => "the announcements go round in a circle",
            NotFollowed::Elsewhere => "the announcements lead to another one",
        })
    }
}

impl std::error::Error for NotFollowed {}

/// Follows announcements from a certificate that is trusted to the one that is shown: each has to be
/// signed by the certificate that the one before it names. Returns the certificates on the way, the
/// trusted one first, without the one that is shown.
///
/// # Errors
/// They don't lead there. Nothing of them is to be believed.
pub fn follow(
    trusted: Fingerprint,
    shown: Fingerprint,
    steps: &[Succession],
) -> Result<Vec<Fingerprint>, NotFollowed> {
    match steps.len() {
        0 => return Err(NotFollowed::Nothing),
        1..=MAX_SUCCESSIONS => {}
        _ => return Err(NotFollowed::TooMany),
    }
    let (mut way, mut at) = (Vec::new(), trusted);
    for step in steps {
        if step.certificate.0.len() > MAX_CERTIFICATE || Fingerprint::of(&step.certificate.0) != at
        {
            return Err(NotFollowed::Stranger);
        }
        verify(step).ok_or(NotFollowed::Signature)?;
        way.push(at);
        at = Fingerprint(step.next.0);
        if way.contains(&at) {
            return Err(NotFollowed::Circle);
        }
    }
    match at == shown {
        true => Ok(way),
        false => Err(NotFollowed::Elsewhere),
    }
}

/// Whether the signature is by the key of the certificate that comes with it.
fn verify(step: &Succession) -> Option<()> {
    let scheme = SignatureScheme::from(step.scheme);
    let algorithms = provider().signature_verification_algorithms;
    let mut known = algorithms.mapping.iter();
    // As in a handshake of TLS 1.3, a scheme means its first algorithm.
    let algorithm = known.find(|(of, _)| *of == scheme && SCHEMES.contains(of));
    let algorithm = algorithm.and_then(|(_, algorithms)| algorithms.first())?;
    let certificate = CertificateDer::from(&*step.certificate.0);
    let certificate = EndEntityCert::try_from(&certificate).ok()?;
    let message = message(
        Fingerprint::of(&step.certificate.0),
        Fingerprint(step.next.0),
        step.at,
    );
    let verified = certificate.verify_signature(*algorithm, &message, &step.signature.0);
    verified.ok()
}

/// Announces the certificate that takes the place of this one.
pub(super) fn announce(
    present: &Certificate,
    next: Fingerprint,
    at: u64,
) -> Result<Succession, rustls::Error> {
    let certificate = &present.chain[0];
    let key = any_supported_type(&present.key)?;
    let signer = key.choose_scheme(SCHEMES);
    let signer = signer.ok_or_else(|| {
        rustls::Error::General("its key signs in no way that clients know".to_owned())
    })?;
    if certificate.len() > MAX_CERTIFICATE {
        return Err(rustls::Error::General(format!(
            "a certificate of more than {MAX_CERTIFICATE} bytes can't announce another"
        )));
    }
    let message = message(Fingerprint::of(certificate), next, at);
    let step = Succession {
        certificate: Blob(certificate.to_vec().into_boxed_slice()),
        next: ByteArray(next.0),
        at,
        scheme: signer.scheme().into(),
        signature: Blob(signer.sign(&message)?.into_boxed_slice()),
    };
    // A key that belongs to another certificate would lead nowhere.
    match verify(&step) {
        Some(()) => Ok(step),
        None => Err(rustls::Error::InconsistentKeys(
            rustls::InconsistentKeys::KeyMismatch,
        )),
    }
}

fn message(of: Fingerprint, next: Fingerprint, at: u64) -> Vec<u8> {
    [SUCCESSION, &of.0, &next.0, &at.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};
    use rustls::pki_types::PrivateKeyDer;

    use super::*;

    fn made_with(algorithm: &'static SignatureAlgorithm) -> Certificate {
        let pair = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(vec!["example".to_owned()]).unwrap();
        Certificate {
            chain: vec![params.self_signed(&pair).unwrap().der().clone()],
            key: PrivateKeyDer::try_from(pair.serialize_der()).unwrap(),
        }
    }

    fn made() -> Certificate {
        made_with(&rcgen::PKCS_ECDSA_P256_SHA256)
    }

    fn print(of: &Certificate) -> Fingerprint {
        Fingerprint::of(&of.chain[0])
    }

    fn step(from: &Certificate, to: &Certificate) -> Succession {
        announce(from, print(to), 1_700_000_000_000).unwrap()
    }

    #[test]
    fn a_chain_is_followed_step_by_step_for_each_kind_of_key() {
        let all = [
            made(),
            made_with(&rcgen::PKCS_ED25519),
            made_with(&rcgen::PKCS_ECDSA_P384_SHA384),
            made(),
        ];
        let steps: Vec<Succession> = all.windows(2).map(|two| step(&two[0], &two[1])).collect();
        let prints: Vec<Fingerprint> = all.iter().map(print).collect();
        for begin in 0..3 {
            let way = follow(prints[begin], prints[3], &steps[begin..]);
            assert_eq!(way.as_deref(), Ok(&prints[begin..3]));
        }
        let back = follow(prints[3], prints[0], &steps);
        assert_eq!(back, Err(NotFollowed::Stranger), "nothing leads back");
        let short = follow(prints[0], prints[3], &steps[..2]);
        assert_eq!(short, Err(NotFollowed::Elsewhere));
        let hole = [steps[0].clone(), steps[2].clone()];
        assert_eq!(
            follow(prints[0], prints[3], &hole),
            Err(NotFollowed::Stranger)
        );
        assert_eq!(follow(prints[0], prints[3], &[]), Err(NotFollowed::Nothing));
    }

    #[test]
    fn what_another_key_has_signed_or_somebody_has_altered_is_not_followed() {
        let [old, new, evil] = [made(), made(), made()];
        let honest = step(&old, &new);
        let judge = |step: Succession, shown| follow(print(&old), shown, &[step]);
        assert!(judge(honest.clone(), print(&new)).is_ok());
        // Another server's announcement, and the thief's own.
        assert_eq!(
            judge(step(&evil, &new), print(&new)),
            Err(NotFollowed::Stranger)
        );
        // The old certificate is public, and its key is not.
        let mixed = Certificate {
            chain: old.chain.clone(),
            key: evil.key.clone_key(),
        };
        assert!(announce(&mixed, print(&evil), 1).is_err());
        let mut forged = step(&evil, &evil);
        forged.certificate = honest.certificate.clone();
        assert_eq!(judge(forged, print(&evil)), Err(NotFollowed::Signature));
        let alter: [fn(&mut Succession); 6] = [
            |it| it.at += 1,
            |it| it.next.0[0] ^= 1,
            |it| it.scheme = 0x0804,
            |it| it.scheme = 0xffff,
            |it| it.signature = Blob(Box::new([])),
            |it| it.signature.0[8] ^= 1,
        ];
        for alter in alter {
            let mut step = honest.clone();
            alter(&mut step);
            let shown = Fingerprint(step.next.0);
            assert_eq!(judge(step, shown), Err(NotFollowed::Signature));
        }
        let mut garbage = honest.clone();
        garbage.certificate = Blob(vec![0x30; 300].into_boxed_slice());
        let of_garbage = Fingerprint::of(&garbage.certificate.0);
        let judged = follow(of_garbage, print(&new), &[garbage]);
        assert_eq!(judged, Err(NotFollowed::Signature), "it has no key");
    }

    #[test]
    fn circles_and_endless_chains_are_not_followed() {
        let [one, two] = [made(), made()];
        let round = [step(&one, &two), step(&two, &one)];
        assert_eq!(
            follow(print(&one), print(&one), &round),
            Err(NotFollowed::Circle)
        );
        let own = [step(&one, &one)];
        assert_eq!(
            follow(print(&one), print(&one), &own),
            Err(NotFollowed::Circle)
        );
        let all: Vec<Certificate> = (0..10).map(|_| made()).collect();
        let steps: Vec<Succession> = all.windows(2).map(|two| step(&two[0], &two[1])).collect();
        let (first, last) = (print(&all[0]), print(&all[9]));
        assert_eq!(follow(first, last, &steps), Err(NotFollowed::TooMany));
        assert!(follow(print(&all[1]), last, &steps[1..]).is_ok());
    }
}
