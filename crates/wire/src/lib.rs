//! Wire formats: headers as typed views over bytes, newtypes, checksums, and the packet-buffer trait.
//!
//! Nothing here knows DPDK, sockets or clocks, and nothing panics on what comes from a network.
#![forbid(unsafe_code)]

pub mod arp;
pub mod buf;
pub mod checksum;
pub mod ethernet;
pub mod flow;
pub mod frame;
pub mod inner;
pub mod ip;
pub mod mac;
pub mod mark;
pub mod nd;
mod number;
pub mod template;
pub mod tunnel;
pub mod vlan;
pub mod vxlan;
pub mod way;

/// A number in a text is not one, or lies outside of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {what} is a number from {min} to {max}")]
pub struct OutOfRange {
    pub(crate) what: &'static str,
    pub(crate) min: u32,
    pub(crate) max: u32,
}
