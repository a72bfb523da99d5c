//! Whether the workers make progress: each counts its rounds, busy or not, so that a count that stands still is a worker that is
//! stuck or starved.

use std::time::Duration;

/// A worker without progress for so long is stalled. The busiest of machines gives a thread its turn sooner.
pub const STALL: Duration = Duration::from_secs(5);

/// What was seen of each worker.
#[derive(Debug, Default)]
pub struct Progress {
    seen: Vec<Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    rounds: u64,
    at: Duration,
    told: bool,
}

/// A worker's state has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It makes no progress any more.
    Stalled(usize),
    /// It goes on.
    GoesOn(usize),
}

impl Progress {
    /// Looks at each worker's count of rounds, and tells what has changed.
    pub fn look(&mut self, now: Duration, rounds: impl Iterator<Item = u64>) -> Vec<Change> {
        let mut changes = Vec::new();
        for (at, rounds) in rounds.enumerate() {
            let Some(seen) = self.seen.get_mut(at) else {
                self.seen.push(Seen { rounds, at: now, told: false });
                continue;
            };
            if seen.rounds != rounds {
                if std::mem::take(&mut seen.told) {
                    changes.push(Change::GoesOn(at));
                }
                (seen.rounds, seen.at) = (rounds, now);
            } else if !seen.told && now.saturating_sub(seen.at) >= STALL {
                seen.told = true;
                changes.push(Change::Stalled(at));
            }
        }
        changes
    }

    /// Whether a worker is stalled.
    pub fn is_stalled(&self, worker: usize) -> bool {
        self.seen.get(worker).is_some_and(|seen| seen.told)
    }

    /// Whether each worker has made progress within `time`.
    pub fn all_within(&self, time: Duration, now: Duration) -> bool {
        self.seen.iter().all(|seen| now.saturating_sub(seen.at) < time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_stands_still_is_told_once() {
        let at = Duration::from_secs;
        let mut progress = Progress::default();
        assert!(progress.look(at(0), [1, 1].into_iter()).is_empty());
        assert!(progress.look(at(3), [2, 1].into_iter()).is_empty());
        assert!(!progress.all_within(at(3), at(3)) && progress.all_within(at(4), at(3)));
        assert_eq!(progress.look(at(5), [3, 1].into_iter()), [Change::Stalled(1)]);
        assert!(progress.look(at(6), [4, 1].into_iter()).is_empty());
        assert!(progress.is_stalled(1) && !progress.is_stalled(0));
        assert_eq!(progress.look(at(7), [5, 2].into_iter()), [Change::GoesOn(1)]);
        assert!(!progress.is_stalled(1));
    }
}
