//! Addresses that move: each move is one that everybody has to hear of, and an address that moves too often is damped
//! (RFC 7432 15.1): it stays where it is until some time has passed.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bridge::{Endpoint, SegmentIndex};
use wire::mac::MacAddr;

/// Most addresses whose moves are counted.
const MOST: usize = 16_384;

/// Moves that follow each other faster count as one: a loop that is just being found makes hundreds of them, and two hosts with one
/// address go on for longer than that.
const AT_ONCE: Duration = Duration::from_millis(400);

/// The rest of the network is told of an address's moves at most so often. What was left out then is told later.
const TELL: Duration = Duration::from_millis(250);

/// Moves to and fro within so long are no hosts that move.
const QUICK: Duration = Duration::from_secs(2);

/// Moves within [`QUICK`] that make an address one that flaps, and addresses that make a suspicion.
const FLAPS: u32 = 3;
const FLAPPING: usize = 3;

/// A suspicion is told again after so long.
const AGAIN: Duration = Duration::from_secs(60);

/// A full table is looked through for what can go at most so often.
const SWEEP: Duration = Duration::from_secs(1);

/// When an address has moved too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoveLimits {
    /// So many moves; 0: never.
    pub moves: u32,
    /// Within so long.
    pub window: Duration,
    /// How long it then stays where it is.
    pub hold: Duration,
}

impl Default for MoveLimits {
    fn default() -> Self {
        Self { moves: 5, window: Duration::from_secs(180), hold: Duration::from_secs(180) }
    }
}

/// What follows from a move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// The address has moved too often and is to be pinned. Again, if it was: who is pinned does not move, so that the pin was lost,
    /// with what the FDB knew of the address.
    pub pin: bool,
    /// And was not pinned before.
    pub news: bool,
    /// The rest of the network is to hear of the move.
    pub tell: bool,
}

/// An address that is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// Its segment.
    pub segment: SegmentIndex,
    /// The address.
    pub mac: MacAddr,
    /// The two places that it was last at, the first of which is where it counts.
    pub places: (Endpoint, Endpoint),
    /// How often it moved.
    pub moves: u32,
    /// Since when it is pinned.
    pub since: Duration,
    /// Until when.
    pub until: Duration,
}

/// Many addresses of a segment flap between two places: a loop that lets no probes through, perhaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// The segment.
    pub segment: SegmentIndex,
    /// One of the addresses.
    pub mac: MacAddr,
    /// The places.
    pub places: (Endpoint, Endpoint),
    /// How many addresses.
    pub addresses: usize,
}

/// The moves of all addresses.
#[derive(Debug)]
pub struct Moves {
    limits: MoveLimits,
    addresses: HashMap<(SegmentIndex, MacAddr), Address>,
    /// Since when, and which addresses, flap in each segment.
    flapping: HashMap<SegmentIndex, (Duration, Vec<MacAddr>)>,
    told: HashMap<SegmentIndex, Duration>,
    last: BTreeMap<SegmentIndex, (Duration, MacAddr)>,
    /// Moves that were not counted, since there were too many addresses.
    refused: u64,
    /// When the full table was last looked through.
    swept: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Address {
    first: Duration,
    counted: Duration,
    moves: u32,
    told: Option<Duration>,
    /// A move that was not told.
    owed: bool,
    quick_since: Duration,
    quick: u32,
    places: (Endpoint, Endpoint),
    pinned: Option<(Duration, Duration)>,
}

impl Moves {
    /// None yet.
    pub fn new(limits: MoveLimits) -> Self {
        Self {
            limits,
            addresses: HashMap::new(),
            flapping: HashMap::new(),
            told: HashMap::new(),
            last: BTreeMap::new(),
            refused: 0,
            swept: None,
        }
    }

    /// Other limits from now on.
    pub fn set_limits(&mut self, limits: MoveLimits) {
        self.limits = limits;
    }

