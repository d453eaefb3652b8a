//! What a conversation looks like on terminals of several sizes: own lines and their marks, the
//! prompt, and what arrives.

use super::seat::*;

/// The sizes that the client is shown on, as rows and columns.
const SIZES: [(u16, u16); 3] = [(24, 80), (12, 40), (22, 24)];

fn person_at(server: &Server, name: &str, size: (u16, u16), more: &[&str]) -> Seat {
    let mut arguments = server.arguments(name);
    arguments.extend(more.iter().map(ToString::to_string));
    let seat = Seat::sized(env!("CARGO_BIN_EXE_client"), &arguments, &[], size);
    seat.prompt("> ");
    seat.enter(&format!("/register {name}"));
    seat.secret_at("New password", PASSWORD);
    seat.secret_at("The same password again:", PASSWORD);
    seat.prompt(&format!("{name}> "));
    // An answer of the session shows that its keys are published.
    seat.enter("/fetch");
    seat.sees("no missed");
    seat.enter("/clear");
    seat.wait("an empty terminal", |shown| {
        screen(shown).trim() == format!("{name}>")
    });
    seat
}

/// The rows that have a text.
pub(crate) fn rows_with(seat: &Seat, text: &str) -> Vec<String> {
    let screen = seat.screen();
    let rows = screen.lines().filter(|row| row.contains(text));
    rows.map(str::to_owned).collect()
}

/// A row that begins with a time.
fn has_time(row: &str) -> bool {
    let shape: String = row
        .chars()
        .take(6)
        .map(|c| if c.is_ascii_digit() { '9' } else { c })
        .collect();
    shape == "99:99 "
}

#[test]
fn ones_own_line_has_its_time_and_a_mark_that_follows_the_message() {
    let server = Server::start();
    for (at, size) in SIZES.into_iter().enumerate() {
        let (alice, bob) = (format!("alice{at}"), format!("bob{at}"));
        let sender = person_at(&server, &alice, size, &[]);
        let recipient = server.person(&bob);
        recipient.enter("/logout");
        recipient.sees("logged out");
        sender.enter(&format!("/to {bob}"));
        sender.enter("one two three four five six 世界世界世界 seven");
        sender.sees("✓   you >");
        sender.enter("/nonsense");
        sender.sees("there is no command");
        recipient.enter(&format!("/login {bob}"));
        recipient.secret(&format!("Password for {bob}: "), PASSWORD);
        recipient.sees("one two three");
        sender.sees("✓✓  you >");
        let own = rows_with(&sender, "you >");
        assert_eq!(own.len(), 1, "{own:?}");
        assert!(has_time(&own[0]), "{own:?}");
        // The typed line has become that message, and no line says how far it got.
        let screen = sender.screen();
        assert_eq!(screen.matches("one two").count(), 1, "{screen}");
        for word in ["stored", "delivered", "received"] {
            assert!(!screen.contains(word), "{screen}");
        }
        // Once they have written, what they receive is proven.
        recipient.enter(&format!("/msg {alice} yes"));
        sender.sees("yes");
        sender.enter("again");
        sender.sees("✓✓✓ you >");
    }
}

#[test]
fn a_mark_reaches_its_row_past_other_texts_and_resizing_moves_nothing_else() {
    let server = Server::start();
    let alice = person_at(&server, "alice", (24, 80), &[]);
    let bob = server.person("bob");
    bob.enter("/logout");
    bob.sees("logged out");
    alice.enter("/to bob");
    for text in ["first", "second", "third"] {
        alice.enter(text);
        alice.sees(&format!("bob: {text}"));
    }
    alice.wait("three messages are stored", |shown| {
        screen(shown).matches("✓   you >").count() == 3
    });
    alice.keys("a draft\u{1b}\rof two lines");
    alice.sees("of two lines");
    bob.enter("/login bob");
    bob.secret("Password for bob: ", PASSWORD);
    bob.sees("third");
    alice.wait("three messages are delivered", |shown| {
        screen(shown).matches("✓✓  you >").count() == 3
    });
    alice.line("of two lines");
    assert!(alice.screen().contains("alice > bob> a draft"));
}

