//! Padding that hides how long a text is.
//!
//! A content is followed by one byte 80 and then zeros (as in ISO/IEC 7816-4)
//! up to the next size class: 160 bytes and its doublings up to 20,480. Eight
//! classes tell an eavesdropper at most three bits; texts of up to 150 bytes,
//! receipts of up to nine ids and retry requests all look alike. The price is
//! at most twice the size. What is padded is not known here.

use std::fmt;

use zeroize::Zeroizing;

/// The smallest class, in bytes. Like every other it is a multiple of the AES
/// block, so PKCS#7 always adds one whole block.
pub const SMALLEST: usize = 160;

/// The largest class, in bytes: the first with room for a 16 KiB text.
pub const LARGEST: usize = SMALLEST << 7;

/// The longest content that can be padded: the mark takes one byte.
pub const MAX_CONTENT: usize = LARGEST - 1;

const MARK: u8 = 0x80;

/// Why bytes could not be padded or unpadded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaddingError {
    /// There are more than [`MAX_CONTENT`] bytes.
    TooLong,
    /// The length is no size class, or not the smallest that would do.
    NotASizeClass,
    /// The content doesn't end in byte 80 and zeros.
    NoMark,
}

impl fmt::Display for PaddingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the content is too long for one message",
            Self::NotASizeClass => "the padded length is not one that a client produces",
            Self::NoMark => "the padding has no end mark",
        })
    }
}

impl std::error::Error for PaddingError {}

/// The content with its padding.
pub fn pad(content: &[u8]) -> Result<Zeroizing<Vec<u8>>, PaddingError> {
    let class = class_of(content.len()).ok_or(PaddingError::TooLong)?;
    let mut out = Zeroizing::new(Vec::with_capacity(class));
    out.extend_from_slice(content);
    out.push(MARK);
    out.resize(class, 0);
    Ok(out)
}

/// The content without its padding: the exact inverse of [`pad`], which refuses
/// everything that [`pad`] doesn't produce. The bytes have been authenticated
/// before, so an error here tells a forger nothing.
pub fn unpad(padded: &[u8]) -> Result<&[u8], PaddingError> {
    let end = padded.iter().rposition(|&byte| byte != 0);
    let length = end
        .filter(|&end| padded.get(end) == Some(&MARK))
        .ok_or(PaddingError::NoMark)?;
    if class_of(length) != Some(padded.len()) {
        return Err(PaddingError::NotASizeClass);
    }
    padded.get(..length).ok_or(PaddingError::NoMark)
}

fn class_of(content: usize) -> Option<usize> {
    (0..=7)
        .map(|doublings| SMALLEST << doublings)
        .find(|&class| class > content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_texts_look_alike_and_the_largest_class_is_the_last() {
        let sizes = [1, 100, 159, 160, MAX_CONTENT].map(|n| pad(&vec![7; n]).unwrap().len());
        assert_eq!(sizes, [160, 160, 160, 320, LARGEST]);
        assert_eq!(pad(&vec![7; LARGEST]), Err(PaddingError::TooLong));
    }

    #[test]
    fn anything_but_our_own_padding_is_refused() {
        assert_eq!(unpad(&[]), Err(PaddingError::NoMark));
        assert_eq!(unpad(&[0; 160]), Err(PaddingError::NoMark));
        assert_eq!(unpad(&[1; 160]), Err(PaddingError::NoMark));
        let mut long = pad(b"hi").unwrap().to_vec();
        long.resize(320, 0);
        assert_eq!(unpad(&long), Err(PaddingError::NotASizeClass));
        assert_eq!(unpad(&[0x80, 0]), Err(PaddingError::NotASizeClass));
    }

    proptest! {
        #[test]
        fn unpad_inverts_pad(content in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let padded = pad(&content).unwrap();
            prop_assert_eq!(padded.len() % 16, 0);
            prop_assert_eq!(unpad(&padded), Ok(content.as_slice()));
        }

        #[test]
        fn what_unpads_pads_back_to_the_same(bytes in proptest::collection::vec(any::<u8>(), 160)) {
            if let Ok(content) = unpad(&bytes) {
                let padded = pad(content).unwrap();
                prop_assert_eq!(padded.as_slice(), bytes.as_slice());
            }
        }
    }
}
