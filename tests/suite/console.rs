//! The language that a person types into telnet: a whole conversation, what the
//! console does with envelopes, and bytes that no keyboard meant.

use serde_json::json;

use crate::harness::{Console, Server, eventually, mid, plain};

#[test]
fn a_whole_conversation_at_telnet() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.console(), server.console());
    alice.wire().write(b"\r\n");
    assert!(alice.line().starts_with("* Secure Chat console."));
    assert_eq!(
        alice.type_line("search bo"),
        "-ERR not_logged_in log in first"
    );
    alice.register("alice");
    bob.register("bob");

    let (news, answer) = alice.exchange("search BO");
    assert_eq!((&*news[0], &*answer), ("* bob is online", "+OK 1 found"));
    assert_eq!(alice.type_line("status bob"), "+OK bob is online");
    let stored = "+OK stored, not encrypted";
    assert_eq!(alice.type_line("send bob   hello  there "), stored);
    let line = bob.line();
    assert!(
        line.ends_with(" UTC NOT ENCRYPTED from alice: hello  there"),
        "{line}"
    );
    assert_eq!(bob.type_line("ack"), "+OK 1 marked as read");
    assert_eq!(alice.line(), "* bob received 1 message");

    assert_eq!(bob.type_line("logout"), "+OK");
    assert_eq!(alice.type_line("SEND Bob later"), stored);
    eventually("bob's end of session is written down", || {
        let status = alice.type_line("status bob");
        status.starts_with("+OK bob is offline, last seen ") && status.ends_with(" UTC")
    });
    let mut elsewhere = server.console();
    assert_eq!(elsewhere.login("bob"), "+OK you are bob");
    assert_eq!(elsewhere.line(), "* 1 message unread, shown below");
    assert!(elsewhere.line().ends_with("from alice: later"));
    let refused = bob.login("bob");
    assert!(refused.starts_with("-ERR already_online "), "{refused}");
    assert_eq!(
        bob.type_line("takeover bob correct horse"),
        "+OK you are bob"
    );
    assert_eq!(
        elsewhere.line(),
        "* your session was taken over by another login"
    );
    assert_eq!(elsewhere.wire().rest(), "");

    assert_eq!(
        bob.type_line("block alice"),
        "+OK listed on, presence on, refuse-unencrypted off, 1 blocked"
    );
    assert_eq!(alice.type_line("send bob blocked"), stored);
    bob.type_line("unblock alice");
    assert_eq!(
        bob.type_line("settings refuse-unencrypted on"),
        "+OK listed on, presence on, refuse-unencrypted on, 0 blocked"
    );
    let refused = alice.type_line("send bob no");
    assert!(
        refused.starts_with("-ERR unencrypted_refused "),
        "{refused}"
    );
    let (news, answer) = bob.exchange("fetch");
    assert_eq!(
        answer, "+OK 0 shown, 0 more wait",
        "what was shown is read: {news:?}"
    );
    assert_eq!(bob.type_line("quit"), "+OK goodbye");
    assert_eq!(bob.wire().rest(), "");
}

#[test]
fn passwords_change_at_telnet() {
    let server = Server::start();
    let mut alice = server.console();
    let short = alice.type_line("register alice short");
    assert!(short.starts_with("-ERR bad_password "), "{short}");
    assert_eq!(
        alice.type_line("register alice horse-battery"),
        "+OK you are alice"
    );
    let wrong = alice.type_line("passwd guessed-wrong new-password");
    assert!(wrong.starts_with("-ERR wrong_login "), "{wrong}");
    assert_eq!(alice.type_line("passwd horse-battery new-password"), "+OK");
    alice.type_line("logout");
    let old = alice.type_line("login alice horse-battery");
    assert!(old.starts_with("-ERR wrong_login "), "{old}");
    let unknown = alice.type_line("login nobody horse-battery");
    assert_eq!(unknown, old, "which of them is wrong is not said");
    assert_eq!(
        alice.type_line("login alice new-password"),
        "+OK you are alice"
    );
}

#[test]
fn what_was_shown_is_shown_again_until_acked() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.register("alice"), server.console());
    bob.register("bob");
    bob.type_line("logout");
    alice.send("bob", 1, "one").unwrap();
    alice.send("bob", 2, "two").unwrap();
    for _ in 0..2 {
        bob.login("bob");
        assert_eq!(bob.line(), "* 2 messages unread, shown below");
        assert!(bob.line().ends_with(": one"));
        assert!(bob.line().ends_with(": two"));
        bob.type_line("logout");
    }
    // Having been written is not having been read: the connection dies.
    bob.login("bob");
    drop(bob);
    let mut bob = server.console();
    eventually("the session is free", || {
        bob.login("bob") == "+OK you are bob"
    });
    bob.line();
    assert!(bob.line().ends_with(": one"));
    assert!(bob.line().ends_with(": two"));
    assert_eq!(bob.type_line("fetch"), "+OK 0 shown, 0 more wait");
    assert_eq!(bob.type_line("ack"), "+OK 0 marked as read");
    bob.type_line("logout");
    assert_eq!(bob.exchange("login bob correct horse").0, [""; 0]);
    assert_eq!(bob.type_line("ping"), "+OK", "nothing is unread");
}

