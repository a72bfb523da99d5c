//! The last frames that were dropped for each reason: a few a second are copied, the rest is only counted.
//!
//! A worker writes its own samples and nobody else's. All is atomics under a version number, so that a reader takes no lock: when
//! the version has changed meanwhile, the sample is left out.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};
use std::time::Duration;

use crate::DropReason;

/// Octets that are kept of a frame: its headers.
pub const SAMPLE_OCTETS: usize = 128;

/// Frames that are kept for each reason and worker.
pub const SAMPLES_KEPT: usize = 4;

/// A worker keeps at most one frame for each reason in this time.
const INTERVAL: Duration = Duration::from_millis(250);

const WORDS: usize = SAMPLE_OCTETS / 8;

/// Where a dropped frame came from, as far as that was known, in the numbers of the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The port.
    pub port: Option<u8>,
    /// The segment.
    pub segment: Option<u16>,
    /// The endpoint in that segment, packed.
    pub endpoint: Option<u32>,
}

/// A dropped frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When, since the start.
    pub at: Duration,
    /// Where it came from.
    pub origin: Origin,
    /// How long it was.
    pub len: usize,
    /// Its first octets.
    pub octets: Vec<u8>,
}

/// One worker's samples.
#[derive(Debug)]
pub struct Samples([Ring; DropReason::COUNT]);

#[derive(Debug)]
struct Ring {
    /// When the next frame may be kept, in ns.
    due: AtomicU64,
    /// Frames kept so far.
    kept: AtomicU64,
    slots: [Slot; SAMPLES_KEPT],
}

#[derive(Debug)]
struct Slot {
    /// Odd while it is being written, 0 before it ever was.
    version: AtomicU64,
    at: AtomicU64,
    /// Port and segment, each plus one (16 bits), and the length (32 bits).
    origin: AtomicU64,
    /// Endpoint plus one.
    endpoint: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl Samples {
    /// Whether a frame that is dropped now is to be kept.
    #[inline]
    pub fn due(&self, reason: DropReason, now: Duration) -> bool {
        nanos(now) >= self.0[reason as usize].due.load(Relaxed)
    }

    /// Keeps a frame, given as two pieces. Only the owning thread may call it.
    #[cold]
    pub fn keep(&self, reason: DropReason, now: Duration, origin: Origin, pieces: [&[u8]; 2]) {
        let ring = &self.0[reason as usize];
        ring.due.store(nanos(now + INTERVAL), Relaxed);
        let kept = ring.kept.load(Relaxed);
        ring.kept.store(kept.wrapping_add(1), Relaxed);
        let slot = &ring.slots[kept as usize % SAMPLES_KEPT];
        let version = slot.version.load(Relaxed);
        slot.version.store(version | 1, Relaxed);
        fence(Release);
        let plus_one = |number: Option<u16>| number.map_or(0, |number| u64::from(number) + 1);
        let len = pieces.iter().map(|piece| piece.len()).sum::<usize>().min(u32::MAX as usize) as u64;
        let place = plus_one(origin.port.map(u16::from)) << 20 | plus_one(origin.segment);
        slot.at.store(nanos(now), Relaxed);
        slot.origin.store(place << 32 | len, Relaxed);
        slot.endpoint.store(origin.endpoint.map_or(0, |endpoint| u64::from(endpoint) + 1), Relaxed);
        let mut octets = [0; SAMPLE_OCTETS];
        for (to, from) in octets.iter_mut().zip(pieces.into_iter().flatten()) {
            *to = *from;
        }
        for (word, octets) in slot.words.iter().zip(octets.as_chunks().0) {
            word.store(u64::from_be_bytes(*octets), Relaxed);
        }
        slot.version.store((version | 1).wrapping_add(1), Release);
    }

    /// The frames kept for `reason`, in no order.
    pub fn read(&self, reason: DropReason) -> Vec<Sample> {
        self.0[reason as usize].slots.iter().filter_map(Slot::read).collect()
    }
}

impl Slot {
    const fn new() -> Self {
        Self {
            version: AtomicU64::new(0),
            at: AtomicU64::new(0),
            origin: AtomicU64::new(0),
            endpoint: AtomicU64::new(0),
            words: [const { AtomicU64::new(0) }; WORDS],
        }
    }

