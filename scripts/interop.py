#!/usr/bin/env python3
"""A second client of Secure Chat, talking to the first one.

Written from docs/PROTOCOL.md alone, with PyCryptodome, argon2-cffi (for the
login's password) and the standard library. It starts the real server, drives
real clients through pipes, and is the other side of their conversations: X3DH
and Double Ratchet in both roles, out of order, offline, repeated and damaged.

    pip install pycryptodome argon2-cffi
    scripts/interop.py            # with the programs in target/debug
    scripts/interop.py FOLDER     # with those in FOLDER (or $INTEROP_PROGRAMS)

Prints what happens, ends with the number of checks passed, and exits 0; or
names the step that failed, and exits 1.
"""

import base64
import collections
import copy
import dataclasses
import hashlib
import hmac
import json
import os
import pathlib
import queue
import re
import secrets
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time

from argon2.low_level import Type, hash_secret_raw
from Crypto.Cipher import AES
from Crypto.Hash import SHA256
from Crypto.Protocol.DH import import_x25519_private_key, import_x25519_public_key, key_agreement
from Crypto.Protocol.KDF import HKDF
from Crypto.PublicKey import ECC
from Crypto.Signature import DSS, eddsa
from Crypto.Util.Padding import pad, unpad

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEADLINE = 60  # seconds that anything expected may take
PREFIX = b"secure-chat/1 "
ZEROS = bytes(32)
SIZES = (160, 320, 640, 1280, 2560, 5120, 10240, 20480)
TEXT, RECEIPT, RETRY, AGAIN = 1, 2, 3, 4
LINKED, FIRST, PERSON = 0, 1, 4
PASSWORD = "interop, a long password"


class Failed(Exception):
    """Something was not as docs/PROTOCOL.md says."""


class Refused(Exception):
    """The server's error code, in answer to a request."""


# The transcript

progress = {"step": "start", "steps": 0, "passed": 0, "quiet": False}


def step(title):
    progress["steps"] += 1
    progress["step"] = f"{progress['steps']} ({title})"
    print(f"\n{progress['steps']:2}  {title}", flush=True)


def brief(text):
    return text if len(text) < 120 else f"{text[:30]}… ({len(text)} characters)"


def show(who, line):
    if not progress["quiet"]:
        print(f"{who:>8}  {line}", flush=True)


def check(condition, what):
    if not condition:
        raise Failed(what)
    progress["passed"] += 1
    show("ok", what)


def refused(code, what, call):
    """Checks that the server refuses the call with this code."""
    try:
        call()
    except Refused as error:
        return check(str(error) == code, f"{what}: {code}" + (f", not {error}" if str(error) != code else ""))
    raise Failed(f"{what}: not refused with {code}")


# Chapters 3, 11 and 12: bytes, keys, signatures


def number(value, size):
    return value.to_bytes(size, "big")


def short(data):
    return number(len(data), 2) + data


def b64(data):
    return base64.b64encode(data).decode()


def unb64(text, size=None):
    data = base64.b64decode(text, validate=True)
    if b64(data) != text or size not in (None, len(data)):
        raise Failed(f"not base64 of {size} bytes: {text}")
    return data


def hkdf(salt, ikm, label, size):
    return HKDF(ikm, size, salt, SHA256, 1, PREFIX + label)


