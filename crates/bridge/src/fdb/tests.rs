use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::{AttachmentIndex, SessionIndex};

const SEGMENT: SegmentIndex = SegmentIndex(3);

fn mac(n: u64) -> MacAddr {
    MacAddr::from_u64(0x0200_0000_0000 | n)
}

fn session(n: u16) -> Endpoint {
    Endpoint::Session(SessionIndex(n))
}

#[test]
fn learning_moving_and_ageing() {
    let fdb = Fdb::new(100);
    assert_eq!(fdb.lookup(SEGMENT, mac(1)), None);
    assert_eq!(fdb.learn(SEGMENT, mac(1), session(0), 10), Learned::New);
    assert_eq!(fdb.learn(SEGMENT, mac(1), session(0), 10), Learned::Known);
    assert_eq!(fdb.learn(SEGMENT, mac(1), session(1), 11), Learned::Moved(session(0)));
    assert_eq!(fdb.lookup(SEGMENT, mac(1)), Some(session(1)));
    assert_eq!(fdb.lookup(SegmentIndex(4), mac(1)), None, "segments do not mix");
    let mut cursor = 0;
    assert_eq!(fdb.age(&mut cursor, usize::MAX / 2, 311, 300), 0, "300 s old is not too old");
    assert_eq!(fdb.age(&mut cursor, usize::MAX / 2, 312, 300), 1);
    assert_eq!((fdb.lookup(SEGMENT, mac(1)), fdb.len()), (None, 0));
}

#[test]
fn a_refresh_keeps_an_entry_alive() {
    let fdb = Fdb::new(100);
    fdb.learn(SEGMENT, mac(1), session(0), 10);
    fdb.learn(SEGMENT, mac(1), session(0), 200);
    assert_eq!(fdb.age(&mut 0, usize::MAX / 2, 400, 300), 0);
    assert_eq!(fdb.entries().map(|entry| entry.seen).collect::<Vec<_>>(), [200]);
}

#[test]
fn limits_keep_new_addresses_out_and_known_ones_in() {
    let fdb = Fdb::new(100);
    let lan = Endpoint::Attachment(AttachmentIndex(5));
    fdb.place(AttachmentIndex(5), 9);
    let parts = [Part::Session(SessionIndex(0)), Part::Port(9), Part::Segment(SEGMENT)];
    for (part, most) in parts.into_iter().zip([2, 1, 4]) {
        fdb.limit(part, Some(most));
    }
    assert_eq!([1, 2].map(|n| fdb.learn(SEGMENT, mac(n), session(0), 1)), [Learned::New; 2]);
    assert_eq!(fdb.learn(SEGMENT, mac(3), session(0), 1), Learned::Full, "of the session");
    assert_eq!(fdb.learn(SEGMENT, mac(3), lan, 1), Learned::New);
    assert_eq!(fdb.learn(SEGMENT, mac(1), lan, 1), Learned::Full, "a known one does not move over a limit");
    assert_eq!(fdb.lookup(SEGMENT, mac(1)), Some(session(0)));
    assert_eq!(fdb.learn(SEGMENT, mac(1), session(1), 1), Learned::Moved(session(0)));
    assert_eq!(fdb.learn(SEGMENT, mac(4), session(0), 1), Learned::New, "room again");
    assert_eq!(fdb.learn(SEGMENT, mac(5), session(7), 1), Learned::Full, "of the segment");
    assert_eq!(fdb.learn(SegmentIndex(0), mac(5), session(7), 1), Learned::New);
    assert_eq!(parts.map(|part| fdb.held(part)), [2, 1, 4]);
    assert_eq!(fdb.flush(|_| true), 5);
    assert_eq!(parts.map(|part| fdb.held(part)), [0; 3]);
    fdb.limit(Part::Port(9), None);
    assert_eq!([1, 2].map(|n| fdb.learn(SEGMENT, mac(n), lan, 1)), [Learned::New; 2]);
}

#[test]
fn a_pinned_address_stays_until_it_is_let_go() {
    let fdb = Fdb::new(100);
    assert!(!fdb.pin(SEGMENT, mac(1), true));
    fdb.learn(SEGMENT, mac(1), session(0), 1);
    assert!(fdb.pin(SEGMENT, mac(1), true));
    assert_eq!(fdb.learn(SEGMENT, mac(1), session(1), 2), Learned::Pinned(session(0)));
    assert_eq!(fdb.learn(SEGMENT, mac(1), session(0), 3), Learned::Known);
    let entry = fdb.entries().next().expect("one");
    assert_eq!((entry.endpoint, entry.seen, entry.pinned), (session(0), 3, true));
    assert_eq!(fdb.age(&mut 0, usize::MAX / 2, 304, 300), 1, "it ages like others");
    fdb.learn(SEGMENT, mac(1), session(0), 400);
    assert!(fdb.pin(SEGMENT, mac(1), true) && fdb.pin(SEGMENT, mac(1), false));
    assert_eq!(fdb.learn(SEGMENT, mac(1), session(1), 401), Learned::Moved(session(0)));
}