    fn read(&self) -> Option<Sample> {
        let version = self.version.load(Acquire);
        if version == 0 || version & 1 == 1 {
            return None;
        }
        let at = self.at.load(Relaxed);
        let (origin, endpoint) = (self.origin.load(Relaxed), self.endpoint.load(Relaxed));
        let mut octets: Vec<u8> =
            self.words.iter().flat_map(|word| word.load(Relaxed).to_be_bytes()).collect();
        fence(Acquire);
        if self.version.load(Relaxed) != version {
            return None;
        }
        let len = (origin & 0xffff_ffff) as usize;
        octets.truncate(len);
        let minus_one = |raw: u64| raw.checked_sub(1);
        Some(Sample {
            at: Duration::from_nanos(at),
            origin: Origin {
                port: minus_one(origin >> 52).map(|port| port as u8),
                segment: minus_one(origin >> 32 & 0xf_ffff).map(|segment| segment as u16),
                endpoint: minus_one(endpoint).map(|endpoint| endpoint as u32),
            },
            len,
            octets,
        })
    }
}

impl Default for Samples {
    fn default() -> Self {
        Self([const { Ring::new() }; DropReason::COUNT])
    }
}

impl Ring {
    const fn new() -> Self {
        let slots = [const { Slot::new() }; SAMPLES_KEPT];
        Self { due: AtomicU64::new(0), kept: AtomicU64::new(0), slots }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REASON: DropReason = DropReason::Oversize;

    #[test]
    fn a_few_a_second_are_kept_the_newest_in_the_place_of_the_oldest() {
        let samples = Samples::default();
        assert!(samples.read(REASON).is_empty());
        let mut kept = 0_u64;
        for ms in 0..2000_u64 {
            let now = Duration::from_millis(ms);
            if samples.due(REASON, now) {
                let origin = Origin { port: Some(0), segment: Some(u16::MAX), endpoint: None };
                samples.keep(REASON, now, origin, [&[kept as u8; 100], &[7; 100]]);
                kept += 1;
            }
        }
        assert_eq!(kept, 8);
        let mut read = samples.read(REASON);
        read.sort_by_key(|sample| sample.at);
        assert_eq!(read.iter().map(|sample| sample.octets[0]).collect::<Vec<_>>(), [4, 5, 6, 7]);
        let last = &read[3];
        assert_eq!((last.len, last.octets.len(), last.at), (200, 128, Duration::from_millis(1750)));
        assert_eq!(last.octets[99..101], [7, 7]);
        assert_eq!(last.origin, Origin { port: Some(0), segment: Some(u16::MAX), endpoint: None });
        assert!(samples.read(DropReason::Runt).is_empty());
    }

    #[test]
    fn a_short_frame_is_kept_as_short_as_it_is() {
        let samples = Samples::default();
        let origin = Origin { port: None, segment: None, endpoint: Some(u32::MAX) };
        samples.keep(DropReason::Runt, Duration::ZERO, origin, [&[1, 2, 3], &[]]);
        let read = samples.read(DropReason::Runt);
        assert_eq!((&read[0].octets[..], read[0].origin), (&[1, 2, 3][..], origin));
    }

    #[test]
    fn a_reader_never_sees_half_a_sample() {
        let samples = Samples::default();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for round in 0..20_000_u32 {
                    samples.keep(REASON, Duration::ZERO, Origin::default(), [&[round as u8; 128], &[]]);
                }
            });
            while !writer.is_finished() {
                for sample in samples.read(REASON) {
                    assert!(sample.octets.iter().all(|octet| *octet == sample.octets[0]));
                }
            }
        });
    }
}
