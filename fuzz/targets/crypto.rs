//! What a hostile server, a malicious contact or a damaged vault can hand to the
//! cryptography: envelopes, prekey bundles, rows of the vault.

use std::sync::LazyLock;

use secure_chat::crypto::account::recovery::RecoveryCode;
use secure_chat::crypto::cipher::{SealKey, WrappingKey};
use secure_chat::crypto::keys::{
    IdentityKeys, OneTimePrekeySecret, PrekeyBundle, PublicIdentity, PublicOneTimePrekey,
    PublicSignedPrekey, SignedPrekeySecret,
};
use secure_chat::crypto::message::content::{Content, Payload};
use secure_chat::crypto::message::envelope::Envelope;
use secure_chat::crypto::message::padding;
use secure_chat::crypto::ratchet::origin::Cause;
use secure_chat::crypto::ratchet::session_set::{SessionSet, claimed_identity};
use secure_chat::protocol::ByteArray;
use secure_chat::protocol::json::{ServerLine, parse_server_line};
use secure_chat::protocol::reply::Bundle;
use secure_chat::protocol::request;

use super::scene::{NOW, Numbers, SCENE, WORDS, context, words};

/// `base` with what `patches` says: places and bytes to put there, three bytes a
/// patch, then a length to cut to if one byte is left over.
fn patched(base: &[u8], patches: &[u8]) -> Vec<u8> {
    let mut bytes = base.to_vec();
    let (patches, rest) = patches.as_chunks::<3>();
    for [high, low, value] in patches {
        let place = usize::from(u16::from_be_bytes([*high, *low]));
        if let Some(byte) = bytes.get_mut(place) {
            *byte = *value;
        }
    }
    if let [cut, ..] = rest {
        bytes.truncate(bytes.len().saturating_sub(usize::from(*cut)));
    }
    bytes
}

/// Attacker's bytes against a conversation. The first byte says whether the rest
/// is an envelope or patches to a genuine one.
///
/// Must hold: nothing but alice's own envelopes decrypts, and what fails leaves
/// the conversation's saved form as it was, byte for byte.
pub(crate) fn envelope(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    let scene = &*SCENE;
    let bytes = match usize::from(*mode).checked_sub(1) {
        None => rest.to_vec(),
        Some(which) => patched(&scene.genuine[which % scene.genuine.len()], rest),
    };
    let parsed = Envelope::parse(&bytes).is_ok();
    assert_eq!(parsed, claimed_identity(&bytes).is_ok());
    for state in &scene.states {
        let before = state.to_bytes();
        let mut conversation = state.clone();
        let result = conversation.decrypt(
            &scene.bob.keys,
            &scene.bob,
            &bytes,
            &context(&scene.alice, &scene.bob),
            NOW + 1,
        );
        match result {
            Ok(opened) => {
                assert!(parsed && scene.genuine.contains(&bytes), "a forgery opened");
                assert_eq!(opened.content, Ok(words()));
                assert!(*conversation.to_bytes() != *before, "it can be replayed");
            }
            Err(_) => assert!(
                *conversation.to_bytes() == *before,
                "a failure left a trace"
            ),
        }
    }
}

fn wire_bundle(bundle: &PrekeyBundle) -> Bundle {
    let identity = bundle.identity.to_bytes();
    Bundle {
        identity: request::Identity {
            signing: ByteArray(std::array::from_fn(|i| identity[i])),
            dh: ByteArray(std::array::from_fn(|i| identity[32 + i])),
        },
        signed_prekey: request::SignedPrekey {
            id: bundle.signed_prekey.id,
            key: ByteArray(bundle.signed_prekey.key),
            signature: ByteArray(bundle.signed_prekey.signature),
        },
        one_time: bundle.one_time.map(|prekey| request::OneTimePrekey {
            id: prekey.id,
            key: ByteArray(prekey.key),
        }),
    }
}

