//! Safe DPDK: [`Eal`], [`MbufPool`] and [`Mbuf`], [`Port`], [`RxQueue`] and [`TxQueue`].
//!
//! Misuse does not compile, or is a clear error:
//! - a queue exists only of a port that was started, is moved into the one thread that uses it (`Send`,
//!   not `Sync`, not `Clone`), and a port stops only when it gets all its queues back;
//! - an [`Mbuf`] is owned once and freed when dropped;
//! - a port is opened by name, and an unknown one is an error that names it, which DPDK alone does not promise.
//!
//! With `dpdk-sys` this is the only crate with `unsafe` code; every use says why it is sound.
#![allow(unsafe_code)]

mod eal;
mod error;
mod mbuf;
mod port;
mod queue;
pub mod vdev;

pub use eal::{Eal, EalConfig, ThreadRegistration};
pub use error::Error;
pub use mbuf::{Mbuf, MbufPool, free_burst};
pub use port::{Link, Port, PortConfig, StartedPort};
pub use queue::{RxQueue, TxQueue};
