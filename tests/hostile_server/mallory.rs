//! What the one in between has: an identity, prekeys and the same cryptography
//! as everybody else.

use std::cell::RefCell;

use data_encoding::BASE64;
use ed25519_dalek::{Signer, SigningKey};
use secure_chat::crypto::keys::{
    IdentityKeys, OneTimePrekeySecret, PrekeyBundle, PublicIdentity, PublicSignedPrekey,
    SignedPrekeySecret,
};
use secure_chat::crypto::message::associated_data::AssociatedData;
use secure_chat::crypto::message::content::{Content, Payload};
use secure_chat::crypto::os_rng;
use secure_chat::crypto::ratchet::origin::Cause;
use secure_chat::crypto::ratchet::session_set::{Prekeys, SessionSet};
use serde_json::{Value, json};

use crate::lab::now_ms;

pub(crate) struct Mallory {
    keys: IdentityKeys,
    signed: SignedPrekeySecret,
    /// The session that mallory started, if there is one.
    session: RefCell<Option<SessionSet>>,
}

impl Prekeys for Mallory {
    fn signed(&self, id: u32) -> Option<SignedPrekeySecret> {
        (self.signed.public().id == id).then(|| self.signed.clone())
    }

    fn one_time(&self, _: u32) -> Option<OneTimePrekeySecret> {
        None
    }
}

impl Mallory {
    pub(crate) fn new() -> Self {
        let keys = IdentityKeys::generate(&mut os_rng());
        let signed = SignedPrekeySecret::generate(&keys, 77, &mut os_rng());
        Mallory {
            keys,
            signed,
            session: RefCell::new(None),
        }
    }

    /// A bundle that verifies, to be served in somebody's name.
    pub(crate) fn bundle(&self) -> Value {
        let signed = self.signed.public();
        json!({
            "identity": wire(&self.keys.public()),
            "signed_prekey": {
                "id": signed.id,
                "key": BASE64.encode(&signed.key),
                "signature": BASE64.encode(&signed.signature),
            },
            "one_time": null,
        })
    }

    /// The fingerprint by which a `send` names the identity.
    pub(crate) fn fingerprint(&self) -> String {
        BASE64.encode(&self.keys.public().fingerprint())
    }

    /// An envelope in `sender`'s name that starts a session, to whoever published
    /// `publish`.
    pub(crate) fn envelope(
        &self,
        publish: &Value,
        context: &AssociatedData<'_>,
        body: Payload,
    ) -> String {
        let theirs = identity(&publish["identity"]);
        let signed = &publish["signed_prekey"];
        let bundle = PrekeyBundle {
            identity: theirs,
            signed_prekey: PublicSignedPrekey {
                id: u32::try_from(signed["id"].as_u64().unwrap()).unwrap(),
                key: bytes(&signed["key"]),
                signature: bytes(&signed["signature"]),
            },
            one_time: None,
        };
        let mut conversation = SessionSet::new(theirs);
        let bundle = bundle.verify().unwrap();
        let now = now_ms();
        conversation
            .start(&self.keys, &bundle, Cause::First, now, now, &mut os_rng())
            .unwrap();
        let content = Content {
            sent_at_ms: now_ms(),
            body,
        };
        let sent = conversation.encrypt(&self.keys, context, &content, now, &mut os_rng());
        *self.session.borrow_mut() = Some(conversation);
        BASE64.encode(&sent.unwrap().envelope)
    }

    /// What a captured `send` says to the one in between, if anything.
    pub(crate) fn reads(&self, send: &Value, sender: &Value, from: &str) -> Option<String> {
        let envelope = BASE64.decode(send["envelope"].as_str()?.as_bytes()).ok()?;
        let context = AssociatedData {
            message_id: hex(&send["mid"]),
            sender: from,
            recipient: send["to"].as_str()?,
        };
        let started = self.session.borrow().clone();
        let new = || SessionSet::new(identity(&sender["identity"]));
        let mut conversation = started.unwrap_or_else(new);
        let opened = conversation.decrypt(&self.keys, self, &envelope, &context, now_ms());
        match opened.ok()?.content.ok()?.body {
            Payload::Text(text) | Payload::Again { text, .. } => Some(text),
            _ => None,
        }
    }
}

/// A bundle whose signature is right and whose keys are weak: which says where
/// the point of low order is put.
pub(crate) fn weak_bundle(which: &str) -> Value {
    let signing = SigningKey::from_bytes(&[9; 32]);
    let good = BASE64.encode(&{
        let mut base_point = [0; 32];
        base_point[0] = 9;
        base_point
    });
    let zero = [0_u8; 32];
    let dh = if which == "dh" { zero } else { [9; 32] };
    let key = if which == "signed" { zero } else { [9; 32] };
    let statement = [
        &b"secure-chat/1 signed-prekey"[..],
        &dh,
        &1_u32.to_be_bytes(),
        &key,
    ]
    .concat();
    let signature = signing.sign(&statement).to_bytes();
    let verifying = signing.verifying_key().to_bytes();
    let signing = if which == "signing" { zero } else { verifying };
    let one_time = if which == "one-time" {
        BASE64.encode(&zero)
    } else {
        good
    };
    json!({
        "identity": {"signing": BASE64.encode(&signing), "dh": BASE64.encode(&dh)},
        "signed_prekey": {
            "id": 1,
            "key": BASE64.encode(&key),
            "signature": BASE64.encode(&signature),
        },
        "one_time": {"id": 1, "key": one_time},
    })
}

fn wire(identity: &PublicIdentity) -> Value {
    let bytes = identity.to_bytes();
    json!({"signing": BASE64.encode(&bytes[..32]), "dh": BASE64.encode(&bytes[32..])})
}

fn identity(value: &Value) -> PublicIdentity {
    let halves: [[u8; 32]; 2] = [bytes(&value["signing"]), bytes(&value["dh"])];
    PublicIdentity::from_bytes(halves.as_flattened().try_into().unwrap()).unwrap()
}

pub(crate) fn bytes<const N: usize>(value: &Value) -> [u8; N] {
    let decoded = BASE64.decode(value.as_str().unwrap().as_bytes());
    decoded.unwrap().try_into().unwrap()
}

fn hex(value: &Value) -> [u8; 16] {
    let decoded = data_encoding::HEXLOWER.decode(value.as_str().unwrap().as_bytes());
    decoded.unwrap().try_into().unwrap()
}
