//! Frames packed into records and back, under loss, duplication and reordering of any subset.
#![allow(missing_docs)]

use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;
use record::block::{self, BLOCK_HEADER_LEN, BlockWriter};
use record::reassembly::{GaveUp, Piece, Reassembler};
use wire::buf::{BufPool, HeapBuf, HeapPool, PacketBuf};

const NOW: Duration = Duration::ZERO;

/// Packs frames of (tunnel ID, octets) as the send stage does.
fn pack(frames: &[(u16, Vec<u8>)], capacity: usize) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let (mut area, mut writer) = (vec![0; capacity], BlockWriter::new());
    for (tunnel, frame) in frames {
        let mut taken = 0;
        loop {
            taken += writer.push(&mut area, *tunnel, (&[], frame), taken);
            if taken == frame.len() {
                break;
            }
            area.truncate(writer.len());
            records.push(std::mem::replace(&mut area, vec![0; capacity]));
            writer = BlockWriter::new();
        }
    }
    area.truncate(writer.len());
    records.push(area);
    records
}

struct Receiver {
    pool: HeapPool,
    pieces: Reassembler<HeapBuf>,
    frames: Vec<(u16, Vec<u8>)>,
}

impl Receiver {
    fn new() -> Self {
        Self { pool: HeapPool::new(70_000), pieces: Reassembler::new(), frames: Vec::new() }
    }

    fn record(&mut self, number: u64, plaintext: &[u8]) -> Result<(), GaveUp> {
        for block in block::blocks(plaintext) {
            let block::Block { first, last, tunnel, range } = block.expect("well-formed");
            let bytes = &plaintext[range];
            let whole = if first && last {
                Some(bytes.to_vec())
            } else {
                let piece = Piece { number, first, last, tunnel, bytes };
                self.pieces.piece(piece, NOW, &mut self.pool)?.map(|buf| buf.data().to_vec())
            };
            self.frames.extend(whole.map(|frame| (tunnel, frame)));
        }
        Ok(())
    }
}

/// The records that each frame has octets in.
fn records_of(frames: &[(u16, Vec<u8>)], records: &[Vec<u8>]) -> Vec<HashSet<u64>> {
    let mut touched = vec![HashSet::new()];
    for (number, plaintext) in (0u64..).zip(records) {
        for block in block::blocks(plaintext) {
            let block = block.expect("well-formed");
            touched.last_mut().expect("one at least").insert(number);
            if block.last {
                touched.push(HashSet::new());
            }
        }
    }
    touched.truncate(frames.len());
    touched
}

fn frames() -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    let length = prop_oneof![4 => 14..200usize, 3 => 1000..1600usize, 1 => 5000..9100usize];
    let frame = (1..=4093u16, length, any::<u8>());
    prop::collection::vec(frame, 1..25).prop_map(|frames| {
        frames
            .into_iter()
            .enumerate()
            .map(|(at, (tunnel, len, seed))| {
                let mut octets: Vec<u8> = (0..len).map(|n| (n as u8).wrapping_mul(seed | 1)).collect();
                octets[..2].copy_from_slice(&(at as u16).to_be_bytes()); // no two are equal
                (tunnel, octets)
            })
            .collect()
    })
}

