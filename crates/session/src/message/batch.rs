//! Records inside a TLS connection (protocol 4.7): many in one message.

use std::ops::Range;

use minicbor::Decoder;

use super::{Malformed, bad, body};

/// The type of the message.
pub(super) const TYPE: u8 = 11;

/// Largest record that travels in a message.
pub const MAX_RECORD: usize = 1600;

/// Most octets of one message's records, with their lengths.
const MAX_ITEMS: usize = 32_768;

/// Octets in front of a record: CBOR's type and a length of 16 bits.
const ITEM_HEADER: usize = 3;

/// Records that are gathered to be sent in one message.
#[derive(Debug, Default)]
pub struct Batch {
    items: Vec<u8>,
    count: u16,
}

impl Batch {
    /// Adds a record. False: there is no room for it before the batch was sent.
    pub fn push(&mut self, record: &[u8]) -> bool {
        if record.len() > MAX_RECORD || self.items.len() + ITEM_HEADER + record.len() > MAX_ITEMS {
            return false;
        }
        self.items.push(0x59);
        self.items.extend_from_slice(&(record.len() as u16).to_be_bytes());
        self.items.extend_from_slice(record);
        self.count += 1;
        true
    }

    /// Whether it has no record.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The message, with its length in front as it goes into the connection; the batch is empty afterwards.
    pub fn take(&mut self) -> Vec<u8> {
        // [11, {1: [records]}]
        let head = [0x82, TYPE, 0xa1, 1, 0x99];
        let length = head.len() + 2 + self.items.len();
        let mut message = Vec::with_capacity(4 + length);
        message.extend_from_slice(&(length as u32).to_be_bytes());
        message.extend_from_slice(&head);
        message.extend_from_slice(&self.count.to_be_bytes());
        message.append(&mut self.items);
        self.count = 0;
        message
    }
}

/// Records that came in one message.
#[derive(Clone, Debug, Eq)]
pub struct Records {
    message: Vec<u8>,
    at: Vec<Range<usize>>,
}

impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Records {
    /// The records, one by one.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.at.iter().map(|at| &self.message[at.clone()])
    }

    pub(super) fn read(d: &mut Decoder<'_>, message: &[u8]) -> Result<Self, Malformed> {
        let mut at = None;
        body(d, |key, d| {
            if key == 1 {
                let count = d.array()?.ok_or_else(|| bad("an array of indefinite length"))?;
                let mut found = Vec::with_capacity(count.min(64) as usize);
                for _ in 0..count {
                    let record = d.bytes()?;
                    if record.len() > MAX_RECORD {
                        return Err(bad("a record that is too long"));
                    }
                    found.push(d.position() - record.len()..d.position());
                }
                at = Some(found);
            }
            Ok(key == 1)
        })?;
        let at = at.ok_or_else(|| bad("records without a list"))?;
        Ok(Self { message: message.to_vec(), at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    #[test]
    fn records_come_out_as_they_went_in() {
        let mut batch = Batch::default();
        let records: Vec<Vec<u8>> = (0..20).map(|at| vec![at as u8; 24 + 79 * at]).collect();
        assert!(records.iter().all(|record| batch.push(record)));
        assert!(!batch.push(&[0; MAX_RECORD + 1]));
        let framed = batch.take();
        assert_eq!(framed[..4], (framed.len() as u32 - 4).to_be_bytes());
        let Ok(Message::Records(got)) = Message::decode(&framed[4..]) else { panic!("records") };
        assert_eq!(got.iter().collect::<Vec<_>>(), records);
        assert!(batch.is_empty() && batch.take().len() == 11);
    }

    #[test]
    fn a_batch_ends_before_the_longest_message() {
        let mut batch = Batch::default();
        let count = (0..1000).take_while(|_| batch.push(&[7; MAX_RECORD])).count();
        assert_eq!(count, MAX_ITEMS / (MAX_RECORD + ITEM_HEADER));
        assert!(batch.take().len() <= 65_536);
    }

    #[test]
    fn long_and_wrong_records_are_refused() {
        let mut long = vec![0x82, TYPE, 0xa1, 1, 0x81, 0x59];
        long.extend_from_slice(&(MAX_RECORD as u16 + 1).to_be_bytes());
        long.resize(long.len() + MAX_RECORD + 1, 0);
        assert!(Message::decode(&long).is_err());
        for bytes in
            [&[0x82, TYPE, 0xa0][..], &[0x82, TYPE, 0xa1, 1, 0x9b, 255, 255, 255, 255, 255, 255, 255, 255]]
        {
            assert!(Message::decode(bytes).is_err(), "{bytes:02x?}");
        }
    }
}
