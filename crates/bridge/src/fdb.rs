//! The forwarding database: (segment, MAC address) to endpoint, shared by all threads without locks.
//!
//! Open addressing over 64-byte buckets, one cache line each: three pairs of atomics, and a count of the
//! entries whose home this bucket is but that found it full and stand in one of the next buckets. A look-up reads
//! one line unless that count is positive.
//!
//! Entries are made and removed by one thread at a time, behind a lock that a worker only ever *tries*: when
//! another thread has it, the address is not learned this time, and the next frame tries again. What remains
//! for all threads at once is to read, and to refresh the value of an entry that is there:
//! - an entry is made by storing `key`, then `value`. Until then `value` is 0: "not there yet";
//! - it is removed by storing 0 into `value`, then into `key`;
//! - it is refreshed by compare-exchange from the non-zero value that was read, which cannot revive an entry
//!   whose removal has begun;
//! - a reader loads `key`, `value`, and `key` again: when both keys match, the value belonged to that key.
//!
//! Left over is a slot that is removed and made anew between two loads of one reader. A frame may then take
//! another entry's way; that it never leaves its segment is checked where frames leave.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Mutex, MutexGuard, PoisonError};

use wire::mac::{MacAddr, MacBits};

use crate::quota::{Part, Quotas};
use crate::{AttachmentIndex, Endpoint, Packed, SegmentIndex};

/// Pairs in a bucket.
const SLOTS: usize = 3;

/// The bit of a value's low half that says that the entry does not move.
const PINNED: u32 = 1 << 31;

/// Buckets that an entry may stand in: its home and the next ones.
const REACH: usize = 16;

/// The database.
#[derive(Debug)]
pub struct Fdb {
    buckets: Box<[Bucket]>,
    seed: u64,
    max_entries: usize,
    entries: AtomicUsize,
    quotas: Quotas,
    /// Held while entries are made or removed.
    structure: Mutex<()>,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket {
    /// Entries whose home this is and that stand elsewhere.
    displaced: AtomicU64,
    slots: [Slot; SLOTS],
}

#[derive(Debug, Default)]
struct Slot {
    /// Segment + 1 (16 bits) and MAC address (48 bits); 0: empty.
    key: AtomicU64,
    /// Endpoint (32 bits), whether it is pinned (1 bit), and the second it was last seen (31 bits); 0: gone, or not there yet.
    value: AtomicU64,
}

/// An address of a segment, and where the database that made it looks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    key: u64,
    home: usize,
}

/// What learning an address found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// It was known at this endpoint.
    Known,
    /// It was not known.
    New,
    /// It was known at another endpoint, this one.
    Moved(Endpoint),
    /// It was not known, or elsewhere, and there is no room for it here: nothing changed.
    Full,
    /// It is pinned to another endpoint, this one: nothing changed.
    Pinned(Endpoint),
    /// It was not known, and another thread is making or removing entries: nothing changed.
    Busy,
}

/// One learned address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its segment.
    pub segment: SegmentIndex,
    /// The address.
    pub mac: MacAddr,
    /// Where it is.
    pub endpoint: Endpoint,
    /// The second it was last seen, as given to [`Fdb::learn`].
    pub seen: u32,
    /// Whether it stays where it is, whoever else uses it.
    pub pinned: bool,
}

