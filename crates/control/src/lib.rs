//! The control thread: sockets, timers, TLS, netlink; publishes snapshots to the workers.
//!
//! [`Appliance`] is its loop. It never touches a data packet.
#![forbid(unsafe_code)]

mod appliance;
mod backlog;
pub mod certificates;
pub mod clock;
mod commands;
mod configure;
mod connections;
pub mod consoles;
pub mod datasock;
mod dial;
mod engine;
mod fallback;
mod gateways;
mod guard;
mod history;
mod hops;
mod hostlink;
mod insight;
mod layout;
mod life;
pub mod logbook;
mod look;
mod netwatch;
mod nexthop;
mod operator;
mod places;
mod policy;
mod privileges;
pub mod random;
mod reload;
mod reopen;
mod requests;
mod sessions;
mod share;
mod show;
mod snapshot;
mod strangers;
pub mod tls;
mod watched;

pub use appliance::{Appliance, ControlError, Params};
pub use certificates::check_files;
pub use configure::CheckText;
pub use connections::SetupError;
pub use fallback::RecordQueues;
pub use gateways::HostPorts;
pub use history::Unconfirmed;
pub use layout::session_places;
pub use operator::Log;
pub use requests::socket::ask;
pub use sessions::{BadVerifier, check_verifiers};
pub use show::{COMMANDS, Lines, PortState, QueueCounters};
pub use snapshot::PortInfo;
