//! Segments and the forwarding database.
//!
//! A [`Segments`] table is immutable and part of the workers' snapshot. The [`Fdb`] is one table for all
//! workers and the control thread, without locks (`docs/decisions/0001-shared-fdb.md`).
#![forbid(unsafe_code)]

mod egress;
mod endpoint;
mod fdb;
mod policy;
mod quota;
mod reflections;
mod segments;
mod storm;

pub use egress::EgressFilter;
pub use endpoint::{AttachmentIndex, Endpoint, Packed, RemoteIndex, SegmentIndex, SessionIndex};
pub use fdb::{Entry, Fdb, Key, Learned};
pub use policy::{Checks, Neighbours, Policy};
pub use quota::{MAX_PORTS, MAX_SEGMENTS, MAX_SESSIONS, Part};
pub use reflections::Reflections;
pub use segments::{Forward, Rules, Segment, Segments};
pub use storm::{Flooded, Limited, StormControl, StormLimits};
