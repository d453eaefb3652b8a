//! Invitations that members make. The server learns its own code, and nothing of what the member adds
//! to the link.

use super::Handler;
use super::auth::random;
use crate::crypto::account::invitation::digest;
use crate::protocol::ids::ByteArray;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::{Answer, Invited, Reply};
use crate::server::config::Registration;
use crate::server::delivery::Now;
use crate::store::{Change, Changed, Invitation};

/// How long a member's invitation works, in ms: a week.
const LIFETIME: u64 = 7 * 24 * 3600 * 1000;

impl Handler {
    pub(super) fn invite(&self, now: Now) -> Answer {
        let user = self.logged_in()?.session.user;
        let config = self.shared.config();
        let expires = now.millis + LIFETIME;
        let closed = |why| Err(Refusal::new(Code::RegistrationClosed, why));
        let most = match (config.registration, config.member_invitations) {
            (Registration::Open, _) => {
                let code = None;
                return Ok(Reply::Invited(Invited { code, expires }));
            }
            (Registration::Closed, _) => {
                return closed("this server makes no new accounts; ask its operator");
            }
            (Registration::Invite, 0) => {
                return closed("on this server only the operator invites; ask them");
            }
            (Registration::Invite, most) => most,
        };
        let code = random()?;
        let invitation = Invitation {
            code: ByteArray(digest(&code)),
            inviter: user,
            created: now.millis,
            expires,
            uses: 1,
        };
        match self
            .shared
            .writer
            .change(Change::Invite(invitation, most))?
        {
            Changed::Invited(_) => Ok(Reply::Invited(Invited {
                code: Some(ByteArray(code)),
                expires,
            })),
            _ => Err(Refusal::new(
                Code::SlowDown,
                format!(
                    "you have {most} invitations that nobody has used, which is the most; one ends within \
                     a week"
                ),
            )),
        }
    }
}
