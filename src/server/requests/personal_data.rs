//! What a user is told of what the server holds about them.

use super::Handler;
use crate::protocol::refusal::Refusal;
use crate::protocol::reply::{Answer, PersonalData, Reply, Withheld};
use crate::protocol::request::AfterRow;
use crate::server::delivery::Now;
use crate::server::delivery::refusals::read_failed;
use crate::server::personal_data::{data_row, session_row};
use crate::store::personal_data::{After, Person, START, Section};

/// Rows of one answer, which fit into a line.
const ROWS: usize = 100;

impl Handler {
    /// Some of the rows that the user owns, and at the end a list of those that are withheld.
    pub(super) fn personal_data(&self, after: &AfterRow, now: Now) -> Answer {
        let session = &self.logged_in()?.session;
        let mut rows = Vec::new();
        let (mut section, mut from) = match &after.after {
            Some(place) => parse(place).ok_or_else(|| {
                Refusal::bad_request("'after' is the 'next' of the answer before, or is left out")
            })?,
            None => {
                let address = self.peer.map(|peer| peer.to_string());
                let (name, since, shown) = (&session.name, session.since, session.present);
                rows.push(session_row(name, address, since, shown));
                (0, START)
            }
        };
        let limits = &self.shared.limits;
        let person = Person {
            id: session.user,
            name: session.name.as_str(),
        };
        let mut next = None;
        while let Some(of) = Section::ALL.get(section) {
            if of.withheld().is_none() {
                let room = ROWS.saturating_sub(rows.len());
                if room == 0 {
                    next = Some(format!("{section}.{}.{}", from.0, from.1));
                    break;
                }
                let page = self.shared.store.personal_data(person, *of, from, room);
                let page = page.map_err(read_failed)?;
                limits.look_up(session.user, page.rows.len(), now.instant)?;
                let found = page.rows.into_iter().map(|row| data_row(*of, row, false));
                rows.extend(found);
                if let Some(more) = page.next {
                    from = more;
                    continue;
                }
            }
            (section, from) = (section + 1, START);
        }
        let withheld = match next {
            Some(_) => Vec::new(),
            None => withheld(),
        };
        Ok(Reply::PersonalData(PersonalData {
            rows,
            withheld,
            next,
        }))
    }
}

/// A place as an answer names it: the section, and the key of its last row.
fn parse(place: &str) -> Option<(usize, After)> {
    let mut parts = place.split('.');
    let section: usize = parts.next()?.parse().ok()?;
    let after = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let own = Section::ALL.get(section)?.withheld().is_none();
    (own && parts.next().is_none()).then_some((section, after))
}

fn withheld() -> Vec<Withheld> {
    let of_store = Section::ALL.into_iter().filter_map(|section| {
        Some(Withheld {
            table: section.table().to_owned(),
            relation: section.relation().to_owned(),
            why: section.withheld()?.to_owned(),
        })
    });
    let logs = Withheld {
        table: "log".to_owned(),
        relation: "lines of the logs that name the account".to_owned(),
        why: "they name others, too; ask the operator, who has `server what-we-know`".to_owned(),
    };
    let bodies = Withheld {
        table: "mail".to_owned(),
        relation: "the bodies of mail that waits for it".to_owned(),
        why: "they reach you as messages; nobody but you can read those that are encrypted"
            .to_owned(),
    };
    of_store.chain([logs, bodies]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_place_leads_to_rows_of_others() {
        for (at, section) in Section::ALL.into_iter().enumerate() {
            let place = parse(&format!("{at}.-3.7"));
            let own = section.withheld().is_none().then_some((at, (-3, 7)));
            assert_eq!(place, own, "{section:?}");
        }
        for wrong in [
            "",
            "0",
            "0.1",
            "0.1.2.3",
            "99.0.0",
            "-1.0.0",
            "0.x.0",
            "0.1.99999999999999999999",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