    /// An address was seen at `to` that was at `from` before. `announced`: in a frame that goes to everybody.
    pub fn moved(
        &mut self,
        now: Duration,
        (segment, mac): (SegmentIndex, MacAddr),
        from: Endpoint,
        to: Endpoint,
        announced: bool,
    ) -> Moved {
        self.last.insert(segment, (now, mac));
        if self.addresses.len() >= MOST && !self.addresses.contains_key(&(segment, mac)) {
            if self.swept.is_none_or(|at| now >= at + SWEEP) {
                self.swept = Some(now);
                let window = self.limits.window;
                self.addresses
                    .retain(|_, address| address.pinned.is_some() || now < address.counted + window);
            }
            if self.addresses.len() >= MOST {
                self.refused += 1;
                return Moved::default();
            }
        }
        let fresh = Address {
            first: now,
            counted: now,
            moves: 0,
            told: None,
            owed: false,
            quick_since: now,
            quick: 0,
            places: (to, from),
            pinned: None,
        };
        let address = self.addresses.entry((segment, mac)).or_insert(fresh);
        address.places = (to, from);
        if now >= address.quick_since + QUICK {
            (address.quick_since, address.quick) = (now, 0);
        }
        address.quick += 1;
        if address.quick == FLAPS {
            let (since, flapping) = self.flapping.entry(segment).or_insert((now, Vec::new()));
            if now >= *since + QUICK {
                (*since, *flapping) = (now, Vec::new());
            }
            if !flapping.contains(&mac) && flapping.len() < FLAPPING {
                flapping.push(mac);
            }
        }
        let tell = !announced && address.told.is_none_or(|at| now >= at + TELL);
        address.owed = !announced && !tell;
        if tell {
            address.told = Some(now);
        }
        if now >= address.first + self.limits.window {
            (address.first, address.moves) = (now, 0);
        }
        if address.moves == 0 || now >= address.counted + AT_ONCE {
            address.moves += 1;
            address.counted = now;
        }
        let often = self.limits.moves > 0 && address.moves >= self.limits.moves;
        let news = often && address.pinned.is_none();
        if news {
            address.pinned = Some((now, now + self.limits.hold));
        }
        let pin = address.pinned.is_some();
        address.owed &= !pin;
        Moved { pin, news, tell: tell && !pin }
    }

    /// Moves that were not told when they happened, with where the address is. To be called every second or so.
    pub fn owed(&mut self) -> Vec<(SegmentIndex, MacAddr, Endpoint)> {
        let owed = self.addresses.iter_mut().filter(|(_, address)| address.owed);
        owed.map(|((segment, mac), address)| {
            address.owed = false;
            (*segment, *mac, address.places.0)
        })
        .collect()
    }

    /// A segment whose addresses flap, if there is one that has not just been told.
    pub fn suspect(&mut self, now: Duration) -> Option<Suspect> {
        let told = |segment: &SegmentIndex| self.told.get(segment).is_some_and(|at| now < *at + AGAIN);
        let mut flapping = self.flapping.iter();
        let (segment, mac) = flapping.find_map(|(segment, (_, macs))| {
            (macs.len() >= FLAPPING && !told(segment)).then(|| (*segment, macs[0]))
        })?;
        self.told.insert(segment, now);
        let places = self.addresses.get(&(segment, mac))?.places;
        self.flapping.remove(&segment);
        Some(Suspect { segment, mac, places, addresses: FLAPPING })
    }

    /// The address of a segment that moved last, within the last seconds.
    pub fn last(&self, now: Duration, segment: SegmentIndex) -> Option<MacAddr> {
        self.last.get(&segment).filter(|(at, _)| now < *at + 2 * QUICK).map(|(_, mac)| *mac)
    }

