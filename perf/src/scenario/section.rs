//! The smallest piece that is timed: some bursts through site A, their records through site B.

use dpdk::{Mbuf, MbufPool};
use wire::buf::{BufPool, PacketBuf};

use crate::alloc::allocations;
use crate::clock::Clock;
use crate::frames::{Frames, Size};
use crate::site::{self, Burst, Out, Shape, Site};

/// Frames of a section at least: it must be long beside a reading of the clock.
const FRAMES: usize = 64;

/// Octets of frames in a section at most, but for a single burst: the buffers are to stay in the pool's cache of this
/// thread, as those of a port do, and in the L2 cache, as the vectors of others do.
const OCTETS: f64 = 140e3;

/// The means of running sections of one frame size.
pub(crate) struct Section {
    pub(crate) frames: Frames,
    pool: MbufPool,
    out: Out,
    bursts: usize,
    burst: usize,
    input: Vec<Burst>,
    records: Vec<Burst>,
}

/// What one took, in ticks, and what it needed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) encrypt: f64,
    pub(crate) decrypt: f64,
    pub(crate) allocations: u64,
}

impl Section {
    pub(crate) fn new(shape: Shape, size: Size, burst: usize, pool: &MbufPool) -> Self {
        let bursts = (FRAMES.min((OCTETS / size.mean()) as usize) / burst).max(1);
        Self {
            frames: Frames::new(shape, size),
            pool: pool.clone(),
            out: Out::new(),
            bursts,
            burst,
            input: Vec::with_capacity(bursts),
            records: Vec::with_capacity(bursts * burst * 8),
        }
    }

    /// Frames of a section.
    pub(crate) fn len(&self) -> usize {
        self.bursts * self.burst
    }

    /// Octets of the records that a section has become, with their outer headers. Between
    /// [`Section::encrypt`] and [`Section::decrypt`].
    pub(crate) fn packets(&self) -> impl Iterator<Item = usize> {
        self.records.iter().flatten().map(Mbuf::len)
    }

    /// A whole section: every frame arrives. `look` is shown the sizes of the WAN packets.
    pub(crate) fn run(
        &mut self,
        clock: &Clock,
        a: &mut Site,
        b: &mut Site,
        look: impl FnOnce(&mut dyn Iterator<Item = usize>),
    ) -> Result<Taken, String> {
        let (encrypt, first) = self.encrypt(clock, a)?;
        look(&mut self.packets());
        let (decrypt, second) = self.decrypt(clock, b);
        let arrived = self.arrived();
        if arrived != self.len() {
            return Err(format!(
                "{arrived} of {} frames arrived: {:?} {:?}",
                self.len(),
                a.drops(),
                b.drops()
            ));
        }
        Ok(Taken { encrypt, decrypt, allocations: first + second })
    }

    /// New frames through site A: ticks and allocations.
    pub(crate) fn encrypt(&mut self, clock: &Clock, a: &mut Site) -> Result<(f64, u64), String> {
        self.input.clear();
        for _ in 0..self.bursts {
            let burst = (0..self.burst).map(|_| self.frames.next(&mut self.pool));
            self.input.push(burst.collect::<Option<_>>().ok_or("the buffer pool is empty")?);
        }
        let Self { input, out, records, burst, .. } = self;
        let before = allocations();
        let (ticks, ()) = clock.measure(|| {
            for burst in input {
                a.trunk(burst, out);
                a.finish(out);
            }
        });
        let allocated = allocations() - before;
        records.clear();
        while !out.wan.is_empty() {
            let take = out.wan.len().min(*burst);
            records.push(out.wan.drain(..take).collect());
        }
        Ok((ticks, allocated))
    }

    /// The records of the last [`Section::encrypt`] through site B.
    pub(crate) fn decrypt(&mut self, clock: &Clock, b: &mut Site) -> (f64, u64) {
        let Self { records, out, .. } = self;
        let before = allocations();
        let (ticks, ()) = clock.measure(|| {
            for burst in records {
                b.uplink(burst, out);
                b.finish(out);
            }
        });
        (ticks, allocations() - before)
    }

    /// Frames that have left B's trunk since this was asked last.
    pub(crate) fn arrived(&mut self) -> usize {
        let arrived = self.out.lan.len();
        site::free(&mut self.out.lan);
        arrived
    }

    /// A copy of the records, to be put in their place later.
    pub(crate) fn copy_records(&mut self) -> Option<Vec<Burst>> {
        let Self { records, pool, .. } = self;
        let mut copy = |record: &Mbuf| {
            let mut buf = pool.alloc()?;
            buf.append(record.len())?.copy_from_slice(record.data());
            Some(buf)
        };
        records.iter().map(|burst| burst.iter().map(&mut copy).collect()).collect()
    }

    /// Puts other records in the place of the last ones.
    pub(crate) fn set_records(&mut self, records: Vec<Burst>) {
        self.records = records;
    }
}
