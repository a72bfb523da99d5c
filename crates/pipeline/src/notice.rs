//! What a worker tells the control thread about traffic: on a queue of its own, so that a flood of it cannot delay the
//! [`Event`](crate::command::Event)s that sessions live by. A full queue is counted, never waited for.

use arrayvec::ArrayVec;
use bridge::{Endpoint, SegmentIndex};
use wire::mac::MacAddr;

/// Most octets of a frame, from its EtherType on, that travel to the control thread: enough for probes, ARP and neighbour discovery.
pub const MAX_NOTICE: usize = 256;

/// News of the traffic.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a worker has no heap to put a frame on")]
pub enum Notice {
    /// A frame for the control thread.
    Frame(Seen),
    /// An address was seen at another place than before, and is now there.
    Moved {
        /// Its segment.
        segment: SegmentIndex,
        /// The address.
        mac: MacAddr,
        /// Where it was.
        from: Endpoint,
        /// Where it is.
        to: Endpoint,
        /// Whether the frame that said so goes to everybody, so that all hear of it.
        announced: bool,
    },
}

/// A frame that the control thread sees.
#[derive(Debug)]
pub struct Seen {
    /// Its segment.
    pub segment: SegmentIndex,
    /// Where it came from.
    pub from: Endpoint,
    /// Its destination.
    pub dst: MacAddr,
    /// Its source.
    pub src: MacAddr,
    /// From its EtherType on, cut to [`MAX_NOTICE`].
    pub rest: ArrayVec<u8, MAX_NOTICE>,
    /// Whether it went on its way as well. If not, it waits for the control thread to answer it or to pass it on.
    pub forwarded: bool,
}

/// A frame that the control thread sends.
#[derive(Clone, Debug)]
pub struct OwnFrame {
    /// Its segment.
    pub segment: SegmentIndex,
    /// Where it goes.
    pub to: Target,
    /// Its destination.
    pub dst: MacAddr,
    /// Its source.
    pub src: MacAddr,
    /// From its EtherType on.
    pub rest: Vec<u8>,
}

/// Where a frame of the control thread goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// One place, even one that is blocked.
    Endpoint(Endpoint),
    /// The way of a frame that came from there: learned, looked up, delivered or flooded.
    From(Endpoint),
}
