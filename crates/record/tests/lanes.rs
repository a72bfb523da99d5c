//! A sender and a receiver of one lane, with everything that a network does to records in between.
#![allow(missing_docs)]

use std::time::Duration;

use proptest::prelude::*;
use record::{
    Cipher, Engine, HEADER_LEN, KeyLimits, LaneId, LaneSecret, OVERHEAD, OpenError, RxLane, Suite, TAG_LEN,
    TxLane,
};

const T0: Duration = Duration::from_secs(100);

/// Sealed by one engine, opened by the other.
fn lane(cipher: Cipher, limits: KeyLimits) -> (TxLane, RxLane) {
    let by = |engine| Suite { cipher, engine };
    let id = LaneId::new(0x0a_0b0c).expect("24 bits");
    let secret = || LaneSecret::new([9; 32]);
    (TxLane::new(id, by(Engine::IpsecMb), secret(), limits, T0), RxLane::new(id, by(Engine::Ring), secret()))
}

fn seal(tx: &mut TxLane, text: &[u8], now: Duration) -> Vec<u8> {
    let mut record = vec![0; HEADER_LEN];
    record.extend(text);
    record.extend([0; TAG_LEN]);
    tx.seal(&mut record, now).expect("sealed");
    record
}

#[test]
fn what_is_sealed_opens_once() {
    for cipher in [Cipher::Aes128Gcm, Cipher::Aes256Gcm] {
        let (mut tx, mut rx) = lane(cipher, KeyLimits::default());
        let record = seal(&mut tx, b"a frame", T0);
        assert_eq!(record.len(), OVERHEAD + 7);
        let opened = rx.open(&mut record.clone()).map(|o| (o.number, o.newest, o.plaintext.to_vec()));
        assert_eq!(opened, Ok((0, true, b"a frame".to_vec())));
        assert_eq!(rx.open(&mut record.clone()), Err(OpenError::Replayed));
    }
}

#[test]
fn a_forged_record_does_not_spoil_the_true_one() {
    let (mut tx, mut rx) = lane(Cipher::Aes128Gcm, KeyLimits::default());
    let record = seal(&mut tx, b"a frame", T0);
    for at in 4..record.len() {
        let mut forged = record.clone();
        forged[at] ^= 1;
        assert!(rx.open(&mut forged).is_err(), "octet {at}");
    }
    assert!(rx.open(&mut record.clone()).is_ok());
}

#[test]
fn keys_change_by_use_and_by_time_and_nothing_is_lost() {
    let limits = KeyLimits { aes_blocks: 30, age: Duration::from_secs(120) };
    let (mut tx, mut rx) = lane(Cipher::Aes256Gcm, limits);
    let mut phases = Vec::new();
    for n in 0..200u64 {
        let mut record = seal(&mut tx, &[n as u8; 100], T0);
        phases.push(record[0] & 15);
        assert_eq!(rx.open(&mut record).map(|opened| opened.number), Ok(n));
    }
    // 100 octets are 7 blocks, with header and tag 9: three records a key.
    assert_eq!(phases[..7], [0, 0, 0, 1, 1, 1, 2]);
    assert_eq!(tx.phase(), 66);

    let (mut tx, mut rx) = lane(Cipher::Aes128Gcm, KeyLimits::default());
    seal(&mut tx, b"x", T0 + Duration::from_secs(119));
    assert_eq!(tx.phase(), 0);
    let mut late = seal(&mut tx, b"x", T0 + Duration::from_secs(120));
    assert_eq!((tx.phase(), rx.open(&mut late).is_ok()), (1, true));
}

#[test]
fn records_of_the_phase_before_still_open_and_older_ones_do_not() {
    // A new key for each record.
    let limits = KeyLimits { aes_blocks: 3, age: Duration::from_secs(120) };
    let (mut tx, mut rx) = lane(Cipher::Aes128Gcm, limits);
    let records: Vec<_> = (0..4).map(|n| seal(&mut tx, &[n], T0)).collect();
    assert!(rx.open(&mut records[2].clone()).is_ok(), "two phases ahead");
    assert!(rx.open(&mut records[1].clone()).is_ok(), "the phase before");
    assert!(rx.open(&mut records[3].clone()).is_ok());
    assert_eq!(rx.open(&mut records[0].clone()), Err(OpenError::WrongPhase));
}