/// The 196 bytes of a bundle, to be patched where JSON would only be broken:
/// identity 64, prekey's id 4, key 32, signature 64, one-time key 32.
fn flat(bundle: &PrekeyBundle) -> Vec<u8> {
    let signed = &bundle.signed_prekey;
    let one_time = bundle.one_time.map_or([0; 32], |prekey| prekey.key);
    [
        &bundle.identity.to_bytes()[..],
        &signed.id.to_be_bytes(),
        &signed.key,
        &signed.signature,
        &one_time,
    ]
    .concat()
}

fn unflat(bytes: &[u8]) -> Option<Bundle> {
    let (signing, rest) = bytes.split_first_chunk()?;
    let (dh, rest) = rest.split_first_chunk()?;
    let (id, rest) = rest.split_first_chunk()?;
    let (key, rest) = rest.split_first_chunk()?;
    let (signature, rest) = rest.split_first_chunk()?;
    let one_time = rest.first_chunk().map(|key| request::OneTimePrekey {
        id: 0,
        key: ByteArray(*key),
    });
    Some(Bundle {
        identity: request::Identity {
            signing: ByteArray(*signing),
            dh: ByteArray(*dh),
        },
        signed_prekey: request::SignedPrekey {
            id: u32::from_be_bytes(*id),
            key: ByteArray(*key),
            signature: ByteArray(*signature),
        },
        one_time,
    })
}

/// A server's answer to `keys`, from its line to a session. The first byte says
/// whether the rest is the line or patches to the bytes of a genuine bundle.
///
/// Must hold: only what bob signed is verified as his; a session begins only with
/// the pinned identity; a refusal changes nothing.
pub(crate) fn prekey_bundle(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    let scene = &*SCENE;
    let bundle = match mode {
        0 => match parse_server_line(rest) {
            Ok(ServerLine::Answer(_, Ok(value))) => serde_json::from_value(value).ok(),
            _ => None,
        },
        _ => unflat(&patched(&flat(&scene.bob.bundle()), rest)),
    };
    let Some(bundle): Option<Bundle> = bundle else {
        return;
    };
    let mut identity = [0; 64];
    identity[..32].copy_from_slice(&bundle.identity.signing.0);
    identity[32..].copy_from_slice(&bundle.identity.dh.0);
    let Ok(identity) = PublicIdentity::from_bytes(&identity) else {
        return;
    };
    let signed = bundle.signed_prekey;
    let verified = PrekeyBundle {
        identity,
        signed_prekey: PublicSignedPrekey {
            id: signed.id,
            key: signed.key.0,
            signature: signed.signature.0,
        },
        one_time: bundle.one_time.map(|prekey| PublicOneTimePrekey {
            id: prekey.id,
            key: prekey.key.0,
        }),
    }
    .verify();
    let Ok(verified) = verified else { return };
    let his = scene.bob.keys.public();
    if identity == his {
        let genuine = scene.bob.signed.public();
        assert!(
            (signed.id, signed.key.0) == (genuine.id, genuine.key),
            "a prekey that bob never signed"
        );
    }
    let mut conversation = SessionSet::new(his);
    let before = conversation.to_bytes();
    let keys = &scene.alice.keys;
    match conversation.start(keys, &verified, Cause::First, NOW, NOW, &mut Numbers(3)) {
        Ok(()) => {
            assert!(identity == his, "a session with somebody else");
            let out = context(&scene.alice, &scene.bob);
            let sent = conversation.encrypt(keys, &out, &words(), NOW, &mut Numbers(4));
            assert!(Envelope::parse(&sent.unwrap().envelope).is_ok());
        }
        Err(_) => assert!(
            *conversation.to_bytes() == *before,
            "a refusal left a trace"
        ),
    }
}

const PLACE: &[u8] = b"secure-chat vault 1: messages.sealed 1";

