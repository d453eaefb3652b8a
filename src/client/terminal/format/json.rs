//! Events as JSON for scripts: one object a line, as docs/SCRIPTS.md describes them. The texts are
//! exact; characters that a terminal would obey or not show are written as escapes of JSON.

use serde_json::{Value, json};

use crate::client::local_time;
use crate::client::view::{Mark, ViewEvent};
use crate::protocol::UserName;
use crate::protocol::sanitize::sanitize;

/// The event as a line with its newline; `None` if it is no data. `me` is the account.
pub(in crate::client::terminal) fn line(event: &ViewEvent, me: &UserName) -> Option<String> {
    let object = match event {
        ViewEvent::Message { .. } => message(event, me),
        ViewEvent::Status(status) => json!({
            "type": "status",
            "name": status.name.as_str(),
            "online": status.online,
            "last_seen": status.last_seen.map(local_time::utc),
        }),
        ViewEvent::Contact {
            name,
            known,
            verified,
            changed,
            blocked,
            unread,
            dropped: _,
        } => json!({
            "type": "contact",
            "name": name.as_str(),
            "known": known,
            "verified": verified,
            "changed": changed,
            "blocked": blocked,
            "unread": unread,
        }),
        ViewEvent::SafetyNumber {
            name,
            number,
            verified,
        } => json!({
            "type": "safety_number",
            "name": name.as_str(),
            "number": number.split_whitespace().collect::<Vec<_>>().join(" "),
            "verified": verified,
        }),
        ViewEvent::Registered {
            name,
            recovery_file,
        } => json!({
            "type": "registered",
            "name": name.as_str(),
            "recovery_file": recovery_file.as_ref().map(|file| file.to_string_lossy()),
        }),
        ViewEvent::Waiting(count) => json!({"type": "waiting", "count": count}),
        ViewEvent::ServerRow(row) => json!({
            "type": "server_row",
            "table": row.table,
            "relation": row.relation,
            "values": row.values,
        }),
        ViewEvent::Withheld(rows) => json!({
            "type": "withheld",
            "table": rows.table,
            "relation": rows.relation,
            "why": rows.why,
        }),
        ViewEvent::Line(..)
        | ViewEvent::Receipt { .. }
        | ViewEvent::Sent { .. }
        | ViewEvent::QrCode(_) => return None,
    };
    Some(harmless(&object.to_string()) + "\n")
}

fn message(event: &ViewEvent, me: &UserName) -> Value {
    let ViewEvent::Message {
        name,
        outgoing,
        text,
        at,
        mark,
        state,
        id,
        verified,
        failed,
        listed: _,
    } = event
    else {
        return Value::Null;
    };
    let (from, to) = match outgoing {
        true => (me, name),
        false => (name, me),
    };
    let (encrypted, proven, text, problem) = match mark {
        Mark::None => (true, true, Some(text), None),
        Mark::Unencrypted | Mark::Unproven => (false, false, Some(text), None),
        Mark::Undecryptable(why) => (true, false, None, Some(why.as_str())),
        Mark::Held | Mark::HeldNew => (
            true,
            false,
            None,
            Some("held: its sender's identity is not accepted"),
        ),
    };
    let state = match (outgoing, *state) {
        (false, _) => "received",
        (true, "not sent") => "failed",
        (true, "received") => "confirmed",
        (true, state) => state,
    };
    json!({
        "type": "message",
        "id": id.to_string(),
        "time": local_time::utc(*at),
        "from": from.as_str(),
        "to": to.as_str(),
        "encrypted": encrypted,
        "proven": proven,
        "verified": *verified && proven,
        "state": state,
        "text": text,
        "problem": problem.or(failed.as_deref()),
    })
}

/// Escapes what a terminal would obey or not show. `serde_json` has escaped the controls of ASCII.
fn harmless(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        let mut buffer = [0; 4];
        let visible = character.is_ascii_graphic()
            || character == ' '
            || sanitize(character.encode_utf8(&mut buffer))
                .chars()
                .eq([character]);
        if visible {
            escaped.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            escaped.push_str(&format!("\\u{unit:04x}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::MessageId;

    fn name(name: &str) -> UserName {
        name.parse().unwrap()
    }

    fn message_of(text: &str, mark: Mark) -> ViewEvent {
        ViewEvent::Message {
            name: name("bob"),
            outgoing: false,
            text: text.to_owned(),
            at: 1_700_000_000_007,
            mark,
            state: "",
            id: MessageId([0xab; 16]),
            verified: true,
            failed: None,
            listed: false,
        }
    }

    #[test]
    fn texts_are_exact_and_no_terminal_obeys_them() {
        let text = "tab\t nul\0 \u{1b}[2J\u{9b}31m \u{202e}\u{200b}\u{2028} 世界 👩‍👩‍👧 \u{e0041}\u{301}\r\n\"\\";
        let line = line(&message_of(text, Mark::None), &name("alice")).unwrap();
        assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
        for obeyed in [
            '\u{1b}', '\u{9b}', '\u{202e}', '\u{200b}', '\u{2028}', '\r', '\0',
        ] {
            assert!(!line.contains(obeyed), "{obeyed:?} in {line}");
        }
        assert!(line.contains("世界"), "{line}");
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["text"], text);
        assert_eq!(value["time"], "2023-11-14T22:13:20.007Z");
        assert_eq!(value["id"], "ab".repeat(16));
        assert_eq!(
            (&value["from"], &value["to"]),
            (&json!("bob"), &json!("alice"))
        );
    }

    #[test]
    fn only_what_was_decrypted_is_proven_or_verified() {
        for (mark, encrypted, proven) in [
            (Mark::None, true, true),
            (Mark::Unencrypted, false, false),
            (Mark::Unproven, false, false),
            (Mark::Undecryptable("why".to_owned()), true, false),
            (Mark::Held, true, false),
            (Mark::HeldNew, true, false),
        ] {
            let line = line(&message_of("x", mark.clone()), &name("alice")).unwrap();
            let value: Value = serde_json::from_str(&line).unwrap();
            let flags = (&value["encrypted"], &value["proven"], &value["verified"]);
            assert_eq!(
                flags,
                (&json!(encrypted), &json!(proven), &json!(proven)),
                "{mark:?}"
            );
            assert_eq!(
                value["text"].is_null(),
                value["problem"].is_string(),
                "{mark:?}"
            );
        }
    }

    #[test]
    fn remarks_are_no_data() {
        assert!(line(&ViewEvent::bad("x"), &name("alice")).is_none());
    }
}
