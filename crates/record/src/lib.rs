//! Protected records: what turns frames into authenticated datagrams and back (protocol sections 3 and 4).
//!
//! [`TxLane`] seals and [`RxLane`] opens the records of one lane, in place. [`block`] lays frames out
//! inside a record, [`reassembly`] joins frames that span several. Time comes in as an argument; nothing here
//! knows sockets or DPDK. A lane is `Send` and not `Sync`: one core owns it, the compiler says so.
#![forbid(unsafe_code)]

mod aead;
pub mod block;
pub mod header;
mod keys;
pub mod reassembly;
mod rx;
mod tx;
mod window;

pub use aead::{Engine, Suite};
pub use header::LaneId;
pub use keys::{Cipher, LaneSecret};
pub use rx::{OpenError, Opened, RxLane};
pub use tx::{KeyLimits, SealError, TxLane};
pub use window::WINDOW;

/// Octets of the record header.
pub const HEADER_LEN: usize = 8;

/// Octets of the AES-GCM tag (RFC 5288 3).
pub const TAG_LEN: usize = 16;

/// Octets that a record adds to its blocks.
pub const OVERHEAD: usize = HEADER_LEN + TAG_LEN;
