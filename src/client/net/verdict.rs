//! Whether the certificate that a server shows is the right one: by what the person has named, what was
//! seen before, and what earlier certificates have announced. Connecting, asking and remembering are
//! [`endpoint`](super::endpoint)'s part.

use std::path::Path;

use super::error::Untrusted;
use super::known_servers::{KnownBy, Pin};
use crate::transport::fingerprint::Fingerprint;

/// A certificate to be judged.
pub(super) struct Case<'a> {
    /// The certificate that the server shows.
    pub shown: Fingerprint,
    /// The one that the address names.
    pub named: Option<Fingerprint>,
    /// Somebody else has made the address, so that what it names does not replace what was seen before.
    pub by_link: bool,
    /// Certificates are remembered; otherwise the system's roots have vouched for the one that is shown.
    pub pinned: bool,
    /// What was seen before.
    pub known: Option<&'a KnownBy>,
    /// Where that is remembered.
    pub path: &'a Path,
}

/// What is to be done about it.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is right. This is to be remembered, if anything new is.
    Trusted(Option<KnownBy>),
    /// Only a person can say so.
    Ask,
    /// It is right if announcements lead to it from each of these; otherwise that is what is wrong.
    Prove {
        from: Vec<Fingerprint>,
        otherwise: Untrusted,
    },
}

