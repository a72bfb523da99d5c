//! The record header (protocol 4.1).

use crate::{HEADER_LEN, OVERHEAD, OpenError};

/// The only record type of this protocol version.
const TYPE: u8 = 1;

/// The name of a lane on the wire: 24 bits, chosen by the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(u32);

impl LaneId {
    /// The ID, or `None` when it has more than 24 bits.
    pub const fn new(raw: u32) -> Option<Self> {
        if raw < 1 << 24 { Some(Self(raw)) } else { None }
    }

    /// Which of so many workers owns the lane: receivers choose their IDs so that everybody who sees one knows it.
    pub fn owner(self, workers: usize) -> usize {
        self.0 as usize % workers.max(1)
    }

    /// The ID as a plain number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl std::fmt::Display for LaneId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:06x}", self.0)
    }
}

/// Writes the header of record `number` in phase `phase`.
pub(crate) fn write(lane: LaneId, phase: u64, number: u64) -> [u8; HEADER_LEN] {
    let first = u32::from(TYPE) << 28 | ((phase & 15) as u32) << 24 | lane.0;
    let mut header = [0; HEADER_LEN];
    header[..4].copy_from_slice(&first.to_be_bytes());
    header[4..].copy_from_slice(&(number as u32).to_be_bytes());
    header
}

/// The lane that a datagram claims to belong to. Fails for what cannot be a record.
pub fn lane_of(datagram: &[u8]) -> Result<LaneId, OpenError> {
    if datagram.len() < OVERHEAD {
        return Err(OpenError::TooShort);
    }
    if datagram[0] >> 4 != TYPE {
        return Err(OpenError::UnknownType);
    }
    Ok(LaneId(u32::from_be_bytes([0, datagram[1], datagram[2], datagram[3]])))
}

/// Phase (low 4 bits) and record number (low 32 bits) of a datagram that [`lane_of`] took.
pub(crate) fn phase_and_number(datagram: &[u8]) -> (u8, u32) {
    (datagram[0] & 15, u32::from_be_bytes([datagram[4], datagram[5], datagram[6], datagram[7]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn headers_round_trip(lane in 0..1u32 << 24, phase: u64, number: u64) {
            let lane = LaneId::new(lane).expect("24 bits");
            let mut datagram = write(lane, phase, number).to_vec();
            datagram.resize(OVERHEAD, 0);
            prop_assert_eq!(lane_of(&datagram), Ok(lane));
            prop_assert_eq!(phase_and_number(&datagram), ((phase & 15) as u8, number as u32));
            prop_assert_eq!(lane_of(&datagram[..OVERHEAD - 1]), Err(OpenError::TooShort));
        }
    }
}
