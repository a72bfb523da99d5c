//! Two processes joined by shared memory (DPDK's `net_memif`): the device under test, [`dut`], and the generator in this
//! process. Whatever a network card and a cable would add is not there, and both have a core of their own.

pub(crate) mod dut;
pub(crate) mod generator;
pub(crate) mod link;
pub(crate) mod search;

use std::path::Path;

use dpdk::PortConfig;

/// How all memif ports are started. They have no MTU of their own.
pub(crate) const PORT: PortConfig =
    PortConfig { mtu: None, queues: 1, descriptors: 1024, promiscuous: false };

/// The sides of the device under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    A,
    B,
}

/// The device string of one end of a side's port. `number` makes the device's name unique in its process.
pub(crate) fn device(number: usize, side: Side, role: &str, dir: &Path) -> String {
    let socket = socket(side, dir);
    // 2^10 frames a ring, as the queues of the appliance's ports have.
    format!("net_memif{number},role={role},id=0,socket={socket},socket-abstract=no,rsize=10,bsize=2048")
}

/// The socket over which both ends of a side's port find each other.
pub(crate) fn socket(side: Side, dir: &Path) -> String {
    dir.join(if side == Side::A { "a.sock" } else { "b.sock" }).display().to_string()
}
