//! What the workers' tables need of us: taps, and addresses that we ask from.

use std::collections::HashMap;
use std::sync::Arc;

use bridge::SegmentIndex;
use pipeline::capture::{Point, Tap, Taps};
use wire::mac::MacBits;

use super::Insight;

/// What is to be watched in the data path.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    taps: Option<Taps>,
    own: HashMap<SegmentIndex, MacBits>,
}

impl Watch {
    /// The taps.
    pub(crate) fn taps(&self) -> Option<Taps> {
        self.taps.clone()
    }

    /// Whether a segment's frames are captured. A session's are those of any segment.
    pub(crate) fn captures(&self, segment: SegmentIndex) -> bool {
        let mut points = self.taps.iter().flat_map(Taps::in_segments);
        points.any(|point| {
            matches!(point, Point::Inside(_) | Point::Sessions) || point == Point::Segment(segment)
        })
    }

    /// The address that answers to us come to in a segment.
    pub(crate) fn own(&self, segment: SegmentIndex) -> Option<MacBits> {
        self.own.get(&segment).copied()
    }
}

impl Insight {
    /// What is to be watched now.
    pub(crate) fn watch(&self) -> Watch {
        let taps: Vec<Arc<Tap>> = self.captures.taps().chain(self.taps.iter().cloned()).collect();
        let own = self.own.keys().map(|segment| (*segment, self.mac.into())).collect();
        Watch { taps: Taps::new(taps), own }
    }
}
