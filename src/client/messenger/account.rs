//! What a login hands over to the messenger. How one logs in is `client::login`'s.

use super::session_kind::SessionKind;
use crate::client::login::credentials::Credentials;
use crate::client::net::connection::Connection;
use crate::client::net::endpoint::Endpoint;
use crate::client::net::event_queue::EventQueue;
use crate::client::vault::Vault;
use crate::crypto::keys::IdentityKeys;
use crate::protocol::UserName;
use crate::protocol::reply::Welcome;

/// Everything that a session begins with.
pub(crate) struct Account {
    /// The account's name.
    pub name: UserName,
    /// The way to the server.
    pub endpoint: Endpoint,
    /// This device's identity.
    pub keys: IdentityKeys,
    /// The account's open vault.
    pub vault: Vault,
    /// What the login proves that it knows.
    pub credentials: Credentials,
    /// A connection that is logged in.
    pub connection: Connection,
    /// Where the connection's lines arrive.
    pub events: EventQueue,
    /// The server's answer to the login.
    pub welcome: Box<Welcome>,
    /// The identity is to replace the one that is published.
    pub new_identity: bool,
    /// What the session is for.
    pub kind: SessionKind,
}
