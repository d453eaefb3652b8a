//! Milliseconds since 1970 as dates and times, for people (local) and for programs (UTC), and
//! back. It reads no clock.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// A date and a time to the second, as `/info` shows it.
pub(crate) fn date_and_time(ms: u64) -> String {
    format(ms, "%Y-%m-%d %H:%M:%S")
}

/// The time, with its date if that is not the date of `now`.
pub(crate) fn short(ms: u64, now: u64) -> String {
    let day = |ms| format(ms, "%Y-%m-%d");
    if day(ms) == day(now) {
        format(ms, "%H:%M")
    } else {
        format(ms, "%Y-%m-%d %H:%M")
    }
}

/// The time of the day alone, for lists that say the day elsewhere.
pub(crate) fn time_of_day(ms: u64) -> String {
    format(ms, "%H:%M")
}

/// The day in words.
pub(crate) fn day(ms: u64) -> String {
    format(ms, "%A, %-d %B %Y")
}

/// The time in UTC, to the millisecond, as RFC 3339 writes it. One outside the calendar becomes
/// its last moment.
pub(crate) fn utc(ms: u64) -> String {
    let time = i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX);
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// The time that a date (its first moment here) or a time as RFC 3339 writes it stands for.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let time = match text.parse::<Timestamp>() {
        Ok(time) => time,
        Err(_) => text
            .parse::<Date>()
            .ok()?
            .to_zoned(TimeZone::system())
            .ok()?
            .timestamp(),
    };
    u64::try_from(time.as_millisecond()).ok()
}

/// The first moment here of the day that is so many days before that of `now`.
pub(crate) fn start_of_day(now: u64, days_before: i64) -> Option<u64> {
    let now = Timestamp::from_millisecond(i64::try_from(now).ok()?).ok()?;
    let today = now.to_zoned(TimeZone::system()).date();
    let day = today.checked_sub(Span::new().days(days_before)).ok()?;
    let start = day.to_zoned(TimeZone::system()).ok()?.timestamp();
    u64::try_from(start.as_millisecond()).ok()
}

fn format(ms: u64, pattern: &str) -> String {
    // A server may claim any time, even one outside the calendar.
    match i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
    {
        Some(time) => time
            .to_zoned(TimeZone::system())
            .strftime(pattern)
            .to_string(),
        None => "(no such time)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zones_of_the_system_are_known_by_name() {
        // A machine without the zones' files has nothing to test.
        if std::path::Path::new("/usr/share/zoneinfo/Asia/Tokyo").exists() {
            let tokyo = TimeZone::get("Asia/Tokyo").unwrap();
            let time = Timestamp::UNIX_EPOCH.to_zoned(tokyo);
            assert_eq!(time.strftime("%H:%M").to_string(), "09:00");
        }
    }

    #[test]
    fn what_programs_are_told_can_be_given_back() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(1_700_000_000_007), "2023-11-14T22:13:20.007Z");
        assert_eq!(parse(&utc(1_700_000_000_007)), Some(1_700_000_000_007));
        assert!(utc(u64::MAX).starts_with("9999-12-3"), "{}", utc(u64::MAX));
        let day = parse("2023-11-14").unwrap();
        assert_eq!(date_and_time(day), "2023-11-14 00:00:00");
        for wrong in [
            "",
            "yesterday",
            "2023-13-01",
            "20231114x",
            "1969-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_other_days_have_a_date() {
        let now = 1_700_000_000_000;
        assert_eq!(short(now, now).len(), 5);
        assert_eq!(short(now - 3 * 86_400_000, now).len(), 16);
        assert_eq!(short(u64::MAX, now), "(no such time)");
    }
}
