//! What a session is for, which decides what the server is asked for at each of its logins.

use crate::protocol::request::SessionOptions;

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum SessionKind {
    /// Mail comes by itself, and the account is shown as online.
    #[default]
    Chat,
    /// Mail comes when it is fetched; nobody sees that the account was there.
    Fetch,
    /// No mail comes, and what is unread stays unread; nobody sees that the account was there.
    OneShot,
}

impl SessionKind {
    /// Whether it stays until somebody ends it, so that others may work through it.
    pub(crate) fn stays(self) -> bool {
        self == SessionKind::Chat
    }

    /// What a login asks for.
    pub(crate) fn options(self) -> SessionOptions {
        let is_chat = self == SessionKind::Chat;
        SessionOptions {
            receive: is_chat,
            presence: is_chat,
            ..SessionOptions::default()
        }
    }
}