#[test]
fn envelopes_are_counted_and_left_to_the_client() {
    let server = Server::start();
    // The same password in both languages, so that bob has a client as well.
    let (mut alice, mut client) = (server.register("alice"), server.register("bob"));
    client.ok("logout", json!({}));
    let mut bob = server.console();
    bob.login("bob");
    let envelope = |number: u64| json!({"to": "bob", "mid": mid(number), "envelope": "AQID"});
    alice.ok("send", envelope(1));
    assert_eq!(bob.line(), "* 1 message waits for your client, encrypted");
    alice.send("bob", 2, "in the clear").unwrap();
    assert!(
        bob.line()
            .ends_with("NOT ENCRYPTED from alice: in the clear")
    );
    alice.ok("send", envelope(3));
    assert_eq!(bob.line(), "* 2 messages wait for your client, encrypted");
    assert_eq!(bob.type_line("ack"), "+OK 1 marked as read");
    assert_eq!(bob.type_line("fetch"), "+OK 0 shown, 2 more wait");
    bob.type_line("logout");
    bob.login("bob");
    assert_eq!(bob.line(), "* 2 messages wait for your client, encrypted");
    bob.type_line("logout");

    assert_eq!(client.login("bob").unwrap()["envelopes"], 2);
    assert_eq!(client.message().mid, mid(1));
    assert_eq!(client.message().mid, mid(3));
    assert_eq!(client.ack("alice", &[mid(1), mid(3)]), (2, 0));
}

#[test]
fn a_message_cannot_forge_lines_or_drive_the_terminal() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.register("alice"), server.console());
    bob.register("bob");
    let text = "hi\r\n+OK forged\n* 2026 NOT ENCRYPTED from bank: pay\u{1b}[2J\u{9b}31m\u{202e}x\0\u{7f}\t\u{2028}end";
    alice.send("bob", 1, text).unwrap();
    assert!(bob.line().ends_with("from alice: hi"));
    assert_eq!(bob.line(), "*     | +OK forged");
    assert_eq!(bob.line(), "*     | * 2026 NOT ENCRYPTED from bank:");
    let line = bob.line();
    let shown = "*     | pay\\u{1b}[2J\\u{9b}31m\\u{202e}x\\u{0}\\u{7f} ";
    assert!(line.starts_with(shown), "{line}");
    assert!(line.ends_with(" \\u{2028}end"), "{line}");
    assert!(!line.chars().any(char::is_control), "{line:?}");
    // Nor can an error, which repeats what was typed.
    let answer = bob.type_line("send \u{202e}evil\u{9b}2J x");
    assert!(!answer.contains('\u{202e}') && !answer.chars().any(char::is_control));
}

#[test]
fn help_names_every_command_and_the_rest_needs_json() {
    let server = Server::start();
    let mut person = server.console();
    let (help, answer) = person.exchange("help");
    assert_eq!(answer, "+OK");
    let help = help.join("\n");
    for command in "register login takeover search status msg fetch ack block unblock settings \
                    passwd logout quit"
        .split_whitespace()
    {
        assert!(help.contains(command), "{command}");
        let answer = person.type_line(command);
        assert!(!answer.contains("unknown_op"), "{command}: {answer}");
        if command == "logout" || command == "passwd" {
            // A request that is understood ends a row of bad lines.
            person.exchange("help");
        }
        if command == "quit" {
            assert_eq!(answer, "+OK goodbye");
        }
    }
    let mut person = server.console();
    for op in [
        "hello",
        "kdf",
        "keys",
        "publish",
        "outcome",
        "delete_account",
    ] {
        let answer = person.type_line(op);
        assert!(answer.starts_with("-ERR use_json "), "{op}: {answer}");
    }
}

#[test]
fn telnet_negotiation_and_line_ends_are_understood() {
    let server = Server::start();
    let mut person = server.console();
    // IAC DO 3, IAC WILL 31, a window size, then a command amid more of it.
    person
        .wire()
        .write(b"\xff\xfd\x03\xff\xfb\x1f\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0");
    assert_eq!(person.type_line("ping"), "+OK");
    let ways: [&[u8]; 6] = [
        b"ping\n",
        b"ping\r\n",
        b"  PING \t\r\n",
        b"pi\xff\xf1ng\r\n",
        b"\xff\xfb\x18ping\xff\xfc\x18\r\n",
        b"ping\r\0\n",
    ];
    for way in ways {
        person.wire().write(way);
        assert_eq!(person.line(), "+OK", "{way:?}");
    }
    // In pieces of a byte, and several at once.
    for byte in b"ping\r\nping\r\n" {
        person.wire().write(&[*byte]);
    }
    person.wire().write(b"ping\nping\r\nping\nhalf a li");
    for _ in 0..5 {
        assert_eq!(person.line(), "+OK");
    }
    person.wire().write(b"ne\n");
    assert!(person.line().starts_with("-ERR unknown_op "));
}

