//! The Double Ratchet of one session, after Signal's "The Double Ratchet Algorithm",
//! revision of September 2025, section 3 (headers in the clear).
//!
//! Two things differ from the specification's pseudocode, neither on the wire:
//! a new sending chain is made when it is first needed and not when the other
//! side's new key arrives, so receiving needs no randomness and the new private
//! key lives shorter; and the responder is made from the first message's
//! ratchet key, so the other side's key is never missing.
//!
//! Nothing changes until a message has authenticated. Where sessions come from
//! and how bytes are laid out in an envelope is not known here.

pub mod chain;
pub mod counters;
pub mod error;
pub mod link;
pub mod origin;
mod ranges;
pub mod session_set;
pub mod skipped;
pub mod x3dh;

use std::collections::VecDeque;

use rand::CryptoRng;
use zeroize::Zeroizing;

use self::chain::{Chain, ChainExhausted, MessageKey, RemoteRatchetKey, RootKey};
use self::skipped::{SkippedKey, SkippedKeys};
use super::cipher::{MAC_LEN, MessageKeys, NotAuthentic};
use super::codec::{Malformed, Reader};
use super::keys::{AgreementKey, WeakKey};
use super::secret::Secret;

/// The most messages one message may jump over, both chains together. Every
/// one costs two HMACs and a kept key before anything is authenticated, so this
/// bounds what a forger can make us compute to a few milliseconds.
pub const MAX_SKIP: u32 = 1_000;

/// How many of the other side's old ratchet keys are remembered, only so that a
/// late duplicate is called a replay and not a forgery.
const MAX_RETIRED: usize = 16;

/// What goes along with a ciphertext, readable ("Double Ratchet Algorithm"
/// section 3.1, HEADER).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RatchetHeader {
    /// The sender's current ratchet public key (X25519).
    pub ratchet_key: [u8; 32],
    /// How many messages the sender's previous chain had.
    pub previous_count: u32,
    /// The message's number in the current chain, from 0.
    pub number: u32,
}

/// Why the ratchet refused a message. Its state is then as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RatchetError {
    /// The message's key has been used, or was dropped as too old.
    Replayed,
    /// The message jumps over more than [`MAX_SKIP`] others.
    TooFarAhead { skipped: u64 },
    /// The MAC is not that of this message.
    NotAuthentic,
    /// The sender's ratchet key has low order.
    WeakKey,
}

impl From<NotAuthentic> for RatchetError {
    fn from(NotAuthentic: NotAuthentic) -> Self {
        Self::NotAuthentic
    }
}

impl From<WeakKey> for RatchetError {
    fn from(WeakKey: WeakKey) -> Self {
        Self::WeakKey
    }
}

impl From<ChainExhausted> for RatchetError {
    /// No writer numbers a message so; only a forger does.
    fn from(ChainExhausted: ChainExhausted) -> Self {
        Self::NotAuthentic
    }
}

/// Why nothing could be encrypted. The state is then as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendError {
    WeakKey,
    ChainExhausted,
}

/// One message as it came in, taken apart.
#[derive(Clone, Copy)]
pub(crate) struct RatchetMessage<'a> {
    pub(crate) header: &'a RatchetHeader,
    /// The bytes under the MAC that hold the header.
    pub(crate) header_bytes: &'a [u8],
    pub(crate) ad: &'a [u8],
    pub(crate) ciphertext: &'a [u8],
    pub(crate) mac: &'a [u8; MAC_LEN],
}

/// What decrypting gave.
pub(crate) struct RatchetStep {
    pub(crate) plaintext: Zeroizing<Vec<u8>>,
    /// How many messages before this one have not arrived and were not known
    /// to be missing until now.
    pub(crate) newly_missing: u32,
    /// Whether the message came with a new ratchet key.
    pub(crate) stepped: bool,
}

/// What the next message is encrypted with.
pub(crate) struct NextToSend {
    pub(crate) header: RatchetHeader,
    pub(crate) keys: MessageKeys,
    /// Whether it has a new ratchet key.
    pub(crate) stepped: bool,
}

/// One session's state.
#[derive(Clone)]
pub(crate) struct Ratchet {
    root: RootKey,
    remote: RemoteRatchetKey,
    sending: Sending,
    /// Missing until the responder has answered for the first time.
    receiving: Option<Chain>,
    /// Messages in our previous sending chain.
    previous_count: u32,
    skipped: SkippedKeys,
    retired: VecDeque<RemoteRatchetKey>,
}

/// Our half of the Diffie-Hellman ratchet.
#[derive(Clone)]
enum Sending {
    /// The chain in use, and the private key that the other side answers to.
    Active { own: AgreementKey, chain: Chain },
    /// The other side has a new key; the next message starts a new chain.
    StepDue,
}

