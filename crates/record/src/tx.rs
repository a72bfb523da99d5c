//! The sending end of a lane.

use std::cell::Cell;
use std::marker::PhantomData;
use std::time::Duration;

use crate::aead::Suite;
use crate::keys::Key;
use crate::{HEADER_LEN, LaneId, LaneSecret, OVERHEAD, TAG_LEN, header};

/// Octets of an AES block.
const AES_BLOCK: usize = 16;

/// When a key has done enough (protocol 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLimits {
    /// AES blocks that one key protects at most: ciphertext, header and tag.
    pub aes_blocks: u64,
    /// How long one key is used at most.
    pub age: Duration,
}

impl Default for KeyLimits {
    fn default() -> Self {
        Self { aes_blocks: 1 << 31, age: Duration::from_secs(120) }
    }
}

/// The sending end of a lane: seals records under numbers that never repeat.
#[derive(Debug)]
pub struct TxLane {
    id: LaneId,
    suite: Suite,
    limits: KeyLimits,
    secret: LaneSecret,
    key: Key,
    phase: u64,
    since: Duration,
    blocks: u64,
    /// The number of the next record; `u64::MAX` is never used.
    number: u64,
    /// One core owns a lane: `Send`, and not `Sync`.
    _one_owner: PhantomData<Cell<()>>,
}

/// Why a record was not sealed. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Every record number has been used.
    #[error("the lane has used all its record numbers")]
    Exhausted,
    /// The buffer has no room for header and tag, or holds more than AES-GCM takes.
    #[error("the buffer does not have the size of a record")]
    BadSize,
}

impl TxLane {
    /// A lane in phase 0, whose key is new at `now`.
    pub fn new(id: LaneId, suite: Suite, secret: LaneSecret, limits: KeyLimits, now: Duration) -> Self {
        Self {
            id,
            suite,
            limits,
            key: secret.key(suite),
            secret,
            phase: 0,
            since: now,
            blocks: 0,
            number: 0,
            _one_owner: PhantomData,
        }
    }

    /// The lane's name on the wire.
    pub fn id(&self) -> LaneId {
        self.id
    }

    /// How often the lane has changed its key.
    pub fn phase(&self) -> u64 {
        self.phase
    }

    /// The header of the record that is sealed next, unless the lane goes to a new key before.
    pub fn next_header(&self) -> [u8; HEADER_LEN] {
        header::write(self.id, self.phase, self.number)
    }

    /// Seals `record` in place: 8 octets of room, the blocks, 16 octets of room. Goes to a new key first when the
    /// present one is due. Returns the record's number.
    #[inline]
    pub fn seal(&mut self, record: &mut [u8], now: Duration) -> Result<u64, SealError> {
        let blocks =
            record.len().checked_sub(OVERHEAD).ok_or(SealError::BadSize)?.div_ceil(AES_BLOCK) as u64 + 2;
        if self.number == u64::MAX {
            return Err(SealError::Exhausted);
        }
        if self.blocks + blocks > self.limits.aes_blocks || now >= self.since + self.limits.age {
            self.ratchet(now);
        }
        let (head, rest) = record.split_at_mut(HEADER_LEN);
        head.copy_from_slice(&header::write(self.id, self.phase, self.number));
        let (text, tag_room) = rest.split_at_mut(rest.len() - TAG_LEN);
        let number = self.number;
        // Counted before the cipher runs: whatever happens, this number is used.
        self.number += 1;
        self.blocks += blocks;
        let tag = self.key.seal(number, head, text).ok_or(SealError::BadSize)?;
        tag_room.copy_from_slice(&tag);
        Ok(number)
    }

    #[cold]
    fn ratchet(&mut self, now: Duration) {
        self.secret = self.secret.next();
        self.key = self.secret.key(self.suite);
        self.phase += 1;
        self.since = now;
        self.blocks = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cipher, Engine, RxLane};

    #[test]
    fn numbers_go_on_over_32_bits_and_never_repeat() {
        let id = LaneId::new(1).expect("24 bits");
        let secret = || LaneSecret::new([1; 32]);
        let suite = Suite { cipher: Cipher::Aes128Gcm, engine: Engine::Ring };
        let mut tx = TxLane::new(id, suite, secret(), KeyLimits::default(), Duration::ZERO);
        let mut rx = RxLane::new(id, suite, secret());
        // The receiver follows in steps of less than half of the 32-bit space.
        for number in [1 << 30, 1 << 31, 3 << 30, (1 << 32) - 1, 1 << 32, 5 << 30] {
            tx.number = number;
            let mut record = [0; OVERHEAD + 1];
            assert_eq!(tx.seal(&mut record, Duration::ZERO), Ok(number));
            assert_eq!(rx.open(&mut record).map(|opened| opened.number), Ok(number));
        }
        tx.number = u64::MAX;
        assert_eq!(tx.seal(&mut [0; OVERHEAD], Duration::ZERO), Err(SealError::Exhausted));
    }
}