def hmac256(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def x25519_public(private):
    return import_x25519_private_key(private).public_key().export_key(format="raw")


def x25519(private, public):
    shared = key_agreement(static_priv=import_x25519_private_key(private),
                           static_pub=import_x25519_public_key(public), kdf=lambda z: z)
    if shared == ZEROS:
        raise Failed("a low-order point")
    return shared


def ed25519_public(seed):
    return ECC.construct(curve="Ed25519", seed=seed).public_key().export_key(format="raw")


def sign(seed, data):
    return eddsa.new(ECC.construct(curve="Ed25519", seed=seed), "rfc8032").sign(data)


def verify(public, data, signature):
    try:
        eddsa.new(eddsa.import_public_key(public), "rfc8032").verify(data, signature)
        return True
    except ValueError:
        return False


def fingerprint(identity):
    return hashlib.sha256(PREFIX + b"identity" + identity).digest()


def prekey_bytes(identity, prekey_id, key):
    return PREFIX + b"signed-prekey" + identity[32:] + number(prekey_id, 4) + key


def safety_number(*sides):
    halves = []
    for name, identity in sides:
        h = hashlib.sha512(PREFIX + b"safety-number" + short(name.encode()) + identity).digest()
        for _ in range(5199):
            h = hashlib.sha512(h + identity).digest()
        halves.append("".join(f"{int.from_bytes(h[i:i + 5], 'big') % 100000:05}" for i in range(0, 30, 5)))
    return "".join(sorted(halves))


# Chapters 13 and 14: sessions and messages


@dataclasses.dataclass
class Header:
    """The bytes of an envelope before its ciphertext."""
    kind: int
    session: bytes
    ratchet: bytes
    previous: int
    number: int
    initial: bytes = b""  # identity, ephemeral, prekey id, flag, one-time id, origin

    def encode(self):
        return (bytes([2, self.kind]) + self.session + self.ratchet + number(self.previous, 4)
                + number(self.number, 4) + self.initial)

    @classmethod
    def split(cls, envelope):
        """An envelope's header, ciphertext and MAC."""
        if len(envelope) < 58 or envelope[0] != 2 or envelope[1] not in (1, 2):
            raise Failed("an envelope of an unknown form")
        size = 58 if envelope[1] == 1 else 252
        cut = [int.from_bytes(envelope[at:at + 4], "big") for at in (50, 54)]
        header = cls(envelope[1], envelope[2:18], envelope[18:50], *cut, envelope[58:size])
        ciphertext, mac = envelope[size:-32], envelope[-32:]
        if len(envelope) > 24576 or len(envelope) < size + 48 or len(ciphertext) % 16:
            raise Failed("an envelope of an impossible length")
        if header.kind == 2:
            flag, once, cause, link = (header.initial[100], header.initial[101:105],
                                       header.initial[113], header.initial[114:130])
            if flag > 1 or not flag and any(once) or cause > 6 or (cause == LINKED) != any(link):
                raise Failed("an envelope with a wrong flag, cause or link")
        return header, ciphertext, mac

    def __str__(self):
        form = "initial" if self.kind == 2 else "ordinary"
        return f"{form}, session {self.session[:3].hex()}, key {self.ratchet[:3].hex()}, number {self.number}"


@dataclasses.dataclass
class Session:
    id: bytes
    root: bytes
    own: bytes                # private ratchet key
    generation: int
    theirs: bytes = b""
    sending: list = None      # chain key, next number
    receiving: list = None
    previous: int = 0
    turn: bool = True         # the next message sent needs a step
    initial: bytes = b""      # what an initial envelope carries, while unanswered
    skipped: dict = dataclasses.field(default_factory=dict)
    retired: set = dataclasses.field(default_factory=set)
    only_reads: bool = False  # superseded by one that ranks above it

    def rank(self):
        """The session that ranks highest is sent in."""
        return self.generation, bytes(255 - b for b in self.id)

    def link(self):
        """What a later session may go on from: of the step that made this root key."""
        both = hkdf(ZEROS, self.root, b"link", 48)
        return both[:16], both[16:]

    def dh(self, private, public):
        both = hkdf(self.root, x25519(private, public), b"root", 64)
        self.root = both[:32]
        return [both[32:], 0]

    @staticmethod
    def next_key(chain):
        key = hmac256(chain[0], b"\x01")
        chain[:] = hmac256(chain[0], b"\x02"), chain[1] + 1
        return key

    def step_to_send(self):
        self.own = secrets.token_bytes(32)
        self.previous = self.sending[1] if self.sending else 0
        self.sending = self.dh(self.own, self.theirs)
        self.turn = False

    def header_to_send(self):
        """The next message's key and header."""
        if self.turn:
            self.step_to_send()
        at = self.sending[1]
        kind = 2 if self.initial else 1
        return self.next_key(self.sending), Header(kind, self.id, x25519_public(self.own), self.previous, at, self.initial)

    def skip(self, until):
        while self.receiving and self.receiving[1] < until:
            at = self.receiving[1]
            self.skipped[self.theirs, at] = self.next_key(self.receiving)

    def key_to_open(self, header):
        """A received message's key, and by which step it was found."""
        if (header.ratchet, header.number) in self.skipped:
            return self.skipped.pop((header.ratchet, header.number)), "kept key"
        how, kept = "same chain", len(self.skipped)
        if max(header.previous, header.number) > 2**20:
            raise Failed("too many keys to skip")
        if header.ratchet != self.theirs or self.receiving is None:
            if header.ratchet in self.retired:
                raise Failed("a replay of an old chain")
            self.skip(header.previous)
            self.retired.add(self.theirs)
            self.theirs, self.turn, how = header.ratchet, True, "DH step"
            self.receiving = self.dh(self.own, self.theirs)
        if header.number < self.receiving[1]:
            raise Failed("a replay")
        if header.number > self.receiving[1]:
            how += f", skipping {header.number - self.receiving[1]}"
        self.skip(header.number)
        if len(self.skipped) - kept > 1000:
            raise Failed("too many keys to skip")
        return self.next_key(self.receiving), how


def message_keys(key):
    keys = hkdf(ZEROS, key, b"message", 80)
    return keys[:32], keys[32:64], keys[64:]


def mac_of(key, ad, header, ciphertext):
    return hmac256(key, number(len(ad), 4) + ad + number(len(header), 4) + header + ciphertext)


def seal(key, ad, header, content):
    aes, mac, iv = message_keys(key)
    room = next(size for size in SIZES if size > len(content))
    padded = (content + b"\x80").ljust(room, b"\0")
    ciphertext = AES.new(aes, AES.MODE_CBC, iv).encrypt(pad(padded, 16))
    return header + ciphertext + mac_of(mac, ad, header, ciphertext)


def unseal(key, ad, header, ciphertext, mac):
    aes, mac_key, iv = message_keys(key)
    if not hmac.compare_digest(mac, mac_of(mac_key, ad, header, ciphertext)):
        raise Failed("the MAC is wrong")
    padded = unpad(AES.new(aes, AES.MODE_CBC, iv).decrypt(ciphertext), 16)
    content, mark, zeros = padded.rpartition(b"\x80")
    if not mark or any(zeros) or len(padded) != next((s for s in SIZES if s > len(content)), 0):
        raise Failed("the padding is wrong")
    return content


def content_of(kind, body):
    return bytes([kind]) + number(time.time_ns() // 1_000_000, 8) + body


def x3dh(ours, theirs, dhs, initiator, ephemeral):
    """SK and the session's id; `dhs` are the results of X25519 in their order."""
    both = (ours + theirs) if initiator else (theirs + ours)
    sk = hkdf(ZEROS, b"\xff" * 32 + b"".join(dhs), b"x3dh", 32)
    return sk, hashlib.sha256(PREFIX + b"session" + both + ephemeral).digest()[:16]


# Chapters 2 and 15: a connection, and the user on it


class Connection:
    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), DEADLINE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer, self.last, self.answers = b"", 0, {}
        self.mail, self.receipts, self.notices = collections.deque(), [], []

    def request(self, op, **fields):
        """Sends a request; `answer` gets what it returns."""
        self.last += 1
        self.socket.sendall(json.dumps({"id": self.last, "op": op, **fields}).encode() + b"\n")
        return self.last

    def answer(self, number_):
        self.pump_until(lambda: number_ in self.answers, "an answer")
        line = self.answers.pop(number_)
        if "error" in line:
            raise Refused(line["error"]["code"])
        return line["ok"]

    def call(self, op, **fields):
        return self.answer(self.request(op, **fields))

    def pump_until(self, done, what):
        end = time.monotonic() + DEADLINE
        while not done():
            self.pump(end, what)

    def pump(self, end, what):
        """Takes one line."""
        while b"\n" not in self.buffer:
            left = end - time.monotonic()
            if left <= 0:
                raise Failed(f"waited too long for {what}")
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                continue
            if not data:
                raise Failed(f"the server ended the connection before {what}")
            self.buffer += data
        raw, self.buffer = self.buffer.split(b"\n", 1)
        line = json.loads(raw)
        if line.get("id") is not None:
            self.answers[line["id"]] = line
        elif line.get("event") == "message":
            self.mail.append(line)
        elif line.get("event") == "delivered":
            self.receipts += [(line["to"], mid) for mid in line["ids"]]
        elif line.get("event") == "notice":
            self.notices.append(line)
        elif line.get("event") == "ping":
            self.socket.sendall(b'{"op":"ping"}\n')
        elif "error" in line or line.get("event") in ("replaced", "shutting_down"):
            raise Failed(f"the server said {raw.decode()}")


class User:
    """The Python user. What a vault would keep is in its attributes."""

    def __init__(self, name, address):
        self.name, self.wire = name, Connection(address)
        self.signing, self.private = secrets.token_bytes(32), secrets.token_bytes(32)
        self.identity = ed25519_public(self.signing) + x25519_public(self.private)
        self.signed = {1: secrets.token_bytes(32)}
        self.one_time = {i: secrets.token_bytes(32) for i in range(1, 101)}
        self.pinned, self.sessions, self.taken, self.seen = {}, collections.defaultdict(list), set(), set()
        self.states, self.outbox, self.handles = {}, {}, {}
        # Of each contact: what is counted here, what was counted there, links of own steps
        # (by id), and the link of the last step heard.
        self.instance, self.next, self.voids = {}, collections.Counter(), collections.defaultdict(list)
        self.counted = collections.defaultdict(dict)
        self.said, self.heard = collections.defaultdict(dict), {}
        # How often this state was changed for a login, what of that was there when it was opened, and what
        # the server was told last.
        self.generation, self.opened, self.told = 0, 0, None

    # Chapter 11

    def derive(self, password, kdf):
        cost = kdf["memory_kib"], kdf["passes"], kdf["lanes"]
        if not (19456 <= cost[0] <= 1048576 and 2 <= cost[1] <= 16 and 1 <= cost[2] <= 4):
            raise Failed("a cost outside the bounds")
        return hash_secret_raw(password.encode(), unb64(kdf["salt"], 16), cost[1], cost[0], cost[2], 64, Type.ID, 0x13)[:32]

    def nonce(self):
        hello = self.wire.call("hello", version=1)
        if hello["version"] != 1:
            raise Failed("another version")
        return unb64(hello["nonce"], 32)

    def proof(self, seed, purpose, nonce, *more):
        fields = PREFIX + purpose, self.name.encode(), nonce, b"", *more
        return b64(sign(seed, b"".join(map(short, fields))))

    def register(self, password):
        salt, cost = secrets.token_bytes(16), (65536, 3, 1)
        kdf = dict(zip(("salt", "memory_kib", "passes", "lanes"), (b64(salt), *cost)))
        seed = self.derive(password, kdf)
        key = ed25519_public(seed)
        proof = self.proof(seed, b"register", self.nonce(), key, salt, b"".join(number(c, 4) for c in cost))
        return self.wire.call("register", name=self.name, kdf=kdf, login_key=b64(key), proof=proof)

    def login(self, password):
        seed = self.derive(password, self.wire.call("kdf", name=self.name))
        self.opened = max(self.opened, self.told[0] if self.told else 0)
        self.generation += 1
        self.told = self.generation, b64(self.generation_proof(self.generation, secrets.token_bytes(4)))
        return self.wire.call("login", name=self.name, proof=self.proof(seed, b"login", self.nonce()),
                              vault=self.told[0], vault_proof=self.told[1])

    # Chapters 6 and 16

    def generation_proof(self, generation, random):
        key = hkdf(ZEROS, self.signing + self.private, b"told", 32)
        return random + hmac256(key, number(generation, 8) + random)[:12]

    def is_behind(self, welcome):
        """Whether a later state of this one has logged in, and not only in the server's word."""
        generation, proof = welcome.get("vault"), welcome.get("vault_proof")
        if generation is None or proof is None:
            return False
        said = unb64(proof, 16)
        is_own = hmac.compare_digest(said, self.generation_proof(generation, said[:4]))
        return is_own and generation > self.opened and (generation, proof) != self.told

    def publish(self, signature=None):
        key = x25519_public(self.signed[1])
        signature = signature or sign(self.signing, prekey_bytes(self.identity, 1, key))
        return self.wire.call(
            "publish", identity={"signing": b64(self.identity[:32]), "dh": b64(self.identity[32:])},
            signed_prekey={"id": 1, "key": b64(key), "signature": b64(signature)},
            one_time=[{"id": i, "key": b64(x25519_public(k))} for i, k in self.one_time.items()])

    # Chapter 13

    def pin(self, name, identity):
        if self.pinned.setdefault(name, identity) != identity:
            raise Failed(f"{name} has another identity")

    def start(self, name, bundle, cause=FIRST):
        """A session with a prekey bundle's owner; a linked one goes on from the last step heard."""
        theirs = unb64(bundle["identity"]["signing"], 32) + unb64(bundle["identity"]["dh"], 32)
        signed, once = bundle["signed_prekey"], bundle["one_time"]
        key = unb64(signed["key"], 32)
        check(verify(theirs[:32], prekey_bytes(theirs, signed["id"], key), unb64(signed["signature"], 64)),
              f"{name}'s signed prekey {signed['id']} is signed by {name}'s identity")
        self.pin(name, theirs)
        private = secrets.token_bytes(32)
        ephemeral = x25519_public(private)
        dhs = [x25519(self.private, key), x25519(private, theirs[32:]), x25519(private, key)]
        if once:
            dhs.append(x25519(private, unb64(once["key"], 32)))
        sk, session_id = x3dh(self.identity, theirs, dhs, True, ephemeral)
        link, secret = self.heard[name] if cause == LINKED else (bytes(16), ZEROS)
        newest = max((s.generation for s in self.sessions[name]), default=0)
        generation = max(newest + 1, time.time_ns() // 1_000_000)
        said = number(generation, 8) + bytes([cause]) + link
        initial = (self.identity + ephemeral + number(signed["id"], 4) + bytes([bool(once)])
                   + number(once["id"] if once else 0, 4)
                   + said + sign(self.signing, PREFIX + b"new-session" + session_id + said))
        root = hkdf(secret, sk, b"linked-root", 32)
        session = Session(session_id, root, b"", generation, key, initial=initial)
        session.step_to_send()
        self.said[name].update([session.link()])
        for other in self.sessions[name]:
            other.only_reads = True
        self.sessions[name].append(session)
        return session

    def current(self, name):
        """The session to send in."""
        return max((s for s in self.sessions[name] if not s.only_reads), key=Session.rank)

    def answer_session(self, name, header):
        """The session that an initial envelope opens; and its one-time prekey's id."""
        theirs, ephemeral = header.initial[:64], header.initial[64:96]
        prekey, once = int.from_bytes(header.initial[96:100], "big"), int.from_bytes(header.initial[101:105], "big")
        said, signature = header.initial[105:130], header.initial[130:]
        if self.pinned.get(name, theirs) != theirs:
            raise Failed(f"{name} has another identity")
        signed = self.signed[prekey]
        dhs = [x25519(signed, theirs[32:]), x25519(self.private, ephemeral), x25519(signed, ephemeral)]
        if header.initial[100]:
            dhs.append(x25519(self.one_time[once], ephemeral))
        sk, session_id = x3dh(self.identity, theirs, dhs, False, ephemeral)
        if session_id != header.session:
            raise Failed("the session id is wrong")
        if not verify(theirs[:32], PREFIX + b"new-session" + session_id + said, signature):
            raise Failed("what the session says of itself is not signed")
        secret = self.said[name][said[9:]] if said[8] == LINKED else ZEROS
        root = hkdf(secret, sk, b"linked-root", 32)
        session = Session(session_id, root, signed, int.from_bytes(said[:8], "big"))
        return session, theirs, once if header.initial[100] else None

    def ad(self, mid, sender, recipient):
        names = short(sender.encode()) + short(recipient.encode())
        pair = [self.identity if who == self.name else self.pinned[who] for who in (sender, recipient)]
        return b"\x02" + mid + names + b"".join(pair)

    def position(self, to, kind):
        """What stands before the content. A receipt uses up no number."""
        instance, counted = self.instance.setdefault(to, secrets.token_bytes(16)), kind != RECEIPT
        voids = b"".join(number(at, 4) * 2 for at in self.voids[to])
        position = instance + number(self.next[to], 4) + bytes([counted, len(self.voids[to])]) + voids
        self.next[to] += counted
        return position

    def encrypt(self, to, body, kind=TEXT):
        mid, session = secrets.token_bytes(16), self.current(to)
        how = "DH step" if session.turn else "same chain"
        key, header = session.header_to_send()
        if how == "DH step":
            self.said[to].update([session.link()])
        content = self.position(to, kind) + content_of(kind, body)
        envelope = seal(key, self.ad(mid, self.name, to), header.encode(), content)
        self.outbox[mid.hex()] = to, envelope
        shown = brief(body.decode()) if kind == TEXT else f"<kind {kind}>"
        show(self.name, f"> {to}: {shown}    [{header}, {how}]")
        return mid.hex()

    def post(self, mid, **more):
        to, envelope = self.outbox[mid]
        fields = dict(to=to, mid=mid, envelope=b64(envelope), identity=b64(fingerprint(self.pinned[to])))
        answer = self.wire.call("send", **{**fields, **more})
        if "again" not in more:
            self.states[mid] = answer["state"]
        self.handles[mid] = answer["handle"]
        return answer["state"]

    def send(self, to, text):
        mid = self.encrypt(to, text.encode())
        self.post(mid)
        return mid

    def open(self, sender, mid, envelope):
        """Kind and body of a message. Nothing changes unless it authenticates."""
        header, ciphertext, mac = Header.split(envelope)
        old = next((s for s in self.sessions[sender] if s.id == header.session), None)
        theirs, once = self.pinned.get(sender), None
        if old:
            session = copy.deepcopy(old)
        elif header.kind == 2:
            session, theirs, once = self.answer_session(sender, header)
        else:
            raise Failed("an unknown session")
        key, how = session.key_to_open(header)
        ad = b"\x02" + mid + short(sender.encode()) + short(self.name.encode()) + theirs + self.identity
        content = unseal(key, ad, header.encode(), ciphertext, mac)
        session.initial = b""
        if not old:
            answered = (s for s in self.sessions[sender] if not s.initial)
            session.only_reads = any(s.rank() > session.rank() for s in answered)
        self.pin(sender, theirs)
        self.sessions[sender] = [s for s in self.sessions[sender] if s is not old] + [session]
        if not session.only_reads:
            if not old or how.startswith("DH step"):
                self.heard[sender] = session.link()
            for other in self.sessions[sender]:
                other.only_reads |= other.rank() < session.rank()
        content, missing = self.count(sender, content)
        how += f", {missing} missing" if missing else ""
        if once is not None:
            del self.one_time[once]
            how += f", one-time prekey {once}"
        kind, body = content[0], content[9:]
        shown = brief(body.decode()) if kind == TEXT else f"<kind {kind}>"
        show(self.name, f"< {sender}: {shown}    [{header}, {how}]")
        return kind, body

    def count(self, sender, content):
        """Compares a message's position with what was counted; gives the content behind it,
        and how many messages it shows to be missing."""
        instance, at, counted, voids = content[:16], int.from_bytes(content[16:20], "big"), content[20], content[21]
        if counted > 1 or voids > 8:
            raise Failed("a position of an impossible form")
        ranges = [content[22 + 8 * i:30 + 8 * i] for i in range(voids)]
        void = {n for r in ranges for n in range(int.from_bytes(r[:4], "big"), int.from_bytes(r[4:], "big") + 1)}
        seen = self.counted[sender].setdefault(instance, {"next": 0, "missing": set()})
        gap = set(range(seen["next"], at)) - void
        if at < seen["next"] and counted and at not in seen["missing"]:
            raise Failed("a number that came twice")
        seen["missing"] = (seen["missing"] | gap) - void - {at}
        seen["next"] = max(seen["next"], at + counted)
        return content[22 + 8 * voids:], len(gap)

    def take(self, event, ack=True):
        """What chapter 15 says about a message; None if it is a repeated one."""
        pair, result = (event["from"], event["mid"]), None
        if pair in self.taken:
            show(self.name, f"< {event['from']}: <again: {event['mid'][:6]}>")
        else:
            result = self.open(event["from"], bytes.fromhex(event["mid"]), unb64(event["envelope"]))
            self.taken.add(pair)
            if result[0] == RECEIPT:
                self.seen |= {result[1][i:i + 16].hex() for i in range(0, len(result[1]), 16)}
        if ack:
            done = self.wire.call("ack", **{"from": event["from"], "ids": [event["mid"]]})
            if done != {"acked": 1, "unknown": 0}:
                raise Failed(f"the acknowledgement was answered {done}")
        return result

    def next_mail(self):
        self.wire.pump_until(lambda: self.wire.mail, "a message")
        return self.wire.mail.popleft()

    def expect(self, sender, text):
        """The next message, but for receipts, is this one."""
        while True:
            event = self.next_mail()
            result = self.take(event)
            if result and result[0] != RECEIPT:
                check(event["from"] == sender and result == (TEXT, text.encode()), f"{self.name} decrypted {sender}'s text")
                return event

    def until_received(self, *mids):
        """Receipts come until all of these are in one: what comes next is no receipt for them."""
        while not set(mids) <= self.seen:
            if self.take(self.next_mail())[0] != RECEIPT:
                raise Failed("a receipt was due")

    def until_delivered(self, mid):
        to = self.outbox[mid][0]
        self.wire.pump_until(lambda: self.states[mid] == "delivered" or (to, mid) in self.wire.receipts, "a receipt")
        check(True, f"{to} acknowledged it ({'state' if self.states[mid] == 'delivered' else 'event'} delivered)")


# The real programs


class Program:
    def __init__(self, name, running, *arguments):
        self.name, self.lines = name, queue.Queue()
        env = {k: v for k, v in os.environ.items() if not k.startswith("SECURE_CHAT_")}
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, env=env)
        running.append(self.process)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for raw in self.process.stdout:
            self.lines.put(raw.decode(errors="replace").rstrip("\n"))
        self.lines.put(None)

    def type(self, line):
        show(self.name, f"$ {brief(line)}")
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def expect(self, pattern, never=None):
        """The next line that has the pattern; one that has `never` must not come before."""
        end = time.monotonic() + DEADLINE
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise Failed(f"{self.name} did not show {pattern}") from None
            if line is None:
                raise Failed(f"{self.name} ended before showing {pattern}")
            show(self.name, f"| {brief(line)}")
            if never and re.search(never, line):
                raise Failed(f"{self.name} showed {never}")
            if found := re.search(pattern, line):
                return found

    def shows(self, text, never=None):
        self.expect(rf"^\d\d:\d\d .*: {re.escape(text)}$", never)
        check(True, f"{self.name} shows it")

    def end(self):
        self.type("/quit")
        check(self.process.wait(DEADLINE) == 0, f"{self.name}'s client ended well")


# The conversation


def accounts(pyra):
    step("pyra registers, publishes keys, logs out and in")
    reply = pyra.register(PASSWORD)
    check(reply["name"] == "pyra" and reply["logins"] == 1 and reply["identity"] is None, "registered, and logged in")
    refused("bad_key", "a signed prekey with a wrong signature", lambda: pyra.publish(bytes(64)))
    check(pyra.publish() == {"one_time": 100}, "100 one-time prekeys published")
    check(pyra.wire.call("logout") == {}, "logged out")
    refused("not_logged_in", "asking for keys now", lambda: pyra.wire.call("keys", name="pyra"))
    refused("wrong_login", "another password", lambda: pyra.login(PASSWORD + "!"))
    reply = pyra.login(PASSWORD)
    identity = {"signing": b64(pyra.identity[:32]), "dh": b64(pyra.identity[32:])}
    check(reply["logins"] == 2 and reply["identity"] == identity, "logged in, and the identity is the published one")
    check(reply["signed_prekey"] == 1 and reply["one_time"] == 100, "and so are the prekeys")


def generations(pyra):
    step("pyra tells the generation of her state, and is put back to an older one")

    def again():
        pyra.wire.call("logout")
        return pyra.login(PASSWORD)

    reply = again()
    check("vault" not in reply and "vault_proof" not in reply, "nobody has told a later generation than hers")
    later = pyra.told
    pyra.generation, pyra.opened, pyra.told = 0, 0, None
    reply = again()
    check((reply["vault"], reply["vault_proof"]) == later, "put back: the later one comes with its proof")
    check(pyra.is_behind(reply), "which is hers, so she is behind")
    for forged in (dict(reply, vault=later[0] + 1), dict(reply, vault_proof=b64(bytes(16))), dict(reply, vault_proof=None)):
        check(not pyra.is_behind(forged), "made up, it would not be believed")
    pyra.generation = later[0]
    reply = again()
    check("vault" not in reply and not pyra.is_behind(reply), "she goes on above it")


def bundle_of(pyra, name):
    """The bundle of somebody who may be publishing it just now."""
    end = time.monotonic() + DEADLINE
    while True:
        try:
            return pyra.wire.call("keys", name=name)
        except Refused as error:
            if str(error) != "no_keys" or time.monotonic() > end:
                raise


def initiator(pyra, alice):
    step("pyra opens a session to alice")
    bundle = bundle_of(pyra, "alice")
    check(bundle["one_time"] is not None, "alice's bundle has a one-time prekey")
    pyra.start("alice", bundle)
    first = pyra.send("alice", "Hello from Python")
    alice.shows("Hello from Python")
    pyra.until_delivered(first)
    second = pyra.send("alice", "Still initial: é 你 🎉")
    alice.shows("Still initial: é 你 🎉")
    pyra.until_delivered(second)
    alice.type("/to pyra")

    step("turns between pyra and alice")
    for turn in range(1, 4):
        alice.type(f"Rust says {turn}")
        pyra.expect("alice", f"Rust says {turn}")
        alice.expect("delivered to pyra")
        pyra.send("alice", f"Python says {turn}")
        alice.shows(f"Python says {turn}")
    check(not pyra.sessions["alice"][-1].initial, "one session all the time, and answered")

    step("out of order, both ways")
    early, late = [pyra.encrypt("alice", text) for text in (b"the first", b"the second")]
    pyra.post(late)
    alice.shows("the second", never="the first")
    pyra.post(early)
    alice.shows("the first")
    pyra.until_received(early, late)
    alice.type("one of two")
    alice.type("two of two")
    pair = [pyra.next_mail(), pyra.next_mail()]
    for event, text in reversed(list(zip(pair, ("one of two", "two of two")))):
        check(pyra.take(event) == (TEXT, text.encode()), f"decrypted: {text}")
    longest = "x" * 16384
    mid = pyra.encrypt("alice", b"y" * 16384)
    check(len(pyra.outbox[mid][1]) == 20586, "the longest text makes an envelope of 20,586 bytes")
    pyra.post(mid)
    alice.shows("y" * 16384)
    alice.type(longest)
    pyra.expect("alice", longest)

    step("pyra and alice compare their safety number")
    alice.type("/verify pyra")
    alice.expect("safety number with pyra")
    digits = "".join("".join(alice.expect(r"^ +((\d{5} ?){4})$").group(1).split()) for _ in range(3))
    check(digits == safety_number(("pyra", pyra.identity), ("alice", pyra.pinned["alice"])), "both have the same 60 digits")
    return first


def responder(pyra, bob):
    step("bob opens a session to pyra")
    before = set(pyra.one_time)
    bob.type("/to pyra")
    bob.type("Hello from Rust")
    event = pyra.expect("bob", "Hello from Rust")
    check(unb64(event["envelope"])[1] == 2 and len(before - set(pyra.one_time)) == 1, "initial, with a one-time prekey, now deleted")
    bob.expect("delivered to pyra")
    for turn in range(1, 4):
        pyra.until_delivered(pyra.send("bob", f"Python answers {turn}"))
        bob.shows(f"Python answers {turn}")
        bob.type(f"Rust answers {turn}")
        reply = pyra.expect("bob", f"Rust answers {turn}")
    check(unb64(reply["envelope"])[1] == 1, "bob's envelopes are ordinary since he was answered")
    state = copy.deepcopy(pyra.sessions)
    envelope = bytearray(unb64(reply["envelope"]))
    for changed in (bytes(envelope), bytes(envelope[:-1] + bytes([envelope[-1] ^ 1]))):
        try:
            pyra.open("bob", bytes.fromhex(reply["mid"]), changed)
        except Failed:
            continue
        raise Failed("a replayed or damaged envelope was opened")
    check(pyra.sessions == state, "replayed and damaged envelopes change nothing")


def repeats(pyra, alice, first):
    step("repeated ids")
    mid = pyra.send("alice", "only once")
    alice.shows("only once")
    pyra.until_delivered(mid)
    check(pyra.post(mid, again=True) == "delivered", "the same id and body again: delivered")
    other = b64(pyra.outbox[mid][1][:-1] + b"!")
    refused("id_conflict", "the same id with another body", lambda: pyra.post(mid, envelope=other))
    mine, theirs = b64(fingerprint(pyra.identity)), pyra.encrypt("alice", b"for whom?")
    refused("identity_changed", "an envelope for another identity", lambda: pyra.post(theirs, identity=mine))
    pyra.post(theirs)
    alice.shows("for whom?", never="only once")
    show("pyra", "> alice: 128 more, so that the server forgets the first id")
    progress["quiet"] = True
    for turn in range(128):
        last = pyra.send("alice", f"more {turn}")
        alice.expect(rf": more {turn}$", never="only once")
    progress["quiet"] = False
    pyra.until_delivered(last)
    pyra.wire.receipts = [pair for pair in pyra.wire.receipts if pair[1] != first]
    pyra.post(first)
    show("pyra", f"> alice: <id {first[:6]} again, new to the server>")
    pyra.until_delivered(first)
    mid = pyra.send("alice", "after the repetition")
    alice.shows("after the repetition", never="Hello from Python|cannot|could not")
    pyra.until_received(mid)
    check(True, "alice acknowledged the repeated id and showed nothing")


def until_waiting(folder, count):
    """So many messages wait for pyra. What a client shows of one can be taken for the one before."""
    database = sqlite3.connect(folder / "server" / "chat.db")
    end = time.monotonic() + DEADLINE
    query = "SELECT count(*) FROM mail JOIN users ON users.id = recipient WHERE name = 'pyra'"
    while database.execute(query).fetchone()[0] != count:
        if time.monotonic() > end:
            raise Failed(f"there never were {count} messages for pyra")
        time.sleep(0.01)
    database.close()


def offline(pyra, alice, bob, run, folder):
    step("pyra is away, and comes back")
    alice.type("not acknowledged at once")
    event = pyra.next_mail()
    check(pyra.take(event, ack=False)[1] == b"not acknowledged at once", "taken, and not acknowledged")
    pyra.wire.call("logout")
    for count, (who, turn) in enumerate([(alice, 1), (alice, 2), (bob, 1), (bob, 2)], 2):
        who.type(f"{who.name} to nobody {turn}")
        until_waiting(folder, count)
    reply = pyra.login(PASSWORD)
    check(reply["envelopes"] == 5 and reply["one_time"] == 99, "5 envelopes wait, and 99 one-time prekeys are left")
    again = pyra.next_mail()
    check(again == event and pyra.take(again) is None, "the first one comes again, and is acknowledged only")
    for who in (alice, bob):
        for turn in (1, 2):
            pyra.expect(who.name, f"{who.name} to nobody {turn}")
        who.expect("delivered to pyra")
    check(pyra.wire.call("ack", **{"from": "alice", "ids": [event["mid"]]}) == {"acked": 0, "unknown": 1},
          "acknowledging once more is no error")

    step("alice is away, and comes back")
    alice.end()
    mid = pyra.send("alice", "for later")
    check(pyra.states[mid] == "stored", "stored")
    for handles in ([pyra.handles[mid]], [None], []):
        outcome = pyra.wire.call("outcome", to="alice", ids=[mid], handles=handles)
        check(outcome == {"waiting": [mid]}, "its outcome: it waits")
    before = pyra.handles[mid]
    check(pyra.post(mid, again=True) == "stored" and pyra.handles[mid] == before, "sent again: the first copy, its handle the same")
    alice = run("alice", "--user", "alice")
    alice.expect("logged in as alice")
    alice.shows("for later")
    pyra.until_delivered(mid)
    outcome = pyra.wire.call("outcome", to="alice", ids=[mid], handles=[pyra.handles[mid]])
    check(outcome == {"waiting": []}, "its outcome: gone")
    alice.type("/msg pyra Back again")
    pyra.expect("alice", "Back again")
    return alice


def age(pyra, alice, run, server, folder):
    """The operator keeps mail for two days, and three go by."""
    step("a message expires")
    alice.end()
    mid = pyra.send("alice", "too late")
    number_ = pyra.next["alice"] - 1
    database = sqlite3.connect(folder / "server" / "chat.db")
    with database:
        aged = database.execute("UPDATE mail SET at = at - 3 * 86400000 WHERE id = ?", [bytes.fromhex(mid)])
        check(aged.rowcount == 1, "it is three days old")
    database.close()
    (folder / "server.conf").write_text("keep-mail = 2\n")
    server.process.send_signal(signal.SIGHUP)
    server.expect("keep-mail is 2 from here on")
    pyra.wire.pump_until(lambda: pyra.wire.notices, "a notice")
    notice = pyra.wire.notices.pop()
    check((notice["notice"], notice["to"], notice["ids"]) == ("expired", "alice", [mid]), "the sender is told that it has expired")
    check(pyra.wire.call("ack", **{"from": "*", "ids": [notice["mid"]]}) == {"acked": 1, "unknown": 0}, "and acknowledges that")
    for handles in ([pyra.handles[mid]], []):
        outcome = pyra.wire.call("outcome", to="alice", ids=[mid], handles=handles)
        check(outcome == {"waiting": [], "expired": [mid]}, "its outcome: expired")
    refused("expired", "sent again, it is not taken for a new one", lambda: pyra.post(mid, again=True))
    pyra.voids["alice"].append(number_)
    alice = run("alice", "--user", "alice")
    alice.expect("the server says that it removed 1 message or receipt from pyra")
    pyra.send("alice", "in time")
    alice.shows("in time", never="not arrived")
    return alice


def retry(pyra, alice):
    step("alice cannot open a message, and asks for it")
    mid = pyra.encrypt("alice", b"damaged on the way")
    to, envelope = pyra.outbox[mid]
    pyra.outbox[mid] = to, envelope[:-1] + bytes([envelope[-1] ^ 1])
    pyra.post(mid)
    pyra.until_delivered(mid)
    while (result := pyra.take(pyra.next_mail()))[0] == RECEIPT:
        pass
    check(result == (RETRY, bytes.fromhex(mid)), "a retry request for its id")
    again = pyra.encrypt("alice", b"\x01" + bytes.fromhex(mid) + b"damaged on the way", AGAIN)
    pyra.post(again)
    alice.expect("damaged on the way")
    check(True, "alice shows what was sent again")
    pyra.send("alice", "and on")
    alice.shows("and on")
    alice.type("/msg pyra and on it goes")
    pyra.expect("alice", "and on it goes")


def renewals(pyra, alice):
    step("alice starts a new session by hand, and pyra one that goes on from it")
    old = pyra.current("alice")
    alice.type("/renew pyra")
    alice.expect("a new session with pyra")
    alice.type("/msg pyra In a new session")
    header = Header.split(unb64(pyra.expect("alice", "In a new session")["envelope"]))[0]
    check(header.kind == 2 and header.initial[113] == PERSON, "initial, and signed: alice's user said so")
    check(pyra.current("alice").id == header.session and old.only_reads, "pyra sends in it, too, and the old one only reads")
    pyra.send("alice", "I follow")
    alice.shows("I follow")
    alice.type("/msg pyra And I hear you")
    pyra.expect("alice", "And I hear you")
    linked = pyra.start("alice", bundle_of(pyra, "alice"), LINKED)
    pyra.send("alice", "Linked to the last")
    alice.shows("Linked to the last", never="new session")
    alice.type("/msg pyra In the linked one")
    event = pyra.expect("alice", "In the linked one")
    check(Header.split(unb64(event["envelope"]))[0].session == linked.id, "alice has followed")

    step("messages that are lost, and that never went out")
    pyra.encrypt("alice", b"lost")
    pyra.send("alice", "after the lost one")
    alice.expect("1 message from pyra has not arrived")
    pyra.encrypt("alice", b"refused, say")
    pyra.voids["alice"].append(pyra.next["alice"] - 1)
    pyra.send("alice", "after the void one")
    alice.shows("after the void one", never="not arrived")


def certificates(programs, folder, address):
    """The server's certificate is replaced, and the one before leads to it: chapter 3, and `hello`."""
    step("a certificate announces the next one")
    host, port = address.rsplit(":", 1)

    def shown(known=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(socket.create_connection((host, int(port)), timeout=30)) as wire:
            certificate = hashlib.sha256(wire.getpeercert(binary_form=True)).digest()
            named = {} if known is None else {"certificate": b64(known)}
            wire.sendall(json.dumps({"id": 1, "op": "hello", "version": 1, **named}).encode() + b"\n")
            return certificate, json.loads(wire.makefile("rb").readline())["ok"]

    def rotate():
        command = [str(programs / "server"), "--data", str(folder / "server"), "--config", str(folder / "server.conf")]
        subprocess.run([*command, "certificate", "rotate"], check=True, timeout=60, stdout=subprocess.DEVNULL)

    first, hello = shown()
    check(unb64(hello["certificate"], 32) == first, "the greeting names the certificate that is shown")
    rotate()
    rotate()
    last, hello = shown()
    check(last != first and "successions" not in hello, "another one is shown, and nobody has asked about it")
    _, hello = shown(first)
    trusted = first
    for word in hello["successions"]:
        der, at = base64.b64decode(word["certificate"], validate=True), word["at"]
        check(hashlib.sha256(der).digest() == trusted, "the certificate that speaks is the trusted one")
        check(word["scheme"] == 0x0403, "it has an ECDSA key on P-256")
        said = PREFIX + b"certificate-succession" + trusted + unb64(word["next"], 32) + at.to_bytes(8, "big")
        # It raises an error if the signature is wrong.
        DSS.new(ECC.import_key(der), "fips-186-3", encoding="der").verify(SHA256.new(said), base64.b64decode(word["signature"]))
        trusted = unb64(word["next"], 32)
    check(len(hello["successions"]) == 2 and trusted == last, "two steps lead to the one that is shown")
    check("successions" not in shown(secrets.token_bytes(32))[1], "nothing leads there from another one")


def play(programs, folder, running):
    (folder / "password").touch(mode=0o600)
    (folder / "password").write_text(PASSWORD + "\n")
    (folder / "server.conf").touch()
    step("the server and its users start")
    server = Program("server", running, str(programs / "server"), "--listen", "127.0.0.1:0", "--data", str(folder / "server"),
                     "--config", str(folder / "server.conf"))
    address = server.expect(r"^listening on (\S+)$").group(1)

    def run(name, *more):
        return Program(name, running, str(programs / "client"), "--server", address, "--tls", "off",
                       "--data", str(folder / name),
                       "--password-file", str(folder / "password"), "--color", "never", *more)

    rust = []
    for name in ("alice", "bob"):
        rust.append(run(name))
        rust[-1].type(f"/register {name}")
        rust[-1].expect(f"account {name} created")
    alice, bob = rust
    pyra = User("pyra", address)
    accounts(pyra)
    generations(pyra)
    first = initiator(pyra, alice)
    responder(pyra, bob)
    repeats(pyra, alice, first)
    alice = offline(pyra, alice, bob, run, folder)
    alice = age(pyra, alice, run, server, folder)
    retry(pyra, alice)
    renewals(pyra, alice)
    certificates(programs, folder, address)

    step("the end")
    both = {mid for _, mid in pyra.wire.receipts if pyra.states[mid] == "delivered"} - {first}
    check(not both, "no message got both the state and the event delivered")
    left = [pyra.take(event)[0] for event in list(pyra.wire.mail)]
    check(all(kind == RECEIPT for kind in left), "no mail but receipts is left over")
    alice.end()
    bob.end()


def main():
    if len(sys.argv) > 2 or sys.argv[1:2] in (["-h"], ["--help"]):
        print(__doc__)
        return 0 if len(sys.argv) == 2 else 2
    default = os.environ.get("INTEROP_PROGRAMS", ROOT / "target" / "debug")
    programs = pathlib.Path(sys.argv[1] if len(sys.argv) == 2 else default).resolve()
    for number_ in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number_, lambda which, _: sys.exit(128 + which))
    running = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            play(programs, pathlib.Path(folder), running)
        except (Failed, Refused, OSError, KeyError, ValueError, subprocess.TimeoutExpired) as error:
            sys.stdout.flush()
            print(f"\nFAILED in step {progress['step']}: {type(error).__name__}: {error}", file=sys.stderr)
            return 1
        finally:
            for process in running:
                if process.poll() is None:
                    process.kill()
                process.wait()
    print(f"\ninterop: {progress['passed']} checks passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