impl Ratchet {
    /// The initiator's state after X3DH ("Double Ratchet Algorithm" section 3.3,
    /// RatchetInitAlice). `prekey` is the responder's signed prekey.
    pub(crate) fn initiator<R: CryptoRng + ?Sized>(
        shared: Secret<32>,
        prekey: [u8; 32],
        rng: &mut R,
    ) -> Result<Self, WeakKey> {
        let own = AgreementKey::generate(rng);
        let remote = RemoteRatchetKey(prekey);
        let (root, chain) = RootKey::of_session(shared).step(&own, &remote)?;
        Ok(Self {
            root,
            remote,
            sending: Sending::Active { own, chain },
            receiving: None,
            previous_count: 0,
            skipped: SkippedKeys::default(),
            retired: VecDeque::new(),
        })
    }

    /// The responder's state (RatchetInitBob), brought forward to the chain of
    /// the initiator's first ratchet key.
    pub(crate) fn responder(
        shared: Secret<32>,
        prekey: &AgreementKey,
        first_key: [u8; 32],
    ) -> Result<Self, WeakKey> {
        let remote = RemoteRatchetKey(first_key);
        let (root, chain) = RootKey::of_session(shared).step(prekey, &remote)?;
        Ok(Self {
            root,
            remote,
            sending: Sending::StepDue,
            receiving: Some(chain),
            previous_count: 0,
            skipped: SkippedKeys::default(),
            retired: VecDeque::new(),
        })
    }

    /// How many messages are known to be missing: those whose keys are kept.
    pub(crate) fn missing(&self) -> usize {
        self.skipped.len()
    }

    /// The root key that the last step made.
    pub(crate) fn root(&self) -> &RootKey {
        &self.root
    }

    /// Erases the kept keys that are too old. `age_ms` is the clock by which they age.
    pub(crate) fn expire(&mut self, age_ms: u64) {
        self.skipped.expire(age_ms);
    }

    /// Takes the next message key and gives it with the header that belongs to
    /// it, making a new ratchet key first if the other side has a new one.
    pub(crate) fn next_to_send<R: CryptoRng + ?Sized>(
        &mut self,
        rng: &mut R,
    ) -> Result<NextToSend, SendError> {
        let (root, own, mut chain) = match &self.sending {
            Sending::Active { own, chain } => (None, own.clone(), chain.clone()),
            Sending::StepDue => {
                let own = AgreementKey::generate(rng);
                let step = self.root.step(&own, &self.remote);
                let (root, chain) = step.map_err(|WeakKey| SendError::WeakKey)?;
                (Some(root), own, chain)
            }
        };
        let advanced = chain.advance();
        let (number, key) = advanced.map_err(|ChainExhausted| SendError::ChainExhausted)?;
        let header = RatchetHeader {
            ratchet_key: own.public(),
            previous_count: self.previous_count,
            number,
        };
        let stepped = root.is_some();
        if let Some(root) = root {
            self.root = root;
        }
        self.sending = Sending::Active { own, chain };
        Ok(NextToSend {
            header,
            keys: MessageKeys::of_message(&key.0),
            stepped,
        })
    }

    /// Decrypts a message ("Double Ratchet Algorithm" section 3.5), in whichever
    /// order it came. `age_ms` is the clock by which kept keys age.
    pub(crate) fn decrypt(
        &mut self,
        message: RatchetMessage<'_>,
        age_ms: u64,
    ) -> Result<RatchetStep, RatchetError> {
        let key = RemoteRatchetKey(message.header.ratchet_key);
        if let Some(place) = self.skipped.find(&key, message.header.number, age_ms) {
            return self.decrypt_late(message, place);
        }
        if key == self.remote
            && let Some(chain) = &self.receiving
        {
            let mut next = Advance::along(key, chain.clone());
            let plaintext = next.reach(message)?;
            self.receiving = Some(next.chain);
            return Ok(self.keep_skipped(plaintext, next.skipped, age_ms));
        }
        self.decrypt_after_step(message, key, age_ms)
    }

    fn decrypt_late(
        &mut self,
        message: RatchetMessage<'_>,
        place: usize,
    ) -> Result<RatchetStep, RatchetError> {
        let key = self.skipped.key(place).ok_or(RatchetError::Replayed)?;
        let plaintext = open(message, key)?;
        self.skipped.remove(place);
        Ok(RatchetStep {
            plaintext,
            newly_missing: 0,
            stepped: false,
        })
    }

    /// The other side has a new ratchet key: finishes its old chain, takes the
    /// Diffie-Hellman step, and goes along the new chain.
    fn decrypt_after_step(
        &mut self,
        message: RatchetMessage<'_>,
        key: RemoteRatchetKey,
        age_ms: u64,
    ) -> Result<RatchetStep, RatchetError> {
        if key == self.remote || self.retired.contains(&key) {
            return Err(RatchetError::Replayed);
        }
        // Who is honest makes a new key only after seeing ours, and with a step
        // due we have not shown one yet.
        let Sending::Active { own, chain: sent } = &self.sending else {
            return Err(RatchetError::NotAuthentic);
        };
        let mut skipped = Vec::new();
        if let Some(chain) = &self.receiving {
            let mut old = Advance::along(self.remote, chain.clone());
            let left = message.header.previous_count.saturating_sub(chain.next());
            check_gap(u64::from(left) + u64::from(message.header.number))?;
            old.skip_to(message.header.previous_count)?;
            skipped = old.skipped;
        }
        let (root, chain) = self.root.step(own, &key)?;
        let mut next = Advance::along(key, chain);
        let plaintext = next.reach(message)?;

        self.previous_count = sent.next();
        self.root = root;
        self.retired.push_back(self.remote);
        if self.retired.len() > MAX_RETIRED {
            self.retired.pop_front();
        }
        self.remote = key;
        self.receiving = Some(next.chain);
        self.sending = Sending::StepDue;
        skipped.append(&mut next.skipped);
        Ok(RatchetStep {
            stepped: true,
            ..self.keep_skipped(plaintext, skipped, age_ms)
        })
    }

