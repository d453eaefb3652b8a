//! The checker is checked: each fault that it has to find, and what it must not take for one.

use super::checker::{UNDER_WAY, Verdict, judge};
use super::history::parse;

/// Judges lines of the form `AT WHO SESSION WHAT FIELDS`, where the fields are the inside of a JSON object.
fn verdict(lines: &str) -> Verdict {
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    let history: Vec<_> = lines
        .map(|line| {
            let words: Vec<&str> = line.splitn(5, ' ').collect();
            let [at, who, session, what] = words[..4] else {
                panic!("{line}")
            };
            let fields = words
                .get(4)
                .map_or(String::new(), |rest| format!(",{rest}"));
            parse(&format!(
                r#"{{"at":{at},"who":"{who}","session":{session},"what":"{what}"{fields}}}"#
            ))
        })
        .collect();
    judge(&history)
}

/// The numbers of lost, shown twice, out of order, two live, wrong.
fn counts(lines: &str) -> [usize; 5] {
    let verdict = verdict(lines);
    let Verdict {
        lost,
        twice,
        disordered,
        two_live,
        wrong,
        ..
    } = verdict;
    [lost, twice, disordered, two_live, wrong].map(|kind| kind.len())
}

const FINE: [usize; 5] = [0; 5];

#[test]
fn a_message_that_is_accepted_and_not_shown_is_lost() {
    let lost = r#"
        1 a 1 began "node":0
        2 a 1 sent "to":"b","mid":1,"number":0
        3 a 1 accepted "to":"b","mid":1"#;
    assert_eq!(counts(lost), [1, 0, 0, 0, 0]);
    let to_another = format!(
        r#"{lost}
        4 c 2 shown "from":"a","mid":1,"number":0"#
    );
    assert_eq!(counts(&to_another), [0, 0, 0, 0, 1]);
    let arrived_only = format!(
        r#"{lost}
        4 b 2 arrived "from":"a","mid":1"#
    );
    assert_eq!(counts(&arrived_only), [1, 0, 0, 0, 0]);
    let shown = format!(
        r#"{lost}
        4 b 2 shown "from":"a","mid":1,"number":0"#
    );
    assert_eq!(counts(&shown), FINE);
}

#[test]
fn a_message_without_an_answer_may_be_shown_or_not() {
    let unanswered = r#"
        1 a 1 began "node":0
        2 a 1 sent "to":"b","mid":1,"number":0
        3 a 1 ended "how":"closed""#;
    assert_eq!(counts(unanswered), FINE);
    let shown = format!(
        r#"{unanswered}
        4 b 2 shown "from":"a","mid":1,"number":0"#
    );
    assert_eq!(counts(&shown), FINE);
}

#[test]
fn a_message_that_is_shown_twice_is_found_and_one_that_arrives_twice_is_not() {
    let shown = r#"
        1 a 1 sent "to":"b","mid":1,"number":0
        2 a 1 accepted "to":"b","mid":1
        3 b 2 arrived "from":"a","mid":1
        4 b 2 shown "from":"a","mid":1,"number":0
        5 b 3 arrived "from":"a","mid":1"#;
    assert_eq!(counts(shown), FINE);
    assert_eq!(verdict(shown).arrived_again, 1);
    let twice = format!(
        r#"{shown}
        6 b 3 shown "from":"a","mid":1,"number":0"#
    );
    assert_eq!(counts(&twice), [0, 1, 0, 0, 0]);
}

#[test]
fn the_same_id_of_two_senders_is_two_messages() {
    let history = r#"
        1 a 1 sent "to":"c","mid":1,"number":0
        2 b 2 sent "to":"c","mid":1,"number":0
        3 a 1 accepted "to":"c","mid":1
        4 b 2 accepted "to":"c","mid":1
        5 c 3 shown "from":"b","mid":1,"number":0"#;
    assert_eq!(counts(history), [1, 0, 0, 0, 0]);
    let both = format!(
        r#"{history}
        6 c 3 shown "from":"a","mid":1,"number":0"#
    );
    assert_eq!(counts(&both), FINE);
}

