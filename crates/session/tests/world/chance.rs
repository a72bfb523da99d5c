//! What is random in a simulated world, and the secrets of its TLS connections.

use std::cell::RefCell;
use std::rc::Rc;

use ring::hmac;
use session::{ExportFailed, Exporter, Random};

/// A seeded generator that all share.
#[derive(Clone)]
pub struct Chance(Rc<RefCell<u64>>);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(seed | 1)))
    }

    pub fn next(&self) -> u64 {
        let mut state = self.0.borrow_mut();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }
}

impl Random for Chance {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill_with(|| (self.next() >> 20) as u8);
    }
}

/// The exporter of a simulated TLS connection: the same on both ends.
pub struct Tls(pub u64);

impl Exporter for Tls {
    fn export(&self, label: &[u8], context: &[u8], out: &mut [u8]) -> Result<(), ExportFailed> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0.to_be_bytes());
        let tag = hmac::sign(&key, &[label, &[0], context].concat());
        out.copy_from_slice(&tag.as_ref()[..out.len()]);
        Ok(())
    }
}
