//! The system's randomness.

use ring::rand::{SecureRandom, SystemRandom};

/// Random octets from the operating system, for everything that must not be guessed.
#[derive(Debug, Clone)]
pub struct OsRandom(SystemRandom);

impl Default for OsRandom {
    fn default() -> Self {
        Self::new()
    }
}

impl OsRandom {
    /// A source; opens the system's generator on first use.
    pub fn new() -> Self {
        Self(SystemRandom::new())
    }

    /// Fills `out`.
    ///
    /// # Panics
    /// The system has no randomness to give. Nothing of what this crate does is safe without it, and on Linux
    /// `getrandom` does not fail after start.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out).expect("the operating system gives randomness");
    }
}

impl session::Random for OsRandom {
    fn fill(&mut self, out: &mut [u8]) {
        Self::fill(self, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        let mut random = OsRandom::new();
        let (mut first, mut second) = ([0; 32], [0; 32]);
        random.fill(&mut first);
        random.fill(&mut second);
        assert_ne!(first, second);
    }
}
