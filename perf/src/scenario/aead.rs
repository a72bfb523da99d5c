//! The AEAD calls alone: records of the same sizes, sealed and opened by a lane of their own, with the engine that the
//! appliance itself uses. Includes what the lane does around a call: header, number, window.

use record::{RxLane, TxLane};

use crate::clock::Clock;
use crate::site::{self, Shape};

/// The outer headers that a WAN packet has in front of its record: Ethernet, IPv4, UDP.
const OUTER: usize = 42;

/// A lane and memory for the records of one section.
pub(crate) struct Alone {
    tx: TxLane,
    rx: RxLane,
    memory: Vec<u8>,
    /// Octets of each record.
    lengths: Vec<usize>,
}

impl Alone {
    pub(crate) fn new(shape: &Shape) -> Self {
        let (tx, rx) = site::lane(1, shape);
        Self { tx, rx, memory: Vec::new(), lengths: Vec::new() }
    }

    /// Takes the sizes of the WAN packets of a section.
    pub(crate) fn learn(&mut self, packets: &mut dyn Iterator<Item = usize>) {
        self.lengths.clear();
        self.lengths.extend(packets.map(|octets| octets - OUTER));
        let octets = self.lengths.iter().sum();
        if self.memory.len() < octets {
            self.memory.resize(octets, 0x5a);
        }
    }

    /// Records of a section.
    pub(crate) fn records(&self) -> usize {
        self.lengths.len()
    }

    /// Seals and opens them all; the ticks of both.
    pub(crate) fn turn(&mut self, clock: &Clock) -> (f64, f64) {
        let Self { tx, rx, memory, lengths } = self;
        let (sealing, sealed) = clock.measure(|| each(memory, lengths, |record| site::seal(tx, record)));
        let (opening, opened) = clock.measure(|| each(memory, lengths, |record| site::open(rx, record)));
        debug_assert!(sealed && opened, "a lane opens what it sealed");
        (sealing, opening)
    }
}

#[inline]
fn each(mut memory: &mut [u8], lengths: &[usize], mut work: impl FnMut(&mut [u8]) -> bool) -> bool {
    let mut all = true;
    for length in lengths {
        let (record, rest) = memory.split_at_mut(*length);
        memory = rest;
        all &= work(record);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_sealed_and_opened_again_and_again() {
        let mut alone = Alone::new(&Shape { aes: 256, ..Shape::base() });
        alone.learn(&mut [100, 1500, 66].into_iter());
        for _ in 0..3 {
            let (sealing, opening) = alone.turn(&Clock::calibrate());
            assert!(sealing >= 0.0 && opening >= 0.0);
        }
    }
}