impl Fdb {
    /// A database for `max_entries` addresses. It takes its full size at once, about 64 octets an entry, and never grows.
    pub fn new(max_entries: usize) -> Self {
        Self::with_seed(max_entries, std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0))
    }

    /// Like [`Fdb::new`] with the hash seed given, for tests. The seed keeps a stranger from choosing addresses that
    /// all fall into one bucket.
    pub fn with_seed(max_entries: usize, seed: u64) -> Self {
        let buckets = max_entries.next_power_of_two().max(REACH);
        Self {
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
            seed,
            max_entries,
            entries: AtomicUsize::new(0),
            quotas: Quotas::default(),
            structure: Mutex::new(()),
        }
    }

    /// Most addresses it takes.
    pub fn max_entries(&self) -> usize {
        self.max_entries
    }

    /// Addresses it holds.
    pub fn len(&self) -> usize {
        self.entries.load(Relaxed)
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key of an address, with the place where it is looked for: to be asked for once and used several times.
    #[inline]
    pub fn key(&self, segment: SegmentIndex, mac: MacBits) -> Key {
        let key = key_of(segment, mac);
        Key { key, home: self.home(key) }
    }

    /// Starts loading the cache line that a look-up of this address will read.
    #[inline]
    pub fn touch(&self, key: Key) {
        std::hint::black_box(self.buckets[key.home].displaced.load(Relaxed));
    }

    /// Where the address is.
    pub fn lookup(&self, segment: SegmentIndex, mac: MacAddr) -> Option<Endpoint> {
        self.lookup_key(self.key(segment, mac.into()))
    }

    /// Where the address of a key is.
    #[inline]
    pub fn lookup_key(&self, key: Key) -> Option<Endpoint> {
        let (_, value) = self.find(key)?;
        Endpoint::unpack((value >> 32) as u32)
    }

    /// Where the address is, and whether it is pinned there.
    pub fn get(&self, segment: SegmentIndex, mac: MacAddr) -> Option<(Endpoint, bool)> {
        let (_, value) = self.find(self.key(segment, mac.into()))?;
        Some((Endpoint::unpack((value >> 32) as u32)?, value as u32 & PINNED != 0))
    }

    /// Notes that the address was seen at `from` in second `now`.
    pub fn learn(&self, segment: SegmentIndex, mac: MacAddr, from: Endpoint, now: u32) -> Learned {
        self.learn_key(self.key(segment, mac.into()), from.into(), now)
    }

    /// Notes that the address of a key was seen at `from` in second `now`. A known entry is written only when
    /// the endpoint or the second has changed.
    #[inline]
    pub fn learn_key(&self, key: Key, from: Packed, now: u32) -> Learned {
        let new = u64::from(from.0) << 32 | u64::from(now);
        if let Some((slot, value)) = self.find(key) {
            if value == new {
                return Learned::Known;
            }
            if (value >> 32) as u32 != from.0 {
                return self.elsewhere(slot, value, new);
            }
            // When the exchange fails another thread has just refreshed, moved or removed the entry;
            // its word is as good as ours, and the next frame tries again.
            let _ = slot.value.compare_exchange(value, new | value & u64::from(PINNED), AcqRel, Relaxed);
            return Learned::Known;
        }
        self.insert(key, new)
    }

    /// A known address was seen at another endpoint.
    #[cold]
    fn elsewhere(&self, slot: &Slot, value: u64, new: u64) -> Learned {
        let endpoint = |value: u64| Endpoint::unpack((value >> 32) as u32);
        let (Some(old), Some(here)) = (endpoint(value), endpoint(new)) else { return Learned::Busy };
        if value as u32 & PINNED != 0 {
            return Learned::Pinned(old);
        }
        if !self.quotas.may_move(old, here) {
            return Learned::Full;
        }
        if slot.value.compare_exchange(value, new, AcqRel, Relaxed).is_ok() {
            self.quotas.moved(old, here);
        }
        Learned::Moved(old)
    }

    /// Pins a known address to where it is, or lets it move again. False when it is not known.
    pub fn pin(&self, segment: SegmentIndex, mac: MacAddr, pinned: bool) -> bool {
        let Some((slot, _)) = self.find(self.key(segment, mac.into())) else { return false };
        let change = |value: u64| match value {
            0 => None, // removed a moment ago
            value if pinned => Some(value | u64::from(PINNED)),
            value => Some(value & !u64::from(PINNED)),
        };
        slot.value.fetch_update(AcqRel, Relaxed, change).is_ok()
    }

    /// Limits how many addresses a part may have from now on; `None`: as many as fit. Known ones stay.
    pub fn limit(&self, part: Part, most: Option<u32>) {
        self.quotas.limit(part, most);
    }

    /// Addresses that a part has.
    pub fn held(&self, part: Part) -> u32 {
        self.quotas.held(part)
    }

    /// Most addresses that a part may have; `None`: it has no limit of its own.
    pub fn most(&self, part: Part) -> Option<u32> {
        self.quotas.most(part)
    }

    /// Says which port an attachment is on. To be told while no address is behind the attachment.
    pub fn place(&self, attachment: AttachmentIndex, port: u8) {
        self.quotas.place(attachment, port);
    }

    /// Removes every entry that `remove` says, and returns how many.
    pub fn flush(&self, remove: impl FnMut(&Entry) -> bool) -> usize {
        self.sweep(0..self.buckets.len(), remove)
    }

    /// Removes entries not seen for `max_age` seconds, looking at the next `budget` buckets from `cursor` on, which it
    /// moves. Returns how many it removed.
    pub fn age(&self, cursor: &mut usize, budget: usize, now: u32, max_age: u32) -> usize {
        let start = if *cursor >= self.buckets.len() { 0 } else { *cursor };
        let end = (start + budget).min(self.buckets.len());
        *cursor = end;
        self.sweep(start..end, |entry| now.saturating_sub(entry.seen) > max_age)
    }

    /// Buckets there are: what [`Fdb::age`] counts its budget in.
    pub fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// Every entry, in no order. Entries that change meanwhile may or may not be seen.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.buckets.iter().flat_map(|bucket| &bucket.slots).filter_map(Slot::entry)
    }

    #[inline]
    fn find(&self, Key { key, home }: Key) -> Option<(&Slot, u64)> {
        if let Some(found) = self.buckets[home].find(key) {
            return Some(found);
        }
        self.find_displaced(key, home)
    }

    /// Beyond its home.
    #[cold]
    fn find_displaced(&self, key: u64, home: usize) -> Option<(&Slot, u64)> {
        if self.buckets[home].displaced.load(Acquire) == 0 {
            return None;
        }
        (1..REACH).find_map(|step| self.buckets[self.after(home, step)].find(key))
    }

    #[cold]
    fn insert(&self, key: Key, value: u64) -> Learned {
        let Ok(_structure) = self.structure.try_lock() else {
            return Learned::Busy;
        };
        if self.find(key).is_some() {
            return Learned::Known; // by another thread, a moment ago
        }
        let Key { key, home } = key;
        let segment = SegmentIndex((key >> 48) as u16 - 1);
        let Some(at) = Endpoint::unpack((value >> 32) as u32) else { return Learned::Busy };
        if self.len() >= self.max_entries || !self.quotas.has_room(segment, at) {
            return Learned::Full;
        }
        for step in 0..REACH {
            let bucket = &self.buckets[self.after(home, step)];
            let Some(slot) = bucket.slots.iter().find(|slot| slot.key.load(Relaxed) == 0) else {
                continue;
            };
            if step > 0 {
                // An entry beyond its home must be announced before it can be found.
                self.buckets[home].displaced.fetch_add(1, AcqRel);
            }
            slot.key.store(key, Release);
            slot.value.store(value, Release);
            self.entries.fetch_add(1, Relaxed);
            self.quotas.added(segment, at);
            return Learned::New;
        }
        Learned::Full
    }

    fn sweep(&self, buckets: std::ops::Range<usize>, mut remove: impl FnMut(&Entry) -> bool) -> usize {
        let mut removed = 0;
        for at in buckets {
            // Bucket by bucket, so that a worker that wants to learn finds the lock free soon.
            let _structure = self.lock();
            for slot in &self.buckets[at].slots {
                let Some(entry) = slot.entry().filter(|entry| remove(entry)) else { continue };
                let home = self.home(slot.key.load(Relaxed));
                // What it is at this moment: a worker may have moved it since we looked.
                let value = slot.value.swap(0, AcqRel);
                slot.key.store(0, Release);
                if let Some(at) = Endpoint::unpack((value >> 32) as u32) {
                    self.quotas.removed(entry.segment, at);
                }
                if home != at {
                    self.buckets[home].displaced.fetch_sub(1, AcqRel);
                }
                self.entries.fetch_sub(1, Relaxed);
                removed += 1;
            }
        }
        removed
    }

    /// The lock guards no data of its own, so a thread that panicked with it leaves nothing half done
    /// that the next one could not bear.
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.structure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn home(&self, key: u64) -> usize {
        let product = u128::from(key ^ self.seed) * 0x9e37_79b9_7f4a_7c15_u128;
        let mixed = (product >> 64) as u64 ^ product as u64;
        mixed as usize & (self.buckets.len() - 1)
    }

    fn after(&self, home: usize, step: usize) -> usize {
        (home + step) & (self.buckets.len() - 1)
    }
}

impl Bucket {
    #[inline]
    fn find(&self, key: u64) -> Option<(&Slot, u64)> {
        self.slots.iter().find_map(|slot| {
            if slot.key.load(Acquire) != key {
                return None;
            }
            let value = slot.value.load(Acquire);
            (value != 0 && slot.key.load(Relaxed) == key).then_some((slot, value))
        })
    }
}

impl Slot {
    fn entry(&self) -> Option<Entry> {
        let key = self.key.load(Acquire);
        let value = self.value.load(Acquire);
        if key == 0 || self.key.load(Relaxed) != key {
            return None;
        }
        Some(Entry {
            segment: SegmentIndex((key >> 48) as u16 - 1),
            mac: MacAddr::from_u64(key),
            endpoint: Endpoint::unpack((value >> 32) as u32)?,
            seen: value as u32 & !PINNED,
            pinned: value as u32 & PINNED != 0,
        })
    }
}

/// Never 0: the segment counts from 1.
#[inline]
fn key_of(segment: SegmentIndex, mac: MacBits) -> u64 {
    (u64::from(segment.0) + 1) << 48 | mac.get()
}

#[cfg(test)]
mod tests;
