//! Formats milliseconds since 1970 as local dates and times. It reads no clock.

use jiff::Timestamp;
use jiff::tz::TimeZone;

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
    fn only_other_days_have_a_date() {
        let now = 1_700_000_000_000;
        assert_eq!(short(now, now).len(), 5);
        assert_eq!(short(now - 3 * 86_400_000, now).len(), 16);
        assert_eq!(short(u64::MAX, now), "(no such time)");
    }
}
