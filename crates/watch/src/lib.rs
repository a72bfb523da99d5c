//! The appliance as others watch it: Prometheus metrics and a read-only page over HTTP, and word to systemd.
//!
//! A thread of its own serves HTTP. It asks the control thread for a [`Snapshot`] when it needs one, and shares nothing
//! else with it, so that nobody who scrapes, however slowly, holds the appliance up.
#![forbid(unsafe_code)]

pub mod history;
mod http;
pub mod metrics;
pub mod notify;
pub mod page;
mod process;
pub mod progress;
mod serve;
pub mod snapshot;
mod text;

pub use serve::{Asked, ServeError, Served, serve};
pub use snapshot::Snapshot;
