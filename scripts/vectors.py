#!/usr/bin/env python3
"""Write the known answers in tests/vectors.

Everything is computed with PyCryptodome, argon2-cffi and the standard library
from the formulas of docs/PROTOCOL.md, and nothing from this project's
own code, so that the Rust tests compare two independent implementations.

    pip install pycryptodome argon2-cffi
    scripts/vectors.py            # writes tests/vectors/*.json
    scripts/vectors.py --check    # fails if the files would change
"""

import hashlib
import hmac
import json
import pathlib
import sys

from argon2.low_level import Type, hash_secret_raw
from Crypto.Cipher import AES
from Crypto.Hash import SHA256
from Crypto.Protocol.DH import import_x25519_public_key, key_agreement
from Crypto.Protocol.KDF import HKDF
from Crypto.PublicKey import ECC
from Crypto.Signature import eddsa
from Crypto.Util.Padding import pad as pkcs7

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "vectors"
PREFIX = b"secure-chat/1 "
ZEROS = bytes(32)


def u16(number):
    return number.to_bytes(2, "big")


def u32(number):
    return number.to_bytes(4, "big")


def u64(number):
    return number.to_bytes(8, "big")


def short(data):
    return u16(len(data)) + data


def secret(name, length=32):
    """Bytes for a test key: different for each name, the same in each run."""
    return hashlib.shake_256(b"test vector " + name.encode()).digest(length)


def hkdf(salt, ikm, label, length):
    return HKDF(ikm, length, salt, SHA256, 1, PREFIX + label)


