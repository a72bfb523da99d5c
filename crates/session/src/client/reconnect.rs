//! When a client that has lost its server tries again (protocol 2.4).

use std::time::Duration;

use super::{Client, printable};
use crate::{ConnId, Level, Now, Output};

/// Reconnecting waits this long at first, and doubles it.
pub(super) const FIRST: Duration = Duration::from_millis(200);
const MOST: Duration = Duration::from_secs(10);

/// A server that said that it shuts down may be restarting: for so long it is tried again that often.
pub(super) const RESTART_TIME: Duration = Duration::from_secs(3);
const RESTART_STEP: Duration = Duration::from_millis(100);

/// So many redirects are followed one after the other. They cost no wait, and servers may send a client round in circles.
const MOST_REDIRECTS: u32 = 4;

impl Client {
    /// Sets the time of the next attempt.
    pub(super) fn retry(&mut self, now: Now) {
        let wait = if now < self.restarting {
            RESTART_STEP
        } else {
            self.failures += 1;
            FIRST.saturating_mul(1 << (self.failures - 1).min(10)).min(MOST)
        };
        let at = now + self.jitter(wait);
        // The server may have asked for more patience.
        self.connect_at = Some(self.connect_at.map_or(at, |asked| asked.max(at)));
    }

    /// The server sends us to another, before it has let us in.
    pub(super) fn redirected(&mut self, now: Now, id: ConnId, address: String) -> Result<(), String> {
        let to = printable(&address);
        if self.redirects == MOST_REDIRECTS {
            return Err(format!(
                "the server sends us to \"{to}\", after {MOST_REDIRECTS} others have sent us on"
            ));
        }
        self.redirects += 1;
        self.out.push_back(Output::Log(Level::Info, format!("the server sends us to \"{to}\"")));
        self.redirect = Some(address);
        self.close(id);
        self.connect_at = Some(now);
        Ok(())
    }

    /// `time` times a random factor from 0.5 to 1.
    pub(super) fn jitter(&mut self, time: Duration) -> Duration {
        let mut raw = [0; 4];
        self.random.fill(&mut raw);
        time.mul_f64(0.5 + 0.5 * f64::from(u32::from_ne_bytes(raw)) / f64::from(u32::MAX))
    }
}
