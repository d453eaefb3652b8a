//! The commands about earlier messages and about the account, as a person types them: what they ask,
//! what they show, and what is left.

use std::os::unix::fs::PermissionsExt;

use crate::seat::{PASSWORD, Seat, Server, Shown, screen};
use crate::talking::rows_with;

/// Clears the screen, but for the prompt.
fn clear(seat: &Seat, prompt: &str) {
    seat.enter("/clear");
    seat.wait("an empty screen", |shown| screen(shown).trim() == prompt);
}

/// Waits for a text, wherever the rows break it: how long the path before it is depends on the machine.
fn sees_across_rows(seat: &Seat, text: &str) {
    seat.wait(text, |shown| {
        let screen = screen(shown);
        let words: Vec<&str> = screen.split_whitespace().collect();
        words.join(" ").replace(" │ ", " ").contains(text)
    });
}

/// Two people who have exchanged a few messages.
fn talked(server: &Server) -> (Seat, Seat) {
    let (alice, bob) = (server.person("alice"), server.person("bob"));
    for text in ["lunch at noon", "Lunch was good", "supper at seven"] {
        alice.enter(&format!("/msg bob {text}"));
        bob.sees(&format!("alice: {text}"));
    }
    bob.enter("/msg alice what a lunch");
    alice.sees("bob: what a lunch");
    alice.sees("to answer, type /to bob");
    (alice, bob)
}

#[test]
fn find_shows_hits_in_any_case_and_their_ids() {
    let server = Server::start();
    let (alice, _bob) = talked(&server);
    clear(&alice, "[1 unread] alice>");
    alice.enter("/find LUNCH");
    alice.sees("what a lunch");
    alice.prompt("[1 unread] alice> ");
    let hits = rows_with(&alice, "unch");
    assert_eq!(hits.len(), 3, "{}", alice.screen());
    assert!(!alice.screen().contains("supper"), "{}", alice.screen());
    let first = rows_with(&alice, "Lunch was good").remove(0);
    let id = &first[first.find('[').unwrap() + 1..first.find(']').unwrap()];
    alice.enter(&format!("/find lunch before {id}"));
    alice.wait("the hit before it", |shown| {
        screen(shown).matches("lunch at noon").count() == 2
    });
    alice.enter("/find breakfast in bob");
    alice.sees("no message with bob has \"breakfast\"");
    alice.enter("/find breakfast in bed");
    alice.sees("no message has \"breakfast in bed\"");
    alice.sees("around a hit, by its id: /history before ");
    alice.enter("/find supper in bob");
    alice.sees("supper at seven");
}

#[test]
fn reply_goes_to_whoever_wrote_last() {
    let server = Server::start();
    let (alice, bob) = (server.person("alice"), server.person("bob"));
    let carol = server.person("carol");
    alice.enter("/reply too early");
    alice.sees("not sent: too early");
    alice.sees("nobody has written lately");
    bob.enter("/msg alice from bob");
    alice.sees("bob: from bob");
    alice.enter("/reply to bob");
    bob.sees("alice: to bob");
    carol.enter("/msg alice from carol");
    alice.sees("carol: from carol");
    // For a few seconds, bob may be meant as well: it is refused, and goes out once that is over.
    let answers = |shown: &Shown| {
        let text = screen(shown);
        let refused = text.matches("say whom you mean").count();
        (refused, text.matches("you > carol: to carol").count())
    };
    loop {
        alice.enter("/reply to carol");
        alice.wait("an answer", |shown| {
            let (refused, sent) = answers(shown);
            refused > 0 || sent > 0
        });
        if answers(&alice.shown.0.lock().unwrap()).1 > 0 {
            break;
        }
        clear(&alice, "[1 unread] alice>");
    }
    carol.sees("alice: to carol");
    assert!(!bob.screen().contains("to carol"), "{}", bob.screen());
}

#[test]
fn keep_asks_before_it_deletes() {
    let server = Server::start();
    let (alice, _bob) = talked(&server);
    alice.enter("/keep");
    alice.sees("messages are kept for ever on this device");
    alice.enter("/keep 90d");
    alice.sees("messages that are older than 90 days are deleted from this device for good");
    alice.prompt("y/N> ");
    alice.enter("/help");
    alice.sees("keep messages on this device only so long");
    alice.prompt("y/N> ");
    alice.enter("");
    alice.sees("never mind");
    alice.enter("/keep");
    alice.wait("what is set", |shown| {
        screen(shown)
            .matches("kept for ever on this device; /keep")
            .count()
            == 2
    });
    alice.enter("/keep 90d");
    alice.prompt("y/N> ");
    alice.enter("y");
    alice.sees("messages are kept for 90 days on this device; 0 older ones are deleted");
    alice.enter("/keep forever");
    alice.sees("messages are kept for ever on this device");
}