def mac_of(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


# Cipher


def message_keys(salt, key, label):
    joined = hkdf(salt, key, label, 80)
    return joined[:32], joined[32:64], joined[64:]


def encrypt(keys, ad, header, plaintext):
    aes, mac, iv = keys
    ciphertext = AES.new(aes, AES.MODE_CBC, iv).encrypt(pkcs7(plaintext, 16))
    tag = mac_of(mac, u32(len(ad)) + ad + u32(len(header)) + header + ciphertext)
    return ciphertext + tag


def seal(key, label, salt, ad, plaintext):
    return salt + encrypt(message_keys(salt, key, label), ad, salt, plaintext)


def cipher_cases():
    for length in (0, 1, 15, 16, 17, 160, 1000):
        key = secret(f"message key {length}")
        ad, header = secret(f"ad {length}", length % 40), secret(f"header {length}", 58)
        plaintext = secret(f"plaintext {length}", length)
        aes, mac, iv = message_keys(ZEROS, key, b"message")
        yield {
            "message_key": key.hex(),
            "aes_key": aes.hex(),
            "mac_key": mac.hex(),
            "iv": iv.hex(),
            "ad": ad.hex(),
            "header": header.hex(),
            "plaintext": plaintext.hex(),
            "encrypted": encrypt((aes, mac, iv), ad, header, plaintext).hex(),
        }


def vault_cases():
    for length in (0, 1, 16, 33, 500):
        key, salt = secret(f"vault key {length}"), secret(f"salt {length}", 16)
        wrapping_key = secret(f"wrapping key {length}")
        ad, plaintext = f"messages/body/{length}".encode(), secret(f"value {length}", length)
        code = secret(f"recovery code {length}", 16)
        yield {
            "key": key.hex(),
            "salt": salt.hex(),
            "ad": ad.hex(),
            "plaintext": plaintext.hex(),
            "sealed": seal(key, b"vault", salt, ad, plaintext).hex(),
            "wrapping_key": wrapping_key.hex(),
            "wrapped": seal(wrapping_key, b"wrap", salt, ad, key).hex(),
            "recovery_code": recovery_text(code),
            "wrapped_by_recovery_code": seal(
                hkdf(ZEROS, code, b"recovery", 32), b"wrap", salt, ad, key
            ).hex(),
        }


def recovery_text(code):
    check = hashlib.sha256(PREFIX + b"recovery-check" + code).digest()[:4]
    number = int.from_bytes(code + check, "big")
    symbols = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    text = "".join(symbols[number >> shift & 31] for shift in range(155, -1, -5))
    return "-".join(text[at : at + 4] for at in range(0, 32, 4))


# Keys and X3DH


def x25519(private):
    return ECC.construct(curve="Curve25519", seed=private)


def x25519_public(private):
    return x25519(private).public_key().export_key(format="raw")


def agree(private, public):
    theirs = import_x25519_public_key(public)
    return key_agreement(static_priv=x25519(private), static_pub=theirs, kdf=lambda z: z)


def ed25519_public(seed):
    key = ECC.construct(curve="Ed25519", seed=seed)
    return key.public_key().export_key(format="raw")


def sign(seed, message):
    return eddsa.new(ECC.construct(curve="Ed25519", seed=seed), "rfc8032").sign(message)


class Person:
    """Somebody's private keys, all made from the name."""

    def __init__(self, name):
        self.name = name
        self.seed, self.agreement = secret(name + " signs"), secret(name + " agrees")
        self.identity = ed25519_public(self.seed) + x25519_public(self.agreement)
        self.prekey_id, self.prekey = 7, secret(name + " signed prekey")
        self.one_time_id, self.one_time = 42, secret(name + " one-time prekey")

    def prekey_signature(self):
        return sign(
            self.seed,
            PREFIX + b"signed-prekey" + self.identity[32:]
            + u32(self.prekey_id) + x25519_public(self.prekey),
        )

    def private(self):
        return self.seed + self.agreement

    def saved_prekey(self):
        return u32(self.prekey_id) + self.prekey + self.prekey_signature()

    def saved_one_time(self):
        return u32(self.one_time_id) + self.one_time


def x3dh(initiator, responder, ephemeral, with_one_time):
    prekey = x25519_public(responder.prekey)
    exchanges = [
        agree(initiator.agreement, prekey),
        agree(ephemeral, responder.identity[32:]),
        agree(ephemeral, prekey),
    ]
    if with_one_time:
        exchanges.append(agree(ephemeral, x25519_public(responder.one_time)))
    return hkdf(ZEROS, b"\xff" * 32 + b"".join(exchanges), b"x3dh", 32)


def session_id(initiator, responder, ephemeral_public):
    transcript = initiator.identity + responder.identity + ephemeral_public
    return hashlib.sha256(PREFIX + b"session" + transcript).digest()[:16]


def x3dh_cases():
    alice, bob = Person("alice"), Person("bob")
    for with_one_time in (False, True):
        ephemeral = secret(f"ephemeral {with_one_time}")
        yield {
            "initiator": alice.private().hex(),
            "initiator_identity": alice.identity.hex(),
            "responder": bob.private().hex(),
            "responder_identity": bob.identity.hex(),
            "responder_fingerprint": hashlib.sha256(
                PREFIX + b"identity" + bob.identity
            ).hexdigest(),
            "signed_prekey": bob.saved_prekey().hex(),
            "one_time_prekey": bob.saved_one_time().hex() if with_one_time else "",
            "ephemeral": ephemeral.hex(),
            "shared_secret": x3dh(alice, bob, ephemeral, with_one_time).hex(),
            "session_id": session_id(alice, bob, x25519_public(ephemeral)).hex(),
        }


# Double Ratchet and envelope

NOW, FIRST = 1_700_000_000_000, 1


def root_step(root, private, public):
    joined = hkdf(root, agree(private, public), b"root", 64)
    return joined[:32], joined[32:]


def padded(content):
    size = 160
    while size <= len(content):
        size *= 2
    return (content + b"\x80").ljust(size, b"\0")


def origin(initiator, session, generation, cause):
    """What an initial envelope says of its session, signed; without a link."""
    said = u64(generation) + bytes([cause]) + bytes(16)
    return said + sign(initiator.seed, PREFIX + b"new-session" + session + said)


class Side:
    """One end of a session that only sends: enough for known answers, because
    what one end derives to send is what the other must derive to receive."""

    def __init__(self, me, them, root):
        self.me, self.them, self.root = me, them, root
        self.instance, self.counted = secret("instance of " + me.name, 16), 0
        self.private = self.remote = self.chain = None
        self.number = self.previous = 0

    def step_to(self, private):
        """A new sending chain for a new ratchet key."""
        self.previous, self.number = self.number, 0
        self.private = private
        self.root, self.chain = root_step(self.root, private, self.remote)

    def hears(self, public):
        """The other side has a new ratchet key."""
        self.root, _ = root_step(self.root, self.private, public)
        self.remote = public

    def send(self, session, initial, message_id, sent_at_ms, text):
        message_key, self.chain = mac_of(self.chain, b"\1"), mac_of(self.chain, b"\2")
        header = bytes([2, 2 if initial else 1]) + session + x25519_public(self.private)
        header += u32(self.previous) + u32(self.number) + initial
        self.number += 1
        ad = b"\2" + message_id + short(self.me.name.encode()) + short(self.them.name.encode())
        ad += self.me.identity + self.them.identity
        position = self.instance + u32(self.counted) + b"\1\0"
        self.counted += 1
        content = position + b"\1" + u64(sent_at_ms) + text.encode()
        keys = message_keys(ZEROS, message_key, b"message")
        return header + encrypt(keys, ad, header, padded(content))


def conversation_cases():
    for with_one_time in (False, True):
        alice, bob = Person("alice"), Person("bob")
        ephemeral = secret(f"conversation ephemeral {with_one_time}")
        shared = x3dh(alice, bob, ephemeral, with_one_time)
        session = session_id(alice, bob, x25519_public(ephemeral))
        initial = alice.identity + x25519_public(ephemeral) + u32(bob.prekey_id)
        initial += b"\1" + u32(bob.one_time_id) if with_one_time else bytes(5)
        initial += origin(alice, session, NOW, FIRST)
        root = hkdf(ZEROS, shared, b"linked-root", 32)
        sides = {"alice": Side(alice, bob, root), "bob": Side(bob, alice, root)}
        sides["alice"].remote = x25519_public(bob.prekey)
        sides["bob"].private = bob.prekey
        steps = []
        turns = [("alice", 3), ("bob", 2), ("alice", 1), ("bob", 4), ("alice", 2)]
        for turn, (name, count) in enumerate(turns):
            side, other = sides[name], sides["bob" if name == "alice" else "alice"]
            ratchet_private = secret(f"ratchet {with_one_time} {turn}")
            side.step_to(ratchet_private)
            for at in range(count):
                text = "x" * 16384 if (turn, at) == (4, 1) else f"{name} {turn}.{at} \u00e9"
                message_id = secret(f"id {turn} {at}", 16)
                sent_at_ms = NOW + 1000 * turn + at
                envelope = side.send(
                    session, initial if turn == 0 else b"", message_id, sent_at_ms, text
                )
                steps.append(
                    {
                        "from": name,
                        "instance": side.instance.hex() if side.counted == 1 else "",
                        "ratchet_private": ratchet_private.hex() if at == 0 else "",
                        "message_id": message_id.hex(),
                        "sent_at_ms": sent_at_ms,
                        "text": text,
                        "envelope": envelope.hex(),
                    }
                )
            other.hears(x25519_public(ratchet_private))
        yield {
            "alice": alice.private().hex(),
            "bob": bob.private().hex(),
            "signed_prekey": bob.saved_prekey().hex(),
            "one_time_prekey": bob.saved_one_time().hex() if with_one_time else "",
            "ephemeral": ephemeral.hex(),
            "now_ms": NOW,
            "steps": steps,
        }


# Passwords, proofs and safety numbers


def password_cases():
    for password, memory, passes, lanes in (
        ("correct horse battery staple", 64 * 1024, 3, 1),
        ("", 64, 1, 1),
        ("p\u00e4ssw\u00f6rd \u4e2d\u6587", 256, 2, 4),
    ):
        salt = secret("salt of " + password, 16)
        output = hash_secret_raw(
            password.encode(), salt, passes, memory, lanes, 64, Type.ID, version=19
        )
        vault_key, wrap_salt = secret("wrapped vault key"), secret("wrap salt", 16)
        yield {
            "password": password,
            "salt": salt.hex(),
            "memory_kib": memory,
            "passes": passes,
            "lanes": lanes,
            "login_public": ed25519_public(output[:32]).hex(),
            "vault_key": vault_key.hex(),
            "wrapped": seal(output[32:], b"wrap", wrap_salt, b"vault", vault_key).hex(),
        }


def proof_cases():
    # A cheap derivation, so that the tests may sign as well as verify.
    old_salt, new_salt = secret("old salt", 16), secret("new salt", 16)
    seed = hash_secret_raw(b"old", old_salt, 1, 64, 1, 64, Type.ID, version=19)[:32]
    public = ed25519_public(seed)
    new_public = ed25519_public(secret("new login key"))
    cost, new_cost = u32(64) + u32(1) + u32(1), u32(65536) + u32(3) + u32(1)
    for purpose, extra in (
        ("register", [public, old_salt, cost]),
        ("login", []),
        ("passwd", [new_public, new_salt, new_cost]),
        ("delete", []),
    ):
        for certificate in (b"", secret("certificate")):
            nonce = secret("nonce " + purpose)
            fields = [PREFIX + purpose.encode(), b"alice", nonce, certificate, *extra]
            yield {
                "purpose": purpose,
                "name": "alice",
                "nonce": nonce.hex(),
                "certificate": certificate.hex(),
                "password": "old",
                "salt": old_salt.hex(),
                "login_public": public.hex(),
                "new_login_public": new_public.hex(),
                "new_salt": new_salt.hex(),
                "proof": sign(seed, b"".join(map(short, fields))).hex(),
                "fake_salt": mac_of(seed, PREFIX + b"fake-salt" + b"alice")[:16].hex(),
                "fake_salt_secret": seed.hex(),
            }


def digits(name, identity):
    digest = PREFIX + b"safety-number" + short(name.encode()) + identity
    digest = hashlib.sha512(digest).digest()
    for _ in range(5199):
        digest = hashlib.sha512(digest + identity).digest()
    runs = (digest[at : at + 5] for at in range(0, 30, 5))
    return "".join(f"{int.from_bytes(run, 'big') % 100_000:05}" for run in runs)


def safety_number_cases():
    for mine, theirs in (("alice", "bob"), ("carol", "bob"), ("eve", "eve2")):
        me, them = Person(mine), Person(theirs)
        both = "".join(sorted([digits(mine, me.identity), digits(theirs, them.identity)]))
        yield {
            "my_name": mine,
            "my_identity": me.identity.hex(),
            "their_name": theirs,
            "their_identity": them.identity.hex(),
            "groups": [both[at : at + 5] for at in range(0, 60, 5)],
        }


FILES = {
    "cipher": cipher_cases,
    "vault": vault_cases,
    "x3dh": x3dh_cases,
    "conversation": conversation_cases,
    "password": password_cases,
    "proof": proof_cases,
    "safety_number": safety_number_cases,
}


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    stale = []
    for name, cases in FILES.items():
        path = FOLDER / f"{name}.json"
        text = json.dumps(list(cases()), indent=1) + "\n"
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.name)
    if stale:
        sys.exit("these vectors differ from what is computed: " + ", ".join(stale))


if __name__ == "__main__":
    main()