/// What a sender seals while nothing gets through takes it phases ahead, by the age of its keys alone.
#[test]
fn a_lane_that_was_blocked_for_minutes_goes_on() {
    for minutes in 0..=16u64 {
        let (mut tx, mut rx) = lane(Cipher::Aes128Gcm, KeyLimits::default());
        let mut sealed = Vec::new();
        for second in 0..=60 * minutes {
            sealed.push(seal(&mut tx, b"echo", T0 + Duration::from_secs(second)));
        }
        let last = sealed.len() - 1;
        assert_eq!(tx.phase(), minutes / 2);
        assert!(rx.open(&mut sealed[last].clone()).is_ok(), "after {minutes} minutes");
        if minutes >= 2 {
            assert!(rx.open(&mut sealed[last - 120].clone()).is_ok(), "the phase before");
        }
        if minutes >= 4 {
            assert_eq!(rx.open(&mut sealed[last - 240].clone()), Err(OpenError::WrongPhase));
        }
    }
}

#[test]
fn a_forger_moves_no_phase_on() {
    let limits = KeyLimits { aes_blocks: 3, age: Duration::from_secs(120) };
    let (mut tx, mut rx) = lane(Cipher::Aes128Gcm, limits);
    let first = seal(&mut tx, b"x", T0);
    let present = first[0] & 15;
    assert!(rx.open(&mut first.clone()).is_ok());
    for (distance, expected) in (1..=14).map(|distance| match distance {
        1..=8 => (distance, OpenError::NotAuthentic),
        _ => (distance, OpenError::WrongPhase),
    }) {
        let mut forged = vec![0; OVERHEAD + 1];
        forged[..HEADER_LEN].copy_from_slice(&tx.next_header());
        forged[0] = 0x10 | (present + distance) & 15;
        assert_eq!(rx.open(&mut forged), Err(expected), "{distance} phases ahead");
    }
    assert!(rx.open(&mut seal(&mut tx, b"x", T0)).is_ok(), "the next phase is still the next");
}

/// The example of docs/protocol.md, made by another implementation (tests/e2e/decoder.py).
#[test]
fn the_vectors_of_the_specification() {
    let text = include_str!("vectors.json");
    let vectors: serde_json::Value = serde_json::from_str(text).expect("JSON");
    for vector in vectors.as_array().expect("an array") {
        let bytes = |key: &str| -> Vec<u8> {
            let hex = vector[key].as_str().expect("a string");
            (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"))
                .collect()
        };
        let cipher = Cipher::from_code(vector["cipher"].as_u64().expect("a number")).expect("known");
        let id = LaneId::new(vector["lane"].as_u64().expect("a number") as u32).expect("24 bits");
        let secret = || LaneSecret::new(bytes("secret").try_into().expect("32 octets"));
        // One record a phase, so that the second vector of a lane shows the ratchet.
        let limits = KeyLimits { aes_blocks: 1, age: Duration::from_secs(120) };
        for engine in Engine::ALL {
            let suite = Suite { cipher, engine };
            let mut tx = TxLane::new(id, suite, secret(), limits, T0);
            let mut rx = RxLane::new(id, suite, secret());
            for record in ["record_0", "record_1"] {
                let sealed = seal(&mut tx, &bytes("plaintext"), T0);
                assert_eq!(sealed, bytes(record), "{vector}");
                assert_eq!(
                    rx.open(&mut sealed.clone()).map(|o| o.plaintext.to_vec()),
                    Ok(bytes("plaintext"))
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn any_order_and_any_repetition_opens_each_record_once(
        order in prop::collection::vec(0..60usize, 1..200),
        every in 1..40u64,
    ) {
        let limits = KeyLimits { aes_blocks: 3 * every, age: Duration::from_secs(120) };
        let (mut tx, mut rx) = lane(Cipher::Aes128Gcm, limits);
        let records: Vec<_> = (0..60u8).map(|n| seal(&mut tx, &[n], T0)).collect();
        let mut opened = [false; 60];
        for at in order {
            match rx.open(&mut records[at].clone()) {
                Ok(record) => {
                    prop_assert_eq!((record.number, &*record.plaintext), (at as u64, &[at as u8][..]));
                    prop_assert!(!opened[at]);
                    opened[at] = true;
                }
                Err(OpenError::Replayed) => prop_assert!(opened[at]),
                // Sixteen phases on, the four bits on the wire look like a phase that is due.
                Err(error) => prop_assert!(matches!(error, OpenError::WrongPhase | OpenError::NotAuthentic)),
            }
        }
    }

    #[test]
    fn random_datagrams_never_open(datagram in prop::collection::vec(any::<u8>(), 0..100)) {
        let (_, mut rx) = lane(Cipher::Aes128Gcm, KeyLimits::default());
        prop_assert!(rx.open(&mut datagram.clone()).is_err());
    }
}
