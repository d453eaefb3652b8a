//! Which certificates the servers of the store may show, and what clients are told of it while one takes
//! the place of another. The store keeps the announcements, `transport::tls` signs and checks them, and
//! `admin::certificate` carries out what the operator wants.
//!
//! Of a store that several servers use, a succession is under way from its announcement until the operator
//! ends it: meanwhile each of them may show the old certificate or the new one. A server that has its store
//! alone shows one or the other, so for it nothing has to be ended.

use std::fmt;
use std::sync::Arc;

use crate::protocol::reply::Succession;
use crate::store::successions::Successions;
use crate::store::{Store, StoreError};
use crate::sync::Mutex;
use crate::transport::fingerprint::Fingerprint;
use crate::transport::tls::{Acceptor, TlsError};

/// What this server knows of the certificates.
pub(crate) struct Rotation {
    store: Arc<dyn Store>,
    /// Several servers may use the store.
    several: bool,
    /// As it was read last. Held to read or replace it, alone; never while the store is asked.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// What all servers show, once nothing is under way.
    face: Option<Fingerprint>,
    /// The announcements, each with the fingerprint of the certificate that has made it.
    steps: Vec<(Fingerprint, Succession)>,
    under_way: bool,
}

/// One certificate takes the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pair {
    pub old: Fingerprint,
    pub new: Fingerprint,
}

impl Rotation {
    /// Knows nothing until [`refresh`](Self::refresh).
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Rotation {
            several: store.run().is_some(),
            store,
            known: Mutex::default(),
        }
    }

    /// Reads from the store what there is.
    ///
    /// # Errors
    /// It can't be read; what was known stays.
    pub(crate) fn refresh(&self) -> Result<(), StoreError> {
        let Successions { steps, under_way } = self.store.successions()?;
        let face = self.store.face()?.map(Fingerprint);
        let of = |step: Succession| (Fingerprint::of(&step.certificate.0), step);
        *self.known.lock() = Known {
            face,
            steps: steps.into_iter().map(of).collect(),
            under_way,
        };
        Ok(())
    }

    /// Whether several servers may use the store, so that a succession has an end of its own.
    pub(crate) fn has_several(&self) -> bool {
        self.several
    }

    /// What is under way, so that servers may show either.
    pub(crate) fn under_way(&self) -> Option<Pair> {
        self.known.lock().under_way().filter(|_| self.several)
    }

    /// The certificate that other servers may still show under the same address, beside the one that is
    /// shown here.
    pub(crate) fn previous(&self, shown: Fingerprint) -> Option<Fingerprint> {
        let pair = self.under_way().filter(|pair| pair.new == shown)?;
        Some(pair.old)
    }

    /// The certificate to name in an address: while one takes the place of another, the old one, from which
    /// the announcement leads to the other.
    pub(crate) fn to_name(&self, shown: Fingerprint) -> Fingerprint {
        self.previous(shown).unwrap_or(shown)
    }

    /// Whether a server of the store may show a certificate, where this one shows `ours`.
    pub(crate) fn permits(&self, certificate: Fingerprint, ours: Fingerprint) -> bool {
        let known = self.known.lock();
        let pair = known.under_way().filter(|_| self.several);
        certificate == ours
            || known.face == Some(certificate)
            || pair.is_some_and(|pair| [pair.old, pair.new].contains(&certificate))
    }

    /// Like [`permits`](Self::permits); what it does not permit it looks up in the store first.
    pub(crate) fn permits_by_store(&self, certificate: Fingerprint, ours: Fingerprint) -> bool {
        self.permits(certificate, ours)
            // Without an answer, what is known counts.
            || (self.refresh().is_ok() && self.permits(certificate, ours))
    }

    /// Has an acceptor read its certificate's files again, and take what this server may show.
    ///
    /// # Errors
    /// The certificate stays as it was; the sentence says why.
    pub(crate) fn reload(&self, acceptor: &Acceptor) -> Result<Fingerprint, Refused> {
        acceptor.reload(|new| {
            if !self.several {
                return Ok(());
            }
            // Without an answer of the store, what is known counts.
            let _silent = self.refresh();
            match self.permits(new, acceptor.fingerprint()) {
                true => Ok(()),
                false => Err(Refused::OtherFace(new)),
            }
        })
    }

    /// The announcements that lead from a certificate to the one that is shown; none if nothing does.
    pub(crate) fn path(&self, from: Fingerprint, shown: Fingerprint) -> Vec<Succession> {
        let known = self.known.lock();
        let (mut path, mut at) = (Vec::new(), from);
        // Each certificate has announced one other at most, so this ends.
        while at != shown && path.len() < known.steps.len() {
            let Some((_, step)) = known.steps.iter().find(|(by, _)| *by == at) else {
                return Vec::new();
            };
            at = Fingerprint(step.next.0);
            path.push(step.clone());
        }
        match at == shown {
            true => path,
            false => Vec::new(),
        }
    }

    /// All announcements, the latest last: by which certificate, of which, and when, ms since 1970.
    pub(crate) fn announced(&self) -> Vec<(Pair, u64)> {
        let known = self.known.lock();
        let row = |(old, step): &(Fingerprint, Succession)| {
            let new = Fingerprint(step.next.0);
            (Pair { old: *old, new }, step.at)
        };
        known.steps.iter().map(row).collect()
    }
}

/// Why a certificate is not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It can't be used.
    Tls(TlsError),
    /// The other servers of the database show another one.
    OtherFace(Fingerprint),
}

impl From<TlsError> for Refused {
    fn from(error: TlsError) -> Self {
        Refused::Tls(error)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Tls(error) => error.fmt(f),
            Refused::OtherFace(new) => write!(
                f,
                "the other servers of the database don't show {}; announce a new one with `server \
                 certificate rotate` first",
                new.groups()
            ),
        }
    }
}

impl Known {
    fn under_way(&self) -> Option<Pair> {
        let (old, step) = self.steps.last().filter(|_| self.under_way)?;
        Some(Pair {
            old: *old,
            new: Fingerprint(step.next.0),
        })
    }
}
