//! The control thread: sockets, timers, TLS, netlink; publishes snapshots to the workers.
#![forbid(unsafe_code)]

pub mod clock;
pub mod datasock;
pub mod random;
pub mod tls;
