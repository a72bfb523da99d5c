//! The largest record that a path carries, found by probing (RFC 8899; protocol 4.6).
//!
//! All sizes are octets of a whole record, which is the UDP payload. A probe is a record of the size in question; it
//! carries no frame, so that its loss costs nothing. The present size is confirmed while frames are sent. When it stops getting
//! through although small records do, that is a black hole, and the size falls to the base at once.

use std::time::Duration;

use super::echo::{self, Token};
use crate::{Now, Random};

/// What every path is taken to carry (RFC 8899 5.1.2: BASE_PLPMTU).
pub(crate) const BASE: u16 = 1200;

/// What is left when not even the base gets through: IPv4's smallest MTU for a host, 576, without its headers.
const FLOOR: u16 = 548;

/// The search ends when what fits and what does not are no further apart.
const CLOSE: u16 = 8;

/// A size does not fit when so many probes of it are lost (RFC 8899 5.1.2: MAX_PROBES).
const TRIES: u8 = 3;

/// The present size is confirmed so often while frames are sent.
const CONFIRM: Duration = Duration::from_millis(500);

/// A probe is lost when the acknowledgement does not come within two round trips and this.
const PATIENCE: Duration = Duration::from_millis(200);
const PATIENCE_MOST: Duration = Duration::from_secs(2);

/// A probe on its way.
#[derive(Clone, Copy, Debug)]
struct Probe {
    token: Token,
    size: u16,
    until: Now,
    /// The small probe that goes with all but the first: without its acknowledgement the path is at fault, not the size.
    small: Option<Token>,
    lost: u8,
}

/// What one path carries.
#[derive(Debug)]
pub(crate) struct PathMtu {
    /// The size in use.
    size: u16,
    /// What our uplink allows.
    limit: u16,
    /// The smallest size that did not get through, or more than the limit.
    too_large: u16,
    probe: Option<Probe>,
    /// When the search begins anew, and after what time.
    raise_at: Now,
    raise_after: Duration,
    /// When frames were sent last, and when the size is to be confirmed next.
    sent: Option<Now>,
    confirm_at: Now,
}

/// A block to be sent: with the body, in a record of so many octets.
pub(crate) type Padded = (Vec<u8>, u16);

impl PathMtu {
    /// Nothing is known of the path; the search begins anew every `raise_after`.
    pub(crate) fn new(raise_after: Duration) -> Self {
        Self {
            size: BASE,
            limit: BASE,
            too_large: BASE + 1,
            probe: None,
            raise_at: Now::ZERO,
            raise_after,
            sent: None,
            confirm_at: Now::ZERO,
        }
    }

    /// The largest record to send.
    pub(crate) fn size(&self) -> u16 {
        self.size
    }

    /// The path is another than before.
    pub(crate) fn forget(&mut self) {
        *self = Self { sent: self.sent, ..Self::new(self.raise_after) };
    }

    /// Our uplink allows records of so many octets. Returns whether the size has changed.
    pub(crate) fn set_limit(&mut self, limit: u16) -> bool {
        if self.limit == limit {
            return false;
        }
        let old = self.size;
        self.limit = limit;
        self.too_large = limit.saturating_add(1);
        self.size = self.size.min(limit);
        self.probe = None;
        old != self.size
    }

    /// Frames are being sent.
    pub(crate) fn sent(&mut self, now: Now) {
        self.sent = Some(now);
    }

    /// The peer received a probe as a record of `octets`. Returns whether the size has changed.
    pub(crate) fn acknowledged(&mut self, now: Now, token: &Token, octets: u16) -> bool {
        let Some(probe) = &mut self.probe else { return false };
        if probe.small.as_ref() == Some(token) {
            probe.small = None;
            return false;
        }
        if probe.token != *token || octets != probe.size {
            return false;
        }
        let grown = probe.size > self.size;
        self.size = self.size.max(probe.size);
        self.probe = None;
        self.confirm_at = now + CONFIRM;
        if grown {
            self.settle(now);
        }
        grown
    }

    /// What is to be sent now, into `out`. Returns whether the size has changed.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Now,
        round_trip: Duration,
        random: &mut dyn Random,
        out: &mut Vec<Padded>,
    ) -> bool {
        let mut changed = false;
        let patience = (2 * round_trip + PATIENCE).min(PATIENCE_MOST);
        if let Some(probe) = self.probe.as_mut().filter(|probe| now >= probe.until) {
            // Not even a small one came back: the path is at fault, and the size as good as before.
            if probe.small.is_none() {
                probe.lost += 1;
            }
            if probe.lost >= TRIES {
                changed = self.does_not_fit(now);
            }
        }
        if now >= self.raise_at && !self.is_searching() && self.probe.is_none() {
            self.too_large = self.limit.saturating_add(1);
            self.settle(now);
        }
        let target = match &self.probe {
            Some(probe) if now < probe.until => None,
            Some(probe) => Some(probe.size),
            None if self.confirms_at().is_some_and(|at| now >= at) => Some(self.size),
            None => self.next_size(),
        };
        if let Some(size) = target {
            let (again, token) = (self.probe.is_some(), echo::token(random));
            let small = again.then(|| echo::token(random));
            let lost = self.probe.map_or(0, |probe| probe.lost);
            out.push((block(&token), size));
            out.extend(small.map(|small| (block(&small), 0)));
            self.probe = Some(Probe { token, size, until: now + patience, small, lost });
            if size == self.size {
                self.confirm_at = now + CONFIRM;
            }
        }
        changed
    }

    /// When `handle_timeout` is due.
    pub(crate) fn deadline(&self) -> Now {
        if let Some(probe) = &self.probe {
            return probe.until;
        }
        if self.is_searching() {
            return Now::ZERO;
        }
        let raise = if self.size < self.limit { self.raise_at } else { Now::MAX };
        raise.min(self.confirms_at().unwrap_or(Now::MAX))
    }

    /// Enough probes of a size are lost. Returns whether the size in use has changed.
    fn does_not_fit(&mut self, now: Now) -> bool {
        let Some(probe) = self.probe.take() else { return false };
        self.too_large = probe.size;
        let black_hole = probe.size <= self.size;
        if black_hole {
            self.size = if self.size > BASE { BASE.min(self.limit) } else { FLOOR.min(self.limit) };
            // If it was mere loss, the first probe of the search puts it right.
            self.too_large = self.limit.saturating_add(1);
            // The base is confirmed before anything else, if there is something to be sent.
            self.confirm_at = now;
        }
        self.settle(now);
        black_hole
    }

    fn is_searching(&self) -> bool {
        self.size < self.limit && (self.too_large > self.limit || self.too_large - self.size > CLOSE)
    }

    /// The size to try next: the largest at first, then halfway.
    fn next_size(&self) -> Option<u16> {
        let next = if self.too_large > self.limit { self.limit } else { self.size.midpoint(self.too_large) };
        self.is_searching().then_some(next)
    }

    fn settle(&mut self, now: Now) {
        self.raise_at = now + self.raise_after;
    }

    /// When the present size is to be confirmed, if frames were sent since it was the last time.
    fn confirms_at(&self) -> Option<Now> {
        let sent = self.sent?;
        (sent + CONFIRM > self.confirm_at).then_some(self.confirm_at)
    }
}

fn block(token: &Token) -> Vec<u8> {
    [&[super::PROBE][..], token].concat()
}