#[test]
fn all_messages_with_somebody_go_after_a_question_and_are_not_unread() {
    let server = Server::start();
    let (alice, _bob) = talked(&server);
    alice.prompt("[1 unread] alice> ");
    alice.enter("/delete bob all");
    alice.sees("all messages with bob are deleted from this device for good");
    alice.prompt("y/N> ");
    alice.enter("");
    alice.sees("never mind");
    alice.prompt("[1 unread] alice> ");
    alice.enter("/delete bob all");
    alice.prompt("y/N> ");
    alice.enter("y");
    alice.sees("4 messages with bob are deleted from this device");
    alice.prompt("alice> ");
    alice.enter("/unread");
    alice.sees("nothing is unread");
    alice.enter("/contacts");
    alice.sees("not verified");
    let contact = rows_with(&alice, "not verified").remove(0);
    assert!(contact.starts_with("bob"), "{contact}");
    assert!(!contact.contains("unread"), "{contact}");
}

#[test]
fn the_history_is_exported_into_a_new_private_file() {
    let server = Server::start();
    let (alice, _bob) = talked(&server);
    for (name, part) in [
        ("history.txt", "you to bob: supper at seven"),
        ("history.json", "\"text\":\"supper at seven\""),
    ] {
        let file = server.folder.path().join(name);
        let typed = format!("/export-history {}", file.display());
        alice.enter(&typed);
        sees_across_rows(&alice, "4 messages are written to");
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains(part), "{text}");
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        clear(&alice, "[1 unread] alice>");
        alice.enter(&typed);
        sees_across_rows(&alice, "exists already and is never overwritten");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        clear(&alice, "[1 unread] alice>");
    }
}

#[test]
fn clear_leaves_the_prompt_and_what_is_unread() {
    let server = Server::start();
    let (alice, _bob) = talked(&server);
    alice.enter("/to bob");
    alice.prompt("alice > bob> ");
    clear(&alice, "alice > bob>");
    alice.enter("/history bob 1");
    alice.sees("what a lunch");
}

#[test]
fn an_account_goes_only_with_its_name() {
    let server = Server::start();
    let alice = server.person("alice");
    for wrong in ["", "alic", "bob"] {
        alice.enter("/delete-account");
        alice.prompt("Its name, to delete it (Enter cancels): ");
        alice.enter(wrong);
        alice.sees("so nothing was deleted");
        alice.prompt("alice> ");
        clear(&alice, "alice>");
    }
    // The name on the same line is no answer to the question.
    for (typed, password) in [
        ("/delete-account alice", "wrong"),
        ("/delete-account", PASSWORD),
    ] {
        alice.enter(typed);
        alice.sees("will be deleted for good");
        alice.prompt("Its name, to delete it (Enter cancels): ");
        alice.enter("alice");
        alice.secret("Password: ", password);
        if password != PASSWORD {
            alice.sees("the password is wrong; nothing was deleted");
            alice.prompt("alice> ");
        }
    }
    alice.prompt("> ");
    alice.enter("/login alice");
    alice.secret("Password for alice: ", PASSWORD);
    alice.sees("the name or the password is wrong");
}

#[test]
fn a_command_beside_tee_asks_on_the_terminal_and_shows_what_comes() {
    let server = Server::start();
    let (alice, bob) = talked(&server);
    bob.enter("/quit");
    assert_eq!(bob.ends().code(), Some(0));
    let arguments = server.arguments("bob").join(" ");
    let client = env!("CARGO_BIN_EXE_client");
    let log = server.folder.path().join("log");
    let script = format!(
        "{client} listen --count 1 --user bob {arguments} | tee {}",
        log.display()
    );
    let seat = Seat::at("sh", &["-c".to_owned(), script], &[]);
    seat.secret("Password for bob: ", PASSWORD);
    alice.enter("/msg bob into the log");
    seat.sees("alice: into the log");
    assert!(!seat.raw().contains(PASSWORD));
    assert_eq!(seat.ends().code(), Some(0));
    let text = std::fs::read_to_string(log).unwrap();
    assert!(text.ends_with("alice: into the log\n"), "{text:?}");
    assert!(!text.contains("Password"), "{text:?}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
}