    fn keep_skipped(
        &mut self,
        plaintext: Zeroizing<Vec<u8>>,
        skipped: Vec<SkippedKey>,
        age_ms: u64,
    ) -> RatchetStep {
        // check_gap bounds the number.
        let newly_missing = skipped.len() as u32;
        self.skipped.add(skipped, age_ms);
        RatchetStep {
            plaintext,
            newly_missing,
            stepped: false,
        }
    }

    /// Puts the state, secrets and all, for the vault:
    ///
    /// `root key (32) || remote ratchet key (32) || previous count (4) || active
    /// (1) [|| own private key (32) || chain (36)] || receiving (1) [|| chain
    /// (36)] || retired count (1) || retired keys (32 each) || skipped keys`.
    pub(crate) fn write(&self, put: &mut dyn FnMut(&[u8])) {
        let Self {
            root,
            remote,
            sending,
            receiving,
            previous_count,
            skipped,
            retired,
        } = self;
        put(root.expose());
        put(&remote.0);
        put(&previous_count.to_be_bytes());
        match sending {
            Sending::Active { own, chain } => {
                put(&[1]);
                put(own.expose());
                chain.write(put);
            }
            Sending::StepDue => put(&[0]),
        }
        put(&[u8::from(receiving.is_some())]);
        if let Some(chain) = receiving {
            chain.write(put);
        }
        // At most MAX_RETIRED.
        put(&[retired.len() as u8]);
        retired.iter().for_each(|key| put(&key.0));
        skipped.write(put);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let root = RootKey::read(reader)?;
        let remote = RemoteRatchetKey(*reader.array()?);
        let previous_count = reader.u32()?;
        let sending = if reader.flag()? {
            let own = AgreementKey::from_secret(reader.secret()?);
            let chain = Chain::read(reader)?;
            Sending::Active { own, chain }
        } else {
            Sending::StepDue
        };
        let receiving = if reader.flag()? {
            Some(Chain::read(reader)?)
        } else {
            None
        };
        let retired = match reader.u8()? {
            count if usize::from(count) > MAX_RETIRED => return Err(Malformed),
            count => (0..count)
                .map(|_| Ok(RemoteRatchetKey(*reader.array()?)))
                .collect::<Result<_, Malformed>>()?,
        };
        Ok(Self {
            root,
            remote,
            sending,
            receiving,
            previous_count,
            skipped: SkippedKeys::read(reader)?,
            retired,
        })
    }
}

/// A receiving chain moved forward on trial: thrown away unless the message at
/// its end authenticates.
struct Advance {
    ratchet_key: RemoteRatchetKey,
    chain: Chain,
    skipped: Vec<SkippedKey>,
}

impl Advance {
    fn along(ratchet_key: RemoteRatchetKey, chain: Chain) -> Self {
        Self {
            ratchet_key,
            chain,
            skipped: Vec::new(),
        }
    }

    fn reach(&mut self, message: RatchetMessage<'_>) -> Result<Zeroizing<Vec<u8>>, RatchetError> {
        if message.header.number < self.chain.next() {
            return Err(RatchetError::Replayed);
        }
        self.skip_to(message.header.number)?;
        let (_, key) = self.chain.advance()?;
        open(message, &key)
    }

    fn skip_to(&mut self, number: u32) -> Result<(), RatchetError> {
        check_gap(u64::from(number.saturating_sub(self.chain.next())))?;
        while self.chain.next() < number {
            let (number, key) = self.chain.advance()?;
            self.skipped.push(SkippedKey {
                chain: self.ratchet_key,
                number,
                key,
            });
        }
        Ok(())
    }
}

fn check_gap(skipped: u64) -> Result<(), RatchetError> {
    if skipped > u64::from(MAX_SKIP) {
        return Err(RatchetError::TooFarAhead { skipped });
    }
    Ok(())
}

fn open(message: RatchetMessage<'_>, key: &MessageKey) -> Result<Zeroizing<Vec<u8>>, RatchetError> {
    let RatchetMessage {
        header: _,
        header_bytes,
        ad,
        ciphertext,
        mac,
    } = message;
    Ok(MessageKeys::of_message(&key.0).decrypt(ad, header_bytes, ciphertext, mac)?)
}
