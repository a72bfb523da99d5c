//! How many hosts of a segment are at this site. Others may ask, so that the FDB is not gone through each time.

use std::time::Duration;

use bridge::{Endpoint, Fdb, SegmentIndex};
use session::Now;

/// How long a count holds.
const HOLDS: Duration = Duration::from_secs(1);

/// The counts of all segments at one moment.
#[derive(Debug, Default)]
pub(super) struct LocalMacs {
    counted: Option<Now>,
    /// By number.
    of: Vec<usize>,
}

impl LocalMacs {
    /// The local addresses of a segment, now or a moment ago.
    pub(super) fn of(&mut self, segment: SegmentIndex, fdb: &Fdb, now: Now) -> usize {
        if self.counted.is_none_or(|counted| now >= counted + HOLDS) {
            self.counted = Some(now);
            self.of.clear();
            for entry in fdb.entries().filter(|entry| !matches!(entry.endpoint, Endpoint::Session(_))) {
                let at = usize::from(entry.segment.0);
                if at >= self.of.len() {
                    self.of.resize(at + 1, 0);
                }
                self.of[at] += 1;
            }
        }
        self.of.get(usize::from(segment.0)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use bridge::{AttachmentIndex, SessionIndex};
    use wire::mac::MacAddr;

    use super::*;

    #[test]
    fn counts_hold_for_a_moment_whatever_is_asked() {
        let fdb = Fdb::new(1024);
        let learn = |segment: u16, last: u8, from: Endpoint| {
            fdb.learn(SegmentIndex(segment), MacAddr([2, 0, 0, 0, 0, last]), from, 1);
        };
        learn(1, 1, Endpoint::Attachment(AttachmentIndex(0)));
        learn(2, 2, Endpoint::Attachment(AttachmentIndex(1)));
        learn(1, 3, Endpoint::Session(SessionIndex(0)));
        let mut macs = LocalMacs::default();
        let second = Duration::from_secs(1);
        assert_eq!(macs.of(SegmentIndex(1), &fdb, second), 1, "one is behind a session");
        learn(2, 4, Endpoint::Attachment(AttachmentIndex(1)));
        assert_eq!(macs.of(SegmentIndex(2), &fdb, second * 3 / 2), 1, "the FDB is not gone through again");
        assert_eq!(macs.of(SegmentIndex(2), &fdb, second * 2), 2);
        assert_eq!(macs.of(SegmentIndex(9), &fdb, second * 2), 0);
    }
}
