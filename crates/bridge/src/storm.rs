//! Storm control: how many flooded frames a second each side of a segment may send.

use std::collections::HashMap;
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

/// A side may send one second's worth at once, and then as its limit says.
const BURST: u64 = 1_000_000_000;

/// The budgets of one segment, shared by all workers: a worker changes them by one compare-exchange for each flooded frame of a
/// segment that has limits, and never waits.
#[derive(Debug)]
pub struct StormControl {
    limits: StormLimits,
    /// By side and kind, when the next frame would be due if they came evenly, in ns (GCRA, ITU-T I.371 A).
    due: HashMap<u32, [AtomicU64; 3]>,
}

impl StormControl {
    /// Full budgets for these sides.
    pub fn new(limits: StormLimits, sides: impl IntoIterator<Item = Endpoint>) -> Self {
        Self { limits, due: sides.into_iter().map(|side| (side_of(side), Default::default())).collect() }
    }

    /// Whether it has these limits and these sides.
    pub fn is_for(&self, limits: StormLimits, sides: &[Endpoint]) -> bool {
        self.limits == limits
            && self.due.len() == sides.len()
            && sides.iter().all(|side| self.due.contains_key(&side_of(*side)))
    }

    /// Takes one frame off the budget of the side that it came from. False: there is none left.
    pub fn allows(&self, from: Packed, kind: Flooded, now: Duration) -> bool {
        let Some((due, take)) = self.budget(from, kind, now) else { return true };
        due.fetch_update(Relaxed, Relaxed, take).is_ok()
    }

    /// Whether it would allow a frame, which takes nothing off.
    pub fn would_allow(&self, from: Packed, kind: Flooded, now: Duration) -> bool {
        self.budget(from, kind, now).is_none_or(|(due, take)| take(due.load(Relaxed)).is_some())
    }

    /// What is left of a budget, and what is left of it after one frame more. `None`: there is no limit.
    fn budget(
        &self,
        from: Packed,
        kind: Flooded,
        now: Duration,
    ) -> Option<(&AtomicU64, impl Fn(u64) -> Option<u64> + use<>)> {
        let rate = match kind {
            Flooded::Broadcast => self.limits.broadcast,
            Flooded::Multicast => self.limits.multicast,
            Flooded::UnknownUnicast => self.limits.unknown_unicast,
        };
        let due = self.due.get(&side_of(from.get())).filter(|_| rate > 0)?;
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX / 2);
        let interval = BURST / u64::from(rate);
        let take = move |due: u64| Some(due.max(now) + interval).filter(|next| next - now <= BURST);
        Some((&due[kind as usize], take))
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
    const LAN: Endpoint = Endpoint::Attachment(AttachmentIndex(3));

    fn passed(control: &StormControl, from: Endpoint, kind: Flooded, at_ms: std::ops::Range<u64>) -> usize {
        at_ms.filter(|ms| control.allows(from.into(), kind, Duration::from_millis(*ms))).count()
    }

    #[test]
    fn a_side_sends_its_burst_and_then_its_rate() {
        let limits = StormLimits { broadcast: 100, multicast: 0, unknown_unicast: 1 };
        let control = StormControl::new(limits, [SITE, LAN]);
        // 10,000 frames in 10 s: one second's worth at once, and 100 in each of the seconds.
        let count = passed(&control, SITE, Flooded::Broadcast, 0..10_000);
        assert!((1095..=1105).contains(&count), "{count}");
        assert_eq!(
            passed(&control, LAN, Flooded::Broadcast, 10_000..10_050),
            50,
            "the other side has its own"
        );
        assert_eq!(passed(&control, SITE, Flooded::Multicast, 0..5000), 5000, "no limit");
        let would = |at| control.would_allow(SITE.into(), Flooded::UnknownUnicast, Duration::from_millis(at));
        assert!(would(0) && would(0), "asking takes nothing");
        assert_eq!(passed(&control, SITE, Flooded::UnknownUnicast, 0..1), 1);
        assert!(!would(500) && would(1000));
        assert_eq!(passed(&control, SITE, Flooded::UnknownUnicast, 1..900), 0);
    }

    #[test]
    fn vteps_of_an_attachment_share_its_budget() {
        let limits = StormLimits { broadcast: 10, ..StormLimits::default() };
        let control = StormControl::new(limits, [LAN]);
        let vtep = |n| Endpoint::Vtep(AttachmentIndex(3), RemoteIndex(n));
        assert_eq!(passed(&control, vtep(0), Flooded::Broadcast, 0..8), 8);
        assert_eq!(passed(&control, vtep(1), Flooded::Broadcast, 8..16), 2);
        assert_eq!(
            passed(&control, SITE, Flooded::Broadcast, 0..50),
            50,
            "a side that is not known is not limited"
        );
        assert!(control.is_for(limits, &[LAN]) && !control.is_for(limits, &[LAN, SITE]));
    }
}
