//! Carries out what a command asks for, on the parts of a running server, or on the same parts that
//! a command has put together for itself where none runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::audit::Audit;
use super::error::AdminError;
use super::request::Request;
use crate::server::metrics::Observer;
use crate::server::net::registry::Connections;
use crate::server::shared::Shared;
use crate::transport::address::Address;
use crate::transport::fingerprint::Fingerprint;
use crate::transport::tls::Acceptor;

/// Takes the result as it comes.
pub(super) trait Output {
    /// A row of it, as JSON.
    ///
    /// # Errors
    /// It can't be handed over: nobody waits for the result any more.
    fn row(&mut self, json: String) -> Result<(), AdminError>;

    /// How far long work is, in words.
    ///
    /// # Errors
    /// The same.
    fn progress(&mut self, words: &str) -> Result<(), AdminError>;
}

/// Where the result goes.
pub(super) type Rows<'a> = &'a mut dyn Output;

/// Carries out requests.
pub(crate) struct Performer {
    pub(super) shared: Arc<Shared>,
    /// The open connections; none where no server runs.
    pub(super) connections: Arc<Connections>,
    /// Where clients reach the server, without its certificate.
    address: Address,
    /// Whether a server is running.
    pub(super) live: bool,
    observer: Observer,
    audit: Audit,
}

impl Performer {
    /// A performer on these parts.
    pub(crate) fn new(
        shared: Arc<Shared>,
        connections: Arc<Connections>,
        address: Address,
        live: bool,
    ) -> Self {
        let audit = Audit::of(&shared.config().data);
        let observer = Observer::new(Arc::clone(&shared), Arc::clone(&connections));
        Performer {
            shared,
            connections,
            address,
            live,
            observer,
            audit,
        }
    }

    /// Carries out a request of the system's user `uid`. Returns a sentence about what was done.
    ///
    /// # Errors
    /// A sentence that says why not. Nothing was done, but for rows that were printed.
    pub(super) fn perform(
        &self,
        uid: Option<u32>,
        request: &Request,
        rows: Rows<'_>,
    ) -> Result<String, AdminError> {
        self.audit
            .record(uid, request.describe(), || self.act(request, rows))
    }

    fn act(&self, request: &Request, rows: Rows<'_>) -> Result<String, AdminError> {
        match request {
            Request::UserAdd {
                name,
                kdf,
                login_key,
                reuse_name,
            } => self.add_user(*name, *kdf, *login_key, *reuse_name, rows),
            Request::UserList {} => self.list_users(rows),
            Request::UserShow { name } => self.show_user(name, rows),
            Request::UserDisable { name } => self.disable_user(name, true),
            Request::UserEnable { name } => self.disable_user(name, false),
            Request::UserRemove { name } => self.remove_user(name),
            Request::UserReset { name, days } => self.reset_user(name, *days, rows),
            Request::InviteCreate { days, uses } => self.invite(*days, *uses, rows),
            Request::InviteList {} => self.list_invitations(rows),
            Request::InviteRevoke { id } => self.revoke(*id),
            Request::SessionsList {} => self.list_sessions(rows),
            Request::SessionsClose { name } => self.close_session(name),
            Request::Ban { network } => self.ban(network),
            Request::BanList {} => self.list_bans(rows),
            Request::BanLift { network } => self.lift_ban(network),
            Request::CertificateRotate { next } => {
                self.rotate(next.map(|next| Fingerprint(next.0)))
            }
            Request::CertificateFinish {} => self.finish_rotation(),
            Request::CertificateList {} => self.list_successions(rows),
            Request::Announce { text } => self.announce(text),
            Request::WhatWeKnow { name } => self.what_we_know(name, rows),
            Request::Status {} => self.status(rows),
        }
    }

    /// Where clients reach the server, with the certificate that is to be named at this moment.
    pub(super) fn address(&self) -> Address {
        let shown = self.shared.tls.as_deref().map(Acceptor::fingerprint);
        let mut address = self.address.clone();
        address.fingerprint = shown.map(|shown| self.shared.rotation.to_name(shown));
        address
    }

    /// Says how a running server is.
    fn status(&self, rows: Rows<'_>) -> Result<String, AdminError> {
        if !self.live {
            return Err(AdminError::Refused(
                "no server is running on this folder; start it, or give its --data".to_owned(),
            ));
        }
        let facts: BTreeMap<_, _> = self.observer.status().into_iter().collect();
        emit(rows, &facts)?;
        Ok(String::new())
    }
}

/// Hands a row over.
pub(super) fn emit(rows: Rows<'_>, row: &impl Serialize) -> Result<(), AdminError> {
    let json =
        serde_json::to_string(row).map_err(|error| AdminError::Refused(error.to_string()))?;
    rows.row(json)
}
