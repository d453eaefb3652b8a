//! What the server's certificates have announced of each other, for clients that know an earlier one.
//! A store keeps it as one value of the server's own. What a signature has to say is checked in
//! `transport::tls`, and what follows for a server in `server::rotation`.

use serde::{Deserialize, Serialize};

use crate::protocol::limits::MAX_SUCCESSIONS;
use crate::protocol::reply::Succession;

/// The key, among the server's own values, under which a store keeps it.
pub(super) const KEY: &str = "successions";

/// The announcements, and whether the last one is being carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Successions {
    /// The announcements, the latest last. Each is by the certificate that the one before it names, unless
    /// a certificate was replaced without a word.
    pub steps: Vec<Succession>,
    /// Some servers of the store may show the certificate of the last announcement, and others the one
    /// that has made it. It has no meaning for a store that one server has alone.
    pub under_way: bool,
}

impl Successions {
    /// From what a store keeps; nothing, if it keeps nothing.
    ///
    /// # Errors
    /// No server has written it.
    pub(super) fn parse(value: Option<&[u8]>) -> serde_json::Result<Self> {
        value.map_or_else(|| Ok(Self::default()), serde_json::from_slice)
    }

    /// What a store keeps.
    pub(super) fn to_value(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    /// Adds an announcement, in place of an earlier one of the same certificate. The oldest are forgotten
    /// beyond as many as a client follows.
    pub(super) fn announce(&mut self, step: &Succession) {
        self.steps
            .retain(|earlier| earlier.certificate != step.certificate);
        self.steps.push(step.clone());
        let surplus = self.steps.len().saturating_sub(MAX_SUCCESSIONS);
        self.steps.drain(..surplus);
        self.under_way = true;
    }

    /// Ends what is under way. Returns the certificate that all servers show from here on; `None` if
    /// nothing is.
    pub(super) fn end(&mut self) -> Option<[u8; 32]> {
        let is_under_way = std::mem::take(&mut self.under_way);
        let last = self.steps.last().filter(|_| is_under_way)?;
        Some(last.next.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ids::{Blob, ByteArray};

    fn step(from: u8, to: u8) -> Succession {
        Succession {
            certificate: Blob(Box::new([from])),
            next: ByteArray([to; 32]),
            at: 1,
            scheme: 1,
            signature: Blob(Box::new([])),
        }
    }

    #[test]
    fn the_last_word_of_a_certificate_counts_and_the_oldest_are_forgotten() {
        let mut known = Successions::default();
        assert_eq!(known.end(), None);
        known.announce(&step(1, 2));
        known.announce(&step(1, 3));
        assert_eq!(known.steps, [step(1, 3)]);
        assert_eq!((known.end(), known.end()), (Some([3; 32]), None));
        for from in 3..20 {
            known.announce(&step(from, from + 1));
        }
        assert_eq!(known.steps.len(), MAX_SUCCESSIONS);
        assert_eq!(known.steps.last(), Some(&step(19, 20)));
        let value = known.to_value().unwrap();
        assert_eq!(Successions::parse(Some(&value)).unwrap(), known);
        assert_eq!(Successions::parse(None).unwrap(), Successions::default());
        assert!(Successions::parse(Some(b"{}x")).is_err());
    }
}
