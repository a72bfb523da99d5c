//! The data path: what happens to a frame between the port it comes in on and the port it leaves
//! by. One stage, one file:
//!
//! | stage | file | from | to |
//! | --- | --- | --- | --- |
//! | classify | [`classify`] | frame on a trunk port | segment and attachment, encapsulation stripped |
//! | forward | [`forward`] | frame of a segment | learned, looked up, delivered or flooded |
//! | egress | [`egress`] | frame for an attachment | VLAN tags or VXLAN header pushed |
//! | send | [`send`] | frame for a session | blocks packed into records, sealed, outer headers |
//! | receive | [`receive`] | datagram on the uplink | record opened, blocks joined to frames |
//!
//! [`Engine`] holds what one worker core owns and runs the stages over whole bursts. Nothing here knows DPDK,
//! sockets or clocks: packets are a [`wire::buf::PacketBuf`], time comes in with each burst, and packets go out
//! through a [`Sink`]. Per packet there is no lock, no system call, no heap allocation and no log line.
#![forbid(unsafe_code)]

pub mod capture;
mod checksums;
pub mod classify;
pub mod command;
mod drops;
pub mod egress;
mod engine;
pub mod explain;
pub mod forward;
pub mod frame;
mod inspect;
mod mss;
pub mod notice;
pub mod receive;
mod recent;
pub mod send;
pub mod tables;
mod tally;

pub use engine::{BURST, Engine, HOUSEKEEPING, Now, Sink, View, WorkerId};