#[test]
fn the_prompt_counts_what_is_unread_while_one_types() {
    let server = Server::start();
    let (alice, bob) = (server.person("alice"), server.person("bob"));
    let carol = server.person("carol");
    alice.enter("/to bob");
    alice.prompt("alice > bob> ");
    alice.keys("half a line");
    carol.enter("/msg alice one from carol");
    alice.line("[1 unread] alice > bob> half a line");
    carol.enter("/msg alice two from carol");
    alice.line("[2 unread] alice > bob> half a line");
    bob.enter("/msg alice from bob");
    alice.sees("bob: from bob");
    alice.line("[2 unread] alice > bob> half a line");
    alice.keys("\u{15}");
    alice.enter("/contacts");
    alice.sees("not verified, 2 unread");
    alice.enter("/unread");
    alice.sees("2 from carol:");
    alice.prompt("alice > bob> ");
    let screen = alice.screen();
    assert_eq!(
        screen.matches("carol: two from carol").count(),
        2,
        "{screen}"
    );
    alice.enter("/unread");
    alice.sees("nothing is unread");
}

#[test]
fn an_outage_is_one_line_and_the_prompt_shows_it() {
    let mut server = Server::start();
    let (alice, bob) = (server.person("alice"), server.person("bob"));
    alice.enter("/msg bob before");
    bob.sees("alice: before");
    server.stop();
    alice.sees("connection lost");
    alice.prompt("[offline] alice> ");
    alice.enter("/msg bob written meanwhile");
    alice.sees("…   you > bob: written meanwhile");
    alice.enter("/outbox");
    alice.sees("(waiting)");
    alice.enter("/msg bob taken back");
    alice.sees("you > bob: taken back");
    let id = {
        alice.enter("/outbox");
        alice.sees("bob: taken back  (waiting)");
        let row = rows_with(&alice, "bob: taken back  (waiting)").remove(0);
        row[row.find('[').unwrap() + 1..row.find(']').unwrap()].to_owned()
    };
    alice.enter(&format!("/outbox cancel {id}"));
    alice.sees("1 message is cancelled");
    alice.sees("✗   you > bob: taken back");
    server.start_again();
    alice.sees("connected again");
    alice.prompt("alice> ");
    bob.sees("alice: written meanwhile");
    alice.sees("✓✓");
    assert_eq!(rows_with(&alice, "connection lost").len(), 1);
    assert_eq!(rows_with(&alice, "trying again").len(), 1);
    bob.enter("/fetch");
    bob.sees("no missed messages");
    assert!(!bob.screen().contains("taken back"), "{}", bob.screen());
}

#[test]
fn what_was_missed_is_a_block() {
    let server = Server::start();
    let (alice, bob) = (server.person("alice"), server.person("bob"));
    bob.enter("/logout");
    bob.sees("logged out");
    for number in 0..30 {
        alice.enter(&format!("/msg bob missed {number}."));
    }
    alice.sees("missed 29.");
    alice.wait("all are stored", |shown| {
        screen(shown).matches("✓   you >").count() == 30
    });
    bob.enter("/login bob");
    bob.secret("Password for bob: ", PASSWORD);
    bob.sees("that was all: 30 messages");
    let screen = bob.screen();
    let place = |text: &str| {
        screen
            .find(text)
            .unwrap_or_else(|| panic!("{text}: {screen}"))
    };
    assert!(place("while you were away: 30 messages") < place("missed 0."));
    assert!(place("missed 29.") < place("that was all"));
    bob.prompt("[30 unread] bob> ");
}

#[test]
fn words_wrap_at_words_and_numbers_between_their_groups() {
    let server = Server::start();
    let bob = server.person("bob");
    for (at, size) in SIZES.into_iter().enumerate() {
        let name = format!("alice{at}");
        let alice = person_at(&server, &name, size, &[]);
        alice.enter("/verify bob");
        alice.sees("safety number");
        alice.prompt(&format!("{name}> "));
        let digits = |row: &str| -> Vec<String> {
            let words = row.split_whitespace().filter(|word| *word != "│");
            let words: Vec<_> = words.map(str::to_owned).collect();
            let is_number = |word: &String| word.bytes().all(|byte| byte.is_ascii_digit());
            match words.iter().all(is_number) {
                true => words,
                false => Vec::new(),
            }
        };
        let groups: Vec<String> = alice.screen().lines().flat_map(digits).collect();
        assert!(groups.len() >= 8, "{}", alice.screen());
        assert!(groups.iter().all(|group| group.len() == 5), "{groups:?}");
        bob.enter(&format!(
            "/msg {name} Wörter brechen zwischen Wörtern um, und 世界世界世界世界世界世界世界。"
        ));
        alice.sees("。");
        for word in ["brechen", "zwischen", "Wörtern"] {
            assert!(alice.screen().contains(word), "{}", alice.screen());
        }
        for row in alice.screen().lines() {
            let width = unicode_width::UnicodeWidthStr::width(row);
            assert!(width < size.1.into(), "{row}");
        }
    }
}

