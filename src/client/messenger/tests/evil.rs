//! A server that has made an identity of its own and uses it in bob's name, with
//! all that a real client would prove about it.

use super::*;
use crate::clock;
use crate::crypto::keys::{
    IdentityKeys, OneTimePrekeySecret, PrekeyBundle, PublicIdentity, PublicSignedPrekey,
    SignedPrekeySecret,
};
use crate::crypto::message::associated_data::AssociatedData;
use crate::crypto::message::content::{Content, Payload};
use crate::crypto::ratchet::origin::Cause;
use crate::crypto::ratchet::session_set::{Prekeys, SessionSet};
use crate::protocol::request::{Publish, SignedPrekey as WireSignedPrekey};

pub(super) struct Evil {
    pub(super) keys: IdentityKeys,
    signed: SignedPrekeySecret,
    conversation: Option<SessionSet>,
    next: u8,
}

impl Prekeys for Evil {
    fn signed(&self, _: u32) -> Option<SignedPrekeySecret> {
        Some(self.signed.clone())
    }

    fn one_time(&self, _: u32) -> Option<OneTimePrekeySecret> {
        None
    }
}

impl Evil {
    /// Message ids are made of `first` and the numbers behind it.
    pub(super) fn new(first: u8) -> Self {
        let keys = IdentityKeys::generate(&mut os_rng());
        let signed = SignedPrekeySecret::generate(&keys, 77, &mut os_rng());
        Evil {
            keys,
            signed,
            conversation: None,
            next: first,
        }
    }

    /// Puts its keys in the place of somebody's; gives those that were there.
    pub(super) fn publish_as(&self, server: &Double, name: &UserName) -> Option<Publish> {
        let public = self.signed.public();
        let forged = Publish {
            identity: identity::wire_identity(&self.keys.public()),
            signed_prekey: WireSignedPrekey {
                id: public.id,
                key: ByteArray(public.key),
                signature: ByteArray(public.signature),
            },
            one_time: Vec::new(),
            replace: true,
            new_identity: true,
        };
        publish(server, name, Some(forged))
    }

    fn conversation_with(&self, server: &Double, name: &UserName) -> SessionSet {
        let world = server.world.lock().unwrap();
        let published = world.accounts[name].published.as_ref().unwrap();
        let bundle = PrekeyBundle {
            identity: identity::identity_keys(&published.identity).unwrap(),
            signed_prekey: PublicSignedPrekey {
                id: published.signed_prekey.id,
                key: published.signed_prekey.key.0,
                signature: published.signed_prekey.signature.0,
            },
            one_time: None,
        };
        let bundle = bundle.verify().unwrap();
        let mut conversation = SessionSet::new(*bundle.identity());
        conversation
            .start(&self.keys, &bundle, Cause::First, 1, 1, &mut os_rng())
            .unwrap();
        conversation
    }

    /// Says something to alice in bob's name, properly encrypted.
    pub(super) fn says(&mut self, server: &Double, body: Payload) -> MessageId {
        let alice = "alice".parse().unwrap();
        let mut conversation = match self.conversation.take() {
            Some(conversation) => conversation,
            None => self.conversation_with(server, &alice),
        };
        let mid = MessageId([self.next; 16]);
        self.next += 1;
        let context = AssociatedData {
            message_id: mid.0,
            sender: "bob",
            recipient: "alice",
        };
        let content = Content {
            sent_at_ms: clock::unix_ms(),
            body,
        };
        let envelope = conversation
            .encrypt(&self.keys, &context, &content, 1, &mut os_rng())
            .unwrap()
            .envelope;
        self.conversation = Some(conversation);
        server.push("alice", envelope_of_bobs(mid, envelope));
        mid
    }

    pub(super) fn says_text(&mut self, server: &Double, text: &str) -> MessageId {
        self.says(server, Payload::Text(text.to_owned()))
    }

    /// Asks alice in bob's name for every message that was ever sent.
    pub(super) fn asks_for_all(&mut self, server: &Double) -> MessageId {
        let ids = server.world.lock().unwrap().sends.clone();
        let ids = ids.iter().map(|(mid, ..)| mid.0).collect();
        self.says(server, Payload::RetryRequest(ids))
    }

    /// The texts that it can read of all that was ever sent to bob.
    pub(super) fn reads(&mut self, server: &Double) -> Vec<String> {
        let sends = server.world.lock().unwrap().sends.clone();
        let alice = "alice".parse().unwrap();
        let alice = server.world.lock().unwrap().accounts[&alice]
            .published
            .clone();
        let alice: PublicIdentity = identity::identity_keys(&alice.unwrap().identity).unwrap();
        let conversation = self.conversation.take();
        let mut conversation = conversation.unwrap_or_else(|| SessionSet::new(alice));
        let mut texts = Vec::new();
        for (mid, bytes, _) in sends {
            let context = AssociatedData {
                message_id: mid.0,
                sender: "alice",
                recipient: "bob",
            };
            let opened = conversation.decrypt(&self.keys, self, &bytes, &context, clock::unix_ms());
            match opened.ok().and_then(|opened| opened.content.ok()) {
                Some(Content {
                    body: Payload::Text(text) | Payload::Again { text, .. },
                    ..
                }) => texts.push(text),
                _ => continue,
            }
        }
        self.conversation = Some(conversation);
        texts
    }
}

/// Puts keys in the place of somebody's; gives those that were there.
pub(super) fn publish(server: &Double, name: &UserName, keys: Option<Publish>) -> Option<Publish> {
    let mut world = server.world.lock().unwrap();
    let account = world.accounts.get_mut(name).unwrap();
    std::mem::replace(&mut account.published, keys)
}

/// An initial envelope with a made-up identity, and garbage for the rest.
pub(super) fn garbage(number: u8) -> Incoming {
    let made_up = IdentityKeys::generate(&mut os_rng()).public().to_bytes();
    let mut envelope = vec![1, 2];
    envelope.extend([0x11; 16]);
    envelope.extend([0x22; 32]);
    envelope.extend([0; 8]);
    envelope.extend(made_up);
    envelope.extend([0x33; 32]);
    envelope.extend([0, 0, 0, 1]);
    envelope.extend([0; 5]);
    envelope.extend([0x44; 16]);
    envelope.extend([0x55; 32]);
    envelope_of_bobs(MessageId([number; 16]), envelope)
}

pub(super) fn envelope_of_bobs(mid: MessageId, envelope: Vec<u8>) -> Incoming {
    Incoming {
        from: "bob".parse().unwrap(),
        mid,
        at: 5,
        body: Body::Envelope(Blob(envelope.into())),
    }
}
