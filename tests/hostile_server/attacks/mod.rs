//! The attacks, in groups that share a server and its clients.

mod imported;
mod invitations;
mod keys;
mod messages;
mod passwords;
#[cfg(feature = "tls")]
mod pins;
mod receipts;
mod sessions;
mod trust;
mod wire;

use secure_chat::crypto::message::associated_data::AssociatedData;
use secure_chat::crypto::message::content::Payload;
use serde_json::{Value, json};

use crate::lab::{Client, Onward, PASSWORD, Seen, Server};
use crate::mallory::Mallory;

/// What came of one attack.
pub(crate) struct Row {
    pub(crate) attack: &'static str,
    /// The line that the client shows.
    pub(crate) shows: String,
    /// Words left readable.
    pub(crate) left: bool,
    /// How many false things were shown as genuine.
    pub(crate) lies: usize,
    /// Why the row is not clean, if that is known.
    pub(crate) gap: Option<&'static str>,
}

/// Each with a server of its own, so they can run side by side.
pub(crate) const ATTACKS: &[fn() -> Vec<Row>] = &[
    messages::changed_messages,
    messages::unencrypted_and_lies,
    wire::garbage,
    keys::first_contact,
    keys::nobody_is_trusted,
    keys::swapped_later,
    keys::swapped_while_comparing,
    keys::unproven_claims,
    keys::one_time_prekey_twice,
    trust::claims,
    trust::accepted,
    sessions::forced_and_revived,
    sessions::numbers,
    wire::logins,
    receipts::receipts,
    passwords::known_vault,
    imported::claimed,
    #[cfg(feature = "tls")]
    imported::nobody_agrees,
    invitations::newcomer,
    invitations::introductions,
    invitations::code_for_another,
    #[cfg(feature = "tls")]
    pins::without_tls,
];

fn row(
    attack: &'static str,
    shows: impl Into<String>,
    clients: &[&Client],
    secrets: &[&str],
    lies: usize,
) -> Row {
    let words = secrets.iter().chain([&PASSWORD]);
    let left = |client: &&Client| words.clone().any(|words| client.proxy.has_seen(words));
    Row {
        attack,
        shows: as_in_the_table(&shows.into()),
        left: clients.iter().any(left),
        lies,
        gap: None,
    }
}

/// What is left of a line in the table.
fn as_in_the_table(shows: &str) -> String {
    // A message's time says nothing here.
    let shows = match shows.split_once(' ') {
        Some((time, rest)) if time.len() == 5 && time.contains(':') => rest,
        _ => shows.trim(),
    };
    match shows.char_indices().nth(150) {
        Some((end, _)) => format!("{}…", &shows[..end]),
        None => shows.to_owned(),
    }
}

impl Row {
    /// Not clean, for a reason that is known. `open` says whether it still is so.
    fn gap(self, open: bool, why: &'static str) -> Self {
        Row {
            gap: open.then_some(why),
            ..self
        }
    }
}

/// Alice and bob, who have exchanged a message each. They send no receipts: most attacks
/// count what is sent.
fn acquainted(server: &Server) -> (Client, Client) {
    let (mut alice, mut bob) = strangers(server, &[]);
    for client in [&mut alice, &mut bob] {
        client.types("/settings receipts off");
    }
    alice.types("/msg bob good morning");
    bob.sees("alice: good morning");
    bob.types("/msg alice good evening");
    alice.sees("bob: good evening");
    alice.done();
    bob.done();
    (alice, bob)
}

/// Alice, with flags, and bob.
fn strangers(server: &Server, flags: &[&str]) -> (Client, Client) {
    let alice = Client::register(server, "alice", flags);
    let bob = Client::register(server, "bob", &[]);
    (alice.registered(), bob.registered())
}

fn is_message(seen: &Seen<'_>, onward: &Onward) -> bool {
    matches!(seen, Seen::Event) && {
        let line: Value = serde_json::from_slice(&onward.to_client[0]).unwrap();
        line["event"] == "message"
    }
}

/// Keeps messages from the client.
fn hold(seen: &Seen<'_>, onward: &mut Onward) {
    if is_message(seen, onward) {
        onward.to_client.clear();
    }
}

fn text<'a>(message: &'a Value, field: &str) -> &'a str {
    message[field].as_str().unwrap()
}

fn inject(client: &Client, message: &Value) {
    client.proxy.inject(message.to_string().as_bytes());
}

/// Injects a message and waits until it has been taken and shown.
fn take(client: &mut Client, message: &Value) {
    inject(client, message);
    let (from, mid) = (text(message, "from"), text(message, "mid"));
    client.proxy.acknowledged(from, mid);
    client.done();
}

/// From now on the server says that bob's identity has changed, and answers the
/// question for his keys with `answer`.
fn deny_session(client: &Client, answer: Value) {
    client.proxy.meddle(move |seen, onward| match seen {
        Seen::Request(request) if request["op"] == "send" => {
            let why = json!({"code": "identity_changed", "message": "another identity"});
            onward.answer(request, "error", why);
        }
        Seen::Answer(request) if request["op"] == "keys" => {
            let mut line = answer.clone();
            line["id"] = request["id"].clone();
            onward.to_client = vec![line.to_string().into_bytes()];
        }
        _ => {}
    });
}

/// A message to alice in bob's name under mallory's identity, taken and shown.
fn in_bobs_name(alice: &mut Client, mallory: &Mallory, mid: [u8; 16], body: Payload) {
    let context = AssociatedData {
        message_id: mid,
        sender: "bob",
        recipient: "alice",
    };
    let publish = alice.proxy.requests("publish").pop().unwrap();
    let envelope = mallory.envelope(&publish, &context, body);
    alice
        .proxy
        .inject_message("bob", mid, ("envelope", &envelope));
    alice
        .proxy
        .acknowledged("bob", &data_encoding::HEXLOWER.encode(&mid));
    alice.done();
}

/// Whether anything that alice sent opens for mallory.
fn read_by(mallory: &Mallory, alice: &Client) -> bool {
    reads(mallory, alice, "")
}

/// Whether these words are in something that alice sent and mallory opens.
fn reads(mallory: &Mallory, alice: &Client, words: &str) -> bool {
    let publish = alice.proxy.requests("publish").pop().unwrap();
    let sends = alice.proxy.requests("send");
    let read = |send: &Value| mallory.reads(send, &publish, "alice");
    sends
        .iter()
        .filter_map(read)
        .any(|text| text.contains(words))
}
