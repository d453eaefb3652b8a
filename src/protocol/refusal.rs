//! Why a request was refused: one of a closed set of codes, which tells a program whether to try
//! again, and a sentence for a person.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Declares the codes once: the variant, its spelling on the wire, whether the
/// same request may succeed later unchanged, and what it means.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal, retry: $retry:literal;)+) => {
        /// The code of a refusal. `docs/PROTOCOL.md` lists them all, and a test
        /// compares that list with this one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[doc = $doc])+ #[serde(rename = $text)] $variant,)+
            /// A code of a newer server, unknown to this client.
            #[serde(other, rename = "unknown")]
            Unknown,
        }

        impl Code {
            /// Every code a server of this version can send.
            pub const ALL: &[Code] = &[$(Code::$variant),+];

            /// The code as it stands on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)+ Code::Unknown => "unknown" }
            }

            /// Whether the same request, unchanged, may succeed later.
            pub fn retry(self) -> bool {
                match self { $(Code::$variant => $retry,)+ Code::Unknown => false }
            }
        }
    };
}

codes! {
    /// The line is not a request: not JSON, a field missing, of the wrong type or out of range.
    BadRequest = "bad_request", retry: false;
    /// There is no such operation.
    UnknownOp = "unknown_op", retry: false;
    /// The line is longer than the server accepts; the connection ends.
    LineTooLong = "line_too_long", retry: false;
    /// The operation exists in JSON, but not on the console.
    UseJson = "use_json", retry: false;
    /// The line is an HTTP request; the connection ends.
    NotHttp = "not_http", retry: false;
    /// Too many lines in a row were no requests; the connection ends.
    TooManyErrors = "too_many_errors", retry: false;
    /// The client's protocol version is older than the server accepts.
    Version = "version", retry: false;
    /// The operation needs a login first.
    NotLoggedIn = "not_logged_in", retry: false;
    /// The connection is logged in already; log out first.
    AlreadyLoggedIn = "already_logged_in", retry: false;
    /// The connection has no unused nonce: send `hello` again and sign the new one.
    NoNonce = "no_nonce", retry: false;
    /// The name or the password is wrong; the server does not say which.
    WrongLogin = "wrong_login", retry: false;
    /// The account was imported from another program, and its owner has not logged in yet: `claim` it.
    Imported = "imported", retry: false;
    /// The operator has disabled the account.
    AccountDisabled = "account_disabled", retry: false;
    /// The operator has ended this session; the sentence says why. The connection ends.
    SessionEnded = "session_ended", retry: false;
    /// The operator takes no connections from this address; the connection ends.
    Banned = "banned", retry: false;
    /// The header of the proxy that made this connection is missing, wrong or not taken from it;
    /// the connection ends.
    ProxyHeader = "proxy_header", retry: false;
    /// The account is logged in elsewhere; log in with `take_over` to end that session.
    AlreadyOnline = "already_online", retry: true;
    /// The name belongs, or once belonged, to an account.
    NameTaken = "name_taken", retry: false;
    /// The server makes no new accounts.
    RegistrationClosed = "registration_closed", retry: false;
    /// The server makes accounts by invitation only, and none was given.
    InvitationRequired = "invitation_required", retry: false;
    /// The invitation is unknown here, used up or expired.
    BadInvitation = "bad_invitation", retry: false;
    /// The password is too short or too long.
    BadPassword = "bad_password", retry: false;
    /// A key, a signature or a cost is not acceptable.
    BadKey = "bad_key", retry: false;
    /// No account has this name.
    UnknownUser = "unknown_user", retry: false;
    /// The user has published no keys, so only unencrypted mail can reach them.
    NoKeys = "no_keys", retry: false;
    /// Another identity is published than the one named.
    IdentityChanged = "identity_changed", retry: false;
    /// The same id was used for another body.
    IdConflict = "id_conflict", retry: false;
    /// The message was accepted before, waited longer than the operator keeps mail, and was removed.
    Expired = "expired", retry: false;
    /// The recipient's mailbox, or this sender's share of it, is full.
    MailboxFull = "mailbox_full", retry: true;
    /// The server or the recipient accepts encrypted messages only.
    UnencryptedRefused = "unencrypted_refused", retry: false;
    /// A list, a text or an envelope is longer than allowed.
    TooLarge = "too_large", retry: false;
    /// Too many requests or attempts; wait, then try again.
    SlowDown = "slow_down", retry: true;
    /// The server, or this address, has as many connections as it may; the connection ends.
    ServerFull = "server_full", retry: true;
    /// The disk refused to store; nothing was accepted.
    Storage = "storage", retry: true;
    /// The server's data of this mailbox or account is damaged; its operator has to mend it.
    Damaged = "damaged", retry: false;
    /// Plain TCP is accepted from this machine only; the connection ends.
    TlsRequired = "tls_required", retry: false;
    /// The client was silent for too long, or did not log in in time; the connection ends.
    TimedOut = "timed_out", retry: true;
    /// The server is shutting down; the connection ends.
    ShuttingDown = "shutting_down", retry: true;
    /// The server itself failed; its log says more.
    Internal = "internal", retry: true;
}

/// A refusal. Its sentence says what happened and what to do next; programs must not parse it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The code, for programs.
    pub code: Code,
    /// The sentence, for people.
    pub message: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with this code and this sentence.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Refusal {
            code,
            message: message.into(),
        }
    }

    /// The refusal of a malformed request; `message` says what is wrong with it.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Refusal::new(Code::BadRequest, message)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_spelled_alike_everywhere() {
        for code in Code::ALL {
            let json = serde_json::to_string(code).unwrap();
            assert_eq!(json, format!("\"{}\"", code.as_str()));
            assert_eq!(serde_json::from_str::<Code>(&json).unwrap(), *code);
        }
    }

    #[test]
    fn a_newer_servers_code_is_understood_as_unknown() {
        assert_eq!(
            serde_json::from_str::<Code>("\"brand_new\"").unwrap(),
            Code::Unknown
        );
    }
}
