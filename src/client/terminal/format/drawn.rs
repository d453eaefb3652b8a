//! What a terminal draws of what others write: a terminal emulator judges that no
//! row which begins at the left edge is theirs.

use std::num::NonZeroU16;

use proptest::prelude::*;

use super::{GUTTER, Look, Times, lines};
use crate::client::view::{Mark, Tone, ViewEvent};
use crate::protocol::MessageId;

const LOOK: Look = Look {
    colours: true,
    plain: false,
    controls: true,
    times: Times::Short,
};

/// The rows that a terminal with this many columns shows, and whether it wrapped each itself.
fn drawn(text: &str, columns: u16) -> Vec<(String, bool)> {
    let size = |number| NonZeroU16::new(number).unwrap();
    // So high that nothing scrolls away.
    let height = u16::try_from(text.matches('\n').count() + 2).unwrap();
    let mut parser = vt100::Parser::new(size(height * 2), size(columns), 0);
    parser.process(text.replace('\n', "\r\n").as_bytes());
    let screen = parser.screen();
    let last = usize::from(screen.cursor_position().0);
    let wrapped = |row| screen.row_wrapped(u16::try_from(row).unwrap());
    let rows = screen.rows(0, columns).enumerate().take(last);
    rows.map(|(row, text)| (text, wrapped(row))).collect()
}

fn message(text: &str, mark: Mark, outgoing: bool) -> ViewEvent {
    ViewEvent::Message {
        name: "a-name-of-thirty-two-letters-xyz".parse().unwrap(),
        outgoing,
        text: text.to_owned(),
        // On the first days of 1970, wherever one is.
        at: 86_400_000,
        mark,
        state: if outgoing { "delivered" } else { "" },
        id: MessageId([1; 16]),
        verified: false,
        failed: None,
        listed: false,
    }
}

/// What everything that may hold a text of others looks like, and how it begins.
fn shows(text: &str) -> Vec<(ViewEvent, &'static str)> {
    vec![
        (message(text, Mark::None, false), "1970-01-0"),
        (message(text, Mark::Unproven, false), "1970-01-0"),
        (message(text, Mark::Unencrypted, true), "1970-01-0"),
        (
            message("", Mark::Undecryptable(text.to_owned()), false),
            "1970-01-0",
        ),
        (
            ViewEvent::Line(Tone::Bad, format!("the server says \"{text}\"")),
            "the server says",
        ),
    ]
}

/// Pieces of which attacks are made, between letters of any kind.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "\\PC{0,12}",
        2 => any::<char>().prop_map(String::from),
        2 => "[a-z]{1,90}",
        2 => (1_usize..120).prop_map(|count| " ".repeat(count)),
        1 => (1_usize..60).prop_map(|count| "\u{3000}".repeat(count)),
        2 => "[\\t\\n\\r ]{1,5}",
        2 => "[世界한글ｆｕｌｌ]{1,50}",
        1 => "[👩👧❤1🇩🇪]{1,9}\u{fe0f}?\u{200d}?",
        1 => "[aе\u{301}\u{336}\u{20e3}\u{1160}\u{3164}\u{2800}\u{200b}\u{ad}\u{34f}]{1,20}",
        1 => Just("1970-01-01 00:00 bob: send me your recovery code".to_owned()),
        1 => Just("\x1b[2J\x1b[H\x1b]0;x\x07\u{9b}31m\u{202e}".to_owned()),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn check(text: &str, columns: u16) {
    for (event, beginning) in shows(text) {
        let rows = drawn(&lines(&event, LOOK, Some(usize::from(columns))), columns);
        for (number, (row, wrapped)) in rows.iter().enumerate() {
            let begins = if number == 0 {
                beginning
            } else {
                GUTTER.trim_end()
            };
            assert!(
                row.starts_with(begins),
                "{columns} columns, {text:?}: {row:?} of {rows:#?}"
            );
            assert!(!wrapped, "{columns} columns, {text:?}: {row:?} was wrapped");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_row_at_the_left_edge_is_a_senders(text in hostile(), columns in 20_u16..=200) {
        check(&text, columns);
    }

    /// Whatever is not hidden is shown, in its order.
    #[test]
    fn nothing_is_swallowed(text in "[a-z世界éк \\n\\t]{0,300}", columns in 20_u16..=200) {
        let event = message(&text, Mark::None, false);
        let look = Look { colours: false, controls: false, ..LOOK };
        let rows = lines(&event, look, Some(usize::from(columns)));
        let letters = |text: &str| text.replace([' ', '\n', '\t', '│'], "");
        let shown = letters(&rows);
        let (_, words) = shown.split_once(':').unwrap().1.split_once(':').unwrap();
        // A run of blanks may be shown as a mark.
        let marks = |text: &str| {
            let mut rest = text.to_owned();
            while let Some((at, end)) = rest.find('[').zip(rest.find(']')) {
                rest.replace_range(at..=end, "");
            }
            rest
        };
        prop_assert_eq!(marks(words), letters(&text));
    }
}

#[test]
fn padding_draws_no_line() {
    for columns in 20..=200 {
        for pad in 0..=200 {
            if pad % 7 == columns % 7 {
                let forged = "1970-01-01 00:00 bob: send me your recovery code";
                check(&format!("hi{}{forged}", " ".repeat(pad.into())), columns);
                check(&format!("hi{}{forged}", "-".repeat(pad.into())), columns);
            }
        }
    }
}

#[test]
fn every_single_character_stays_behind_the_gutter() {
    let all: Vec<char> = (0..=u32::from(char::MAX))
        .filter_map(char::from_u32)
        .collect();
    let look = Look {
        colours: false,
        ..LOOK
    };
    for some in all.chunks(2000) {
        // Between letters, so that none is alone in a row.
        let text: String = some.iter().flat_map(|one| ['x', *one]).collect();
        let event = message(&text, Mark::None, false);
        for (number, (row, wrapped)) in drawn(&lines(&event, look, Some(60)), 60).iter().enumerate()
        {
            let begins = if number == 0 {
                "1970"
            } else {
                GUTTER.trim_end()
            };
            assert!(row.starts_with(begins) && !wrapped, "{row:?}");
        }
    }
}
