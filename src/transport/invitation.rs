//! The link of an invitation: `chat://FINGERPRINT@HOST:PORT/join/DATA`. It names the server by its
//! certificate, and carries what makes an account there. A member's link also carries who invites,
//! with a secret that the server never sees. How the secret is made and what it proves is in `crypto`.
//!
//! DATA is base64url without padding (RFC 4648 section 5) of
//! `1 || flags (1) || [code (16)] || [inviter] || check (4)`. Bit 0 of the flags says that there is a
//! code, bit 1 that there is an inviter:
//! `identity (32) || nonce (8) || expires (8) || secret (16) || name`, where the name fills the rest.
//! `check` is the beginning of the SHA-256 of a label, the link before DATA, and the bytes before
//! `check`. It finds what was mistyped or cut; it is no protection against somebody who alters a link
//! on purpose, whom the certificate, the server's code and the inviter's identity stop.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::address::Address;
use crate::protocol::name::UserName;

/// What stands between the address and the data.
const JOIN: &str = "/join/";

/// The beginning of every link.
const SCHEME: &str = "chat://";

/// The first input of the check.
const CHECK: &[u8] = b"secure-chat/1 invitation-link";

/// The layout's version.
const VERSION: u8 = 1;

const HAS_CODE: u8 = 1;
const HAS_INVITER: u8 = 2;

/// The longest link that is read, in characters.
const MAX_LINK: usize = 1024;

/// An invitation's link.
#[derive(Clone, PartialEq, Eq)]
pub struct InvitationLink {
    /// The server.
    pub address: Address,
    /// What makes an account there; `None` for a server that makes accounts for anybody.
    pub code: Option<Zeroizing<[u8; 16]>>,
    /// Who invites; `None` for the operator.
    pub inviter: Option<Inviter>,
}

/// The member who invites.
#[derive(Clone, PartialEq, Eq)]
pub struct Inviter {
    /// Their name.
    pub name: UserName,
    /// Their identity's fingerprint.
    pub identity: [u8; 32],
    /// Which invitation of theirs it is.
    pub nonce: [u8; 8],
    /// Until when it works, ms since 1970.
    pub expires: u64,
    /// What newcomer and inviter share, and nobody else.
    pub secret: Zeroizing<[u8; 16]>,
}

/// Why a text is not a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotALink {
    /// It has another form.
    Form,
    /// A character is missing or is not the one that was there.
    Damaged,
    /// It is a newer version's.
    Newer,
}

impl fmt::Display for NotALink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotALink::Form => {
                "this is not the link of an invitation, which begins with chat:// and has /join/ in it; \
                 copy all of it"
            }
            NotALink::Damaged => {
                "the link was altered or cut on its way here; copy all of it, or ask for it again"
            }
            NotALink::Newer => "the link was made by a newer version; update the client",
        })
    }
}

impl std::error::Error for NotALink {}

/// A link has secrets, so it shows only where it leads.
impl fmt::Debug for InvitationLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InvitationLink({})", self.address)
    }
}

impl InvitationLink {
    /// The link as text.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(self.beginning());
        let mut data = Zeroizing::new(vec![VERSION, 0]);
        if let Some(code) = &self.code {
            data[1] |= HAS_CODE;
            data.extend_from_slice(&**code);
        }
        if let Some(inviter) = &self.inviter {
            data[1] |= HAS_INVITER;
            data.extend_from_slice(&inviter.identity);
            data.extend_from_slice(&inviter.nonce);
            data.extend_from_slice(&inviter.expires.to_be_bytes());
            data.extend_from_slice(&*inviter.secret);
            data.extend_from_slice(inviter.name.as_str().as_bytes());
        }
        let check = check(&text, &data);
        data.extend_from_slice(&check);
        text.push_str(&Zeroizing::new(BASE64URL_NOPAD.encode(&data)));
        text
    }

    /// All before the data.
    fn beginning(&self) -> String {
        let address = self.address.to_string();
        match address.starts_with(SCHEME) {
            true => format!("{address}{JOIN}"),
            false => format!("{SCHEME}{address}{JOIN}"),
        }
    }
}

impl FromStr for InvitationLink {
    type Err = NotALink;