#[test]
fn the_banner_fits_or_is_left_out() {
    let server = Server::start();
    for (size, shown) in [((24, 80), true), ((24, 50), false), ((12, 80), false)] {
        let arguments = server.arguments("nobody");
        let seat = Seat::sized(env!("CARGO_BIN_EXE_client"), &arguments, &[], size);
        seat.prompt("> ");
        assert_eq!(seat.screen().contains("____"), shown, "{}", seat.screen());
    }
}

#[test]
fn the_bell_and_the_title_are_there_on_request() {
    let server = Server::start();
    let bob = server.person("bob");
    let quiet = server.person("carol");
    let alice = person_at(&server, "alice", (24, 80), &["--bell", "--title"]);
    bob.enter("/msg alice ring");
    bob.enter("/msg carol ring");
    alice.sees("bob: ring");
    quiet.sees("bob: ring");
    alice.wait("a bell", |shown| shown.raw_contains(b"\n\x07"));
    alice.wait("a title", |shown| {
        shown.raw_contains(b"\x1b]2;(1) alice - Secure Chat\x07")
    });
    assert!(!quiet.raw().contains("\x1b]2;"));
    assert!(!quiet.raw().contains('\x07'));
    alice.enter("/quit");
    let shown = std::sync::Arc::clone(&alice.shown);
    assert_eq!(alice.ends().code(), Some(0));
    assert!(
        shown.0.lock().unwrap().raw_contains(b"\x1b[23;2t"),
        "its own title is back"
    );
}

/// All that a plain terminal shows, as it came. The times are taken out.
#[test]
fn plain_is_words_alone_and_nothing_is_drawn_twice() {
    let server = Server::start();
    let bob = server.person("bob");
    let mut arguments = server.arguments("alice");
    arguments.push("--plain".to_owned());
    let alice = Seat::sized(env!("CARGO_BIN_EXE_client"), &arguments, &[], (24, 80));
    alice.prompt("> ");
    alice.enter("/register alice");
    alice.secret("New password (at least 8 characters): ", PASSWORD);
    alice.secret("The same password again: ", PASSWORD);
    alice.prompt("alice> ");
    let begun = alice.raw().len();
    alice.enter("/to bob");
    alice.sees("makes sure of");
    alice.prompt("alice > bob> ");
    alice.enter("hello");
    alice.sees("delivered to bob");
    alice.prompt("alice > bob> ");
    bob.enter("/msg alice good morning");
    alice.sees("bob: good morning");
    alice.prompt("alice > bob> ");
    alice.enter("/quit");
    let shown = std::sync::Arc::clone(&alice.shown);
    assert_eq!(alice.ends().code(), Some(0));
    let raw = String::from_utf8(shown.0.lock().unwrap().raw.clone()).unwrap();
    assert!(!raw.contains('\x1b'), "{raw:?}");
    let digits = |c: char| if c.is_ascii_digit() { '9' } else { c };
    let transcript: String = raw[begun..]
        .chars()
        .filter(|c| *c != '\r')
        .map(digits)
        .collect();
    // The answer `stored` may come before `delivered`.
    let transcript = transcript.replace("99:99 stored for bob\nalice > bob> \n", "");
    // So may the prompt.
    let transcript = transcript.replace("hello\nalice > bob> \n", "hello\n");
    assert_eq!(
        transcript,
        "/to bob\n\
         bob                  online\n\
         what you type goes to bob, encrypted, and numbers are text from here on; /to\n      │ ends it, /verify bob makes sure of them\n\
         alice > bob> hello\n\
         99:99 delivered to bob\n\
         alice > bob> \n\
         99:99 bob: good morning\n\
         alice > bob> /quit\n"
    );
}