#[test]
fn what_nobody_sent_or_what_was_changed_is_wrong() {
    let invented = r#"1 b 2 shown "from":"a","mid":1,"number":0"#;
    assert_eq!(counts(invented), [0, 0, 0, 0, 1]);
    let changed = r#"
        1 a 1 sent "to":"b","mid":1,"number":0
        2 b 2 shown "from":"a","mid":1,"number":7"#;
    assert_eq!(counts(changed), [0, 0, 0, 0, 1]);
    let answered = r#"1 a 1 accepted "to":"b","mid":1"#;
    assert_eq!(counts(answered), [0, 0, 0, 0, 1]);
}

#[test]
fn messages_of_one_sender_out_of_order_are_found_and_those_of_two_are_free() {
    let sent = r#"
        1 a 1 sent "to":"b","mid":1,"number":0
        2 a 1 sent "to":"b","mid":2,"number":1
        3 c 2 sent "to":"b","mid":9,"number":0"#;
    let disordered = format!(
        r#"{sent}
        4 b 3 shown "from":"a","mid":2,"number":1
        5 b 3 shown "from":"c","mid":9,"number":0
        6 b 3 shown "from":"a","mid":1,"number":0"#
    );
    assert_eq!(counts(&disordered), [0, 0, 1, 0, 0]);
    let ordered = format!(
        r#"{sent}
        4 b 3 shown "from":"a","mid":1,"number":0
        5 b 3 shown "from":"c","mid":9,"number":0
        6 b 3 shown "from":"a","mid":2,"number":1"#
    );
    assert_eq!(counts(&ordered), FINE);
    // To two recipients there is no order.
    let apart = r#"
        1 a 1 sent "to":"b","mid":1,"number":0
        2 a 1 sent "to":"c","mid":2,"number":0
        3 c 3 shown "from":"a","mid":2,"number":0
        4 b 2 shown "from":"a","mid":1,"number":0"#;
    assert_eq!(counts(apart), FINE);
}

#[test]
fn a_refusal_keeps_the_order_only_where_the_server_promises_it() {
    let history = |code: &str, again: u64| {
        format!(
            r#"
        1 a 1 sent "to":"b","mid":1,"number":0
        2 a 1 sent "to":"b","mid":2,"number":1
        3 a 1 refused "to":"b","mid":1,"code":"{code}"
        4 b 2 shown "from":"a","mid":2,"number":1
        {again} a 1 sent "to":"b","mid":1,"number":0,"again":true
        20000000 b 2 shown "from":"a","mid":1,"number":0"#
        )
    };
    assert_eq!(counts(&history("storage", 5)), [0, 0, 1, 0, 0]);
    assert_eq!(counts(&history("storage", 11_000_000)), FINE);
    assert_eq!(counts(&history("slow_down", 5)), FINE);
    assert_eq!(
        counts(&history("id_conflict", 5)),
        [0, 0, 0, 0, 1],
        "for good"
    );
}

#[test]
fn resends_after_a_lost_connection_are_no_fault() {
    let history = r#"
        1 a 1 began "node":0
        2 a 1 sent "to":"b","mid":1,"number":0
        3 a 1 sent "to":"b","mid":2,"number":1
        4 a 1 ended "how":"closed"
        5 a 2 began "node":1
        6 a 2 sent "to":"b","mid":1,"number":0,"again":true
        7 a 2 sent "to":"b","mid":2,"number":1,"again":true
        8 a 2 accepted "to":"b","mid":1
        9 a 2 accepted "to":"b","mid":2
        10 b 3 began "node":0
        11 b 3 shown "from":"a","mid":1,"number":0
        12 b 3 shown "from":"a","mid":2,"number":1"#;
    assert_eq!(counts(history), FINE);
    assert_eq!(verdict(history).resent, 2);
}