    fn from_str(text: &str) -> Result<Self, NotALink> {
        let text = text.trim();
        let (address, data) = match text.rsplit_once(JOIN) {
            Some(parts) if text.len() <= MAX_LINK && text.starts_with(SCHEME) => parts,
            _ => return Err(NotALink::Form),
        };
        let address: Address = address.parse().map_err(|_| NotALink::Damaged)?;
        let decoded = BASE64URL_NOPAD.decode(data.as_bytes());
        let data = Zeroizing::new(decoded.map_err(|_| NotALink::Damaged)?);
        let (data, sum) = data.split_last_chunk::<4>().ok_or(NotALink::Damaged)?;
        let mut link = InvitationLink {
            address,
            code: None,
            inviter: None,
        };
        if check(&link.beginning(), data) != *sum {
            return Err(NotALink::Damaged);
        }
        let (&[version, flags], rest) = data.split_first_chunk().ok_or(NotALink::Damaged)?;
        if version != VERSION || flags & !(HAS_CODE | HAS_INVITER) != 0 {
            return Err(NotALink::Newer);
        }
        let mut fields = Fields(rest);
        if flags & HAS_CODE != 0 {
            link.code = Some(Zeroizing::new(fields.take()?));
        }
        if flags & HAS_INVITER != 0 {
            link.inviter = Some(Inviter {
                identity: fields.take()?,
                nonce: fields.take()?,
                expires: u64::from_be_bytes(fields.take()?),
                secret: Zeroizing::new(fields.take()?),
                name: fields.name()?,
            });
        } else if !fields.0.is_empty() {
            return Err(NotALink::Damaged);
        }
        Ok(link)
    }
}

/// What is left to be read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], NotALink> {
        let (field, rest) = self.0.split_first_chunk().ok_or(NotALink::Damaged)?;
        self.0 = rest;
        Ok(*field)
    }

    fn name(&mut self) -> Result<UserName, NotALink> {
        let name = std::str::from_utf8(self.0).map_err(|_| NotALink::Damaged)?;
        name.parse().map_err(|_| NotALink::Damaged)
    }
}

fn check(beginning: &str, data: &[u8]) -> [u8; 4] {
    let digest = Sha256::new()
        .chain_update(CHECK)
        .chain_update(beginning)
        .chain_update(data)
        .finalize();
    std::array::from_fn(|at| digest[at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::fingerprint::Fingerprint;

    fn link(code: bool, inviter: bool) -> InvitationLink {
        let mut address: Address = "chat.example:8080".parse().unwrap();
        address.fingerprint = Some(Fingerprint([0xab; 32]));
        InvitationLink {
            address,
            code: code.then(|| Zeroizing::new([1; 16])),
            inviter: inviter.then(|| Inviter {
                name: "alice".parse().unwrap(),
                identity: [2; 32],
                nonce: [3; 8],
                expires: 4,
                secret: Zeroizing::new([5; 16]),
            }),
        }
    }

    #[test]
    fn links_are_read_as_they_were_written() {
        for (code, inviter) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut one = link(code, inviter);
            assert_eq!(one.to_text().parse(), Ok(one.clone()));
            one.address.fingerprint = None;
            assert_eq!(one.to_text().parse(), Ok(one));
        }
        // Nothing in it means something to a shell.
        let text = link(true, true).to_text();
        let plain = |c: char| c.is_ascii_alphanumeric() || ":/@.-_".contains(c);
        assert!(text.chars().all(plain), "{}", *text);
    }

    #[test]
    fn each_altered_character_is_noticed() {
        let text = link(true, true).to_text();
        let data = text.rfind('/').unwrap() + 1;
        for at in 0..text.len() {
            let mut altered = text.to_string();
            let other = if &text[at..=at] == "7" { "8" } else { "7" };
            altered.replace_range(at..=at, other);
            assert!(altered.parse::<InvitationLink>().is_err(), "{altered}");
            if at >= data {
                assert!(text[..at].parse::<InvitationLink>().is_err());
            }
        }
        assert_eq!("chat://x:1".parse::<InvitationLink>(), Err(NotALink::Form));
        let long = format!("{}{}", *text, "A".repeat(MAX_LINK));
        assert_eq!(long.parse::<InvitationLink>(), Err(NotALink::Form));
    }
}
