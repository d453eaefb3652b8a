//! Invitations: what a server can do between an inviter and a newcomer. It knows the code by which
//! the newcomer registers, and not the secret that the link has beside it.

use secure_chat::crypto::introduction::InvitationId;
use secure_chat::crypto::message::associated_data::AssociatedData;
use secure_chat::crypto::message::content::Payload;
use secure_chat::transport::invitation::InvitationLink;
use serde_json::{Value, json};

use super::{Row, is_message, row, text};
use crate::lab::{Client, Seen, Server};
use crate::mallory::Mallory;

/// What alice says once she is sure of a newcomer.
const SURE: &str = "has joined by your invitation and is verified";

/// A server that makes accounts by invitation only, and alice, who may invite.
fn inviter() -> (Server, Client) {
    let server = Server::with(&["--registration", "invite", "--member-invitations", "9"]);
    let link = Client::operators_link(&server);
    let mut alice = Client::join(&server, "alice", &link, |_, _| {});
    assert_eq!(alice.ends(), Some(0), "{:#?}", alice.shown());
    alice.again(&[]);
    (server, alice)
}

fn invites(alice: &mut Client) -> InvitationLink {
    alice.types("/invite");
    let link = alice.sees("/join/");
    link.trim().parse().unwrap()
}

fn sure_of(client: &Client, name: &str) -> usize {
    let sure = |line: &&String| line.contains(&format!("{name} {SURE}"));
    client.shown().iter().filter(sure).count()
}

/// An introduction in somebody's name under mallory's identity, taken and shown.
fn introduces(alice: &mut Client, mallory: &Mallory, name: &str, link: &InvitationLink) {
    let inviter = link.inviter.as_ref().unwrap();
    let invitation = InvitationId {
        nonce: inviter.nonce,
        expires: inviter.expires,
    };
    let proof = [7; 32];
    let mid = [name.len() as u8; 16];
    let context = AssociatedData {
        message_id: mid,
        sender: name,
        recipient: "alice",
    };
    let publish = alice.proxy.requests("publish").pop().unwrap();
    let body = Payload::Introduction { invitation, proof };
    let envelope = mallory.envelope(&publish, &context, body);
    alice
        .proxy
        .inject_message(name, mid, ("envelope", &envelope));
    let mid = data_encoding::HEXLOWER.encode(&mid);
    alice.proxy.acknowledged(name, &mid);
    alice.done();
}

/// The newcomer is shown other keys in the inviter's place.
pub(super) fn newcomer() -> Vec<Row> {
    let (server, mut alice) = inviter();
    let link = invites(&mut alice);
    let bundle = Mallory::new().bundle();
    let mut bob = Client::join(&server, "bob", &link, move |seen, onward| {
        if let Seen::Answer(request) = seen
            && request["op"] == "keys"
        {
            let line = json!({"id": request["id"], "ok": bundle});
            onward.to_client = vec![line.to_string().into_bytes()];
        }
    });
    let shows = bob.sees("ANOTHER IDENTITY");
    assert_ne!(bob.ends(), Some(0));
    assert!(bob.proxy.requests("send").is_empty());
    bob.again(&[]);
    bob.types("/contacts");
    bob.done();
    let verified = |line: &&String| {
        line.contains("alice") && line.contains("verified") && !line.contains("not verified")
    };
    let lies = bob.shown().iter().filter(verified).count();
    let swapped = row(
        "the inviter's keys are swapped when a newcomer joins by an invitation",
        shows,
        &[&alice, &bob],
        &[],
        lies,
    );
    alice.done();
    let lies = sure_of(&alice, "bob");
    let inviter = row(
        "… as the inviter sees it",
        "(nothing: bob is not verified)",
        &[&alice],
        &[],
        lies,
    );
    vec![swapped, inviter]
}

/// The introduction is altered, played again and made up.
pub(super) fn introductions() -> Vec<Row> {
    let (server, mut alice) = inviter();
    let mut rows = Vec::new();

    let link = invites(&mut alice);
    alice.proxy.meddle(|seen, onward| {
        if is_message(seen, onward) {
            onward.change(|line| {
                let envelope = text(line, "envelope").to_owned();
                let mut bytes = data_encoding::BASE64.decode(envelope.as_bytes()).unwrap();
                // The MAC is at the end.
                *bytes.last_mut().unwrap() ^= 1;
                line["envelope"] = data_encoding::BASE64.encode(&bytes).into();
            });
        }
    });
    let mut bob = Client::join(&server, "bob", &link, |_, _| {});
    assert_eq!(bob.ends(), Some(0), "{:#?}", bob.shown());
    let shows = alice.sees("(a message that could not be decrypted");
    alice.done();
    let lies = sure_of(&alice, "bob");
    rows.push(row(
        "a newcomer's introduction is altered",
        shows,
        &[&alice, &bob],
        &[],
        lies,
    ));

    alice.proxy.behave();
    let link = invites(&mut alice);
    let before = alice.proxy.count_messages();
    let mut carol = Client::join(&server, "carol", &link, |_, _| {});
    assert_eq!(carol.ends(), Some(0), "{:#?}", carol.shown());
    alice.sees(&format!("carol {SURE}"));
    let genuine = alice.proxy.message(before);
    for mid in [text(&genuine, "mid"), &"c3".repeat(16)] {
        let mut again: Value = genuine.clone();
        again["mid"] = mid.into();
        super::take(&mut alice, &again);
    }
    // It is in the name of another, too.
    let mut of_another = genuine.clone();
    of_another["from"] = "bob".into();
    of_another["mid"] = "c4".repeat(16).into();
    super::take(&mut alice, &of_another);
    let shows = alice.line("decrypted before");
    let lies = sure_of(&alice, "bob") + sure_of(&alice, "carol") - 1;
    rows.push(row(
        "… is played again, under another id and in another's name",
        shows,
        &[&alice, &carol],
        &[],
        lies,
    ));

    let link = invites(&mut alice);
    introduces(&mut alice, &Mallory::new(), "dave", &link);
    let shows = alice.line("dave says to have joined by your invitation");
    let lies = sure_of(&alice, "dave");
    rows.push(row(
        "… is made up, by one who knows the invitation's number and not its secret",
        shows,
        &[&alice],
        &[],
        lies,
    ));
    rows
}

/// The server hands the code to somebody else, who makes the account with it.
pub(super) fn code_for_another() -> Vec<Row> {
    let (server, mut alice) = inviter();
    let link = invites(&mut alice);
    let mut other = server.client();
    let mut fields = other.registration("erin");
    let code = link.code.as_ref().unwrap();
    fields["invitation"] = data_encoding::BASE64.encode(&**code).into();
    other.ok("register", fields);
    introduces(&mut alice, &Mallory::new(), "erin", &link);
    let shows = alice.line("erin says to have joined by your invitation");
    let lies = sure_of(&alice, "erin");
    let inviter = row(
        "the server gives an invitation's code to somebody else",
        shows,
        &[&alice],
        &[],
        lies,
    );
    let mut bob = Client::join(&server, "bob", &link, |_, _| {});
    let shows = bob.sees("was used already");
    assert_ne!(bob.ends(), Some(0));
    let newcomer = row(
        "… as the newcomer sees it, for whom it was",
        shows,
        &[&bob],
        &[],
        0,
    );
    vec![inviter, newcomer]
}