/// The vault's keys, and what is sealed under them.
struct Sealed {
    key: SealKey,
    wrapping: WrappingKey,
    row: Vec<u8>,
    wrapped: Vec<u8>,
    code: String,
}

static SEALED: LazyLock<Sealed> = LazyLock::new(|| {
    let mut numbers = Numbers(5);
    let code = RecoveryCode::generate(&mut numbers);
    let key = SealKey::generate(&mut numbers);
    let wrapping = code.wrapping_key();
    Sealed {
        row: key.seal(&mut numbers, PLACE, WORDS.as_bytes()),
        wrapped: wrapping.wrap(&mut numbers, PLACE, &key),
        code: code.to_text().to_string(),
        key,
        wrapping,
    }
});

/// A damaged or exchanged row of the vault. The first byte says which kind.
///
/// Must hold: only what was sealed opens; what is read is written back the same;
/// a conversation that was read can be used.
pub(crate) fn vault_row(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let sealed = &*SEALED;
    match kind % 8 {
        0 => open_row(rest),
        1 => open_row(&patched(&sealed.row, rest)),
        2 => unwrap(rest),
        3 => unwrap(&patched(&sealed.wrapped, rest)),
        4 => recovery_code(rest),
        5 => saved_conversation(rest),
        6 => content(rest),
        _ => prekeys(rest),
    }
}

fn open_row(bytes: &[u8]) {
    if let Ok(opened) = SEALED.key.open(PLACE, bytes) {
        assert!(
            bytes == SEALED.row && *opened == WORDS.as_bytes(),
            "a forged row"
        );
    }
    assert!(
        SEALED.key.open(b"another place", bytes).is_err(),
        "a moved row"
    );
}

fn unwrap(bytes: &[u8]) {
    if let Ok(key) = SEALED.wrapping.unwrap(PLACE, bytes) {
        assert!(bytes == SEALED.wrapped && key.to_bytes() == SEALED.key.to_bytes());
    }
}

fn recovery_code(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(code) = RecoveryCode::parse(&text) {
        let again = RecoveryCode::parse(&code.to_text()).unwrap();
        assert_eq!(*again.to_text(), *code.to_text());
    }
}

fn saved_conversation(bytes: &[u8]) {
    let Ok(mut conversation) = SessionSet::from_bytes(bytes) else {
        return;
    };
    // A state of an earlier version is written as one of today's.
    let written = conversation.to_bytes();
    assert!(
        written.first() != bytes.first() || *written == *bytes,
        "two spellings of one state"
    );
    assert!(conversation.kept_keys() <= bytes.len());
    let scene = &*SCENE;
    for envelope in &scene.genuine {
        let context = context(&scene.alice, &scene.bob);
        let before = conversation.to_bytes();
        let result = conversation.decrypt(&scene.bob.keys, &scene.bob, envelope, &context, NOW + 1);
        if result.is_err() {
            assert!(
                *conversation.to_bytes() == *before,
                "a failure left a trace"
            );
        }
    }
    let back = context(&scene.bob, &scene.alice);
    let before = conversation.to_bytes();
    match conversation.encrypt(&scene.bob.keys, &back, &words(), NOW + 1, &mut Numbers(6)) {
        Ok(sent) => assert!(Envelope::parse(&sent.envelope).is_ok()),
        Err(_) => assert!(
            *conversation.to_bytes() == *before,
            "a failure left a trace"
        ),
    }
}

fn content(bytes: &[u8]) {
    if let Ok(padded) = padding::pad(bytes) {
        assert!(*padding::unpad(&padded).unwrap() == *bytes);
    }
    // What is no padding is refused; which bytes those are, the next line finds.
    let _unpadded = padding::unpad(bytes);
    if let Ok(content) = Content::decode(bytes)
        && !matches!(content.body, Payload::Unknown(_))
    {
        assert!(
            *content.encode().unwrap() == *bytes,
            "two spellings of one content"
        );
    }
}

