#!/usr/bin/env python3
"""Brings a database of the Python program before this one to Secure Chat.

Makes exports of its collections with PyCryptodome and pymongo's bson, exactly as that program
hashed and encrypted and as mongoexport and mongodump write: JSON lines and arrays, Extended JSON
versions 1 and 2, BSON, gzipped or not. Then it imports each with the real server, logs in with the
real client and the password of then, and reads the old messages.

    pip install pycryptodome pymongo
    scripts/import.py            # with the programs in target/debug
    scripts/import.py FOLDER     # with those in FOLDER
    scripts/import.py --write    # makes tests/exports anew

Ends with the number of checks passed and exits 0; or names what failed, and exits 1.
"""

import base64
import gzip
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import bson
from bson import json_util
from Crypto.Cipher import AES
from Crypto.Util.Padding import pad

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXPORTS = ROOT / "tests/exports"
IV = b"RandomIV12345678"
START = 1_600_000_000  # when the first document was made, in seconds since 1970
PASSWORDS = {"alice": "wonderland", "Bob": "builder", "carol": "short"}
NEW_PASSWORD = "another, a long password"
MESSAGES = [
    ("alice", "Bob", "hello alice, this is Bob"),
    ("Bob", "alice", "grüße, Bob ✓"),
    ("Bob", "dave", "dave has no account any more"),
    ("alice", "alice", "a note\nof two lines"),
    ("erin", "alice", "erin never had an account"),
]

passed = 0


class Failed(Exception):
    """Something was not as it should be."""


def check(condition, what):
    global passed
    if not condition:
        raise Failed(what)
    passed += 1
    print(f"      ok  {what}", flush=True)


# What the program before this one did


def hash_password(password):
    return hashlib.sha256(password.encode()).hexdigest()


def encrypt_message(message, recipient):
    key = hashlib.sha256(recipient.encode()).digest()
    cipher = AES.new(key, AES.MODE_CBC, IV)
    return base64.b64encode(cipher.encrypt(pad(message.encode(), AES.block_size))).decode()


def object_id(number):
    return bson.ObjectId((START + number).to_bytes(4, "big") + b"origi" + number.to_bytes(3, "big"))


def collections():
    """The three collections, in the order in which MongoDB's driver stores the fields."""
    accounts = [
        {"_id": object_id(n), "username": name, "password": hash_password(password)}
        for n, (name, password) in enumerate(PASSWORDS.items())
    ]
    messages = [
        {"_id": object_id(100 + n), "username": to, "sender": sender, "message": encrypt_message(text, to)}
        for n, (to, sender, text) in enumerate(MESSAGES)
    ]
    peers = [{"_id": object_id(200), "username": "alice", "ip": "192.0.2.7", "port": 5050}]
    return {"accounts": accounts, "messages": messages, "online_peers": peers}


# What MongoDB's tools write


def lines(documents, options):
    return "".join(json_util.dumps(one, json_options=options) + "\n" for one in documents)


def array(documents, options):
    return "[" + ",\n".join(json_util.dumps(one, json_options=options) for one in documents) + "]\n"


def pretty(documents, options):
    return "".join(
        json.dumps(json.loads(json_util.dumps(one, json_options=options)), indent=1) + "\n" for one in documents
    )


LEGACY, RELAXED, CANONICAL = (
    json_util.LEGACY_JSON_OPTIONS,
    json_util.RELAXED_JSON_OPTIONS,
    json_util.CANONICAL_JSON_OPTIONS,
)


def packed(data):
    return gzip.compress(data, mtime=0)


def formats():
    """Each format's name, the ending of its files, and how a collection is written in it."""
    dump = lambda documents: b"".join(bson.encode(one) for one in documents)
    return {
        "lines-v2": (".json", lambda documents: lines(documents, RELAXED).encode()),
        "lines-v1": (".json", lambda documents: lines(documents, LEGACY).encode()),
        "array-canonical": (".json", lambda documents: array(documents, CANONICAL).encode()),
        "pretty-v1-gzip": (".json.gz", lambda documents: packed(pretty(documents, LEGACY).encode())),
        "dump": (".bson", dump),
        "dump-gzip": (".bson.gz", lambda documents: packed(dump(documents))),
    }


def write(folder, collections, ending, form):
    folder.mkdir(parents=True)
    for name, documents in collections.items():
        (folder / (name + ending)).write_bytes(form(documents))


# The programs


