//! The deadlines of a connection: it ends at these moments, whatever its peer does until then.
//! The limit on silence is not among them, because every byte moves it; `connection` keeps it.

use std::time::{Duration, Instant};

/// How long a peer that sends no more is kept for the answers to what it has sent.
const CLOSING_TIME: Duration = Duration::from_secs(10);

/// Which deadline is past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nobody has logged in in time.
    Login,
    /// The proxy has not said in time for whom it connects.
    ProxyHeader,
    /// The TLS handshake was not completed in time.
    Handshake,
    /// The peer has closed its side, and its time to read the answers is over.
    Closing,
}

/// A connection's deadlines. One that is `None` does not apply at present.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    /// When a login must have succeeded.
    pub login: Option<Instant>,
    /// When a proxy must have said for whom it connects.
    pub proxy_header: Option<Instant>,
    /// When the TLS handshake that is under way must be complete.
    pub handshake: Option<Instant>,
    /// When all answers must be written, once the peer has closed its side.
    closing: Option<Instant>,
}

impl Deadlines {
    /// The deadlines of a new connection.
    pub(crate) fn new(login: Instant) -> Self {
        Deadlines {
            login: Some(login),
            ..Deadlines::default()
        }
    }

    /// Notes that the peer has closed its side, and returns when all answers must be written. Only
    /// the first call sets that moment.
    pub(crate) fn peer_closed(&mut self, now: Instant) -> Instant {
        *self.closing.get_or_insert(now + CLOSING_TIME)
    }

    /// Moves those that the peer has to meet by a time in which the server itself stood still.
    pub(crate) fn postpone(&mut self, by: Duration) {
        let all = [&mut self.login, &mut self.proxy_header, &mut self.handshake];
        for deadline in all.into_iter().flatten() {
            *deadline += by;
        }
    }

    /// The earliest of them.
    pub(crate) fn first(&self) -> Option<Instant> {
        let all = [self.login, self.proxy_header, self.handshake, self.closing];
        all.into_iter().flatten().min()
    }

    /// The one that is past, if one is.
    pub(crate) fn due(&self, now: Instant) -> Option<Due> {
        let all = [
            (self.closing, Due::Closing),
            (self.proxy_header, Due::ProxyHeader),
            (self.handshake, Due::Handshake),
            (self.login, Due::Login),
        ];
        all.into_iter()
            .find_map(|(deadline, due)| (deadline? <= now).then_some(due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_counts() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut deadlines = Deadlines::new(after(60));
        deadlines.proxy_header = Some(after(10));
        assert_eq!(deadlines.due(after(10)), Some(Due::ProxyHeader));
        deadlines.proxy_header = None;
        deadlines.handshake = Some(after(20));
        assert_eq!(deadlines.first(), Some(after(20)));
        assert_eq!(deadlines.due(after(19)), None);
        assert_eq!(deadlines.due(after(20)), Some(Due::Handshake));
        assert_eq!(deadlines.peer_closed(after(1)), after(11));
        assert_eq!(deadlines.peer_closed(after(5)), after(11), "the first time");
        assert_eq!(deadlines.due(after(11)), Some(Due::Closing));
        deadlines.handshake = None;
        assert_eq!(deadlines.due(after(60)), Some(Due::Closing));
        let mut deadlines = Deadlines::new(after(60));
        assert_eq!(deadlines.due(after(60)), Some(Due::Login));
        deadlines.postpone(Duration::from_secs(30));
        assert_eq!(deadlines.due(after(89)), None);
        assert_eq!(deadlines.due(after(90)), Some(Due::Login));
    }
}
