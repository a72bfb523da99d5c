//! Storm control: how many flooded frames a second each side of a segment may send. Each attachment and each site is a side, and none
//! can use up what another may send.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::{Endpoint, Packed};

/// Frames a second that one side of a segment (each attachment, each site) may send; 0: as many as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StormLimits {
    /// To the broadcast address.
    pub broadcast: u32,
    /// To a group address.
    pub multicast: u32,
    /// To an address that is not known.
    pub unknown_unicast: u32,
}

impl StormLimits {
    fn of(&self, kind: Flooded) -> u32 {
        match kind {
            Flooded::Broadcast => self.broadcast,
            Flooded::Multicast => self.multicast,
            Flooded::UnknownUnicast => self.unknown_unicast,
        }
    }
}

/// What a flooded frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flooded {
    /// To the broadcast address.
    Broadcast,
    /// To a group address.
    Multicast,
    /// To an address that is not known.
    UnknownUnicast,
}

impl Flooded {
    /// All kinds, in the order in which they are counted.
    pub const ALL: [Self; 3] = [Self::Broadcast, Self::Multicast, Self::UnknownUnicast];

    /// Its name in the configuration and in what is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Broadcast => "broadcast",
            Self::Multicast => "multicast",
            Self::UnknownUnicast => "unknown_unicast",
        }
    }
}

/// Frames that were above a limit, by kind in the order of [`Flooded::ALL`].
pub type Limited = [u64; 3];

/// A side may send one second's worth at once, and then as its limit says.
const BURST: u64 = 1_000_000_000;

/// The sides of one segment that have limits.
#[derive(Debug)]
pub struct StormControl {
    sides: HashMap<u32, Side>,
}

#[derive(Debug)]
struct Side {
    limits: StormLimits,
    budgets: Arc<Budgets>,
}

/// The budgets of one side, shared by all workers: a worker changes them by one compare-exchange for each flooded frame of a
/// segment that has limits, and never waits. They outlive the tables and the limits.
#[derive(Debug, Default)]
struct Budgets {
    /// By kind, when the next frame would be due if they came evenly, in ns (GCRA, ITU-T I.371 A).
    due: [AtomicU64; 3],
    limited: [AtomicU64; 3],
}

impl StormControl {
    /// Full budgets for these sides.
    pub fn new(sides: impl IntoIterator<Item = (Endpoint, StormLimits)>) -> Self {
        let side = |(side, limits)| (side_of(side), Side { limits, budgets: Arc::default() });
        Self { sides: sides.into_iter().map(side).collect() }
    }

    /// With what is left of the budgets of those sides that `old` has too, and what was counted of them: whoever else comes or
    /// goes, a side that floods gets no fresh budget by it.
    #[must_use]
    pub fn after(mut self, old: &Self) -> Self {
        for (side, kept) in &mut self.sides {
            if let Some(old) = old.sides.get(side) {
                kept.budgets = Arc::clone(&old.budgets);
            }
        }
        self
    }

    /// Whether it has these sides with these limits, and no others.
    pub fn is_for(&self, sides: &[(Endpoint, StormLimits)]) -> bool {
        let same = |(side, limits): &(Endpoint, StormLimits)| {
            self.sides.get(&side_of(*side)).is_some_and(|side| side.limits == *limits)
        };
        self.sides.len() == sides.len() && sides.iter().all(same)
    }

    /// Its sides.
    pub fn sides(&self) -> impl Iterator<Item = Endpoint> {
        self.sides.keys().filter_map(|side| Endpoint::unpack(*side))
    }

    /// The sides that were above a limit, in order, with how many frames of each kind.
    pub fn limited(&self) -> Vec<(Endpoint, Limited)> {
        let counted =
            |side: &Side| Flooded::ALL.map(|kind| side.budgets.limited[kind as usize].load(Relaxed));
        let mut all: Vec<(u32, Limited)> = self.sides.iter().map(|(at, side)| (*at, counted(side))).collect();
        all.retain(|(_, counts)| counts.iter().any(|count| *count > 0));
        all.sort_unstable();
        all.into_iter().filter_map(|(side, counts)| Some((Endpoint::unpack(side)?, counts))).collect()
    }

    /// Counts from now on.
    pub fn clear(&self) {
        let counts = self.sides.values().flat_map(|side| &side.budgets.limited);
        counts.for_each(|count| count.store(0, Relaxed));
    }

    /// Takes one frame off the budget of the side that it came from. False: there is none left, which is counted.
    pub fn allows(&self, from: Packed, kind: Flooded, now: Duration) -> bool {
        let Some((budgets, take)) = self.budget(from, kind, now) else { return true };
        let allowed = budgets.due[kind as usize].fetch_update(Relaxed, Relaxed, take).is_ok();
        if !allowed {
            budgets.limited[kind as usize].fetch_add(1, Relaxed);
        }
        allowed
    }

    /// Whether it would allow a frame, which takes nothing off.
    pub fn would_allow(&self, from: Packed, kind: Flooded, now: Duration) -> bool {
        let budget = self.budget(from, kind, now);
        budget.is_none_or(|(budgets, take)| take(budgets.due[kind as usize].load(Relaxed)).is_some())
    }

