//! What a hostile server gets from real clients. One run prints the table:
//!
//! ```text
//! cargo test --test hostile_server -- --nocapture
//! ```
//!
//! Two or three client processes talk to the real server through proxies that
//! rewrite their lines (`hostile_server/lab.rs`). Every row says what the client
//! shows, whether words of a message left readable (to the wire, or to a key of the
//! one in between), and whether something false was shown as genuine. A row that
//! is not clean is a gap: it says so, and names what is lost.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on has failed"
)]

#[path = "hostile_server/attacks/mod.rs"]
mod attacks;
#[path = "hostile_server/figures.rs"]
mod figures;
mod harness;
#[path = "hostile_server/lab.rs"]
mod lab;
#[path = "hostile_server/mallory.rs"]
mod mallory;

use std::sync::Mutex;
use std::thread;

use attacks::{ATTACKS, Row};

/// How many servers with their clients run at once.
const AT_ONCE: usize = 3;

#[test]
fn a_hostile_server_gets_nothing() {
    let next = Mutex::new(ATTACKS.iter().enumerate());
    let rows = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((place, attack)) = next.lock().unwrap().next() else {
                        return;
                    };
                    let found = attack();
                    rows.lock().unwrap().push((place, found));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap();
    rows.sort_by_key(|(place, _)| *place);
    let rows: Vec<Row> = rows.into_iter().flat_map(|(_, rows)| rows).collect();
    println!("{}", table(&rows));
    let page = figures::page();
    let missing = |row: &&Row| !page.contains(&format!("\n| {} |", row.attack));
    let missing: Vec<_> = rows.iter().filter(missing).map(|row| row.attack).collect();
    assert!(missing.is_empty(), "not in docs/SECURITY.md: {missing:?}");
    let broken = |row: &&Row| row.gap.is_none() && (row.left || row.lies > 0);
    let broken: Vec<_> = rows.iter().filter(broken).map(|row| row.attack).collect();
    assert!(broken.is_empty(), "not clean, and no known gap: {broken:?}");
}

fn table(rows: &[Row]) -> String {
    let mut table = "| attack | what the client shows | plaintext left | false message shown |\n\
                     | --- | --- | --- | --- |\n"
        .to_owned();
    let word = |yes| if yes { "YES" } else { "no" };
    for row in rows {
        let (left, lies) = (word(row.left), word(row.lies > 0));
        let gap = row
            .gap
            .map_or(String::new(), |gap| format!(" **Gap:** {gap}"));
        table += &format!(
            "| {} | `{}`{gap} | {left} | {lies} |\n",
            row.attack, row.shows
        );
    }
    let gaps = rows.iter().filter(|row| row.gap.is_some()).count();
    table + &format!("\n{} attacks, {gaps} of them with a gap", rows.len())
}
