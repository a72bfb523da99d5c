//! Time for the control thread: a monotonic clock for deadlines, and dates for people.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time since the appliance started: the `now` of every state machine.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts a clock at zero.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Time since the start. Never goes back, whatever is done to the system's date.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The instant of the start, for threads that keep their own time against the same zero.
    pub fn origin(&self) -> Instant {
        self.start
    }

    /// The date at which the monotonic time was `then`, as time since 1970.
    pub fn unix_time(&self, then: Duration) -> Duration {
        let ago = self.now().saturating_sub(then);
        let then = SystemTime::now().checked_sub(ago);
        then.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default()
    }

    /// The date at which the monotonic time was `then`, in seconds since 1970. Counted back from the system's
    /// date of today, which may have been set right since the start.
    pub fn unix_seconds(&self, then: Duration) -> u64 {
        let ago = self.now().saturating_sub(then);
        SystemTime::now()
            .checked_sub(ago)
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
            .map_or(0, |at| at.as_secs())
    }
}

/// Writes seconds since 1970 as RFC 3339 in UTC: `2024-02-29T12:00:00Z`.
pub fn utc_text(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Year, month and day of a count of days since 1970-01-01, in the Gregorian calendar. Counts from 1 March of
/// year 0, so that the leap day is the last of a year and 400 years are one period of 146,097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc_text(seconds), text);
        }
    }

    #[test]
    fn the_clock_goes_forward_and_knows_its_date() {
        let clock = Clock::start();
        let (first, second) = (clock.now(), clock.now());
        assert!(second >= first);
        let today = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        assert!(today - clock.unix_seconds(Duration::ZERO) <= 1);
    }
}