    /// Addresses that have been pinned for long enough, and are to move again. To be called every second or so.
    pub fn due(&mut self, now: Duration) -> Vec<(SegmentIndex, MacAddr)> {
        let window = self.limits.window;
        let mut released = Vec::new();
        self.addresses.retain(|key, address| match address.pinned {
            Some((_, until)) if now >= until => {
                released.push(*key);
                false
            }
            Some(_) => true,
            None => now < address.counted + window,
        });
        self.last.retain(|_, (at, _)| now < *at + 2 * QUICK);
        self.told.retain(|_, at| now < *at + AGAIN);
        released
    }

    /// Forgets the moves of all addresses that `wanted` says. Returns those of them that were pinned.
    pub fn forget(
        &mut self,
        mut wanted: impl FnMut(SegmentIndex, MacAddr) -> bool,
    ) -> Vec<(SegmentIndex, MacAddr)> {
        let mut released = Vec::new();
        self.addresses.retain(|(segment, mac), address| {
            let goes = wanted(*segment, *mac);
            if goes && address.pinned.is_some() {
                released.push((*segment, *mac));
            }
            !goes
        });
        released
    }

    /// The addresses that are pinned.
    pub fn duplicates(&self) -> Vec<Duplicate> {
        let duplicate = |((segment, mac), address): (&(SegmentIndex, MacAddr), &Address)| {
            let (since, until) = address.pinned?;
            let Address { places, moves, .. } = *address;
            Some(Duplicate { segment: *segment, mac: *mac, places, moves, since, until })
        };
        let mut all: Vec<Duplicate> = self.addresses.iter().filter_map(duplicate).collect();
        all.sort_by_key(|duplicate| (duplicate.segment, duplicate.mac));
        all
    }

    /// Moves that were not counted, since there were too many addresses.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bridge::{AttachmentIndex, SessionIndex};

    const SEGMENT: SegmentIndex = SegmentIndex(3);
    const LAN: Endpoint = Endpoint::Attachment(AttachmentIndex(0));
    const SITE: Endpoint = Endpoint::Session(SessionIndex(0));

