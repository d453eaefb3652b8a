//! The address of a server: `HOST:PORT`, or `chat://FINGERPRINT@HOST:PORT`, which also names
//! its certificate and so leaves no doubt at first contact.

use std::fmt;
use std::str::FromStr;

use super::fingerprint::{Fingerprint, NotAFingerprint};

/// The beginning of an address with a fingerprint.
const SCHEME: &str = "chat://";

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `HOST:PORT`. The host is a name or an IP address; an IPv6 address stands in brackets.
    pub place: String,
    /// The fingerprint of the certificate that is expected there.
    pub fingerprint: Option<Fingerprint>,
}

/// Why a text is not an address. Its sentence says how to write one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAnAddress {
    /// It has neither of the two forms.
    Form,
    /// What stands before the `@` is not a fingerprint.
    Fingerprint(NotAFingerprint),
}

impl fmt::Display for NotAnAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAnAddress::Form => f.write_str(
                "write it as HOST:PORT, for instance 127.0.0.1:8080, or as \
                 chat://FINGERPRINT@HOST:PORT",
            ),
            NotAnAddress::Fingerprint(error) => error.fmt(f),
        }
    }
}

// The fingerprint's error is shown as it is and has no source, so neither has this.
impl std::error::Error for NotAnAddress {}

impl Address {
    /// The host without brackets, as a certificate would name it.
    pub fn host(&self) -> &str {
        let host = self.place.rsplit_once(':').map_or("", |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fingerprint {
            Some(fingerprint) => write!(f, "{SCHEME}{fingerprint}@{}", self.place),
            None => f.write_str(&self.place),
        }
    }
}

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let (fingerprint, place) = match text.strip_prefix(SCHEME) {
            None => (None, text),
            Some(rest) => match rest.trim_end_matches('/').split_once('@') {
                None => (None, rest.trim_end_matches('/')),
                Some((fingerprint, place)) => {
                    let parsed = fingerprint.parse().map_err(NotAnAddress::Fingerprint)?;
                    (Some(parsed), place)
                }
            },
        };
        let (host, port) = place.rsplit_once(':').ok_or(NotAnAddress::Form)?;
        // A bare IPv6 address would lose its last group to the port.
        let bare = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        if host.is_empty() || bare || host.contains('@') || port.parse::<u16>().is_err() {
            return Err(NotAnAddress::Form);
        }
        Ok(Address {
            place: place.to_owned(),
            fingerprint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_written_alike() {
        let fingerprint = Fingerprint([0xab; 32]);
        for text in [
            "chat.example:8080".to_owned(),
            "[::1]:8080".to_owned(),
            format!("chat://{fingerprint}@10.0.0.7:443"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        let address: Address = format!("chat://{fingerprint}@[::1]:8080/").parse().unwrap();
        assert_eq!(address.host(), "::1");
        assert_eq!(address.fingerprint, Some(fingerprint));
    }

    #[test]
    fn what_is_no_address_is_told_how_to_be_one() {
        for text in [
            "",
            "chat.example",
            ":8080",
            "::1:8080",
            "host:http",
            "chat://00@host:8080",
            "chat://me@host",
            "a@b:80",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
