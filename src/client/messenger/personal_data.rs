//! `/what-the-server-knows`: the rows that the server holds about this account, by its own word.

use super::Messenger;
use super::command::CommandError;
use crate::client::view::ViewEvent;
use crate::protocol::Request;
use crate::protocol::reply::PersonalData;
use crate::protocol::request::AfterRow;

/// Answers that are taken at most, about 100 rows each: a server that never ends must not keep the
/// session from everything else.
const MOST_ANSWERS: usize = 200;

impl Messenger {
    /// Shows what the server tells, as it comes, and then what it withholds.
    pub(super) fn show_personal_data(&mut self) -> Result<(), CommandError> {
        let mut after = None;
        for _ in 0..MOST_ANSWERS {
            let request = Request::PersonalData(AfterRow { after });
            let data: PersonalData = self.ask(&request)?;
            for row in data.rows {
                self.say(ViewEvent::ServerRow(row));
            }
            for withheld in data.withheld {
                self.say(ViewEvent::Withheld(withheld));
            }
            after = data.next;
            if after.is_none() {
                return Ok(());
            }
        }
        Err(CommandError::Refused(
            "the server has more rows than are shown at once; ask its operator for \
             `server what-we-know`"
                .to_owned(),
        ))
    }
}