#[test]
fn a_full_database_keeps_what_it_has() {
    let fdb = Fdb::new(50);
    for n in 0..50 {
        assert_eq!(fdb.learn(SEGMENT, mac(n), session(0), 1), Learned::New);
    }
    assert_eq!(fdb.learn(SEGMENT, mac(50), session(0), 1), Learned::Full);
    assert!((0..50).all(|n| fdb.lookup(SEGMENT, mac(n)).is_some()));
    assert_eq!(
        fdb.learn(SEGMENT, mac(7), session(1), 2),
        Learned::Moved(session(0)),
        "known ones still move"
    );
    assert_eq!(fdb.flush(|entry| entry.mac == mac(3)), 1);
    assert_eq!(fdb.learn(SEGMENT, mac(50), session(0), 2), Learned::New);
}

#[test]
fn addresses_that_crowd_one_bucket_spill_over_and_come_back() {
    let fdb = Fdb::with_seed(4096, 1);
    let home = fdb.home(key_of(SEGMENT, mac(0).into()));
    let crowd: Vec<u64> =
        (0..2_000_000).filter(|n| fdb.home(key_of(SEGMENT, mac(*n).into())) == home).take(60).collect();
    let learned =
        crowd.iter().filter(|n| fdb.learn(SEGMENT, mac(**n), session(0), 1) == Learned::New).count();
    assert_eq!(learned, SLOTS * REACH, "as many as its reach holds");
    assert_eq!(fdb.len(), learned);
    for n in &crowd[..learned] {
        assert_eq!(fdb.lookup(SEGMENT, mac(*n)), Some(session(0)));
    }
    assert_eq!(fdb.flush(|_| true), learned);
    assert_eq!(fdb.buckets[home].displaced.load(Ordering::Relaxed), 0);
    assert_eq!(fdb.entries().count(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Learn(u64, u16, u32),
    Age(u32),
    Flush(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..40u64, 0..3u16, 0..400u32).prop_map(|(mac, to, now)| Step::Learn(mac, to, now)),
        1 => (0..800u32).prop_map(Step::Age),
        1 => (0..3u16).prop_map(Step::Flush),
    ]
}

proptest! {
    /// Against a map that does the obvious.
    #[test]
    fn behaves_like_a_map(steps in prop::collection::vec(step(), 0..200)) {
        let fdb = Fdb::with_seed(30, 7);
        let mut model: HashMap<u64, (u16, u32)> = HashMap::new();
        for step in steps {
            match step {
                Step::Learn(n, to, now) => {
                    let expected = match model.get(&n) {
                        Some((old, _)) if *old == to => Learned::Known,
                        Some((old, _)) => Learned::Moved(session(*old)),
                        None if model.len() < 30 => Learned::New,
                        None => Learned::Full,
                    };
                    if expected != Learned::Full {
                        model.insert(n, (to, now));
                    }
                    prop_assert_eq!(fdb.learn(SEGMENT, mac(n), session(to), now), expected);
                }
                Step::Age(now) => {
                    fdb.age(&mut 0, usize::MAX / 2, now, 300);
                    model.retain(|_, (_, seen)| now.saturating_sub(*seen) <= 300);
                }
                Step::Flush(to) => {
                    fdb.flush(|entry| entry.endpoint == session(to));
                    model.retain(|_, (at, _)| *at != to);
                }
            }
            for n in 0..40 {
                prop_assert_eq!(fdb.lookup(SEGMENT, mac(n)), model.get(&n).map(|(to, _)| session(*to)));
            }
            prop_assert_eq!(fdb.len(), model.len());
        }
    }
}

/// Threads learn the same and different addresses while another removes them: no reader ever sees an
/// endpoint that was not written for that address, and in the end each stands in the table once.
#[test]
fn threads_do_not_mislead_each_other() {
    const ADDRESSES: u64 = 200;
    let fdb = Fdb::with_seed(1000, 3);
    let done = AtomicBool::new(false);
    let own = |n: u64| Endpoint::Attachment(AttachmentIndex(n as u16));
    thread::scope(|scope| {
        let learners: Vec<_> = (0..3u64)
            .map(|thread| {
                let fdb = &fdb;
                scope.spawn(move || {
                    for round in 0..300u64 {
                        for n in 0..ADDRESSES {
                            let n = (n * (thread * 2 + 1) + round) % ADDRESSES;
                            fdb.learn(SEGMENT, mac(n), own(n), round as u32);
                            if let Some(found) = fdb.lookup(SEGMENT, mac(n)) {
                                assert_eq!(found, own(n));
                            }
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            // The learners go on while this thread is preempted, so rounds and sweeps need not keep step.
            let mut turn = 0;
            while !done.load(Ordering::Relaxed) {
                turn += 1;
                fdb.flush(|entry| (entry.mac.to_u64() + turn) % 5 == 0);
            }
        });
        let outcomes: Vec<_> = learners.into_iter().map(|learner| learner.join()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(outcomes.iter().all(Result::is_ok), "no learner panics");
    });
    for n in 0..ADDRESSES {
        fdb.learn(SEGMENT, mac(n), own(n), 1);
    }
    let mut found: Vec<u64> = fdb.entries().map(|entry| entry.mac.to_u64()).collect();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), ADDRESSES as usize);
    assert_eq!(fdb.entries().count(), ADDRESSES as usize, "each once");
    assert_eq!(fdb.len(), ADDRESSES as usize);
    assert_eq!(fdb.flush(|_| true), ADDRESSES as usize);
    assert!(fdb.buckets.iter().all(|bucket| bucket.displaced.load(Ordering::Relaxed) == 0));
}
