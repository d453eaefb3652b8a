//! What a command asks the server for, what comes back, and how both look on the socket: a request
//! is one line of JSON, and an answer is lines that begin with `row` or `progress`, then one with `done`
//! or `error`. Both ends are the same program, so there are no versions: a request that the running
//! server does not know is refused with a sentence.

use serde::{Deserialize, Serialize};

use crate::protocol::ids::ByteArray;
use crate::protocol::name::UserName;
use crate::protocol::request::KdfParams;
use crate::transport::fingerprint::Fingerprint;

/// The longest line on the socket, in bytes.
pub(super) const MAX_LINE: usize = 64 * 1024;

/// The longest text of an announcement, in bytes: a notice has to fit into a line of a client.
pub(super) const MAX_ANNOUNCEMENT: usize = 4096;

/// A request. The variants have braces so that each is a JSON object.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub(super) enum Request {
    UserAdd {
        name: UserName,
        kdf: KdfParams,
        login_key: ByteArray<32>,
        reuse_name: bool,
    },
    UserList {},
    UserShow {
        name: UserName,
    },
    UserDisable {
        name: UserName,
    },
    UserEnable {
        name: UserName,
    },
    UserRemove {
        name: UserName,
    },
    UserReset {
        name: UserName,
        days: u32,
    },
    InviteCreate {
        days: u32,
        uses: u32,
    },
    InviteList {},
    InviteRevoke {
        id: i64,
    },
    SessionsList {},
    SessionsClose {
        name: UserName,
    },
    Ban {
        network: String,
    },
    BanList {},
    BanLift {
        network: String,
    },
    CertificateRotate {
        /// SHA-256 of the next one, if it is the operator's own.
        next: Option<ByteArray<32>>,
    },
    CertificateFinish {},
    CertificateList {},
    Announce {
        text: String,
    },
    WhatWeKnow {
        name: UserName,
    },
    Status {},
}

impl Request {
    /// Whether it changes anything that lasts.
    pub(super) fn changes(&self) -> bool {
        !matches!(
            self,
            Request::UserList {}
                | Request::UserShow { .. }
                | Request::InviteList {}
                | Request::SessionsList {}
                | Request::SessionsClose { .. }
                | Request::BanList {}
                | Request::CertificateList {}
                | Request::WhatWeKnow { .. }
                | Request::Status {}
        )
    }

    /// The command, and what it is about, as the audit log has them. Neither is a secret.
    pub(super) fn describe(&self) -> (&'static str, String) {
        let name = |name: &UserName| name.to_string();
        match self {
            Request::UserAdd {
                name: who,
                reuse_name: true,
                ..
            } => ("user add --reuse-name", name(who)),
            Request::UserAdd { name: who, .. } => ("user add", name(who)),
            Request::UserList {} => ("user list", String::new()),
            Request::UserShow { name: who } => ("user show", name(who)),
            Request::UserDisable { name: who } => ("user disable", name(who)),
            Request::UserEnable { name: who } => ("user enable", name(who)),
            Request::UserRemove { name: who } => ("user remove", name(who)),
            Request::UserReset { name: who, .. } => ("user reset", name(who)),
            Request::InviteCreate { days, uses } => {
                ("invite create", format!("{uses} uses, {days} days"))
            }
            Request::InviteList {} => ("invite list", String::new()),
            Request::InviteRevoke { id } => ("invite revoke", id.to_string()),
            Request::SessionsList {} => ("sessions list", String::new()),
            Request::SessionsClose { name: who } => ("sessions close", name(who)),
            Request::Ban { network } => ("ban", network.clone()),
            Request::BanList {} => ("ban list", String::new()),
            Request::BanLift { network } => ("ban lift", network.clone()),
            Request::CertificateRotate { next } => (
                "certificate rotate",
                next.map_or("to one that is made".to_owned(), |next| {
                    format!("to {}", Fingerprint(next.0))
                }),
            ),
            Request::CertificateFinish {} => ("certificate finish", String::new()),
            Request::CertificateList {} => ("certificate list", String::new()),
            Request::Announce { text } => ("announce", text.clone()),
            Request::WhatWeKnow { name: who } => ("what-we-know", name(who)),
            Request::Status {} => ("status", String::new()),
        }
    }
}

/// A line of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A row of the result, as JSON.
    Row(String),
    /// How far long work is, in words.
    Progress(String),
    /// All was done; the sentence says what.
    Done(String),
    /// It was refused or failed; the sentence says why.
    Error(String),
}

