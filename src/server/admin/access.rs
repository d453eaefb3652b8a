//! What an operator's commands do to sessions, invitations and bans.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::accounts::{DAY, random_code, read, refuse};
use super::error::AdminError;
use super::perform::{Performer, Rows, emit};
use super::request::{BanRow, InvitationRow, LinkRow, SessionRow};
use crate::clock;
use crate::crypto::account::invitation::digest;
use crate::protocol::ids::ByteArray;
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::server::cluster::sessions_here;
use crate::server::config::Registration;
use crate::server::counted::counted;
use crate::server::limits::ip_prefix::IpPrefix;
use crate::server::net::disconnect;
use crate::server::peers::message::{Call, Called, PeerSession};
use crate::store::{Change, Changed, Invitation, Store, UserId};
use crate::transport::invitation::InvitationLink;

/// Invitations of one read.
const PAGE: usize = 500;

impl Performer {
    pub(super) fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    pub(super) fn list_sessions(&self, rows: Rows<'_>) -> Result<String, AdminError> {
        let row = |session: PeerSession, node| SessionRow {
            name: session.name,
            address: session.address,
            since: session.since,
            shown: session.shown,
            node,
        };
        let here = sessions_here(&self.shared, &self.connections).into_iter();
        let mut sessions: Vec<SessionRow> = here.map(|session| row(session, None)).collect();
        let mut silent = Vec::new();
        for (node, called) in self.shared.delivery.call_all(&Call::Sessions) {
            let Ok(Called::Sessions(there)) = called else {
                silent.push(node.name);
                continue;
            };
            let there = there.into_iter();
            sessions.extend(there.map(|session| row(session, Some(node.name.clone()))));
        }
        sessions.sort_by_key(|session| session.name);
        for session in &sessions {
            emit(rows, session)?;
        }
        let count = counted(sessions.len() as u64, "session");
        Ok(match silent.is_empty() {
            true => count,
            false => format!(
                "{count}, without those of {}, which did not answer",
                silent.join(", ")
            ),
        })
    }

    pub(super) fn close_session(&self, name: &UserName) -> Result<String, AdminError> {
        self.account(name)?;
        let why = Refusal::new(
            Code::SessionEnded,
            "the operator of the server has ended this session; log in again when you are to",
        );
        let held = self.hold(name, &why)?;
        // It outdates a login that is being judged, too, which is then judged again.
        match self.end_session_of(name, &held, why) {
            true => Ok(format!(
                "the session of {name} was ended; they can log in again"
            )),
            false => refuse(format!("{name} is not logged in")),
        }
    }

    pub(super) fn invite(
        &self,
        days: u32,
        uses: u32,
        rows: Rows<'_>,
    ) -> Result<String, AdminError> {
        if self.live && self.shared.config().registration == Registration::Closed {
            return refuse(
                "this server makes no accounts, so an invitation would lead nowhere; start it with \
                 --registration invite, or use `server user add`"
                    .to_owned(),
            );
        }
        let code = Zeroizing::new(random_code()?);
        let created = clock::unix_ms();
        let invitation = Invitation {
            code: ByteArray(digest(&code)),
            inviter: UserId::SERVER,
            created,
            expires: created + u64::from(days) * DAY,
            uses,
        };
        let change = Change::Invite(invitation, u32::MAX);
        let Changed::Invited(id) = self.shared.writer.change(change)? else {
            return refuse("the invitation was not stored; try again".to_owned());
        };
        let link = InvitationLink {
            address: self.address(),
            code: Some(code),
            inviter: None,
        };
        emit(
            rows,
            &LinkRow {
                id,
                link: link.to_text().to_string(),
                expires: invitation.expires,
                uses,
            },
        )?;
        let accounts = match uses {
            1 => "one account".to_owned(),
            _ => format!("{uses} accounts"),
        };
        Ok(format!(
            "invitation {id} makes {accounts} within {days} days: `client join LINK`. It vouches for this \
             server and for nobody on it; a member's link (/invite) vouches for the member, too"
        ))
    }

    pub(super) fn list_invitations(&self, rows: Rows<'_>) -> Result<String, AdminError> {
        let now = clock::unix_ms();
        let (mut after, mut count) = (i64::MIN, 0_u64);
        loop {
            let page = self.store().invitations(after, PAGE).map_err(read)?;
            let Some(last) = page.last() else {
                return Ok(counted(count, "invitation"));
            };
            after = last.id;
            for listed in &page {
                count += 1;
                let it = listed.invitation;
                emit(
                    rows,
                    &InvitationRow {
                        id: listed.id,
                        inviter: listed.inviter,
                        state: match it {
                            Invitation { uses: 0, .. } => "used",
                            Invitation { expires, .. } if expires < now => "expired",
                            _ => "open",
                        },
                        uses: it.uses,
                        expires: it.expires,
                        created: it.created,
                    },
                )?;
            }
        }
    }

    pub(super) fn revoke(&self, id: i64) -> Result<String, AdminError> {
        match self.shared.writer.change(Change::Revoke(id))? {
            Changed::Done => Ok(format!("invitation {id} makes no account any more")),
            _ => refuse(format!(
                "there is no invitation {id}; `server invite list` shows all"
            )),
        }
    }

    pub(super) fn ban(&self, network: &str) -> Result<String, AdminError> {
        let network = parse(network)?;
        let change = Change::Ban(network.to_string(), clock::unix_ms());
        self.shared.writer.change(change)?;
        self.shared.limits.ban(network);
        let ended = self.connections.end_from(network, &disconnect::banned());
        Ok(format!(
            "no connection is taken from {network}; {ended} that were open were ended{}",
            self.tell_of_bans()
        ))
    }

    pub(super) fn list_bans(&self, rows: Rows<'_>) -> Result<String, AdminError> {
        let bans = self.store().bans().map_err(read)?;
        for (network, since) in &bans {
            emit(
                rows,
                &BanRow {
                    network: network.clone(),
                    since: *since,
                },
            )?;
        }
        Ok(counted(bans.len() as u64, "ban"))
    }

    /// Has the other servers read the banned networks. Returns what to say of those that did not.
    fn tell_of_bans(&self) -> String {
        let told = self.shared.delivery.call_all(&Call::BansChanged);
        let silent = told
            .into_iter()
            .filter(|(_, called)| !matches!(called, Ok(Called::Done)));
        let silent: Vec<String> = silent.map(|(node, _)| node.name).collect();
        match silent.is_empty() {
            true => String::new(),
            false => format!(
                "; {} did not answer, and follow when they start next",
                silent.join(", ")
            ),
        }
    }

    pub(super) fn lift_ban(&self, network: &str) -> Result<String, AdminError> {
        let network = parse(network)?;
        match self
            .shared
            .writer
            .change(Change::LiftBan(network.to_string()))?
        {
            Changed::Done => {
                self.shared.limits.lift_ban(network);
                Ok(format!(
                    "connections from {network} are taken again{}",
                    self.tell_of_bans()
                ))
            }
            _ => refuse(format!(
                "{network} is not banned; `server ban list` shows what is, and a part of a banned network \
                 can't be lifted"
            )),
        }
    }
}

fn parse(network: &str) -> Result<IpPrefix, AdminError> {
    let parsed = network.parse();
    parsed.map_err(|why: &'static str| AdminError::Refused(format!("{why}; nothing was done")))
}
