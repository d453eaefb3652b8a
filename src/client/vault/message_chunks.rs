//! Which messages there are. The table `messages` is too large to be checked at opening. Its rows
//! are listed in chunks of 32, which are: a message exists if its chunk lists it, and its row has
//! the tag that the chunk says. The list also has each message's contact and the beginning of its
//! id, so that a search opens only what it finds. What a message says is `history`'s.

use super::codec::{Header, Reader};
use super::seal::{TAG_LEN, Tag};
use super::table::Table;
use super::{Result, Vault};

/// How many messages a chunk lists.
const CHUNK: i64 = 32;

/// Bytes of a listing: the end of the row's tag (12), the contact (4), the beginning of
/// the id (4). All zeros stand for no message.
pub(super) const LISTING_LEN: usize = 20;

/// Bytes of the tag that a listing has. A row can only be replaced by what it was before,
/// so 96 bits are plenty.
const TAG_IN_LISTING: usize = 12;

/// What a chunk says of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) tag: [u8; TAG_IN_LISTING],
    /// The vault's number for the contact, which is never 0.
    contact: u32,
    pub(super) mid: [u8; 4],
}

impl Listing {
    pub(super) fn to_bytes(self) -> [u8; LISTING_LEN] {
        let mut bytes = [0; LISTING_LEN];
        bytes[..12].copy_from_slice(&self.tag);
        bytes[12..16].copy_from_slice(&self.contact.to_be_bytes());
        bytes[16..].copy_from_slice(&self.mid);
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let listing = Listing {
            tag: reader.array()?,
            contact: u32::from_be_bytes(reader.array()?),
            mid: reader.array()?,
        };
        (listing.contact != 0).then_some(listing)
    }

    pub(super) fn contact(self) -> i64 {
        i64::from(self.contact)
    }

    /// The listing of a message whose row has this tag; `None` if no contact has such a number.
    pub(super) fn of(tag: &Tag, header: &Header) -> Option<Self> {
        Some(Listing {
            tag: std::array::from_fn(|i| tag[TAG_LEN - TAG_IN_LISTING + i]),
            contact: u32::try_from(header.contact).ok()?,
            mid: std::array::from_fn(|i| header.mid.0[i]),
        })
    }
}

/// The chunk that lists the message at a place.
pub(super) fn chunk_of(seq: i64) -> i64 {
    seq.div_euclid(CHUNK)
}

/// A chunk that lists these messages, which are all of it.
pub(super) fn chunk_bytes(listings: &[(i64, Listing)]) -> Vec<u8> {
    let mut bytes = vec![0; CHUNK as usize * LISTING_LEN];
    for (seq, listing) in listings {
        let (_, at) = place_of(*seq);
        bytes[at].copy_from_slice(&listing.to_bytes());
    }
    bytes
}

/// The chunk of a message, and where in it the listing is.
pub(super) fn place_of(seq: i64) -> (i64, std::ops::Range<usize>) {
    let at = seq.rem_euclid(CHUNK) as usize * LISTING_LEN;
    (chunk_of(seq), at..at + LISTING_LEN)
}

impl Vault {
    /// Says what a chunk has of the message at a place; zeros for none.
    pub(super) fn list(&mut self, seq: i64, listing: [u8; LISTING_LEN]) -> Result<()> {
        let (chunk, at) = place_of(seq);
        self.change_page(Table::MessageChunks, chunk, |page| {
            if page.len() < at.end {
                page.resize(at.end, 0);
            }
            page[at].copy_from_slice(&listing);
        })
    }

    /// What is listed of the message at a place; `None` if there is none.
    pub(super) fn listing(&self, seq: i64) -> Result<Option<Listing>> {
        let (chunk, at) = place_of(seq);
        let page = self.page(Table::MessageChunks, chunk)?;
        Ok(page.get(at).and_then(Listing::from_bytes))
    }

    /// Whether there is a message at a place, and with whom; `None` also for a control
    /// message.
    pub fn contact_of_message(&self, seq: i64) -> Result<Option<i64>> {
        Ok(self.listing(seq)?.map(Listing::contact))
    }

    /// The places and listings of the messages in a chunk, in order.
    pub(super) fn listed(&self, chunk: i64) -> Result<Vec<(i64, Listing)>> {
        let page = self.page(Table::MessageChunks, chunk)?;
        let listings = page.chunks_exact(LISTING_LEN).map(Listing::from_bytes);
        let first = chunk * CHUNK;
        let placed = (first..).zip(listings);
        Ok(placed
            .filter_map(|(seq, listing)| Some((seq, listing?)))
            .collect())
    }

    /// How many messages there are.
    pub(super) fn count_messages(&self) -> Result<u64> {
        let mut count = 0;
        for chunk in self.numbers(Table::MessageChunks) {
            count += self.listed(chunk)?.len() as u64;
        }
        Ok(count)
    }
}
