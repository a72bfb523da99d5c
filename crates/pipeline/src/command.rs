//! What the control thread and a worker tell each other, on bounded queues.
//!
//! Boxes that a worker no longer needs travel back to the control thread to be dropped there: a
//! worker frees no memory of the heap.

use std::net::IpAddr;
use std::time::Duration;

use arrayvec::ArrayVec;
use bridge::SessionIndex;
use record::{LaneId, RxLane, TxLane};
use wire::way::Way;

use crate::notice::OwnFrame;
use crate::tables::{Path, PortIndex};

/// Largest body of a block with tunnel ID 0 that travels between worker and control thread.
pub const MAX_CONTROL_BLOCK: usize = 64;

/// The body of a block with tunnel ID 0 (protocol 4.3).
pub type ControlBlock = ArrayVec<u8, MAX_CONTROL_BLOCK>;

/// From the control thread to a worker.
#[derive(Debug)]
pub enum Command {
    /// Receive on this lane from now on; answered by [`Event::RxInstalled`].
    InstallRx {
        /// The session that the lane belongs to.
        session: SessionIndex,
        /// The path that its records come by.
        path: usize,
        /// Whether the addresses that its records come from are the path's.
        leads: bool,
        /// The lane.
        lane: Box<RxLane>,
    },
    /// Forget a receive lane.
    RemoveRx(LaneId),
    /// Send on this lane from now on, instead of the one before.
    InstallTx {
        /// The session that the lane belongs to.
        session: SessionIndex,
        /// The path that its records take.
        path: usize,
        /// The lane.
        lane: Box<TxLane>,
    },
    /// Send no more in this session.
    RemoveTx(SessionIndex),
    /// Send a block with tunnel ID 0 as a record of its own.
    SendControl {
        /// The session whose lane seals it.
        session: SessionIndex,
        /// The path whose lane that is.
        path: usize,
        /// Where to; `None` is where the path leads.
        to: Option<Box<Path>>,
        /// The block's body.
        block: ControlBlock,
        /// Octets of the record, to which zeros fill the block up; 0: no more than it needs.
        record: u16,
    },
    /// Send a frame of our own into a segment.
    SendFrame(Box<OwnFrame>),
}

/// From a worker to the control thread.
#[derive(Debug)]
pub enum Event {
    /// The worker receives on the lane.
    RxInstalled {
        /// Its session.
        session: SessionIndex,
        /// The lane.
        lane: LaneId,
    },
    /// A block with tunnel ID 0 arrived in an authentic record.
    Control {
        /// Its session.
        session: SessionIndex,
        /// The path of the lane that it came on.
        path: usize,
        /// The way that the record came by; `None`: over TLS.
        from: Option<Way>,
        /// Octets of the record.
        octets: u16,
        /// The block's body, cut to [`MAX_CONTROL_BLOCK`].
        block: ControlBlock,
        /// When the record arrived.
        at: Duration,
    },
    /// The newest record of a lane came by another way than its path's.
    NewWay {
        /// The session.
        session: SessionIndex,
        /// The path.
        path: usize,
        /// The way.
        from: Way,
    },
    /// A datagram came from a VTEP that is not in the tables.
    NewVtep {
        /// The port that it came in on.
        port: PortIndex,
        /// Its address.
        address: IpAddr,
    },
    /// A receive lane that is no longer used.
    RetiredRx(Box<RxLane>),
    /// A send lane that is no longer used.
    RetiredTx(Box<TxLane>),
    /// A path that was used once.
    RetiredPath(Box<Path>),
    /// A frame that was sent.
    RetiredFrame(Box<OwnFrame>),
}
