//! Messages in the byte stream of a TLS connection (protocol 2.2).

use crate::message::Message;

/// Largest message before the peer is authenticated.
const MAX_BEFORE: usize = 4096;

/// Largest message afterwards.
const MAX_AFTER: usize = 65_536;

const LENGTH: usize = 4;

/// What has been taken is thrown away when it has become so much, not message by message: there may be many small ones.
const TAKEN: usize = 65_536;

/// Cuts a byte stream into messages.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    bytes: Vec<u8>,
    /// So many of them have been taken.
    taken: usize,
    authenticated: bool,
}

/// A message is longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {0} octets, which is more than allowed")]
pub(crate) struct TooLong(usize);

impl Framer {
    /// From now on messages may be long.
    pub(crate) fn authenticated(&mut self) {
        self.authenticated = true;
    }

    pub(crate) fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        if self.taken == self.bytes.len() || self.taken >= TAKEN {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, or what is wrong with it.
    pub(crate) fn message(&mut self) -> Option<Result<Message, String>> {
        let bytes = self.next().transpose()?.map_err(|error| error.to_string());
        Some(bytes.and_then(|bytes| Message::decode(&bytes).map_err(|error| error.to_string())))
    }

    /// The next whole message, without its length.
    fn next(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let waiting = &self.bytes[self.taken..];
        let Some((length, rest)) = waiting.split_first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length > if self.authenticated { MAX_AFTER } else { MAX_BEFORE } {
            return Err(TooLong(length));
        }
        let Some(message) = rest.get(..length) else { return Ok(None) };
        let message = message.to_vec();
        self.taken += LENGTH + length;
        Ok(Some(message))
    }
}

/// Puts the length in front of a message.
pub(crate) fn frame(message: &[u8]) -> Vec<u8> {
    let mut framed = (message.len() as u32).to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    framed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            cut in 1..50usize,
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|message| frame(message)).collect();
            let (mut framer, mut got) = (Framer::default(), Vec::new());
            for chunk in stream.chunks(cut) {
                framer.add(chunk);
                while let Some(message) = framer.next().expect("short") {
                    got.push(message);
                }
            }
            prop_assert_eq!(got, messages);
        }
    }

    #[test]
    fn a_long_message_is_refused_before_it_has_come() {
        let mut framer = Framer::default();
        framer.add(&4097u32.to_be_bytes());
        assert_eq!(framer.next(), Err(TooLong(4097)));
        framer.authenticated();
        assert_eq!(framer.next(), Ok(None));
    }
}
