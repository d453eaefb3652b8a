//! Keys typed into an editor, and the lines that come of them.

use super::*;
use crate::client::terminal::keys::Keys;

fn complete(typed: &str) -> (usize, Vec<String>) {
    crate::client::app::commands::complete(typed, true, &["bob".to_owned(), "bea".to_owned()])
}

/// Types bytes, and gives the steps that are more than drawing.
fn type_into(editor: &mut Editor, bytes: &str) -> Vec<Step> {
    let mut keys = Keys::default();
    keys.add(bytes.as_bytes());
    let mut steps = Vec::new();
    loop {
        let key = match editor.quotes_next_key() {
            true => keys.literal(),
            false => keys.next(true),
        };
        let Some(key) = key else { return steps };
        match editor.key(key, &complete) {
            Step::Draw => {}
            step => steps.push(step),
        }
    }
}

fn lines(bytes: &str) -> Vec<String> {
    let typed = type_into(&mut Editor::new(), bytes);
    let line = |step| match step {
        Step::Line(text) => Some(text.to_string()),
        _ => None,
    };
    typed.into_iter().filter_map(line).collect()
}

#[test]
fn lines_are_edited() {
    assert_eq!(lines("helo\x1b[Dl\r"), ["hello"]);
    assert_eq!(lines("two words\x17\x15all\x19\r"), ["alltwo "]);
    assert_eq!(lines("abc\x01\x04\x0b\x19\x19\r"), ["bcbc"]);
    assert_eq!(lines("a\x16\x03b\x1b\rc\r"), ["a\u{3}b\nc"]);
    assert_eq!(lines("abc\x7f\x1f\r"), ["abc"]);
    // An Escape pressed by mistake swallows no letter.
    assert_eq!(lines("\x1bhello\r"), ["hello"]);
}

#[test]
fn earlier_lines_come_back() {
    assert_eq!(
        lines("one\rtwo\rdraft\x1b[A\x1b[A\r").last().unwrap(),
        "one"
    );
    let kept = lines("one\rdraft\x1b[A\x1b[B\r");
    assert_eq!(kept, ["one", "draft"]);
    assert_eq!(lines("one\rtwo\ronly\r\x12o\x12\r").last().unwrap(), "two");
    assert_eq!(lines("one\rtwo\r\x12o\x12\x13\r").last().unwrap(), "two");
    assert_eq!(lines("one\rdraft\x12on\x07!\r").last().unwrap(), "draft!");
    assert_eq!(lines("one\r\x12on!\x7f\r").last().unwrap(), "one");
}

#[test]
fn tab_completes_and_is_a_tab_in_a_text() {
    assert_eq!(lines("/con\t\r"), ["/contacts "]);
    assert_eq!(lines("/msg bo\thi\tyou\r"), ["/msg bob hi\tyou"]);
    assert_eq!(lines("\tindented\r"), ["\tindented"]);
    let listed = type_into(&mut Editor::new(), "/msg b\t");
    assert_eq!(listed, [Step::Say("bob  bea".to_owned())]);
}

#[test]
fn an_interrupt_drops_the_draft_or_the_question() {
    let mut editor = Editor::new();
    for draft in ["draft", "x\x12dr"] {
        let steps = type_into(&mut editor, &format!("{draft}\x03"));
        assert!(matches!(steps[..], [Step::Drop(_)]), "{steps:?}");
    }
    assert!(matches!(type_into(&mut editor, "\x03")[..], [Step::Say(_)]));
    assert_eq!(type_into(&mut editor, "\x04"), [Step::End]);
    for kind in [Kind::Question, Kind::Secret] {
        editor.ask(kind);
        assert_eq!(type_into(&mut editor, "y\x03"), [Step::Cancel]);
        assert_eq!(editor.shown("> ").1, "");
    }
}

#[test]
fn a_secret_is_neither_shown_nor_remembered() {
    let mut editor = Editor::new();
    editor.ask(Kind::Secret);
    assert!(
        type_into(
            &mut editor,
            "open\x17sesame\x15\x1b[200~open sesame\n\x1b[201~"
        )
        .is_empty()
    );
    assert_eq!(editor.shown("> ").1, "");
    let typed = type_into(&mut editor, "\r");
    assert_eq!(
        typed,
        [Step::Line(Zeroizing::new("open sesame".to_owned()))]
    );
    editor.ask(Kind::Line);
    assert!(type_into(&mut editor, "\x19\x1b[A\x1f").is_empty());
    assert_eq!(editor.shown("> ").1, "");
}

#[test]
fn a_line_that_is_too_long_is_said() {
    let mut editor = Editor::new();
    let long = "x".repeat(MAX_LINE);
    assert!(matches!(
        type_into(&mut editor, &format!("\x1b[200~{long}\x1b[201~y"))[..],
        [Step::Say(_)]
    ));
    assert_eq!(lines(&format!("\x1b[200~{long}\x1b[201~\r")), [long]);
}

#[test]
fn a_backslash_at_the_end_goes_on_in_the_next_row() {
    assert_eq!(lines("one\\\rtwo\r"), ["one\ntwo"]);
    assert_eq!(lines("one\x1b\rtwo\r"), ["one\ntwo"]);
    assert_eq!(lines("one\\\\\r"), ["one\\\\"], "two are just that");
    assert_eq!(lines("one\\ \r"), ["one\\ "]);
    assert_eq!(
        lines("one\\\x1b[D\r"),
        ["one\\"],
        "the cursor is not behind it"
    );
    let mut editor = Editor::new();
    editor.ask(Kind::Secret);
    let typed = type_into(&mut editor, "secret\\\r");
    assert_eq!(typed, [Step::Line(Zeroizing::new("secret\\".to_owned()))]);
}

#[test]
fn a_draft_comes_back_after_a_question() {
    let mut editor = Editor::new();
    type_into(&mut editor, "a draft");
    editor.ask(Kind::Secret);
    assert_eq!(editor.shown("Password: ").1, "");
    type_into(&mut editor, "hidden\r");
    editor.ask(Kind::Question);
    type_into(&mut editor, "answ");
    editor.ask(Kind::Line);
    assert_eq!(editor.shown("> ").1, "a draft");
    let typed = type_into(&mut editor, "!\r");
    assert_eq!(typed, [Step::Line(Zeroizing::new("a draft!".to_owned()))]);
    // It comes once.
    editor.ask(Kind::Question);
    editor.ask(Kind::Line);
    assert_eq!(editor.shown("> ").1, "");
}
