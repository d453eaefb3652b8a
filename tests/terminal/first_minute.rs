//! The first minute of somebody new: a name, a password, what to do next, and how to answer the
//! first message.

use crate::seat::{PASSWORD, Seat, Server, screen};

const NEW: &str = "New password (at least 8 characters): ";
const AGAIN: &str = "The same password again: ";

/// A client that keeps its things in `home`.
fn seat(server: &Server, home: &str) -> Seat {
    Seat::take(&server.arguments(home), &[])
}

#[test]
fn a_slip_repeats_its_prompt_and_keeps_what_was_typed() {
    let server = Server::start();
    let bob = seat(&server, "bob");
    bob.prompt("> ");
    bob.register("bob");
    let alice = seat(&server, "alice");
    alice.prompt("> ");
    alice.enter("1");
    alice.prompt("Name: ");
    // A name against the rules stays there, to be changed.
    alice.enter("al ice");
    alice.line("Name: al ice");
    // Ctrl-U empties the line. A name that is taken is refused before there is a password.
    alice.enter("\x15bob");
    alice.sees("the name bob is taken");
    alice.line("Name: bob");
    alice.enter("by");
    alice.secret(NEW, "short");
    alice.sees("at least 8 characters; choose a longer one");
    alice.secret(NEW, "Password123");
    alice.sees("one of the first that anybody tries");
    alice.secret(NEW, "kangaroo7");
    alice.sees("weak: ");
    alice.secret(AGAIN, "");
    alice.secret(NEW, PASSWORD);
    alice.sees("strong");
    alice.secret(AGAIN, "correct horse batery");
    alice.sees("that is another password");
    assert!(!alice.screen().contains("account bobby created"));
    alice.secret(AGAIN, PASSWORD);
    alice.sees("account bobby created");
    alice.sees("What to do next:");
    alice.prompt("bobby> ");
}

#[test]
fn ctrl_c_leaves_a_question_and_nothing_is_made() {
    let server = Server::start();
    let alice = seat(&server, "alice");
    alice.prompt("> ");
    for answers in [&[][..], &["alice"], &["alice", PASSWORD]] {
        alice.enter("1");
        alice.prompt("Name: ");
        for (at, answer) in answers.iter().enumerate() {
            alice.enter(answer);
            alice.hidden([NEW, AGAIN][at]);
        }
        alice.keys("\x03");
        alice.prompt("> ");
    }
    alice.register("alice");
}

#[test]
fn a_wrong_name_or_password_of_a_login_is_asked_for_again() {
    let server = Server::start();
    let here = seat(&server, "alice");
    here.prompt("> ");
    here.register("alice");
    here.enter("/quit");
    here.ends();
    // Who has the vault is told so before a password is thought of.
    let here = seat(&server, "alice");
    here.prompt("> ");
    here.enter("1");
    here.prompt("Name: ");
    here.enter("alice");
    here.wait("that the vault exists", |shown| {
        let letters: String = screen(shown).split([' ', '\n', '│']).collect();
        letters.contains("existsalready;loginin")
    });
    here.prompt("> ");
    assert!(!here.screen().contains(NEW), "{}", here.screen());
    // On a machine without a vault, the server tells.
    let there = seat(&server, "elsewhere");
    there.prompt("> ");
    there.enter("2");
    there.prompt("Name: ");
    there.enter("alise");
    there.secret("Password for alise: ", PASSWORD);
    there.line("Name: alise");
    there.enter("\x7f\x7fce");
    there.secret("Password for alice: ", PASSWORD);
    there.sees("has used another device");
}

#[test]
fn the_first_message_says_how_to_answer_it_once() {
    let server = Server::start();
    let alice = seat(&server, "alice");
    alice.prompt("> ");
    alice.register("alice");
    let bob = seat(&server, "bob");
    bob.prompt("> ");
    bob.register("bob");
    alice.enter("/msg bob hello");
    bob.sees("to answer, type /to alice");
    bob.enter("/clear");
    alice.enter("/msg bob hello again");
    bob.sees("hello again");
    bob.enter("/status alice");
    bob.sees(" online");
    assert!(!bob.screen().contains("to answer"), "{}", bob.screen());
}

#[cfg(feature = "tls")]
#[test]
fn a_server_on_this_machine_is_known_by_its_folder() {
    let server = Server::start();
    let data = server.folder.path().join("alice").display().to_string();
    let arguments = ["--server", &server.address, "--data", &data].map(str::to_owned);
    let folder = server.folder.path().join("server").display().to_string();
    // Without its folder, Enter alone refuses, and a word that is neither is asked about.
    let far = Seat::take(&arguments, &[("SECURE_CHAT_DATA", "/nonexistent")]);
    far.prompt("> ");
    far.enter("1");
    far.prompt("Name: ");
    far.enter("alice");
    far.prompt("y/N> ");
    far.enter("perhaps");
    far.sees("type y and Enter to agree");
    far.enter("");
    far.sees("nothing was sent");
    // With it, Enter connects.
    let near = Seat::take(&arguments, &[("SECURE_CHAT_DATA", &folder)]);
    near.prompt("> ");
    near.enter("1");
    near.prompt("Name: ");
    near.enter("alice");
    near.prompt("Y/n> ");
    near.enter("");
    near.secret(NEW, PASSWORD);
    near.secret(AGAIN, PASSWORD);
    near.sees("account alice created");
}
