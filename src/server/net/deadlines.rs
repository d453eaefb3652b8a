//! The moments at which a connection ends, whatever its peer does until then.
//! Silence is not among them: that one moves with every byte (see `connection`).

use std::time::{Duration, Instant};

/// How long a peer that sends no more is kept for the answers to what it has sent.
const CLOSING_TIME: Duration = Duration::from_secs(10);

/// Which moment has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nobody has logged in.
    Login,
    /// The TLS handshake is not done.
    Handshake,
    /// The peer has closed its side, and had its time to be answered.
    Closing,
}

/// A connection's deadlines. One that is `None` does not apply at present.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    /// When a login must have succeeded.
    pub login: Option<Instant>,
    /// When a TLS handshake that goes on must be done.
    pub handshake: Option<Instant>,
    /// When all answers must have left, once the peer has closed its side.
    closing: Option<Instant>,
}

impl Deadlines {
    /// For a new connection.
    pub(crate) fn new(login: Instant) -> Self {
        Deadlines {
            login: Some(login),
            ..Deadlines::default()
        }
    }

    /// The peer has closed its side. The first time counts.
    pub(crate) fn peer_closed(&mut self, now: Instant) -> Instant {
        *self.closing.get_or_insert(now + CLOSING_TIME)
    }

    /// The first of them.
    pub(crate) fn first(&self) -> Option<Instant> {
        let all = [self.login, self.handshake, self.closing];
        all.into_iter().flatten().min()
    }

    /// The one that has come, if one has.
    pub(crate) fn due(&self, now: Instant) -> Option<Due> {
        let all = [
            (self.closing, Due::Closing),
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
        deadlines.handshake = Some(after(20));
        assert_eq!(deadlines.first(), Some(after(20)));
        assert_eq!(deadlines.due(after(19)), None);
        assert_eq!(deadlines.due(after(20)), Some(Due::Handshake));
        assert_eq!(deadlines.peer_closed(after(1)), after(11));
        assert_eq!(deadlines.peer_closed(after(5)), after(11), "the first time");
        assert_eq!(deadlines.due(after(11)), Some(Due::Closing));
        deadlines.handshake = None;
        assert_eq!(deadlines.due(after(60)), Some(Due::Closing));
        assert_eq!(Deadlines::new(after(60)).due(after(60)), Some(Due::Login));
    }
}
