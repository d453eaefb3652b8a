//! What an operator's commands do to put another certificate in the place of the present one, so that
//! clients know it. What servers and clients make of it is in `server::rotation`.
//!
//! A certificate that the server has made itself is replaced in four steps: the next one is made beside it,
//! the present one announces it in the store, the files change places, and the server shows it. What was
//! cut off goes on with the same command. The operator's own files are the operator's to replace.

use std::path::{Path, PathBuf};

use super::accounts::{read, refuse};
use super::error::AdminError;
use super::perform::{Performer, Rows, emit};
use super::request::SuccessionRow;
use crate::clock;
use crate::protocol::ids::ByteArray;
use crate::server::peers::message::{Call, Called};
use crate::server::rotation::Pair;
use crate::store::{Change, Changed};
use crate::transport::fingerprint::Fingerprint;
use crate::transport::tls::{Acceptor, TlsError};

/// The certificate that the operator names, if one is named.
pub(super) fn named(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<ByteArray<32>>, AdminError> {
    let (Some(certificate), Some(key)) = (certificate, key) else {
        return Ok(None);
    };
    let print = Acceptor::fingerprint_of(&certificate, &key).map_err(failed)?;
    Ok(Some(ByteArray(print.0)))
}

fn failed(error: TlsError) -> AdminError {
    AdminError::Refused(format!("{error}; nothing was announced"))
}

/// What the other servers of the database show.
#[derive(Default)]
struct Others {
    /// The names of those that show the old certificate.
    old: Vec<String>,
    /// The names of those that show the new one.
    new: Vec<String>,
    /// The names of those that have not answered.
    silent: Vec<String>,
}

impl Performer {
    /// Announces the next certificate, and puts it in the place of the present one if the server has made
    /// that one itself.
    pub(super) fn rotate(&self, named: Option<Fingerprint>) -> Result<String, AdminError> {
        let config = self.shared.config();
        let Some(tls) = self.shared.tls.as_deref() else {
            return refuse("this server has no certificate".to_owned());
        };
        let next = match (named, &config.certificate) {
            (Some(next), Some(_)) => next,
            (None, None) => Acceptor::make_next(&config.data).map_err(failed)?,
            (None, Some(_)) => {
                return refuse(
                    "this server shows a certificate of your own (--tls-cert); name the next one with \
                     --next-cert and --next-key"
                        .to_owned(),
                );
            }
            (Some(_), None) => {
                return refuse(
                    "this server makes its certificate itself; leave out --next-cert and --next-key"
                        .to_owned(),
                );
            }
        };
        let shown = tls.fingerprint();
        if next == shown {
            return refuse(
                "the server shows that certificate already; announce the next one before it is put in place"
                    .to_owned(),
            );
        }
        self.shared.rotation.refresh().map_err(read)?;
        self.require_unused(shown)?;
        let step = tls.announce(next, clock::unix_ms()).map_err(failed)?;
        self.shared
            .writer
            .change(Change::Announce(Box::new(step)))?;
        self.shared.rotation.refresh().map_err(read)?;
        if config.certificate.is_none() {
            put_in_place(&config.data)?;
            self.shared.rotation.reload(tls).map_err(|why| {
                AdminError::Refused(format!(
                    "the next certificate is announced and in place, but not shown yet: {why}. Send the \
                     server SIGHUP"
                ))
            })?;
        }
        self.ask_others(Pair {
            old: shown,
            new: next,
        });
        Ok(self.announced_sentence(shown, next, config.certificate.is_some()))
    }

    /// Refuses to announce another certificate while some servers show the one that was announced last.
    fn require_unused(&self, shown: Fingerprint) -> Result<(), AdminError> {
        let Some(pair) = self.shared.rotation.under_way() else {
            return Ok(());
        };
        let others = self.ask_others(pair);
        if shown == pair.old && others.new.is_empty() {
            return Ok(());
        }
        refuse(format!(
            "{} is being put in the place of {}; when all servers show it, say `server certificate finish` \
             before you announce another",
            pair.new.groups(),
            pair.old.groups()
        ))
    }

    fn announced_sentence(&self, old: Fingerprint, new: Fingerprint, own_files: bool) -> String {
        let (old, new) = (old.groups(), new.groups());
        match (self.shared.rotation.has_several(), own_files) {
            (false, false) => format!(
                "the certificate is {new} from here on; clients that know {old} follow to it by themselves. \
                 Make a backup"
            ),
            (false, true) => format!(
                "{new} is announced; put its files in the place of those that the server runs with, and send \
                 it SIGHUP. Clients that know {old} follow to it by themselves"
            ),
            (true, false) => format!(
                "{new} is announced, and this server shows it. Copy tls-cert.pem and tls-key.pem to each of \
                 the other servers, and send it SIGHUP; then say `server certificate finish`. Until then, \
                 name {old} in addresses that you hand out"
            ),
            (true, true) => format!(
                "{new} is announced; on each server, put its files in the place of those that it runs with, \
                 and send it SIGHUP; then say `server certificate finish`. Until then, name {old} in \
                 addresses that you hand out"
            ),
        }
    }

    /// Ends what is under way, if all servers show the new certificate.
    pub(super) fn finish_rotation(&self) -> Result<String, AdminError> {
        let rotation = &self.shared.rotation;
        rotation.refresh().map_err(read)?;
        if !rotation.has_several() {
            return refuse(
                "with one server nothing has to be ended: `certificate rotate` has done all; look at `certificate list`"
                    .to_owned(),
            );
        }
        let Some(pair) = rotation.under_way() else {
            return refuse("no certificate is being replaced; nothing was done".to_owned());
        };
        let mut others = self.ask_others(pair);
        let shown = self.shared.tls.as_deref().map(Acceptor::fingerprint);
        if shown != Some(pair.new) {
            others.old.push("this server".to_owned());
        }
        if !others.old.is_empty() || !others.silent.is_empty() {
            let unready = |names: &[String], what: &str| match names.is_empty() {
                true => String::new(),
                false => format!("{} {what}; ", names.join(", ")),
            };
            return refuse(format!(
                "{}{}nothing was ended: put the new certificate on each server, and send it SIGHUP",
                unready(&others.old, "not yet with the new certificate"),
                unready(&others.silent, "without an answer"),
            ));
        }
        match self.shared.writer.change(Change::EndSuccession)? {
            Changed::Done => {}
            _ => return refuse("it was ended already".to_owned()),
        }
        rotation.refresh().map_err(read)?;
        self.ask_others(pair);
        Ok(format!(
            "all servers show {}; {} is refused from here on, by servers and by clients",
            pair.new.groups(),
            pair.old.groups()
        ))
    }

    pub(super) fn list_successions(&self, rows: Rows<'_>) -> Result<String, AdminError> {
        let rotation = &self.shared.rotation;
        rotation.refresh().map_err(read)?;
        let shown = self.shared.tls.as_deref().map(Acceptor::fingerprint);
        for (pair, at) in rotation.announced() {
            let leads_here = shown.is_some_and(|shown| !rotation.path(pair.old, shown).is_empty());
            let state = match () {
                () if rotation.under_way() == Some(pair) => "under way",
                () if leads_here => "followed",
                () => "not followed",
            };
            emit(
                rows,
                &SuccessionRow {
                    old: pair.old.to_string(),
                    new: pair.new.to_string(),
                    at,
                    state,
                },
            )?;
        }
        let shown = shown.map(|shown| format!("this server shows {shown}"));
        Ok(shown.unwrap_or_default())
    }

    /// Has the other servers read the announcements again, and asks what they show.
    fn ask_others(&self, pair: Pair) -> Others {
        let mut others = Others::default();
        for (node, called) in self.shared.delivery.call_all(&Call::Certificates) {
            match called {
                Ok(Called::Certificate(Some(shown))) if shown.0 == pair.new.0 => {
                    others.new.push(node.name);
                }
                Ok(Called::Certificate(_)) => others.old.push(node.name),
                _ => others.silent.push(node.name),
            }
        }
        others
    }
}

fn put_in_place(data: &Path) -> Result<(), AdminError> {
    Acceptor::put_next_in_place(data).map_err(|error| {
        AdminError::Refused(format!(
            "the next certificate is announced, but not in place: {error}"
        ))
    })
}