/// An account `b` with two sessions, 1 and 2, of which the second begins at 100; `a` sends one message
/// at 10 and one at 200.
fn two_sessions(then: &str) -> [usize; 5] {
    counts(&format!(
        r#"
        1 b 1 began "node":0
        5 b 1 sent "to":"a","mid":50
        6 b 1 acking "request":7
        10 a 3 sent "to":"b","mid":1,"number":0
        100 b 2 began "node":1
        200 a 3 sent "to":"b","mid":2,"number":1
        201 b 1 sent "to":"a","mid":51
        202 b 1 acking "request":8
        {then}"#
    ))
}

#[test]
fn what_a_session_gets_after_its_successors_welcome_is_two_live_ones() {
    let live = [0, 0, 0, 1, 0];
    // Begun after the welcome, so written after it, however soon it comes.
    assert_eq!(two_sessions(r#"300 b 1 arrived "from":"a","mid":2"#), live);
    let acked = r#"300 b 1 acked "request":8,"count":1"#;
    assert_eq!(two_sessions(acked), live);
    // The stray message is lost besides.
    let ok = r#"300 b 1 accepted "to":"a","mid":51"#;
    assert_eq!(two_sessions(ok), [1, 0, 0, 1, 0]);
    // Begun before it, and far too late.
    let late = 101 + UNDER_WAY;
    assert_eq!(
        two_sessions(&format!(r#"{late} b 1 arrived "from":"a","mid":1"#)),
        live
    );
    let acked = format!(r#"{late} b 1 acked "request":7,"count":1"#);
    assert_eq!(two_sessions(&acked), live);
    let ok = format!(
        r#"{late} b 1 accepted "to":"a","mid":50
        {late} a 3 shown "from":"b","mid":50"#
    );
    assert_eq!(two_sessions(&ok), live);
}

#[test]
fn what_was_under_way_and_what_was_refused_is_one_live_session() {
    assert_eq!(two_sessions(""), FINE);
    let under_way = r#"300 b 1 arrived "from":"a","mid":1
        301 b 1 acked "request":7,"count":1
        302 b 1 accepted "to":"a","mid":50
        303 a 3 shown "from":"b","mid":50"#;
    assert_eq!(two_sessions(under_way), FINE);
    let refused = r#"300 b 1 acked "request":8,"count":0
        301 b 1 refused "to":"a","mid":51,"code":"not_logged_in"
        302 b 1 ended "how":"replaced""#;
    assert_eq!(two_sessions(refused), FINE);
    let of_the_second = r#"300 b 2 arrived "from":"a","mid":2"#;
    assert_eq!(two_sessions(of_the_second), FINE);
}

#[test]
fn a_cut_network_holds_back_what_was_written_before_and_nothing_else() {
    let healed = 9_000_000;
    // TCP sends once more after as long as the cut has lasted, at the latest.
    let resent = healed + (healed - 250);
    let late = resent + UNDER_WAY + 1;
    let cut = format!(
        r#"250 * 0 cut "node":0
        {healed} * 0 healed "node":0"#
    );
    let held_back = format!(
        r#"{cut}
        {resent} b 1 arrived "from":"a","mid":1"#
    );
    assert_eq!(two_sessions(&held_back), FINE);
    let later = format!(
        r#"{cut}
        9000001 b 1 arrived "from":"a","mid":2"#
    );
    assert_eq!(two_sessions(&later), [0, 0, 0, 1, 0]);
    let too_late = format!(
        r#"{cut}
        {late} b 1 arrived "from":"a","mid":1"#
    );
    assert_eq!(two_sessions(&too_late), [0, 0, 0, 1, 0]);
    let elsewhere = cut.replace("\"node\":0", "\"node\":1");
    let elsewhere = format!(
        r#"{elsewhere}
        9000001 b 1 arrived "from":"a","mid":1"#
    );
    assert_eq!(two_sessions(&elsewhere), [0, 0, 0, 1, 0]);
}