class Programs:
    """The server and the client, on a folder of their own."""

    def __init__(self, programs, folder):
        self.folder = folder
        self.programs = programs
        self.data = folder / "data"

    def run(self, program, *arguments, code=0, text=""):
        environment = {"HOME": str(self.folder), "PATH": os.environ["PATH"], "TZ": "UTC"}
        done = subprocess.run(
            [self.programs / program, *map(str, arguments)],
            input=text,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if (done.returncode == 0) != (code == 0):
            raise Failed(f"{program} {arguments}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def server(self):
        process = subprocess.Popen(
            [self.programs / "server", "--listen", "127.0.0.1:0", "--data", self.data],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for line in process.stdout:
            found = re.search(r"127\.0\.0\.1:\d+#sha256:\S+|127\.0\.0\.1:\d+\S*", line)
            if found:
                return process, found.group(0)
        raise Failed("the server did not start")

    def imports(self, *arguments, code=0):
        return self.run("server", "import", "mongo", "--data", self.data, *arguments, code=code)


def stop(process):
    process.send_signal(signal.SIGTERM)
    if process.wait(timeout=30) != 0:
        raise Failed("the server ended with an error")
    process.stdout.close()


def fingerprint(here):
    found = re.search(r"[0-9a-f]{64}|sha256:\S+", here.run("server", "fingerprint", "--data", here.data))
    return found.group(0)


def try_format(programs, name, folder):
    """Imports one format twice, and logs in."""
    here = Programs(programs, folder)
    ending, form = formats()[name]
    write(folder / "export", collections(), ending, form)
    process, _ = here.server()
    said = here.imports(folder / "export", code=1)
    check("another server is running" in said, f"{name}: not while a server runs")
    stop(process)
    said = here.imports("--dry-run", folder / "export")
    check("3 accounts and 4 messages would be imported" in said, f"{name}: a dry run")
    said = here.imports(folder / "export")
    check("3 accounts and 4 messages were imported, 1 document skipped" in said, f"{name}: imported")
    check("no account \"erin\" was imported" in said, f"{name}: mail for nobody is skipped")
    said = here.imports(folder / "export")
    check("0 accounts and 0 messages were imported, 8 documents" in said, f"{name}: nothing comes twice")
    return here


def log_in(here):
    """Logs in as the owners, with the passwords of then."""
    process, address = here.server()
    old, new, wrong = (here.folder / name for name in ("old", "new", "wrong"))
    new.write_text(NEW_PASSWORD + "\n")
    wrong.write_text("not the password\n")
    pinned = ["--server", f"{address.split('#')[0]}", "--fingerprint", fingerprint(here)]

    def client(name, *arguments, password=old, code=0):
        path = here.folder / "client"
        options = ["--user", name, "--password-file", password, "--data", path, *pinned]
        return here.run("client", *arguments, *options, code=code)

    for file in (old, new, wrong):
        file.touch()
        file.chmod(0o600)
    claim = ["fetch", "--json", "--new-password-file", new]
    old.write_text(PASSWORDS["alice"] + "\n")
    said = client("alice", *claim, code=1)
    check("was not sent" in said, "the password of then is not sent unasked")
    claim += ["--claim", "--recovery-file", here.folder / "alice.code"]
    client("alice", *claim, password=wrong, code=1)
    (here.folder / "alice.code").unlink(missing_ok=True)
    old.write_text(hash_password(PASSWORDS["alice"]) + "\n")
    client("alice", *claim, code=1)
    check(True, "neither a wrong password nor the hash itself logs in")
    (here.folder / "alice.code").unlink(missing_ok=True)
    old.write_text(PASSWORDS["alice"] + "\n")
    said = client("alice", *claim)
    rows = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    texts = [(row["from"], row["text"], row.get("encrypted")) for row in rows if "text" in row]
    check(
        texts == [("bob", MESSAGES[0][2], False), ("alice", MESSAGES[3][2], False)],
        f"alice reads what waited for her, marked as not encrypted: {texts}",
    )
    client("alice", "fetch", "--json", code=1)
    check(True, "the password of then does not log in any more")
    said = client("alice", "fetch", "--json", password=new)
    check("text" not in said, "the new password does, and nothing comes twice")
    said = client("alice", "history", "--json", password=new)
    check('"2020-09-13T' in said, "a message has the time of then")
    stop(process)


def main(arguments):
    if arguments == ["--write"]:
        shutil.rmtree(EXPORTS, ignore_errors=True)
        for name, (ending, form) in formats().items():
            write(EXPORTS / name, collections(), ending, form)
        return 0
    programs = pathlib.Path(arguments[0]) if arguments else ROOT / "target/debug"
    for name, (ending, form) in formats().items():
        for collection, documents in collections().items():
            kept = (EXPORTS / name / (collection + ending)).read_bytes()
            same = gzip.decompress(kept) == gzip.decompress(form(documents)) if ending.endswith(".gz") else kept == form(documents)
            check(same, f"tests/exports/{name}/{collection}{ending} is what the original's database exports")
    for name in formats():
        with tempfile.TemporaryDirectory() as folder:
            here = try_format(programs, name, pathlib.Path(folder))
            if name in ("lines-v2", "dump-gzip"):
                log_in(here)
    print(f"{passed} checks passed")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Failed as failed:
        print(f"FAILED: {failed}", file=sys.stderr)
        sys.exit(1)
