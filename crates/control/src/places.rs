//! Places that things keep while the appliance runs: the workers' tables and the FDB know segments, attachments and sites by number.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use session::Now;

/// How long a place stays empty before it is given to another: a worker may be busy with a burst of the old tables.
const REST: Duration = Duration::from_secs(2);

/// Numbers from 0 on, each given to one key.
#[derive(Debug)]
pub(crate) struct Places<K> {
    most: usize,
    of: HashMap<K, u16>,
    /// Since when each place is empty; `None` while it is taken.
    empty_since: Vec<Option<Now>>,
}

/// What [`Places::arrange`] changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Arranged {
    /// Places that were given away.
    pub(crate) added: Vec<u16>,
    /// Places that became empty.
    pub(crate) removed: Vec<u16>,
}

/// There are more things than places, or those left have to rest for a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoPlace;

impl<K: Eq + Hash + Clone> Places<K> {
    /// `most` places, all empty.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, of: HashMap::new(), empty_since: Vec::new() }
    }

    /// The places that those of `wanted` would get who have none.
    pub(crate) fn room_for(&self, wanted: &[K], now: Now) -> Result<Vec<u16>, NoPlace> {
        let newcomers = wanted.iter().filter(|key| !self.of.contains_key(*key)).count();
        let rested = |since: &Option<Now>| since.is_some_and(|since| now >= since + REST);
        let free = (0..).zip(&self.empty_since).filter(|(_, since)| rested(since)).map(|(at, _)| at);
        let fresh = (self.empty_since.len()..self.most).map(|at| at as u16);
        let places: Vec<u16> = free.chain(fresh).take(newcomers).collect();
        if places.len() < newcomers { Err(NoPlace) } else { Ok(places) }
    }

    /// Makes `wanted` those who have places. Who has one keeps it. On an error nothing has changed.
    pub(crate) fn arrange(&mut self, wanted: &[K], now: Now) -> Result<Arranged, NoPlace> {
        let places = self.room_for(wanted, now)?;
        let newcomers: Vec<K> = wanted.iter().filter(|key| !self.of.contains_key(*key)).cloned().collect();
        let mut removed: Vec<u16> = Vec::new();
        let stay: HashSet<&K> = wanted.iter().collect();
        self.of.retain(|key, at| {
            let stays = stay.contains(key);
            if !stays {
                removed.push(*at);
            }
            stays
        });
        removed.sort_unstable();
        for at in &removed {
            self.empty_since[usize::from(*at)] = Some(now);
        }
        for (key, at) in newcomers.into_iter().zip(&places) {
            if usize::from(*at) == self.empty_since.len() {
                self.empty_since.push(None);
            }
            self.empty_since[usize::from(*at)] = None;
            self.of.insert(key, *at);
        }
        Ok(Arranged { added: places, removed })
    }

    /// The place of a key.
    pub(crate) fn get(&self, key: &K) -> Option<u16> {
        self.of.get(key).copied()
    }

    /// Places there are, taken and empty: one more than the highest number.
    pub(crate) fn len(&self) -> usize {
        self.empty_since.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_place_keeps_it_and_empty_ones_rest() {
        let mut places = Places::new(3);
        let second = Duration::from_secs(1);
        let arranged =
            |added: &[u16], removed: &[u16]| Ok(Arranged { added: added.into(), removed: removed.into() });
        assert_eq!(places.arrange(&["a", "b"], second), arranged(&[0, 1], &[]));
        assert_eq!(places.arrange(&["b", "c"], 2 * second), arranged(&[2], &[0]), "a's place is warm");
        assert_eq!(places.arrange(&["b", "c", "d"], 3 * second), Err(NoPlace));
        assert_eq!((places.get(&"b"), places.get(&"c"), places.get(&"d")), (Some(1), Some(2), None));
        assert_eq!(places.arrange(&["d", "c", "b"], 4 * second), arranged(&[0], &[]));
        assert_eq!(places.arrange(&["a", "b", "c", "d"], 9 * second), Err(NoPlace), "there are three");
        assert_eq!((places.get(&"d"), places.len()), (Some(0), 3));
    }
}
