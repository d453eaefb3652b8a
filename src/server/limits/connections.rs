//! How many connections each address has open. Only addresses that have one take memory, so
//! the limit on all connections bounds it.

use std::collections::HashMap;

use super::ip_prefix::{IpPrefix, NETWORKS_OF_SITE};

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

/// An address, or the IPv6 site that it belongs to, has as many connections as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany {
    /// Which of the two.
    pub who: IpPrefix,
    /// How many it may have.
    pub most: usize,
    /// It is the first refusal since it had no connection: worth a line in the log.
    pub first: bool,
}

impl ConnectionsPerAddress {
    /// Counts one more connection, unless the address has `most`, or its site as many as some
    /// addresses together; zero is no limit.
    ///
    /// # Errors
    /// One of the two has as many as it may.
    pub(crate) fn enter(&mut self, from: IpPrefix, most: usize) -> Result<(), TooMany> {
        self.enter_one(from, most)?;
        let Some(site) = from.site() else {
            return Ok(());
        };
        let entered = self.enter_one(site, most.saturating_mul(NETWORKS_OF_SITE as usize));
        if entered.is_err() {
            self.leave_one(from);
        }
        entered
    }

    fn enter_one(&mut self, who: IpPrefix, most: usize) -> Result<(), TooMany> {
        let open = self.open.entry(who).or_default();
        if most > 0 && open.count >= most {
            let first = !std::mem::replace(&mut open.refused, true);
            return Err(TooMany { who, most, first });
        }
        open.count += 1;
        Ok(())
    }

    /// A connection that was counted has ended.
    pub(crate) fn leave(&mut self, from: IpPrefix) {
        self.leave_one(from);
        if let Some(site) = from.site() {
            self.leave_one(site);
        }
    }

    fn leave_one(&mut self, from: IpPrefix) {
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
        let refused = |first| {
            let (who, most) = (here, 2);
            Err(TooMany { who, most, first })
        };
        let mut per_address = ConnectionsPerAddress::default();
        assert_eq!(per_address.enter(here, 2), Ok(()));
        assert_eq!(per_address.enter(here, 2), Ok(()));
        assert_eq!(per_address.enter(here, 2), refused(true));
        assert_eq!(per_address.enter(here, 2), refused(false));
        assert_eq!(per_address.enter(there, 2), Ok(()));
        per_address.leave(here);
        assert_eq!(per_address.enter(here, 2), Ok(()));
        assert_eq!(per_address.enter(here, 2), refused(false));
        assert_eq!(per_address.enter(here, 0), Ok(()), "no limit");
        for _ in 0..3 {
            per_address.leave(here);
        }
        per_address.leave(there);
        assert!(per_address.open.is_empty());
        assert_eq!(per_address.enter(here, 1), Ok(()));
        assert!(per_address.enter(here, 1).unwrap_err().first);
    }

    #[test]
    fn a_site_has_the_share_of_some_networks() {
        let network = |number: u16| {
            let address = format!("2001:db8:1:{number:x}::1");
            IpPrefix::of(address.parse().unwrap())
        };
        let mut per_address = ConnectionsPerAddress::default();
        let share = 2 * NETWORKS_OF_SITE as usize;
        let entered = (0..1000).filter(|n| per_address.enter(network(*n), 2).is_ok());
        assert_eq!(entered.count(), share);
        let refused = per_address.enter(network(999), 2).unwrap_err();
        assert_eq!(refused.who.to_string(), "2001:db8:1::/48");
        assert_eq!((refused.most, refused.first), (share, false));
        let elsewhere = IpPrefix::of("2001:db8:2::1".parse().unwrap());
        assert_eq!(per_address.enter(elsewhere, 2), Ok(()));
        for number in 0..share as u16 {
            per_address.leave(network(number));
        }
        per_address.leave(elsewhere);
        assert!(per_address.open.values().all(|open| open.count == 0));
        assert_eq!(per_address.enter(network(0), 2), Ok(()));
    }
}
