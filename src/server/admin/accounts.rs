//! What an operator's commands do to accounts.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;

use super::error::AdminError;
use super::perform::{Performer, Rows, emit};
use super::request::{CodeRow, UserDetails, UserRow};
use crate::clock;
use crate::crypto::account::reset::ResetCode;
use crate::protocol::ids::ByteArray;
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::News;
use crate::protocol::request::KdfParams;
use crate::server::counted::counted;
use crate::server::delivery::Now;
use crate::server::delivery::homes::NotHere;
use crate::server::delivery::purge::Purged;
use crate::server::delivery::recipient::public_identity;
use crate::server::delivery::sessions::Precedence;
use crate::server::delivery::shared_mailbox::SharedMailbox;
use crate::server::requests::auth::random;
use crate::server::requests::login::{disabled, end_session};
use crate::server::requests::register::remove_account;
use crate::store::{
    Account, Change, Changed, ListedAccount, NewAccount, Reset, StoreError, Summary, UserId,
};
use crate::sync::sync_channel;

use super::request::MAX_ANNOUNCEMENT;

/// Accounts of one read.
const PAGE: usize = 200;

/// How long the disk has for the notices of one read.
const NOTICES_TAKE: Duration = Duration::from_secs(30);

/// How often it is said how far long work is. A command waits longer for each line of its answer.
const PROGRESS: Duration = Duration::from_secs(1);

/// A day in milliseconds.
pub(super) const DAY: u64 = 24 * 3600 * 1000;

/// A mailbox that no other server gets meanwhile.
pub(super) struct Held {
    mailbox: Option<Arc<SharedMailbox>>,
    /// A session at another server was ended for it.
    ended: bool,
}

impl Performer {
    pub(super) fn add_user(
        &self,
        name: UserName,
        kdf: KdfParams,
        login_key: ByteArray<32>,
        reuse_name: bool,
        rows: Rows<'_>,
    ) -> Result<String, AdminError> {
        let account = NewAccount {
            name,
            kdf,
            login_key,
            created: clock::unix_ms(),
            invitation: None,
        };
        let earlier = self.store().listed_account(&name).map_err(read)?;
        match earlier {
            None => match self.shared.writer.change(Change::Register(account))? {
                Changed::Registered(_) => Ok(format!("the account {name} was made")),
                _ => refuse(taken(&name)),
            },
            Some(earlier) if !earlier.deleted => refuse(taken(&name)),
            Some(_) if !reuse_name => refuse(format!(
                "{name} was a removed account's name and stays reserved, so that nobody is taken for \
                 that person; choose another, or give it away with --reuse-name"
            )),
            Some(earlier) => self.give_name_away(earlier.id, account, rows),
        }
    }

    /// Purges what a removed account has left, and makes another one of its name.
    fn give_name_away(
        &self,
        earlier: UserId,
        account: NewAccount,
        rows: Rows<'_>,
    ) -> Result<String, AdminError> {
        let name = account.name;
        // Its owner may have deleted it a moment ago, and still be sending.
        self.shared.sessions.credentials_changed(&name, None);
        let mut told = clock::now();
        let mut progress = |purged: Purged| {
            if clock::now().saturating_duration_since(told) < PROGRESS {
                return Ok(());
            }
            told = clock::now();
            rows.progress(&format!(
                "{} messages looked at, {} of {name} removed",
                purged.looked_at, purged.removed
            ))
        };
        let delivery = &self.shared.delivery;
        match delivery.give_name_away(earlier, account, &mut progress)? {
            (Changed::Registered(_), purged) => Ok(format!(
                "the account {name} was made; of the one before it, {} were purged",
                counted(purged.removed, "message")
            )),
            _ => refuse(taken(&name)),
        }
    }

    pub(super) fn list_users(&self, rows: Rows<'_>) -> Result<String, AdminError> {
        let mut after = None;
        let mut count = 0_u64;
        loop {
            let page = self.store().accounts(after.as_ref(), PAGE).map_err(read)?;
            let Some(last) = page.last() else {
                return Ok(counted(count, "account"));
            };
            after = Some(last.name);
            let elsewhere = self.online_elsewhere(&page);
            for account in &page {
                count += 1;
                emit(rows, &self.user_row(account, &elsewhere))?;
            }
        }
    }

    /// The row of an account; `elsewhere` are those of the list who are online at other servers.
    fn user_row(&self, account: &ListedAccount, elsewhere: &[UserId]) -> UserRow {
        UserRow {
            name: account.name,
            state: match account {
                ListedAccount { deleted: true, .. } => "removed",
                ListedAccount { disabled: true, .. } => "disabled",
                ListedAccount {
                    reset_until: Some(_),
                    ..
                } => "reset",
                ListedAccount {
                    is_unclaimed: true, ..
                } => "imported",
                _ => "active",
            },
            online: self.is_online(account, elsewhere),
            created: account.created,
            last_seen: account.last_seen,
            logins: account.logins,
            has_keys: account.has_keys,
        }
    }