    /// The budgets of a side, and what is left of one after one frame more. `None`: there is no limit.
    fn budget(
        &self,
        from: Packed,
        kind: Flooded,
        now: Duration,
    ) -> Option<(&Budgets, impl Fn(u64) -> Option<u64> + use<>)> {
        let side = self.sides.get(&side_of(from.get()))?;
        let rate = Some(side.limits.of(kind)).filter(|rate| *rate > 0)?;
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX / 2);
        let interval = BURST / u64::from(rate);
        let take = move |due: u64| Some(due.max(now) + interval).filter(|next| next - now <= BURST);
        Some((&side.budgets, take))
    }
}

/// All VTEPs of an attachment are one side.
fn side_of(endpoint: Endpoint) -> u32 {
    match endpoint {
        Endpoint::Vtep(attachment, _) => Endpoint::Attachment(attachment).pack(),
        other => other.pack(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AttachmentIndex, RemoteIndex, SessionIndex};

    const SITE: Endpoint = Endpoint::Session(SessionIndex(0));
    const OTHER: Endpoint = Endpoint::Session(SessionIndex(1));
    const LAN: Endpoint = Endpoint::Attachment(AttachmentIndex(3));

    fn passed(control: &StormControl, from: Endpoint, kind: Flooded, at_ms: std::ops::Range<u64>) -> usize {
        at_ms.filter(|ms| control.allows(from.into(), kind, Duration::from_millis(*ms))).count()
    }

    fn broadcasts(rate: u32) -> StormLimits {
        StormLimits { broadcast: rate, ..StormLimits::default() }
    }

    #[test]
    fn a_side_sends_its_burst_and_then_its_rate() {
        let limits = StormLimits { broadcast: 100, multicast: 0, unknown_unicast: 1 };
        let control = StormControl::new([SITE, OTHER, LAN].map(|side| (side, limits)));
        // 10,000 frames in 10 s: one second's worth at once, and 100 in each of the seconds.
        let count = passed(&control, SITE, Flooded::Broadcast, 0..10_000);
        assert!((1095..=1105).contains(&count), "{count}");
        for side in [OTHER, LAN] {
            let own = passed(&control, side, Flooded::Broadcast, 10_000..10_050);
            assert_eq!(own, 50, "{side:?} has its own");
        }
        assert_eq!(passed(&control, SITE, Flooded::Multicast, 0..5000), 5000, "no limit");
        assert_eq!(control.limited(), [(SITE, [10_000 - count as u64, 0, 0])], "and who was limited is told");
        let would = |at| control.would_allow(SITE.into(), Flooded::UnknownUnicast, Duration::from_millis(at));
        assert!(would(0) && would(0), "asking takes nothing");
        assert_eq!(passed(&control, SITE, Flooded::UnknownUnicast, 0..1), 1);
        assert!(!would(500) && would(1000));
        assert_eq!(passed(&control, SITE, Flooded::UnknownUnicast, 1..900), 0);
        control.clear();
        assert_eq!(control.limited(), []);
    }

    #[test]
    fn vteps_of_an_attachment_share_its_budget() {
        let control = StormControl::new([(LAN, broadcasts(10))]);
        let vtep = |n| Endpoint::Vtep(AttachmentIndex(3), RemoteIndex(n));
        assert_eq!(passed(&control, vtep(0), Flooded::Broadcast, 0..8), 8);
        assert_eq!(passed(&control, vtep(1), Flooded::Broadcast, 8..16), 2);
        assert_eq!(
            passed(&control, SITE, Flooded::Broadcast, 0..50),
            50,
            "a side that is not known is not limited"
        );
    }

    #[test]
    fn each_side_has_its_own_limits() {
        let sides = [(LAN, broadcasts(30)), (SITE, broadcasts(5)), (OTHER, broadcasts(0))];
        let control = StormControl::new(sides);
        let count = |side| passed(&control, side, Flooded::Broadcast, 0..50);
        assert_eq!((count(LAN), count(SITE), count(OTHER)), (30 + 1, 5, 50));
        assert!(control.is_for(&sides));
        assert!(!control.is_for(&sides[..2]));
        assert!(!control.is_for(&[(LAN, broadcasts(30)), (SITE, broadcasts(6)), (OTHER, broadcasts(0))]));
    }

    #[test]
    fn who_floods_gets_no_fresh_budget_when_others_come_and_go() {
        let first = StormControl::new([(SITE, broadcasts(10)), (LAN, broadcasts(10))]);
        assert_eq!(passed(&first, SITE, Flooded::Broadcast, 0..50), 10);
        let second = StormControl::new([(SITE, broadcasts(10)), (OTHER, broadcasts(10))]).after(&first);
        assert_eq!(passed(&second, SITE, Flooded::Broadcast, 50..90), 0);
        assert_eq!(passed(&second, OTHER, Flooded::Broadcast, 50..90), 10);
        assert_eq!(second.limited(), [(SITE, [80, 0, 0]), (OTHER, [30, 0, 0])]);
        let third = StormControl::new([(SITE, broadcasts(1000))]).after(&second);
        assert_eq!(passed(&third, SITE, Flooded::Broadcast, 1000..1050), 50, "another limit holds at once");
    }
}
