//! `storm_control`, of a segment and of a site.

use crate::reader::Table;

/// Most frames a second that storm control counts to.
const MAX_RATE: u64 = 100_000_000;

/// Frames a second that each side of a segment may send, every attachment and every site by itself; 0: as many as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StormLimits {
    /// To the broadcast address.
    pub broadcast: u32,
    /// To group addresses.
    pub multicast: u32,
    /// To addresses that are not known.
    pub unknown_unicast: u32,
}

/// What one site may send into each of its segments; `None`: what the segment lets every site send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SiteStormLimits {
    /// To the broadcast address.
    pub broadcast: Option<u32>,
    /// To group addresses.
    pub multicast: Option<u32>,
    /// To addresses that are not known.
    pub unknown_unicast: Option<u32>,
}

impl SiteStormLimits {
    /// Its limits in a segment that has these.
    pub fn within(&self, segment: StormLimits) -> StormLimits {
        StormLimits {
            broadcast: self.broadcast.unwrap_or(segment.broadcast),
            multicast: self.multicast.unwrap_or(segment.multicast),
            unknown_unicast: self.unknown_unicast.unwrap_or(segment.unknown_unicast),
        }
    }
}

/// A segment's.
pub(crate) fn of_segment(segment: &Table<'_>) -> StormLimits {
    of_site(segment).within(StormLimits::default())
}

/// A site's.
pub(crate) fn of_site(site: &Table<'_>) -> SiteStormLimits {
    let table = site.table_or_empty("storm_control");
    let rate = |key| table.number(key, 0..=MAX_RATE).map(|found| found.value as u32);
    let limits = SiteStormLimits {
        broadcast: rate("broadcast"),
        multicast: rate("multicast"),
        unknown_unicast: rate("unknown_unicast"),
    };
    table.finish();
    limits
}
