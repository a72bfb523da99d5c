//! The replay window of a lane (RFC 4303 3.4.3 and Appendix A2).

/// Record numbers that the window holds.
pub const WINDOW: u64 = 16_384;

/// Words of the bitmap: twice the window, so that moving it clears whole words and a power of two masks an index.
const WORDS: usize = 2 * WINDOW as usize / 64;

/// Which of the newest [`WINDOW`] numbers have been received.
pub(crate) struct Window {
    /// The highest number marked; 0 also before the first.
    top: u64,
    seen: Box<[u64; WORDS]>,
}

/// Where a number stands before it is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Fresh,
    Seen,
    TooOld,
}

impl Window {
    pub(crate) fn new() -> Self {
        Self { top: 0, seen: Box::new([0; WORDS]) }
    }

    /// The 64-bit number that `low` most likely stands for (RFC 4303 A2.2); `None` for one before the lane's first.
    #[inline]
    pub(crate) fn recover(&self, low: u32) -> Option<u64> {
        let (top_high, top_low) = (self.top >> 32, self.top as u32);
        let bottom = top_low.wrapping_sub(WINDOW as u32 - 1);
        let high = if u64::from(top_low) >= WINDOW - 1 {
            // Case A: the window lies within one subspace.
            if low >= bottom { top_high } else { top_high.checked_add(1).filter(|high| *high >> 32 == 0)? }
        } else {
            // Case B: the window spans two subspaces.
            if low >= bottom { top_high.checked_sub(1)? } else { top_high }
        };
        Some(high << 32 | u64::from(low))
    }

    #[inline]
    pub(crate) fn place(&self, number: u64) -> Place {
        if number > self.top {
            Place::Fresh
        } else if self.top - number >= WINDOW {
            Place::TooOld
        } else if self.seen[word(number)] & bit(number) != 0 {
            Place::Seen
        } else {
            Place::Fresh
        }
    }

    /// Marks a number of an authentic record. Returns whether it is the highest so far.
    #[inline]
    pub(crate) fn mark(&mut self, number: u64) -> bool {
        let newest = number > self.top;
        if newest {
            let (from, to) = (self.top / 64, number / 64);
            for passed in 0..(to - from).min(WORDS as u64) {
                self.seen[(from + 1 + passed) as usize % WORDS] = 0;
            }
            self.top = number;
        }
        let first = number == 0 && self.top == 0;
        self.seen[word(number)] |= bit(number);
        newest || first
    }
}

fn word(number: u64) -> usize {
    (number / 64) as usize % WORDS
}

fn bit(number: u64) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_edges_of_the_window() {
        let mut window = Window::new();
        assert_eq!(window.place(0), Place::Fresh);
        assert!(window.mark(0), "the very first is the newest");
        assert_eq!(window.place(0), Place::Seen);
        window.mark(WINDOW);
        assert_eq!(window.place(0), Place::TooOld);
        assert_eq!(window.place(1), Place::Fresh);
        assert!(!window.mark(1));
        assert_eq!(window.place(1), Place::Seen);
    }

    #[test]
    fn numbers_go_on_over_the_32_bit_edge() {
        let mut window = Window::new();
        let edge = 1 << 32;
        window.mark(edge - 5);
        assert_eq!(window.recover(u32::MAX), Some(edge - 1));
        assert_eq!(window.recover(3), Some(edge + 3));
        window.mark(edge + 3);
        assert_eq!(window.recover(u32::MAX - 1), Some(edge - 2), "a late one from before the edge");
        assert_eq!(Window::new().recover(u32::MAX), None, "before the lane's first");
    }

    proptest! {
        /// Against a set that remembers everything.
        #[test]
        fn behaves_like_a_set(steps in prop::collection::vec((0..3u8, 0..40_000u64), 1..300)) {
            let mut window = Window::new();
            let (mut top, mut seen) = (0u64, HashSet::new());
            for (kind, distance) in steps {
                let number = match kind {
                    0 => top + distance % 100,
                    1 => top + distance,
                    _ => top.saturating_sub(distance % 20_000),
                };
                let expected = if top >= WINDOW && number <= top - WINDOW {
                    Place::TooOld
                } else if seen.contains(&number) {
                    Place::Seen
                } else {
                    Place::Fresh
                };
                prop_assert_eq!(window.place(number), expected);
                if expected == Place::Fresh {
                    prop_assert_eq!(window.recover(number as u32), Some(number));
                    window.mark(number);
                    seen.insert(number);
                    top = top.max(number);
                }
            }
        }
    }
}
