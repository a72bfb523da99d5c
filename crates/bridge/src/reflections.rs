//! Our own frames coming back: a port group in promiscuous mode, or a second uplink, gives them back where they left. What has just
//! left by an attachment and comes in there again, octet by octet, is a reflection. A host that moves sends frames of its own.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use wire::inner::priority_tag;
use wire::mac::MacBits;
use wire::vlan::TAG_LEN;

use crate::AttachmentIndex;

/// What left longer ago than this does not come back.
const WINDOW_MS: u32 = 1000;

/// Octets from the EtherType on that tell frames apart: as many as the shortest frame on a wire has, so that padding changes
/// nothing. They reach into the transport header, whose numbers differ from frame to frame.
const LOOKED_AT: usize = 48;

/// Frames that are remembered; a power of two.
const SLOTS: usize = 1 << 16;

/// What left by attachments that reflect, shared by all workers. Asked of no others.
#[derive(Debug)]
pub struct Reflections {
    /// Half of the frame's hash, and the ms when it left.
    slots: Box<[AtomicU64]>,
}

impl Default for Reflections {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Reflections {
    /// Notes a frame that leaves by an attachment; `rest` is the frame from its EtherType on.
    pub fn left(&self, at: AttachmentIndex, dst: MacBits, src: MacBits, rest: &[u8], now: Duration) {
        let hash = hash(at, dst, src, rest);
        self.slots[hash as usize % SLOTS].store(hash & HIGH | u64::from(ms(now)), Relaxed);
    }

    /// Whether a frame that comes in by an attachment has just left by it.
    pub fn is_one(
        &self,
        at: AttachmentIndex,
        dst: MacBits,
        src: MacBits,
        rest: &[u8],
        now: Duration,
    ) -> bool {
        let hash = hash(at, dst, src, rest);
        let slot = self.slots[hash as usize % SLOTS].load(Relaxed);
        slot & HIGH == hash & HIGH && ms(now).wrapping_sub(slot as u32) <= WINDOW_MS
    }
}

const HIGH: u64 = 0xffff_ffff << 32;

/// Wraps after 49 days; a frame is not remembered for that long.
fn ms(now: Duration) -> u32 {
    now.as_millis() as u32
}

fn hash(at: AttachmentIndex, dst: MacBits, src: MacBits, rest: &[u8]) -> u64 {
    // Switches may change the priority.
    let rest = if priority_tag(rest).is_some() { &rest[TAG_LEN..] } else { rest };
    let mut octets = [0; LOOKED_AT];
    let known = rest.len().min(LOOKED_AT);
    octets[..known].copy_from_slice(&rest[..known]);
    let mix = |hash: u64, word: u64| {
        let product = u128::from(hash ^ word) * 0x9e37_79b9_7f4a_7c15_u128;
        (product >> 64) as u64 ^ product as u64
    };
    let (words, _) = octets.as_chunks::<8>();
    let start = mix(mix(u64::from(at.0) + 1, dst.get()), src.get());
    words.iter().fold(start, |hash, word| mix(hash, u64::from_ne_bytes(*word)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::mac::MacAddr;

    const AT: AttachmentIndex = AttachmentIndex(1);
    const NOW: Duration = Duration::from_secs(100);

    fn mac(n: u8) -> MacBits {
        MacAddr([2, 0, 0, 0, 0, n]).into()
    }

    fn sent(rest: &[u8]) -> Reflections {
        let reflections = Reflections::default();
        reflections.left(AT, mac(1), mac(2), rest, NOW);
        reflections
    }

    #[test]
    fn what_left_and_comes_back_is_a_reflection() {
        let rest = [8, 0, 0x45, 1, 2, 3];
        let reflections = sent(&rest);
        let back = |at, dst, src, rest: &[u8], after| reflections.is_one(at, dst, src, rest, NOW + after);
        let soon = Duration::from_millis(30);
        assert!(back(AT, mac(1), mac(2), &rest, soon));
        assert!(back(AT, mac(1), mac(2), &rest, soon), "and again, on another uplink");
        let padded = [&rest[..], &[0; 42]].concat();
        assert!(back(AT, mac(1), mac(2), &padded, soon), "padded on its way");
        let tagged = [&[0x81, 0, 0xa0, 0][..], &rest].concat();
        assert!(back(AT, mac(1), mac(2), &tagged, soon), "with another priority");
        assert!(!back(AT, mac(1), mac(2), &rest, Duration::from_secs(2)), "too late");
        assert!(!back(AttachmentIndex(2), mac(1), mac(2), &rest, soon), "elsewhere");
        assert!(!back(AT, mac(2), mac(1), &rest, soon), "an answer");
        assert!(!back(AT, mac(1), mac(2), &[8, 0, 0x45, 1, 2, 4], soon), "another frame");
    }

    #[test]
    fn nothing_is_one_at_first() {
        let reflections = Reflections::default();
        for n in 0..=255 {
            assert!(!reflections.is_one(AT, mac(n), mac(n), &[n; 60], Duration::ZERO));
        }
    }
}
