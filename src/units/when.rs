//! Times as people write them, in UTC. PURE: no zone data, no clock.

use super::UnixMillis;

/// Year, month, day of a number of days since 1970-01-01 (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

/// Beyond this a time is not a date: the year 9999.
const END_MS: u64 = 253_402_300_800_000;

fn parts(at: UnixMillis) -> Option<[u64; 6]> {
    if at.0 >= END_MS {
        return None;
    }
    let seconds = at.0 / 1000;
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    Some([year, month, day, of_day / 3600, of_day / 60 % 60, of_day % 60])
}

/// `2026-11-21 22:53 UTC`; `never` beyond the year 9999.
#[must_use]
pub fn when(at: UnixMillis) -> String {
    parts(at).map_or_else(
        || "never".to_owned(),
        |[year, month, day, hour, minute, _]| format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC"),
    )
}

/// `2026-11-21T22:53:07Z` (RFC 3339); empty beyond the year 9999.
#[must_use]
pub fn iso(at: UnixMillis) -> String {
    parts(at).map_or_else(String::new, |[year, month, day, hour, minute, second]| {
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    })
}

/// How long, in its largest unit or two: `89 days`, `36 h`, `1 h 30 min`, `12 min`, `0 min`.
#[must_use]
pub fn span(seconds: u64) -> String {
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match (hours, minutes) {
        (48.., _) => format!("{} days", hours / 24),
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours @ 1..=9, minutes) => format!("{hours} h {minutes} min"),
        (hours, _) => format!("{hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_over_leap_days_and_centuries() {
        for (ms, iso_text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_700_000_000_000, "2023-11-14T22:13:20Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59Z"),
            (u64::MAX, ""),
        ] {
            assert_eq!(iso(UnixMillis(ms)), iso_text, "{ms}");
        }
        assert_eq!(when(UnixMillis(1_700_000_000_000)), "2023-11-14 22:13 UTC");
        assert_eq!(when(UnixMillis(u64::MAX)), "never");
    }

    #[test]
    fn spans_read_in_the_units_that_matter() {
        for (seconds, text) in [
            (59, "0 min"),
            (900, "15 min"),
            (3600, "1 h"),
            (5400, "1 h 30 min"),
            (129_600, "36 h"),
            (130_000, "36 h"),
            (172_800, "2 days"),
            (7_776_000, "90 days"),
        ] {
            assert_eq!(span(seconds), text, "{seconds}");
        }
    }
}
