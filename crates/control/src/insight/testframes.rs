//! Test frames (protocol 4.10): frames of the appliance itself that cross a session like any other, and that the other end takes and
//! counts.

use std::collections::VecDeque;

use bridge::{Endpoint, SegmentIndex, SessionIndex};
use pipeline::command::Command;
use pipeline::notice::{OwnFrame, Seen, Target};
use wire::mac::MacAddr;

use crate::appliance::Appliance;

/// What a test frame begins with: an EtherType for local experiments (IEEE 802), and what it is.
const HEAD: [u8; 6] = [0x88, 0xb5, b'C', b'W', b'T', b'1'];

/// Where its payload is after the head and the token: its length.
const LENGTH_AT: usize = HEAD.len() + 8;
const LEAST: usize = LENGTH_AT + 2;

/// Test frames that are remembered.
const KEPT: usize = 1024;

/// How often each size is sent: one lost frame is no finding.
pub(super) const COPIES: usize = 3;

/// The smallest payload that is tried.
pub(super) const SMALL: u16 = 46;

/// Test frames that came in.
#[derive(Debug, Default)]
pub(super) struct TestFrames(VecDeque<(SessionIndex, SegmentIndex, u64, u16)>);

impl TestFrames {
    /// Takes a frame if it is one.
    pub(super) fn take(&mut self, seen: &Seen) -> bool {
        let Some((token, payload)) = parse(&seen.rest) else { return false };
        if let Endpoint::Session(session) = seen.from {
            if self.0.len() == KEPT {
                self.0.pop_front();
            }
            self.0.push_back((session, seen.segment, token, payload));
        }
        true
    }

    /// How many came with this token and payload.
    pub(super) fn count(
        &self,
        session: SessionIndex,
        segment: SegmentIndex,
        token: u64,
        payload: u16,
    ) -> usize {
        self.0.iter().filter(|seen| **seen == (session, segment, token, payload)).count()
    }
}

/// A test frame from its EtherType on.
fn build(token: u64, payload: u16) -> Vec<u8> {
    let mut rest = [&HEAD[..], &token.to_be_bytes(), &payload.to_be_bytes()].concat();
    rest.resize(usize::from(payload.max(SMALL)) + 2, 0);
    rest
}

fn parse(rest: &[u8]) -> Option<(u64, u16)> {
    let rest = rest.get(..LEAST)?.strip_prefix(&HEAD)?;
    let (token, length) = rest.split_first_chunk()?;
    Some((u64::from_be_bytes(*token), u16::from_be_bytes(*length.first_chunk()?)))
}

impl Appliance {
    /// Sends test frames of each payload into a segment's session.
    pub(super) fn send_test_frames(
        &mut self,
        session: SessionIndex,
        segment: SegmentIndex,
        token: u64,
        payloads: &[u16],
    ) {
        for payload in payloads {
            for _ in 0..COPIES {
                self.command(
                    0,
                    Command::SendFrame(Box::new(OwnFrame {
                        segment,
                        to: Target::Endpoint(Endpoint::Session(session)),
                        dst: MacAddr::LOOP_PROBE,
                        src: self.insight.mac,
                        rest: build(token, *payload),
                    })),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(from: Endpoint, rest: &[u8]) -> Seen {
        Seen {
            segment: SegmentIndex(1),
            from,
            dst: MacAddr::LOOP_PROBE,
            src: MacAddr::default(),
            rest: rest.iter().copied().take(pipeline::notice::MAX_NOTICE).collect(),
            forwarded: false,
        }
    }

    #[test]
    fn test_frames_are_known_by_their_token_and_size() {
        let (site, other) = (SessionIndex(3), SessionIndex(4));
        let mut frames = TestFrames::default();
        assert_eq!(build(7, 1500).len(), 1502);
        assert!(frames.take(&seen(Endpoint::Session(site), &build(7, 1500))));
        assert!(frames.take(&seen(Endpoint::Session(other), &build(7, 1500))));
        assert!(!frames.take(&seen(Endpoint::Session(site), &[0x88, 0xb5, 1, 2, 3, 4, 5, 6, 7, 8])));
        assert_eq!(frames.count(site, SegmentIndex(1), 7, 1500), 1);
        assert_eq!(frames.count(site, SegmentIndex(1), 8, 1500), 0);
        for _ in 0..2 * KEPT {
            frames.take(&seen(Endpoint::Session(other), &build(8, 46)));
        }
        assert_eq!((frames.0.len(), frames.count(site, SegmentIndex(1), 7, 1500)), (KEPT, 0));
    }
}
