//! Other people and oneself: search, status, settings, blocks.

use super::{Handler, not_logged_in};
use crate::protocol::limits;
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::{AccountSettings, Answer, Reply, SearchPage, UserStatus};
use crate::protocol::request::{ChangeSettings, Search};
use crate::server::delivery::sessions::Session;
use crate::server::delivery::shared_mailbox::SharedMailbox;
use crate::server::delivery::{store_failed, unknown_user};
use crate::store::{Account, Change, Flags};

impl Handler {
    pub(super) fn search(&self, session: &Session, search: &Search) -> Answer {
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
        let found = self
            .shared
            .store
            .search(&text, search.after.as_ref(), limit + 1);
        let found = found.map_err(store_failed)?;
        let users = found
            .iter()
            .take(limit)
            .map(|found| self.visible_status(session, found.name, found.presence, found.last_seen));
        Ok(Reply::Found(SearchPage {
            users: users.collect(),
            more: found.len() > limit,
        }))
    }

    pub(super) fn status(&self, session: &Session, name: UserName) -> Answer {
        let account = self.shared.store.account(&name).map_err(store_failed)?;
        let account = account.ok_or_else(|| unknown_user(&name))?;
        let presence = account.flags.presence;
        Ok(Reply::Status(self.visible_status(
            session,
            name,
            presence,
            account.last_seen,
        )))
    }

    /// What `session` may see of `name`: all of its own, of others what they show.
    fn visible_status(
        &self,
        session: &Session,
        name: UserName,
        presence: bool,
        last_seen: Option<u64>,
    ) -> UserStatus {
        let shows = presence || name == session.name;
        let online = shows
            && self
                .shared
                .sessions
                .find(&name)
                .is_some_and(|other| other.present);
        UserStatus {
            name,
            online,
            last_seen: last_seen.filter(|_| shows && !online),
        }
    }

    pub(super) fn settings_of(&self, account: &Account) -> Result<AccountSettings, Refusal> {
        let Flags {
            listed,
            presence,
            refuse_unencrypted,
        } = account.flags;
        Ok(AccountSettings {
            listed,
            presence,
            refuse_unencrypted,
            blocked: self
                .shared
                .store
                .blocked(account.id)
                .map_err(store_failed)?,
        })
    }

    fn account(&self, session: &Session) -> Result<Account, Refusal> {
        let account = self
            .shared
            .store
            .account(&session.name)
            .map_err(store_failed)?;
        account.ok_or_else(not_logged_in)
    }

    pub(super) fn settings(
        &self,
        session: &Session,
        own: &SharedMailbox,
        change: &ChangeSettings,
    ) -> Answer {
        let mut account = self.account(session)?;
        let before = account.flags;
        account.flags = Flags {
            listed: change.listed.unwrap_or(before.listed),
            presence: change.presence.unwrap_or(before.presence),
            refuse_unencrypted: change
                .refuse_unencrypted
                .unwrap_or(before.refuse_unencrypted),
        };
        if account.flags != before {
            self.shared
                .writer
                .change(Change::SetFlags(account.id, account.flags))?;
            own.lock().recipient.refuse_unencrypted = account.flags.refuse_unencrypted;
        }
        self.settings_of(&account).map(Reply::Settings)
    }

    pub(super) fn block(
        &self,
        session: &Session,
        own: &SharedMailbox,
        name: UserName,
        block: bool,
    ) -> Answer {
        let account = self.account(session)?;
        let whom = self.shared.store.account(&name).map_err(store_failed)?;
        let whom = whom.ok_or_else(|| unknown_user(&name))?;
        let settings = self.settings_of(&account)?;
        if block && settings.blocked.len() >= limits::MAX_BLOCKED {
            return Err(Refusal::new(
                Code::TooLarge,
                "you block 1,000 users, which is the most; unblock one first",
            ));
        }
        self.shared
            .writer
            .change(Change::Block(account.id, whom.id, block))?;
        let mut state = own.lock();
        if block {
            state.recipient.blocked.insert(name);
        } else {
            state.recipient.blocked.remove(&name);
        }
        drop(state);
        self.settings_of(&account).map(Reply::Settings)
    }
}
