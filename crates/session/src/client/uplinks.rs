//! A client's uplinks: each is a path of the session, and the control connection leaves by one of them.

use std::time::Duration;

use wire::way::MAX_PATHS;

use super::{CONNECT_TIME, Client, LOGIN_TIME};
use crate::link::{Link, Tools};
use crate::{Level, MAX_LANES, Now, Output, Uplinks};

/// Until TLS is up, when there is another uplink to try.
const CONNECT_TIME_OF_SEVERAL: Duration = Duration::from_secs(5);

/// From there to `opened`.
const LOGIN_TIME_OF_SEVERAL: Duration = Duration::from_secs(3);

impl Client {
    /// The uplinks' MTUs have changed.
    pub fn set_uplinks(&mut self, now: Now, uplinks: Uplinks) {
        if self.params.uplinks != uplinks {
            self.params.uplinks = uplinks;
            self.with_link(now, Link::uplinks_changed);
        }
    }

    /// Whether the session is to have a path over TCP as well.
    pub(super) fn offers_tcp(&self) -> bool {
        self.params.tcp && 2 * self.params.workers <= MAX_LANES
    }

    /// How many paths the session is to have.
    pub(super) fn paths(&self) -> usize {
        // Without UDP there is still one, which the peer never learns an address of.
        let uplinks = if self.params.udp { self.params.uplinks.0.len() } else { 1 };
        let lanes = (MAX_LANES / self.params.workers.max(1)).max(1);
        uplinks.clamp(1, MAX_PATHS.min(lanes - usize::from(self.offers_tcp())).max(1))
    }

    pub(super) fn connect_time(&self) -> Duration {
        if self.params.uplinks.0.len() > 1 { CONNECT_TIME_OF_SEVERAL } else { CONNECT_TIME }
    }

    pub(super) fn login_time(&self) -> Duration {
        if self.params.uplinks.0.len() > 1 { LOGIN_TIME_OF_SEVERAL } else { LOGIN_TIME }
    }

    /// The uplink that the control connection leaves by.
    pub(super) fn current_uplink(&self) -> Option<usize> {
        self.current.and_then(|conn| self.conns.get(&conn)).map(|conn| conn.uplink)
    }

    /// The uplink of the next connection, and its port if that has to be said: the next in turn, past those that are known to be
    /// dead.
    pub(super) fn choose_uplink(&mut self, now: Now) -> (usize, Option<u8>) {
        let uplinks = &self.params.uplinks.0;
        let count = uplinks.len().max(1);
        let turn = |at: usize| (self.next_uplink + at) % count;
        let alive = |at: &usize| self.link.as_ref().is_some_and(|link| link.is_usable(*at, now));
        let chosen = (0..count).map(turn).find(alive);
        let chosen = chosen.or_else(|| (0..count).map(turn).find(|at| self.has_line(*at))).unwrap_or(turn(0));
        self.next_uplink = chosen;
        let port = uplinks.get(chosen).filter(|_| count > 1).map(|uplink| uplink.port);
        (chosen, port)
    }

    fn has_line(&self, uplink: usize) -> bool {
        self.params.uplinks.0.get(uplink).is_some_and(|uplink| uplink.up)
    }

    /// A control connection whose uplink is dead is made anew by another: by one that is alive, or by the next while it carries
    /// records itself and nothing comes by it.
    pub(super) fn leave_dead_uplink(&mut self, now: Now) {
        if self.moving || self.attempt.is_some() || self.params.uplinks.0.len() < 2 {
            return;
        }
        let Some(link) = &self.link else { return };
        let Some(uplink) = self.current_uplink() else { return };
        let another = (0..self.paths()).any(|at| at != uplink && link.is_usable(at, now));
        let other_line = (0..self.params.uplinks.0.len()).any(|at| at != uplink && self.has_line(at));
        let stalled = other_line && (!self.has_line(uplink) || link.is_tcp_stalled(now));
        if another && !link.is_usable(uplink, now) || link.carrier().tcp && stalled {
            self.moving = true;
            self.next_uplink = uplink + 1;
            self.connect_at = Some(now);
            let text = "the control connection's uplink is dead: connects by another".into();
            self.out.push_back(Output::Log(Level::Warn, text));
        }
    }

    pub(super) fn with_link(&mut self, now: Now, act: impl FnOnce(&mut Link, &mut Tools<'_>)) {
        let Self { link, params, random, out, .. } = self;
        if let Some(link) = link {
            act(link, &mut Tools { now, uplinks: &params.uplinks, random: &mut **random, out });
        }
    }
}