impl Case<'_> {
    /// The certificate that was seen before.
    fn pin(&self) -> Option<&Pin> {
        match self.known {
            Some(KnownBy::Pin(pin)) if self.pinned => Some(pin),
            _ => None,
        }
    }

    /// Judges it.
    pub(super) fn judge(&self) -> Verdict {
        let (shown, pin) = (self.shown, self.pin());
        // An earlier one stands for what it has announced. Nobody who has its key makes it count again.
        let was = |named: &Fingerprint| pin.is_some_and(|pin| pin.was.contains(named));
        let named = self.named.filter(|named| !was(named));
        let permitted = pin.is_some_and(|pin| pin.permits(shown));
        let prove = |from, otherwise| Verdict::Prove { from, otherwise };
        match (named, pin) {
            (Some(named), _) if named != shown => {
                let seen = pin.filter(|_| !permitted);
                let from = [Some(named), seen.map(|pin| pin.certificate)];
                prove(from.into_iter().flatten().collect(), self.not_named(named))
            }
            (_, Some(_)) if permitted => Verdict::Trusted(None),
            (Some(named), Some(pin)) if self.by_link => {
                prove(vec![pin.certificate], self.not_named(named))
            }
            (Some(_), _) if self.pinned => Verdict::Trusted(Some(KnownBy::Pin(Pin::new(shown)))),
            (None, Some(pin)) => prove(vec![pin.certificate], self.changed(pin)),
            (None, None) if self.pinned => Verdict::Ask,
            _ => Verdict::Trusted(self.unless_known(KnownBy::SystemRoots)),
        }
    }

    /// What to remember once announcements have led to it over these `earlier` ones. `previous` is
    /// what the server says that it may still show elsewhere.
    pub(super) fn proven(
        &self,
        earlier: Vec<Fingerprint>,
        previous: Option<Fingerprint>,
    ) -> Option<KnownBy> {
        if !self.pinned {
            return self.unless_known(KnownBy::SystemRoots);
        }
        let mut pin = match self.pin() {
            Some(pin) if pin.permits(self.shown) => pin.clone(),
            seen => Pin {
                certificate: self.shown,
                also: previous.filter(|previous| *previous != self.shown),
                was: seen.map_or(Vec::new(), |pin| pin.was.clone()),
            },
        };
        pin.remember(earlier);
        Some(KnownBy::Pin(pin))
    }

    fn unless_known(&self, new: KnownBy) -> Option<KnownBy> {
        match self.known {
            None => Some(new),
            Some(_) => None,
        }
    }

    fn not_named(&self, named: Fingerprint) -> Untrusted {
        match self.pin() {
            Some(pin) if self.by_link => Untrusted::NamedByLink {
                before: pin.certificate,
                named,
            },
            _ => Untrusted::NotTheNamed {
                named,
                shown: self.shown,
            },
        }
    }

    fn changed(&self, pin: &Pin) -> Untrusted {
        match pin.was.contains(&self.shown) {
            true => Untrusted::Retired {
                now: pin.certificate,
                shown: self.shown,
                path: self.path.to_owned(),
            },
            false => Untrusted::Changed {
                before: pin.certificate,
                shown: self.shown,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn print(byte: u8) -> Fingerprint {
        Fingerprint([byte; 32])
    }

    const OLD: Fingerprint = print(1);
    const NOW: Fingerprint = print(2);
    const NEXT: Fingerprint = print(3);
    const EVIL: Fingerprint = print(9);

    /// What is known of a server whose certificate is `NOW` and was `OLD`.
    fn known(also: Option<Fingerprint>) -> KnownBy {
        KnownBy::Pin(Pin {
            certificate: NOW,
            also,
            was: vec![OLD],
        })
    }

    fn case(known: Option<&KnownBy>, named: Option<Fingerprint>, shown: Fingerprint) -> Case<'_> {
        Case {
            shown,
            named,
            by_link: false,
            pinned: true,
            known,
            path: Path::new("known"),
        }
    }

    /// The verdict in a word, with what has to announce the certificate.
    fn judged(case: &Case<'_>) -> (&'static str, Vec<Fingerprint>) {
        match case.judge() {
            Verdict::Trusted(None) => ("trusted", Vec::new()),
            Verdict::Trusted(Some(_)) => ("new", Vec::new()),
            Verdict::Ask => ("ask", Vec::new()),
            Verdict::Prove { from, otherwise } => {
                let word = match otherwise {
                    Untrusted::Changed { .. } => "changed",
                    Untrusted::Retired { .. } => "retired",
                    Untrusted::NotTheNamed { .. } => "not named",
                    Untrusted::NamedByLink { .. } => "by link",
                    other => panic!("{other:?}"),
                };
                (word, from)
            }
        }
    }

    #[test]
    fn what_was_seen_before_and_what_a_person_names_decide() {
        let (pin, rolling) = (known(None), known(Some(OLD)));
        let none = Vec::new;
        for (known, named, shown, expected) in [
            (None, None, EVIL, ("ask", none())),
            (None, Some(NOW), NOW, ("new", none())),
            (None, Some(NOW), EVIL, ("not named", vec![NOW])),
            (Some(&pin), None, NOW, ("trusted", none())),
            (Some(&pin), None, NEXT, ("changed", vec![NOW])),
            // Whoever has the key of the old certificate is refused, also where the old one is named.
            (Some(&pin), None, OLD, ("retired", vec![NOW])),
            (Some(&pin), Some(OLD), OLD, ("retired", vec![NOW])),
            (Some(&pin), Some(OLD), NOW, ("trusted", none())),
            (Some(&pin), Some(OLD), NEXT, ("changed", vec![NOW])),
            // While one takes the place of the other, both are right.
            (Some(&rolling), None, NOW, ("trusted", none())),
            (Some(&rolling), None, OLD, ("trusted", none())),
            (Some(&rolling), Some(OLD), OLD, ("trusted", none())),
            (Some(&rolling), None, NEXT, ("changed", vec![NOW])),
            // What a person names replaces what was seen before, and only if it is shown.
            (Some(&pin), Some(EVIL), EVIL, ("new", none())),
            (Some(&pin), Some(NEXT), NOW, ("not named", vec![NEXT])),
            (Some(&pin), Some(NEXT), EVIL, ("not named", vec![NEXT, NOW])),
        ] {
            let judged = judged(&case(known, named, shown));
            assert_eq!(judged, expected, "{known:?} {named:?} {shown}");
        }
    }

    #[test]
    fn what_a_link_names_replaces_nothing() {
        let pin = known(None);
        for (known, named, shown, expected) in [
            (None, EVIL, EVIL, ("new", Vec::new())),
            (Some(&pin), NOW, NOW, ("trusted", Vec::new())),
            (Some(&pin), OLD, NOW, ("trusted", Vec::new())),
            (Some(&pin), EVIL, EVIL, ("by link", vec![NOW])),
            (Some(&pin), EVIL, NOW, ("by link", vec![EVIL])),
            (Some(&pin), OLD, OLD, ("retired", vec![NOW])),
            (Some(&pin), NEXT, NEXT, ("by link", vec![NOW])),
        ] {
            let link = Case {
                by_link: true,
                ..case(known, Some(named), shown)
            };
            assert_eq!(judged(&link), expected, "{known:?} {named} {shown}");
        }
    }

    #[test]
    fn the_systems_roots_have_no_pins() {
        let (pin, roots) = (known(None), KnownBy::SystemRoots);
        for (known, named, expected) in [
            (None, None, "new"),
            (Some(&pin), None, "trusted"),
            (Some(&roots), Some(NEXT), "trusted"),
            (Some(&roots), Some(NOW), "not named"),
        ] {
            let case = Case {
                pinned: false,
                ..case(known, named, NEXT)
            };
            assert_eq!(judged(&case).0, expected, "{known:?} {named:?}");
        }
        assert_eq!(judged(&case(Some(&roots), None, NOW)).0, "ask");
    }

    #[test]
    fn what_was_proven_is_remembered_with_the_way_there() {
        let pin = known(None);
        let moved = case(Some(&pin), None, NEXT).proven(vec![NOW], Some(NOW));
        let expected = KnownBy::Pin(Pin {
            certificate: NEXT,
            also: Some(NOW),
            was: vec![OLD, NOW],
        });
        assert_eq!(moved, Some(expected.clone()));
        // An older name, at a machine that shows the old certificate, moves nothing back.
        let there = case(Some(&expected), Some(EVIL), NOW).proven(vec![EVIL], None);
        let Some(KnownBy::Pin(there)) = there else {
            panic!()
        };
        assert_eq!((there.certificate, there.also), (NEXT, Some(NOW)));
        assert_eq!(there.was, [OLD, NOW, EVIL]);
        let first = case(None, Some(OLD), NOW).proven(vec![OLD], None);
        assert_eq!(first, Some(known(None)));
    }
}
