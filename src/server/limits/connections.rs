//! How many connections each address has open. Only addresses that have one take memory, so
//! the limit on all connections bounds it.

use std::collections::HashMap;

use super::ip_prefix::IpPrefix;

/// The count of open connections for each address that has one.
#[derive(Debug, Default)]
pub(crate) struct ConnectionsPerAddress {
    open: HashMap<IpPrefix, Open>,
}

#[derive(Debug, Default)]
struct Open {
    count: usize,
    /// A connection of this address was refused since it last had none.
    refused: bool,
}

/// An address has as many connections as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany {
    /// It is the first refusal since the address had no connection: worth a line in the log.
    pub first: bool,
}

impl ConnectionsPerAddress {
    /// Counts one more connection, unless the address has `most`; zero is no limit.
    ///
    /// # Errors
    /// The address has `most`.
    pub(crate) fn enter(&mut self, from: IpPrefix, most: usize) -> Result<(), TooMany> {
        let open = self.open.entry(from).or_default();
        if most > 0 && open.count >= most {
            let first = !std::mem::replace(&mut open.refused, true);
            return Err(TooMany { first });
        }
        open.count += 1;
        Ok(())
    }

    /// A connection that was counted has ended.
    pub(crate) fn leave(&mut self, from: IpPrefix) {
        if let Some(open) = self.open.get_mut(&from) {
            open.count = open.count.saturating_sub(1);
            if open.count == 0 {
                self.open.remove(&from);
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
        assert!(per_address.open.is_empty());
        assert_eq!(per_address.enter(here, 1), Ok(()));
        assert_eq!(per_address.enter(here, 1), Err(TooMany { first: true }));
    }
}