proptest! {
    /// A frame arrives whole or not at all, and a lost record costs only frames that touch it.
    #[test]
    fn whole_or_not_at_all(
        frames in frames(),
        capacity in 200..3000usize,
        lost in prop::collection::hash_set(0..60u64, 0..8),
        shuffle in prop::collection::vec(any::<prop::sample::Index>(), 0..120),
    ) {
        let records = pack(&frames, capacity);
        prop_assert!(records.iter().all(|record| record.len() <= capacity));
        let mut order: Vec<u64> = (0..records.len() as u64).filter(|n| !lost.contains(n)).collect();
        for (at, with) in shuffle.iter().enumerate() {
            if !order.is_empty() {
                let (a, b) = (at % order.len(), with.index(order.len()));
                order.swap(a, b);
            }
        }
        let mut receiver = Receiver::new();
        for number in order {
            receiver.record(number, &records[number as usize]).expect("room for all");
        }
        let got: HashSet<_> = receiver.frames.iter().cloned().collect();
        prop_assert_eq!(got.len(), receiver.frames.len(), "none twice");
        for (frame, touched) in frames.iter().zip(records_of(&frames, &records)) {
            prop_assert_eq!(got.contains(frame), touched.is_disjoint(&lost), "{} octets", frame.1.len());
        }
        prop_assert!(got.iter().all(|frame| frames.contains(frame)), "none damaged");
    }

    #[test]
    fn random_plaintexts_are_refused_or_parsed_within_bounds(
        plaintexts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..40),
    ) {
        let mut receiver = Receiver::new();
        for (number, plaintext) in (0u64..).zip(&plaintexts) {
            for block in block::blocks(plaintext).map_while(Result::ok) {
                prop_assert!(block.range.end <= plaintext.len() && !block.range.is_empty());
                let block::Block { first, last, tunnel, range } = block;
                let piece = Piece { number, first, last, tunnel, bytes: &plaintext[range] };
                let _ = receiver.pieces.piece(piece, NOW, &mut receiver.pool);
            }
        }
    }
}

#[test]
fn small_frames_share_a_record_and_tiny_pieces_are_not_made() {
    let small = (1, vec![1; 60]);
    let records = pack(&vec![small; 20], 64 * 20);
    assert_eq!(records.len(), 1);
    // 20 octets of room are left: the next frame starts in the next record.
    let records = pack(&[(1, vec![1; 100 - 24]), (1, vec![2; 60])], 100);
    assert_eq!(records.iter().map(Vec::len).collect::<Vec<_>>(), [80, 64]);
    // 40 are left: it is split.
    let records = pack(&[(1, vec![1; 56]), (1, vec![2; 60])], 100);
    assert_eq!(records.iter().map(Vec::len).collect::<Vec<_>>(), [100, BLOCK_HEADER_LEN + 24]);
}

#[test]
fn pieces_that_wait_too_long_are_given_up_and_their_buffers_come_back() {
    let mut pool = HeapPool::limited(2000, 3);
    let mut pieces = Reassembler::new();
    let head = |number| Piece { number, first: true, last: false, tunnel: 5, bytes: &[1; 50] };
    for number in [1, 3, 5] {
        assert!(matches!(pieces.piece(head(number), NOW, &mut pool), Ok(None)));
    }
    assert!(pieces.piece(head(7), NOW, &mut pool).is_err(), "no buffer left");
    assert_eq!(pieces.expire(NOW + Duration::from_millis(999)), 0);
    assert_eq!(pieces.expire(NOW + Duration::from_secs(1)), 3);
    assert!(pool.alloc().is_some());
    // By numbers: the lane has moved on.
    assert!(matches!(pieces.piece(head(10), NOW, &mut pool), Ok(None)));
    assert!(matches!(pieces.piece(head(267), NOW, &mut pool), Ok(None)));
    assert_eq!(pieces.expire(NOW), 1);
    assert!(pieces.piece(head(9), NOW, &mut pool).is_err(), "too far behind");
}

#[test]
fn pieces_of_different_segments_are_not_joined() {
    let (mut pool, mut pieces) = (HeapPool::new(2000), Reassembler::new());
    let head = Piece { number: 1, first: true, last: false, tunnel: 5, bytes: &[1; 50] };
    let tail = Piece { number: 2, first: false, last: true, tunnel: 6, bytes: &[2; 50] };
    assert!(matches!(pieces.piece(head, NOW, &mut pool), Ok(None)));
    assert!(matches!(pieces.piece(tail, NOW, &mut pool), Err(GaveUp)));
}