    /// Whether an account has a session, at another server one that others may see.
    fn is_online(&self, account: &ListedAccount, elsewhere: &[UserId]) -> bool {
        self.shared.sessions.find(&account.name).is_some() || elsewhere.contains(&account.id)
    }

    /// Those of some accounts who have such a session at another server.
    fn online_elsewhere(&self, accounts: &[ListedAccount]) -> Vec<UserId> {
        let asked: Vec<UserId> = accounts.iter().map(|account| account.id).collect();
        let online = self.shared.delivery.online_elsewhere(&asked);
        online.unwrap_or_default()
    }

    /// Brings an account's mailbox here and holds it, so that no other server has a session of the account
    /// while it is changed. A session at another server is told `why`. A mailbox that is damaged has none.
    pub(super) fn hold(&self, name: &UserName, why: &Refusal) -> Result<Held, AdminError> {
        let delivery = &self.shared.delivery;
        match delivery.bring_here(name, Precedence::TakeOver, Some(why)) {
            Ok((mailbox, ended)) => Ok(Held {
                mailbox: Some(mailbox),
                ended,
            }),
            Err(refusal) if refusal.code == Code::Damaged => Ok(Held {
                mailbox: None,
                ended: false,
            }),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Ends the session of an account that is held, and tells its client why. Returns whether there was one,
    /// here or at another server.
    pub(super) fn end_session_of(&self, name: &UserName, held: &Held, why: Refusal) -> bool {
        let session = self.shared.sessions.credentials_changed(name, None);
        if let Some(session) = &session {
            end_session(session, why);
        }
        session.is_some() || held.ended
    }

    pub(super) fn show_user(&self, name: &UserName, rows: Rows<'_>) -> Result<String, AdminError> {
        let listed = self.store().listed_account(name).map_err(read)?;
        let Some(listed) = listed else {
            return refuse(unknown(name));
        };
        let account = self.store().account(name).map_err(read)?;
        let waiting = match self.store().summary(listed.id) {
            Err(StoreError::Damaged(_)) => Summary::default(),
            summary => summary.map_err(read)?,
        };
        let identity = account.as_ref().and_then(|account| account.identity);
        let flags = account.as_ref().map(|account| account.flags);
        let elsewhere = self.online_elsewhere(std::slice::from_ref(&listed));
        emit(
            rows,
            &UserDetails {
                user: self.user_row(&listed, &elsewhere),
                code_expires: listed.reset_until,
                identity: identity
                    .and_then(|identity| public_identity(&identity))
                    .map(|identity| HEXLOWER.encode(&identity.fingerprint())),
                one_time_prekeys: account.as_ref().map_or(0, |account| account.one_time),
                listed: flags.map(|flags| flags.listed),
                presence: flags.map(|flags| flags.presence),
                refuse_unencrypted: flags.map(|flags| flags.refuse_unencrypted),
                waiting_messages: waiting.tallies.iter().map(|(_, it)| it.messages()).sum(),
                waiting_bytes: waiting.tallies.iter().map(|(_, it)| it.bytes).sum(),
            },
        )?;
        Ok(String::new())
    }

    pub(super) fn disable_user(&self, name: &UserName, off: bool) -> Result<String, AdminError> {
        let account = self.account(name)?;
        if account.disabled == off {
            let state = if off { "disabled" } else { "enabled" };
            return Ok(format!("{name} is {state} already"));
        }
        let held = self.hold(name, &disabled())?;
        match self
            .shared
            .writer
            .change(Change::Disable(account.id, off))?
        {
            Changed::Done => {}
            _ => return refuse(unknown(name)),
        }
        if !off {
            return Ok(format!("{name} is enabled and can log in again"));
        }
        let ended = self.end_session_of(name, &held, disabled());
        Ok(format!(
            "{name} is disabled{}; what waits for them stays, and more is taken",
            was_ended(ended)
        ))
    }

    pub(super) fn remove_user(&self, name: &UserName) -> Result<String, AdminError> {
        let account = self.account(name)?;
        let why = Refusal::new(
            Code::SessionEnded,
            "the operator of the server has removed this account with all that waited for it",
        );
        let held = self.hold(name, &why)?;
        let ended = remove_account(&self.shared, &account, None, held.mailbox.as_deref())?;
        if let Some(session) = &ended {
            end_session(session, why);
        }
        Ok(format!(
            "{name} is removed{}; its keys are gone, its mail is being deleted, and its name stays \
             reserved",
            was_ended(ended.is_some() || held.ended)
        ))
    }

    pub(super) fn reset_user(
        &self,
        name: &UserName,
        days: u32,
        rows: Rows<'_>,
    ) -> Result<String, AdminError> {
        let account = self.account(name)?;
        let code = ResetCode::generate(&mut crate::crypto::os_rng());
        let expires = clock::unix_ms() + u64::from(days) * DAY;
        let reset = Reset {
            key: ByteArray(code.key().public()),
            expires,
        };
        let why = Refusal::new(
            Code::SessionEnded,
            "the operator of the server has reset this account's password; log in with the one-time \
             code that the operator gives you, in place of the password",
        );
        let held = self.hold(name, &why)?;
        match self
            .shared
            .writer
            .change(Change::Reset(account.id, reset))?
        {
            Changed::Done => {}
            _ => return refuse(unknown(name)),
        }
        let ended = self.end_session_of(name, &held, why);
        emit(
            rows,
            &CodeRow {
                name: *name,
                code: code.to_text().to_string(),
                expires,
            },
        )?;
        let mail = match account.identity {
            None => "what waits for them stays",
            Some(_) => {
                "what waits for them stays: on a device that has their vault they read it once they open that \
                 with the old password or the recovery code; on another device they make a new identity, \
                 and their contacts' clients are asked to send again what it can't read"
            }
        };
        Ok(format!(
            "the password of {name} is reset{}. Give {name} this code, on a way that nobody else reads: it \
             is typed in place of the password, works once, for {days} days; {mail}",
            was_ended(ended)
        ))
    }

    pub(super) fn announce(&self, text: &str) -> Result<String, AdminError> {
        if text.trim().is_empty() {
            return refuse("the announcement is empty; give its text as one argument".to_owned());
        }
        if text.len() > MAX_ANNOUNCEMENT {
            return refuse(format!(
                "the announcement has {} bytes, over the {MAX_ANNOUNCEMENT} that fit; shorten it",
                text.len()
            ));
        }
        let news = News::Announcement {
            text: text.to_owned(),
        };
        let (mut after, mut told, mut online) = (None, 0_u64, 0_u64);
        loop {
            // The first one alone shows whether the disk takes anything.
            let limit = if after.is_none() { 1 } else { PAGE };
            let page = self.store().accounts(after.as_ref(), limit).map_err(read)?;
            let Some(last) = page.last() else { break };
            after = Some(last.name);
            let elsewhere = self.online_elsewhere(&page);
            let mut answers = Vec::new();
            for account in page.iter().filter(|account| !account.deleted) {
                let delivery = &self.shared.delivery;
                let (sender, answer) = sync_channel(1);
                match delivery.mailbox(&account.name) {
                    Ok(mailbox) => delivery.notify(&mailbox, &news, Now::read(), sender),
                    Err(NotHere::At(run)) => {
                        // There is room for the one answer.
                        let _sent =
                            sender.send(delivery.notify_at(run, account.name, news.clone()));
                    }
                    // A mailbox that is damaged was set aside, and its owner has been told.
                    Err(NotHere::Refused(_)) => continue,
                }
                answers.push(answer);
                online += u64::from(self.is_online(account, &elsewhere));
            }
            let deadline = clock::now() + NOTICES_TAKE;
            for answer in answers {
                let left = deadline.saturating_duration_since(clock::now());
                match answer.recv_timeout(left) {
                    Ok(Ok(())) => told += 1,
                    Ok(Err(refusal)) if refusal.code != Code::Storage => {}
                    Ok(Err(_)) | Err(_) => return not_announced(told),
                }
            }
        }
        Ok(format!(
            "announced to {}: {online} online, the others are told at their next login",
            counted(told, "account")
        ))
    }

    /// An account that exists.
    pub(super) fn account(&self, name: &UserName) -> Result<Account, AdminError> {
        match self.store().account(name).map_err(read)? {
            Some(account) => Ok(account),
            None => refuse(unknown(name)),
        }
    }
}

/// Some mailboxes did not take an announcement.
fn not_announced(told: u64) -> Result<String, AdminError> {
    refuse(match told {
        0 => "nobody was told: the disk of the data folder is full or fails; make room on it, and \
              announce it again"
            .to_owned(),
        _ => format!(
            "told to only {}: the disk of the data folder is full or fails; make room on it, and announce \
             it again, which these accounts hear a second time",
            counted(told, "account")
        ),
    })
}

fn taken(name: &UserName) -> String {
    format!("the name {name} is taken; choose another")
}

/// Random bytes for a code.
pub(super) fn random_code() -> Result<[u8; 16], AdminError> {
    Ok(random()?)
}

pub(super) fn refuse<T>(why: String) -> Result<T, AdminError> {
    Err(AdminError::Refused(why))
}

pub(super) fn read(error: StoreError) -> AdminError {
    AdminError::Refused(format!("{error}; nothing was done"))
}

pub(super) fn unknown(name: &UserName) -> String {
    format!("there is no account {name}; `server user list` shows all")
}

fn was_ended(session: bool) -> &'static str {
    match session {
        true => ", and their session was ended",
        false => "",
    }
}
