//! Looking up other users: `search` and `status`.

use super::Handler;
use crate::protocol::limits;
use crate::protocol::name::UserName;
use crate::protocol::refusal::Refusal;
use crate::protocol::reply::{Answer, Reply, SearchPage, UserStatus};
use crate::protocol::request::Search;
use crate::server::delivery::Now;
use crate::server::delivery::refusals::read_failed;
use crate::server::delivery::sessions::Session;
use crate::store::UserId;

impl Handler {
    pub(super) fn search(&mut self, search: &Search, now: Now) -> Answer {
        let user = self.logged_in()?.session.user;
        self.pause += self.shared.limits.search(user, now.instant)?;
        let session = &self.logged_in()?.session;
        let text = search.text.trim().to_ascii_lowercase();
        if text.chars().count() < limits::MIN_SEARCH {
            return Err(Refusal::bad_request(
                "search for at least two characters of the beginning of a name",
            ));
        }
        let limit = search
            .limit
            .unwrap_or(limits::MAX_FOUND)
            .clamp(1, limits::MAX_FOUND);
        if text.parse::<UserName>().is_err() {
            // No name begins like that.
            return Ok(Reply::Found(SearchPage {
                users: Vec::new(),
                more: false,
            }));
        }
        let store = &self.shared.store;
        let found = store.search(session.user, &text, search.after.as_ref(), limit + 1);
        let found = found.map_err(read_failed)?;
        let shown = &found[..found.len().min(limit)];
        let asked: Vec<UserId> = shown.iter().map(|found| found.user).collect();
        let elsewhere = self.shared.delivery.online_elsewhere(&asked)?;
        let users = shown.iter().map(|found| {
            let online = self.is_online(&found.name) || elsewhere.contains(&found.user);
            visible_status(session, found.name, found.presence, online, found.last_seen)
        });
        Ok(Reply::Found(SearchPage {
            users: users.collect(),
            more: found.len() > limit,
        }))
    }

    pub(super) fn status(&self, name: UserName, now: Now) -> Answer {
        let session = &self.logged_in()?.session;
        let account = self.account(&name)?;
        let store = &self.shared.store;
        let blocked = store
            .blocks(account.id, session.user)
            .map_err(read_failed)?;
        let presence = account.flags.presence && !blocked;
        let online = self.is_online(&name)
            || !self
                .shared
                .delivery
                .online_elsewhere(&[account.id])?
                .is_empty();
        let status = visible_status(session, name, presence, online, account.last_seen);
        if !account.flags.listed && name != session.name {
            self.count_unlisted(now);
        }
        Ok(Reply::Status(status))
    }

    /// Whether a user has a visible session here.
    fn is_online(&self, name: &UserName) -> bool {
        let session = self.shared.sessions.find(name);
        session.is_some_and(|session| session.present)
    }
}

/// What a session's user may see of `name`: all of their own status, and of others what they show.
fn visible_status(
    session: &Session,
    name: UserName,
    presence: bool,
    online: bool,
    last_seen: Option<u64>,
) -> UserStatus {
    let shows = presence || name == session.name;
    let online = shows && online;
    UserStatus {
        name,
        online,
        last_seen: last_seen.filter(|_| shows && !online),
    }
}
