//! When a certificate ends: the one field that is read of it here. `rustls` checks certificates and
//! does not show their dates.
//!
//! A certificate is DER (X.690): each element is a tag, a length and its content. The way to the
//! date is short (RFC 5280, section 4.1): in the certificate the first element, in there the
//! validity behind an optional version, the serial number, the algorithm and the issuer, and in
//! there the second time.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The last second of a certificate's validity, in seconds since 1970 (UTC); `None` if it can't be
/// read.
pub(super) fn not_after(certificate: &[u8]) -> Option<i64> {
    let (_, mut certificate) = take(&mut &*certificate, SEQUENCE)?;
    let (_, mut fields) = take(&mut certificate, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        element(&mut fields)?;
    }
    for _serial_algorithm_issuer in 0..3 {
        element(&mut fields)?;
    }
    let (_, mut validity) = take(&mut fields, SEQUENCE)?;
    element(&mut validity)?;
    let (tag, text) = element(&mut validity)?;
    time(tag, std::str::from_utf8(text).ok()?)
}

/// The next element, which must have this tag.
fn take<'a>(rest: &mut &'a [u8], tag: u8) -> Option<(u8, &'a [u8])> {
    element(rest).filter(|(found, _)| *found == tag)
}

/// The next element's tag and content.
fn element<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, after) = rest.split_first()?;
    let (&first, mut after) = after.split_first()?;
    let length = match first {
        ..=0x7f => usize::from(first),
        0x81..=0x84 => {
            let (bytes, behind) = after.split_at_checked(usize::from(first & 0x7f))?;
            after = behind;
            bytes
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte))
        }
        _ => return None,
    };
    let (content, behind) = after.split_at_checked(length)?;
    *rest = behind;
    Some((tag, content))
}

/// `YYMMDDHHMMSSZ`, whose years 50 to 99 are in the last century, or `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &str) -> Option<i64> {
    let digits = text.strip_suffix('Z')?;
    let digits = match tag {
        UTC_TIME if digits.len() == 12 => match digits.starts_with(['5', '6', '7', '8', '9']) {
            true => format!("19{digits}"),
            false => format!("20{digits}"),
        },
        GENERALIZED_TIME => digits.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%S", &digits).ok()?;
    let time = TimeZone::UTC.to_timestamp(time).ok()?;
    Some(time.as_second())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn made(year: i32) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["example".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 2, 28);
        let pair = KeyPair::generate().unwrap();
        params.self_signed(&pair).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_is_read_in_both_notations() {
        // Up to 2049 a certificate has UTCTime, from 2050 on GeneralizedTime.
        assert_eq!(not_after(&made(2031)), Some(1_930_003_200));
        assert_eq!(not_after(&made(2107)), Some(4_328_294_400));
        assert_eq!(time(UTC_TIME, "700101000000Z"), Some(0));
    }

    #[test]
    fn what_is_cut_off_or_changed_has_no_end_and_does_no_harm() {
        let whole = made(2031);
        for length in 0..whole.len() {
            assert_eq!(not_after(&whole[..length]), None);
        }
        for at in 0..whole.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] ^= change;
                let _any = not_after(&changed);
            }
        }
    }
}