fn prekeys(bytes: &[u8]) {
    if let Ok(prekey) = SignedPrekeySecret::from_bytes(bytes) {
        assert!(*prekey.to_bytes() == *bytes);
    }
    if let Ok(prekey) = OneTimePrekeySecret::from_bytes(bytes) {
        assert!(*prekey.to_bytes() == *bytes);
    }
    if let Some(bytes) = bytes.first_chunk::<64>() {
        assert!(*IdentityKeys::from_bytes(bytes).to_bytes() == *bytes);
        if let Ok(identity) = PublicIdentity::from_bytes(bytes) {
            assert_eq!(identity.to_bytes(), *bytes);
        }
    }
}

fn with_mode(mode: u8, rest: &[u8]) -> Vec<u8> {
    [&[mode], rest].concat()
}

/// Seeds of the three targets.
pub(crate) fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let (scene, sealed) = (&*SCENE, &*SEALED);
    let mut seeds = Vec::new();
    let mut add = |target, name: &str, bytes| seeds.push((target, name.to_owned(), bytes));
    for (n, envelope) in scene.genuine.iter().enumerate() {
        add("envelope", &format!("genuine-{n}"), with_mode(0, envelope));
        add(
            "envelope",
            &format!("patched-{n}"),
            vec![n as u8 + 1, 0, 57, 0x83],
        );
    }
    add("envelope", "cut", vec![1, 0, 0, 1, 40]);
    add("envelope", "low-order-ratchet-key", {
        let zeros = (18_u8..50).flat_map(|place| [0, place, 0]);
        std::iter::once(2).chain(zeros).collect()
    });
    let bundle = scene.bob.bundle();
    let line = |bundle: &PrekeyBundle| {
        let bundle = serde_json::to_string(&wire_bundle(bundle)).unwrap();
        with_mode(0, format!("{{\"id\":1,\"ok\":{bundle}}}").as_bytes())
    };
    add("prekey_bundle", "genuine", line(&bundle));
    add(
        "prekey_bundle",
        "another-identity",
        line(&scene.alice.bundle()),
    );
    let none = PrekeyBundle {
        one_time: None,
        ..bundle
    };
    add("prekey_bundle", "without-one-time", line(&none));
    add("prekey_bundle", "patched-key", vec![1, 0, 70, 3]);
    add("prekey_bundle", "low-order-one-time", {
        let zeros = (164_u8..196).flat_map(|place| [0, place, 0]);
        std::iter::once(1).chain(zeros).collect()
    });
    add("vault_row", "row", with_mode(0, &sealed.row));
    add("vault_row", "row-patched", vec![1, 0, 20, 1]);
    add("vault_row", "wrapped", with_mode(2, &sealed.wrapped));
    add("vault_row", "wrapped-patched", vec![3, 0, 20, 1]);
    add(
        "vault_row",
        "recovery-code",
        with_mode(4, sealed.code.as_bytes()),
    );
    for (n, state) in scene.states.iter().enumerate() {
        let name = format!("conversation-{n}");
        add("vault_row", &name, with_mode(5, &state.to_bytes()));
    }
    add(
        "vault_row",
        "content",
        with_mode(6, &words().encode().unwrap()),
    );
    let ids = Content {
        sent_at_ms: 1,
        body: Payload::RetryRequest(vec![[1; 16], [2; 16]]),
    };
    add(
        "vault_row",
        "retry-request",
        with_mode(6, &ids.encode().unwrap()),
    );
    add(
        "vault_row",
        "signed-prekey",
        with_mode(7, &scene.bob.signed.to_bytes()),
    );
    add(
        "vault_row",
        "one-time-prekey",
        with_mode(7, &scene.bob.one_time[0].to_bytes()),
    );
    add(
        "vault_row",
        "identity",
        with_mode(7, &*scene.bob.keys.to_bytes()),
    );
    seeds
}
