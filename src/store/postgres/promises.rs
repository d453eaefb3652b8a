//! What the database is set to promise less than a server's `ok` does. Only the operator can change that,
//! so it is said.

use super::connection::Connection;
use super::failure::Failure;
use super::values::get;

/// What is amiss, a sentence each. `standbys` is how many synchronous standbys the operator has asked for.
pub(super) fn weaknesses(
    connection: &mut Connection,
    standbys: u32,
) -> Result<Vec<String>, Failure> {
    let mut setting = |name: &'static str| -> Result<String, Failure> {
        let row = connection.row("SELECT current_setting($1)", &[&name])?;
        row.map_or(Ok(String::new()), |row| get(&row, 0))
    };
    let mut found = Vec::new();
    if setting("fsync")? == "off" {
        found
            .push("the database is set to fsync=off: a crash of its machine loses mail".to_owned());
    }
    if setting("full_page_writes")? == "off" {
        found.push(
            "the database is set to full_page_writes=off: a crash of its machine can damage it"
                .to_owned(),
        );
    }
    if setting("synchronous_commit")? != "on" {
        found.push(
            "the database does not let this server set synchronous_commit=on: its crash loses mail"
                .to_owned(),
        );
    }
    let confirming = confirming(&setting("synchronous_standby_names")?);
    if confirming < standbys {
        found.push(format!(
            "the database waits for {confirming} synchronous standbys at a commit, and \
             --store-standbys asks for {standbys}: set synchronous_standby_names"
        ));
    }
    Ok(found)
}

/// How many standbys a commit waits for, as `synchronous_standby_names` says.
fn confirming(names: &str) -> u32 {
    let names = names.trim();
    let Some((head, _)) = names.split_once('(') else {
        return u32::from(!names.is_empty());
    };
    let number = head.split_whitespace().next_back();
    number.and_then(|number| number.parse().ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standbys_that_a_commit_waits_for_are_counted() {
        for (names, count) in [
            ("", 0),
            ("  ", 0),
            ("one", 1),
            ("*", 1),
            ("one, two", 1),
            ("2 (one, two, three)", 2),
            ("FIRST 2 (one, two)", 2),
            ("any 3 (*)", 3),
            ("ANY 1(one,two)", 1),
        ] {
            assert_eq!(confirming(names), count, "{names}");
        }
    }
}