#[test]
fn garbage_is_refused_in_words_then_the_connection_ends() {
    let server = Server::start();
    let lines: [&[u8]; 6] = [
        b"\x00\x01\x02\x03\n",
        b"\xc3\x28 not utf-8\n",
        b"send bo\x07b beep\n",
        b"\x7fELF\x02\x01\x01\n",
        b"frobnicate\n",
        b"\xff\xfa never ends\n",
    ];
    let mut person = server.console();
    for line in lines {
        person.wire().write(line);
        let answer = person.line();
        let known = answer.starts_with("-ERR bad_request ")
            || answer.starts_with("-ERR unknown_op ")
            || answer.starts_with("* Secure Chat console.");
        assert!(known, "{line:?}: {answer}");
    }
    // Ten in a row are enough; one that is understood begins the row anew.
    assert_eq!(person.exchange("help").1, "+OK");
    for _ in 0..9 {
        assert!(
            person
                .type_line("frobnicate")
                .starts_with("-ERR unknown_op ")
        );
    }
    assert_eq!(person.exchange("help").1, "+OK");
    for _ in 0..10 {
        person.wire().write(b"frobnicate\n");
    }
    let end = person.wire().rest();
    assert!(
        end.lines()
            .last()
            .unwrap()
            .starts_with("-ERR too_many_errors "),
        "{end}"
    );
}

#[test]
fn names_that_look_like_others_are_refused() {
    let server = Server::start();
    let mut person = server.console();
    let names = [
        "\u{430}lice",
        "bob\u{202e}",
        "bo\u{200d}b",
        "\u{ff21}da",
        "-bob",
        "*",
        "a/b",
    ];
    for name in names {
        let answer = person.type_line(&format!("register {name} correct horse"));
        assert!(answer.starts_with("-ERR bad_request "), "{name}: {answer}");
    }
    let long = "a".repeat(33);
    person.exchange("help");
    let answer = person.type_line(&format!("status {long}"));
    assert!(answer.starts_with("-ERR bad_request "), "{answer}");
}

#[test]
fn a_console_text_has_the_same_bound_as_any() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.console(), server.register("bob"));
    alice.register("alice");
    let longest = "x".repeat(16 * 1024);
    alice
        .wire()
        .write(format!("send bob {longest}\r\n").as_bytes());
    let message = bob.message();
    assert_eq!(message.body, longest);
    bob.ack("alice", &[message.mid]);
    assert!(alice.line().starts_with("+OK "));
    let answer = alice.type_line(&format!("send bob {longest}x"));
    assert!(answer.starts_with("-ERR too_large "), "{answer}");
}

#[test]
fn both_languages_meet() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.console(), server.register("bob"));
    alice.register("alice");
    let to_alice = bob.post("send", &plain("alice", 1, "from JSON"));
    assert!(alice.line().ends_with("NOT ENCRYPTED from bob: from JSON"));
    assert_eq!(bob.answer(to_alice).unwrap()["state"], "stored");
    alice.type_line("ack");
    assert_eq!(bob.event()["event"], "delivered");
    send_and_expect(&mut alice, &mut bob);
}

fn send_and_expect(alice: &mut Console, bob: &mut crate::harness::Client) {
    alice.wire().write(b"send bob from telnet\r\n");
    let message = bob.message();
    assert_eq!((&*message.from, &*message.body), ("alice", "from telnet"));
    assert_eq!(bob.ack("alice", &[message.mid]), (1, 0));
    assert!(alice.line().starts_with("+OK "));
}

#[test]
fn a_fetch_shows_each_message_once() {
    // More than a session is pushed before it acknowledges.
    const MESSAGES: u64 = 2_100;
    let server = Server::start();
    let mut alice = server.register("alice");
    server.register("bob").ok("logout", json!({}));
    alice.send_all(
        "bob",
        (0..MESSAGES).map(|number| (number, format!("text {number};"))),
    );
    let mut bob = server.console();
    assert_eq!(bob.login("bob"), "+OK you are bob");
    let (mut shown, mut answer) = bob.exchange("ping");
    while answer != "+OK 0 shown, 0 more wait" {
        let (news, next) = bob.exchange("fetch");
        shown.extend(news);
        answer = next;
    }
    // What is pushed behind an answer is read with the next one.
    for number in 0..MESSAGES {
        let text = format!(": text {number};");
        let times = shown.iter().filter(|line| line.ends_with(&text)).count();
        assert_eq!(times, 1, "{text}");
    }
}
