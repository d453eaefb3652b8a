//! A secret on its way from the keys to the line that was typed.

use super::editor::{Editor, Kind, Step};
use super::keys::Keys;
use crate::crypto::testing::Needle;

#[test]
fn a_secret_leaves_nothing_in_memory() {
    let needle = Needle::random();
    let mut editor = Editor::new();
    editor.ask(Kind::Secret);
    let mut keys = Keys::default();
    let type_in = |keys: &mut Keys, editor: &mut Editor, typed: &str| {
        keys.add(typed.as_bytes());
        while let Some(key) = keys.next(true) {
            if let Step::Line(line) = editor.key(key, &|_| (0, Vec::new())) {
                return Some(line);
            }
        }
        None
    };
    let spell = |keys: &mut Keys| needle.spell(|byte| keys.add(&[byte]));
    // Typed ahead, and as often corrected as can be undone, and more.
    spell(&mut keys);
    type_in(&mut keys, &mut editor, "x");
    for _ in 0..60 {
        type_in(&mut keys, &mut editor, "\x7fx");
    }
    type_in(&mut keys, &mut editor, "\x15\x1f\x15");
    // Pasted, with another end of the line.
    keys.add(b"\x1b[200~");
    spell(&mut keys);
    type_in(&mut keys, &mut editor, "\r\n\x1b[201~");
    let typed = type_in(&mut keys, &mut editor, "\r").unwrap();
    assert_eq!(typed.len(), 60);
    assert_eq!(needle.count_in_memory(), 1);
    drop(typed);
    assert_eq!(needle.count_in_memory(), 0);
    // What was typed ahead and not used goes with the program.
    spell(&mut keys);
    assert_eq!(needle.count_in_memory(), 1);
    drop(keys);
    assert_eq!(needle.count_in_memory(), 0);
}
