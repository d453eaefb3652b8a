//! Commands about people: who is online, who is known, who is blocked.

use super::Messenger;
use super::command::CommandError;
use crate::client::net::error::CallError;
use crate::client::vault::{Contact, Result};
use crate::client::view::ViewEvent;
use crate::protocol::reply::{AccountSettings, SearchPage, UserStatus};
use crate::protocol::request::{ChangeSettings, Search, UserRef};
use crate::protocol::{Request, UserName, limits};

/// The most contacts whose status is asked for at once, so that `/who` answers soon.
const MOST_ASKED: usize = 200;

type Done = std::result::Result<(), CommandError>;

impl Messenger {
    /// `/status NAME`
    pub(super) fn status(&mut self, name: &UserName) -> Done {
        let status: UserStatus = self.ask(&Request::Status(UserRef { name: *name }))?;
        self.say(ViewEvent::Status(status));
        Ok(())
    }

    /// `/search PART`: everybody whose name begins like that.
    pub(super) fn search(&mut self, part: &str) -> Done {
        let mut count = 0;
        self.search_all(part, |_| count += 1)?;
        if count == 0 {
            self.say(nobody(part));
        }
        Ok(())
    }

    /// Shows everybody whose name begins with `part`, page by page, and tells `found` of each.
    fn search_all(&mut self, part: &str, mut found: impl FnMut(UserName)) -> Done {
        let mut after = None;
        loop {
            let page: SearchPage = self.ask(&Request::Search(Search {
                text: part.to_owned(),
                after,
                limit: None,
            }))?;
            // A server that promises more and repeats itself would be asked for ever.
            let last = page.users.last().map(|user| user.name);
            let goes_on = page.more && last > after;
            for user in page.users {
                found(user.name);
                self.say(ViewEvent::Status(user));
            }
            if !goes_on {
                return Ok(());
            }
            after = last;
        }
    }

    /// `/who [PART]`: the contacts, or all whose names begin like that. A search leaves out
    /// contacts who are not listed; they are asked for one by one.
    pub(super) fn who(&mut self, part: Option<String>) -> Done {
        let part = part.unwrap_or_default().to_ascii_lowercase();
        let contacts = self.vault.contacts().iter().map(|contact| contact.name);
        let mut to_ask: Vec<UserName> = contacts
            .filter(|name| name.as_str().starts_with(&part))
            .collect();
        let mut count = 0;
        if part.chars().count() >= limits::MIN_SEARCH {
            self.search_all(&part, |name| {
                to_ask.retain(|known| *known != name);
                count += 1;
            })?;
        }
        for name in to_ask.iter().take(MOST_ASKED) {
            match self.call::<UserStatus>(&Request::Status(UserRef { name: *name })) {
                Ok(status) => {
                    self.say(ViewEvent::Status(status));
                    count += 1;
                }
                // Their account was deleted.
                Err(CallError::Refused(_)) => {}
                Err(lost) => return Err(lost.into()),
            }
        }
        if to_ask.len() > MOST_ASKED {
            self.say(ViewEvent::quiet(format!(
                "and {} contacts more; /who PART asks for some of them",
                to_ask.len() - MOST_ASKED
            )));
        }
        if count == 0 {
            self.say(match part.as_str() {
                "" => no_contacts(),
                part => nobody(part),
            });
        }
        Ok(())
    }

    /// `/contacts`
    pub(super) fn contacts(&self) -> Result<()> {
        if self.vault.contacts().is_empty() {
            self.say(no_contacts());
        }
        let unread = self.vault.unread_by_contact()?;
        for contact in self.vault.contacts() {
            let count = unread.get(&contact.id).copied().unwrap_or(0);
            self.say(contact_view(contact, count));
        }
        Ok(())
    }

    /// `/block NAME` and `/unblock NAME`
    pub(super) fn block(&mut self, name: &UserName, on: bool) -> Done {
        let who = UserRef { name: *name };
        let (request, said) = match on {
            true => (Request::Block(who), format!("{name} is blocked")),
            false => (Request::Unblock(who), format!("{name} is not blocked")),
        };
        let settings: AccountSettings = self.ask(&request)?;
        self.note_blocked(&settings)?;
        self.say(ViewEvent::good(said));
        Ok(())
    }

    /// `/blocked`
    pub(super) fn list_blocked(&mut self) -> Done {
        let settings: AccountSettings = self.ask(&Request::Settings(ChangeSettings::default()))?;
        self.note_blocked(&settings)?;
        if settings.blocked.is_empty() {
            self.say(ViewEvent::plain("you block nobody"));
        }
        for name in &settings.blocked {
            self.say(ViewEvent::plain(name.to_string()));
        }
        Ok(())
    }

    /// Notes who is blocked: what they send meanwhile does not arrive, and is not missing.
    pub(super) fn note_blocked(&mut self, settings: &AccountSettings) -> Result<()> {
        let contacts = self.vault.contacts();
        let mut changed: Vec<_> = contacts
            .iter()
            .filter(|contact| contact.blocked != settings.blocked.contains(&contact.name))
            .cloned()
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        self.vault.transact(|vault| {
            for contact in &mut changed {
                contact.blocked = !contact.blocked;
                contact.was_blocked = true;
                vault.save_contact(contact)?;
            }
            Ok(())
        })?;
        self.told_blocked.clear();
        self.publish_people();
        Ok(())
    }

    /// Says, with the first message to somebody who is blocked, that no answer comes.
    pub(super) fn say_if_blocked(&mut self, to: &UserName) {
        let blocked = self
            .vault
            .contact(to)
            .is_some_and(|contact| contact.blocked);
        if blocked && !self.told_blocked.contains(to) {
            self.told_blocked.push(*to);
            self.say(ViewEvent::warning(format!(
                "you block {to}, so their answers do not arrive until /unblock {to}"
            )));
        }
    }
}

fn nobody(part: &str) -> ViewEvent {
    ViewEvent::plain(format!("nobody's name begins with \"{part}\""))
}

fn no_contacts() -> ViewEvent {
    ViewEvent::plain("no contacts yet; find people with /search PART")
}

/// A contact as the list of contacts shows it, with the number of messages that nobody was shown.
pub(crate) fn contact_view(contact: &Contact, unread: u64) -> ViewEvent {
    ViewEvent::Contact {
        name: contact.name,
        known: contact.identity.is_some(),
        verified: contact.identity.is_some() && contact.verified,
        changed: contact.pending_identity.is_some(),
        blocked: contact.blocked,
        unread,
        dropped: contact.dropped,
    }
}