    fn mac(n: u16) -> MacAddr {
        MacAddr::from_u64(0x0200_0000_0000 | u64::from(n))
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// An address that moves `count` times, once in `every`. Says at which move it was pinned.
    fn pinned_at(moves: &mut Moves, start: Duration, every: Duration, count: u32) -> Option<u32> {
        (0..count).find(|n| {
            let (from, to) = if n % 2 == 0 { (LAN, SITE) } else { (SITE, LAN) };
            moves.moved(start + every * *n, (SEGMENT, mac(1)), from, to, true).pin
        })
    }

    #[test]
    fn five_moves_in_three_minutes_pin_and_three_minutes_release() {
        let mut moves = Moves::new(MoveLimits::default());
        assert_eq!(pinned_at(&mut moves, seconds(0), seconds(10), 9), Some(4));
        let [duplicate] = moves.duplicates()[..] else { panic!("one") };
        assert_eq!((duplicate.mac, duplicate.places, duplicate.moves), (mac(1), (SITE, LAN), 5));
        assert_eq!(moves.due(seconds(219)), []);
        assert_eq!(moves.due(seconds(220)), [(SEGMENT, mac(1))]);
        assert_eq!(moves.duplicates(), []);
        assert_eq!(pinned_at(&mut moves, seconds(300), seconds(1), 9), Some(4), "it starts from nothing");
    }

    #[test]
    fn a_pin_that_is_lost_is_set_again_and_not_told_again() {
        let mut moves = Moves::new(MoveLimits::default());
        pinned_at(&mut moves, seconds(0), seconds(10), 5);
        let lost = moves.moved(seconds(60), (SEGMENT, mac(1)), LAN, SITE, false);
        assert_eq!(lost, Moved { pin: true, news: false, tell: false });
        assert_eq!(moves.owed(), []);
        assert_eq!(moves.duplicates()[0].places, (SITE, LAN), "where it is now");
        assert_eq!(moves.due(seconds(220)), [(SEGMENT, mac(1))], "for no longer");
        assert!(!moves.moved(seconds(221), (SEGMENT, mac(1)), LAN, SITE, false).pin);
    }

    #[test]
    fn hosts_that_move_now_and_then_are_left_alone() {
        let mut moves = Moves::new(MoveLimits::default());
        assert_eq!(pinned_at(&mut moves, seconds(0), seconds(46), 100), None);
        let mut never = Moves::new(MoveLimits { moves: 0, ..MoveLimits::default() });
        assert_eq!(pinned_at(&mut never, seconds(0), seconds(1), 100), None);
    }

    #[test]
    fn what_a_loop_does_before_it_is_found_counts_little() {
        let mut moves = Moves::new(MoveLimits::default());
        assert_eq!(pinned_at(&mut moves, seconds(0), Duration::from_millis(1), 1000), None);
        assert_eq!(pinned_at(&mut moves, seconds(10), Duration::from_millis(1), 9000), Some(400));
    }

    #[test]
    fn moves_are_told_now_or_a_little_later() {
        let mut moves = Moves::new(MoveLimits::default());
        let mut tell = |at| moves.moved(Duration::from_millis(at), (SEGMENT, mac(1)), LAN, SITE, false).tell;
        assert_eq!([0, 10, 249, 250, 300].map(&mut tell), [true, false, false, true, false]);
        assert_eq!(moves.owed(), [(SEGMENT, mac(1), SITE)]);
        assert_eq!(moves.owed(), []);
        assert!(moves.moved(seconds(1), (SEGMENT, mac(2)), LAN, SITE, false).tell, "each by itself");
        assert!(!moves.moved(seconds(1), (SEGMENT, mac(3)), LAN, SITE, true).tell, "all have heard it");
        assert_eq!(moves.owed(), []);
        moves.moved(seconds(1), (SEGMENT, mac(2)), SITE, LAN, false);
        moves.moved(seconds(1), (SEGMENT, mac(2)), LAN, SITE, true);
        assert_eq!(moves.owed(), [], "it has told itself meanwhile");
        assert_eq!(moves.last(seconds(2), SEGMENT), Some(mac(2)));
        assert_eq!(moves.last(seconds(9), SEGMENT), None);
    }

    #[test]
    fn many_addresses_to_and_fro_are_suspicious_and_a_migration_is_not() {
        let mut moves = Moves::new(MoveLimits::default());
        for n in 0..100 {
            moves.moved(seconds(0), (SEGMENT, mac(n)), LAN, SITE, true);
        }
        assert_eq!(moves.suspect(seconds(0)), None);
        for round in 0..4 {
            for n in 200..204 {
                let (from, to) = if round % 2 == 0 { (LAN, SITE) } else { (SITE, LAN) };
                moves.moved(Duration::from_millis(1000 + 100 * round), (SEGMENT, mac(n)), from, to, true);
            }
        }
        let suspect = moves.suspect(seconds(2)).expect("a loop");
        assert_eq!((suspect.segment, suspect.mac), (SEGMENT, mac(200)));
        assert_eq!(moves.suspect(seconds(2)), None, "told once");
    }

    #[test]
    fn the_table_is_bounded_and_forgets() {
        let mut moves = Moves::new(MoveLimits::default());
        for n in 0..MOST as u16 + 5 {
            moves.moved(seconds(0), (SEGMENT, mac(n)), LAN, SITE, true);
        }
        assert_eq!((moves.addresses.len(), moves.refused()), (MOST, 5));
        assert_eq!(moves.swept, Some(seconds(0)), "once a second");
        moves.moved(seconds(181), (SEGMENT, mac(60_000)), LAN, SITE, true);
        assert_eq!((moves.addresses.len(), moves.refused()), (1, 5));
        pinned_at(&mut moves, seconds(200), seconds(1), 5);
        assert_eq!(moves.forget(|segment, _| segment == SEGMENT), [(SEGMENT, mac(1))]);
        assert_eq!(moves.duplicates(), []);
    }
}
