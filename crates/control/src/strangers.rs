//! Connections of strangers to a server's TCP port: counted, and told of in the log a few at once and then seldom, however many
//! there are.

use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use session::Now;

/// Lines that are logged at once, and the time after which there may be one more.
const LINES: u32 = 5;
const INTERVAL: Duration = Duration::from_secs(10);

/// Why connections came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Too many had not logged in.
    HalfOpen,
    /// Too many had not sent their ClientHello, on a shared port.
    Door,
    /// The system gave no connection, or could not watch it.
    Accept,
    /// The control thread was too far behind to take it from a shared port.
    HandOver,
    /// It ended before anybody had logged in on it.
    Login,
}

/// How many.
#[derive(Debug, Default)]
pub(crate) struct Refused([AtomicU64; Reason::ALL.len()]);

/// What a server's port does about strangers.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    /// Shared with the thread that shares the port.
    pub(crate) refused: Arc<Refused>,
    said: [Seldom<Now>; Reason::ALL.len()],
}

/// Says when a line may be logged.
#[derive(Debug)]
pub(crate) struct Seldom<T> {
    left: u32,
    /// The time from which the next line is waited for.
    since: Option<T>,
    unsaid: u64,
}

impl Reason {
    /// All of them.
    const ALL: [Self; 5] = [Self::HalfOpen, Self::Door, Self::Accept, Self::HandOver, Self::Login];

    /// Its name in `show` and in the metrics.
    fn name(self) -> &'static str {
        match self {
            Self::HalfOpen => "half_open_refused",
            Self::Door => "door_refused",
            Self::Accept => "accept_failed",
            Self::HandOver => "hand_over_failed",
            Self::Login => "not_logged_in",
        }
    }
}

impl Refused {
    /// One more.
    pub(crate) fn count(&self, reason: Reason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// All counts with their names.
    pub(crate) fn read(&self) -> Vec<(&'static str, u64)> {
        Reason::ALL
            .iter()
            .map(|reason| (reason.name(), self.0[*reason as usize].load(Ordering::Relaxed)))
            .collect()
    }
}

impl Strangers {
    /// A connection has come to nothing.
    pub(crate) fn note(&mut self, now: Now, reason: Reason, text: &str) {
        self.refused.count(reason);
        let said = &mut self.said[reason as usize];
        if said.says(now) {
            tracing::warn!(unlogged = said.take_unsaid(), "{text}");
        }
    }
}

impl<T: Copy + PartialOrd + Add<Duration, Output = T>> Seldom<T> {
    /// There is something to be said. Whether it is to be said now.
    pub(crate) fn says(&mut self, now: T) -> bool {
        let mut since = self.since.unwrap_or(now);
        while self.left < LINES && now >= since + INTERVAL {
            self.left += 1;
            since = since + INTERVAL;
        }
        // Time does not count while there is nothing to wait for.
        self.since = Some(if self.left == LINES { now } else { since });
        let says = self.left > 0;
        if says {
            self.left -= 1;
        } else {
            self.unsaid += 1;
        }
        says
    }

    /// How often nothing was said since this was asked last; `None`: never.
    pub(crate) fn take_unsaid(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.unsaid)).filter(|unsaid| *unsaid > 0)
    }
}

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Self { left: LINES, since: None, unsaid: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_lines_are_logged_at_once_and_then_one_in_ten_seconds() {
        let mut seldom = Seldom::default();
        let mut said =
            |from: u64, to: u64| (from..to).filter(|ms| seldom.says(Now::from_millis(*ms))).count();
        assert_eq!(said(0, 1000), 5);
        assert_eq!(said(1000, 9_999), 0);
        assert_eq!(said(9_999, 60_000), 5);
        assert_eq!(said(1_000_000, 1_001_000), 5, "after a quiet time");
        assert_eq!(seldom.take_unsaid(), Some(1000 + 8999 + 50_001 + 1000 - 15));
        assert_eq!(seldom.take_unsaid(), None);
    }

    #[test]
    fn whatever_is_not_logged_is_counted() {
        let mut strangers = Strangers::default();
        for _ in 0..1000 {
            strangers.note(Now::ZERO, Reason::Login, "the login took too long");
        }
        strangers.note(Now::ZERO, Reason::HalfOpen, "too many");
        let counts = strangers.refused.read();
        assert!(counts.contains(&("not_logged_in", 1000)) && counts.contains(&("half_open_refused", 1)));
        assert_eq!(strangers.said[Reason::Login as usize].take_unsaid(), Some(995));
    }
}
