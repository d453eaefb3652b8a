//! How many connections each address has open. It holds only addresses that have
//! one, so it is as bounded as the connections are.

use std::collections::HashMap;

use super::ip_prefix::IpPrefix;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ConnectionsPerAddress {
    present: HashMap<IpPrefix, Present>,
}

#[derive(Debug, Default)]
struct Present {
    count: usize,
    /// That it had too many was logged since it last had none.
    told: bool,
}

/// An address has as many connections as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany {
    /// The first refusal since it had none: worth a line in the log.
    pub first: bool,
}

impl ConnectionsPerAddress {
    /// Counts one more connection, unless there are `most`; zero is no limit.
    ///
    /// # Errors
    /// There are `most`.
    pub(crate) fn enter(&mut self, from: IpPrefix, most: usize) -> Result<(), TooMany> {
        let present = self.present.entry(from).or_default();
        if most > 0 && present.count >= most {
            let first = !std::mem::replace(&mut present.told, true);
            return Err(TooMany { first });
        }
        present.count += 1;
        Ok(())
    }

    /// One that was counted has ended.
    pub(crate) fn leave(&mut self, from: IpPrefix) {
        if let Some(present) = self.present.get_mut(&from) {
            present.count = present.count.saturating_sub(1);
            if present.count == 0 {
                self.present.remove(&from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let [here, there] = ["192.0.2.1", "192.0.2.2"].map(|ip| IpPrefix::of(ip.parse().unwrap()));
        let mut per_address = ConnectionsPerAddress::default();
        assert_eq!(per_address.enter(here, 2), Ok(()));
        assert_eq!(per_address.enter(here, 2), Ok(()));
        assert_eq!(per_address.enter(here, 2), Err(TooMany { first: true }));
        assert_eq!(per_address.enter(here, 2), Err(TooMany { first: false }));
        assert_eq!(per_address.enter(there, 2), Ok(()));
        per_address.leave(here);
        assert_eq!(per_address.enter(here, 2), Ok(()));
        assert_eq!(per_address.enter(here, 2), Err(TooMany { first: false }));
        assert_eq!(per_address.enter(here, 0), Ok(()), "no limit");
        for _ in 0..3 {
            per_address.leave(here);
        }
        per_address.leave(there);
        assert!(per_address.present.is_empty());
        assert_eq!(per_address.enter(here, 1), Ok(()));
        assert_eq!(per_address.enter(here, 1), Err(TooMany { first: true }));
    }
}
