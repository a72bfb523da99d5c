//! The control thread: sockets, timers, TLS, netlink; publishes snapshots to the workers.
//!
//! [`Appliance`] is its loop. It never touches a data packet.
#![forbid(unsafe_code)]

mod appliance;
pub mod clock;
mod connections;
pub mod datasock;
mod engine;
mod nexthop;
pub mod random;
mod sessions;
mod show;
mod showsock;
mod snapshot;
pub mod tls;

pub use appliance::{Appliance, ControlError, Params};
pub use connections::{SetupError, check_files};
pub use sessions::{BadVerifier, check_verifiers, session_count};
pub use show::{COMMANDS, PortState};
pub use showsock::ask;
pub use snapshot::PortInfo;