impl Line {
    /// The line with its end.
    pub(super) fn to_text(&self) -> String {
        let (word, rest) = match self {
            Line::Row(json) => ("row", json.clone()),
            Line::Progress(words) => ("progress", quoted(words)),
            Line::Done(sentence) => ("done", quoted(sentence)),
            Line::Error(sentence) => ("error", quoted(sentence)),
        };
        format!("{word} {rest}\n")
    }

    /// Reads a line without its end; `None` if it is none of these.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ')?;
        Some(match word {
            "row" => Line::Row(rest.to_owned()),
            "progress" => Line::Progress(serde_json::from_str(rest).ok()?),
            "done" => Line::Done(serde_json::from_str(rest).ok()?),
            "error" => Line::Error(serde_json::from_str(rest).ok()?),
            _ => return None,
        })
    }
}

fn quoted(sentence: &str) -> String {
    serde_json::Value::from(sentence).to_string()
}

/// A row of `user list`.
#[derive(Debug, Serialize)]
pub(super) struct UserRow {
    pub(super) name: UserName,
    pub(super) state: &'static str,
    pub(super) online: bool,
    pub(super) created: u64,
    pub(super) last_seen: Option<u64>,
    pub(super) logins: u64,
    pub(super) has_keys: bool,
}

/// The row of `user show`.
#[derive(Debug, Serialize)]
pub(super) struct UserDetails {
    #[serde(flatten)]
    pub(super) user: UserRow,
    /// Until when the code of a reset works.
    pub(super) code_expires: Option<u64>,
    /// SHA-256 over the published identity, in hexadecimal.
    pub(super) identity: Option<String>,
    pub(super) one_time_prekeys: u32,
    pub(super) listed: Option<bool>,
    pub(super) presence: Option<bool>,
    pub(super) refuse_unencrypted: Option<bool>,
    pub(super) waiting_messages: u64,
    pub(super) waiting_bytes: u64,
}

/// A row of `sessions list`.
#[derive(Debug, Serialize)]
pub(super) struct SessionRow {
    pub(super) name: UserName,
    pub(super) address: Option<String>,
    pub(super) since: u64,
    /// Others see the user as online.
    pub(super) shown: bool,
    /// The other server that has it, if the store has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<String>,
}

/// A row of `invite list`.
#[derive(Debug, Serialize)]
pub(super) struct InvitationRow {
    pub(super) id: i64,
    /// Who made it; `null` for the operator.
    pub(super) inviter: Option<UserName>,
    pub(super) state: &'static str,
    pub(super) uses: u32,
    pub(super) expires: u64,
    pub(super) created: u64,
}

/// A row of `ban list`.
#[derive(Debug, Serialize)]
pub(super) struct BanRow {
    pub(super) network: String,
    pub(super) since: u64,
}

/// A row of `certificate list`.
#[derive(Debug, Serialize)]
pub(super) struct SuccessionRow {
    pub(super) old: String,
    pub(super) new: String,
    /// When it was announced.
    pub(super) at: u64,
    pub(super) state: &'static str,
}

/// The row of `user reset`.
#[derive(Debug, Serialize)]
pub(super) struct CodeRow {
    pub(super) name: UserName,
    pub(super) code: String,
    pub(super) expires: u64,
}

/// The row of `invite create`.
#[derive(Debug, Serialize)]
pub(super) struct LinkRow {
    pub(super) id: i64,
    pub(super) link: String,
    pub(super) expires: u64,
    pub(super) uses: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_written() {
        for line in [
            Line::Row(r#"{"name":"bob"}"#.to_owned()),
            Line::Done("two\nlines \"quoted\"".to_owned()),
            Line::Error(String::new()),
            Line::Progress("half\nof it".to_owned()),
        ] {
            let text = line.to_text();
            assert_eq!(text.matches('\n').count(), 1);
            assert_eq!(Line::parse(text.trim_end()), Some(line));
        }
        for wrong in ["", "row", "done", "done x", "news {}"] {
            assert_eq!(Line::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_audit_log_gets_no_key() {
        let request = Request::UserAdd {
            name: "bob".parse().unwrap(),
            kdf: KdfParams {
                salt: ByteArray([7; 16]),
                memory_kib: 1,
                passes: 1,
                lanes: 1,
            },
            login_key: ByteArray([7; 32]),
            reuse_name: false,
        };
        assert_eq!(request.describe(), ("user add", "bob".to_owned()));
        let line = serde_json::to_string(&request).unwrap();
        assert!(serde_json::from_str::<Request>(&line).is_ok());
    }
}
