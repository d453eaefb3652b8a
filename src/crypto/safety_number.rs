//! Safety numbers: sixty digits that two people compare by voice, to be sure that nobody sits
//! between them.
//!
//! They follow Signal's numeric fingerprint. For each side, a hash is iterated 5,200 times over its
//! identity and its name and gives 30 digits; the iterations make the search for a similar number
//! that much more expensive. The smaller 30 digits come first, so that both screens show the same.
//!
//! ```text
//! h(0)   = SHA-512("secure-chat/1 safety-number" || length of name (2) || name || identity (64))
//! h(i)   = SHA-512(h(i-1) || identity (64)),  i = 1 .. 5199
//! digits = for each of the first six runs of 5 bytes of h(5199): the run as a
//!          big-endian number, modulo 100000, as five digits
//! ```

use std::fmt;

use sha2::{Digest, Sha512};

use super::codec::put_short;
use super::kdf::label;
use super::keys::PublicIdentity;

/// How often SHA-512 is applied for each side. It is Signal's number, and takes some milliseconds on
/// a small machine.
const ITERATIONS: usize = 5_200;

/// Groups of five digits that each side adds.
const GROUPS_EACH: usize = 6;

/// Sixty digits in twelve groups of five. They are displayed on three lines of four groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafetyNumber([[u32; GROUPS_EACH]; 2]);

/// The safety number of two people, by their canonical names and identities. It is the same in
/// either order of the two.
pub fn safety_number(
    my_name: &str,
    mine: &PublicIdentity,
    their_name: &str,
    theirs: &PublicIdentity,
) -> SafetyNumber {
    let mut sides = [digits(my_name, mine), digits(their_name, theirs)];
    sides.sort_unstable();
    SafetyNumber(sides)
}

impl SafetyNumber {
    /// The twelve groups in order, each of five digits.
    pub fn groups(&self) -> [String; 2 * GROUPS_EACH] {
        let groups = self.0.as_flattened();
        std::array::from_fn(|i| format!("{:05}", groups[i]))
    }
}

impl fmt::Display for SafetyNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self
            .groups()
            .chunks(4)
            .map(|line| line.join(" "))
            .collect::<Vec<_>>();
        f.write_str(&lines.join("\n"))
    }
}

fn digits(name: &str, identity: &PublicIdentity) -> [u32; GROUPS_EACH] {
    let mut first = label::SAFETY_NUMBER.to_vec();
    put_short(&mut first, name.as_bytes());
    first.extend_from_slice(identity.as_bytes());
    let mut hash = Sha512::digest(&first);
    for _ in 1..ITERATIONS {
        hash = Sha512::new()
            .chain_update(hash)
            .chain_update(identity.as_bytes())
            .finalize();
    }
    let (runs, _) = hash.as_chunks::<5>();
    std::array::from_fn(|i| {
        let run = runs[i]
            .iter()
            .fold(0_u64, |number, &byte| (number << 8) | u64::from(byte));
        // Below 100,000, so it fits.
        (run % 100_000) as u32
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::testing::{array, text, vectors};

    #[test]
    fn numbers_agree_with_python_and_look_the_same_on_both_screens() {
        for case in vectors(include_str!("../../tests/vectors/safety_number.json")) {
            let mine = PublicIdentity::from_bytes(&array(&case, "my_identity")).unwrap();
            let theirs = PublicIdentity::from_bytes(&array(&case, "their_identity")).unwrap();
            let (my_name, their_name) = (text(&case, "my_name"), text(&case, "their_name"));
            let number = safety_number(my_name, &mine, their_name, &theirs);
            assert_eq!(serde_json::json!(number.groups()), case["groups"]);
            assert_eq!(safety_number(their_name, &theirs, my_name, &mine), number);
            assert_ne!(safety_number("mallory", &mine, their_name, &theirs), number);
            let shown = number.to_string();
            assert_eq!(
                shown.lines().map(str::len).collect::<Vec<_>>(),
                [23, 23, 23]
            );
            assert_eq!(
                shown.split_whitespace().collect::<Vec<_>>(),
                number.groups()
            );
        }
    }
}
