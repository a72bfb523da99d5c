//! Segments and the forwarding database.
//!
//! A [`Segments`] table is immutable and part of the workers' snapshot. The [`Fdb`] is one table for all
//! workers and the control thread, without locks (`docs/decisions/0001-shared-fdb.md`).
#![forbid(unsafe_code)]

mod endpoint;
mod fdb;
mod segments;

pub use endpoint::{AttachmentIndex, Endpoint, Packed, RemoteIndex, SegmentIndex, SessionIndex};
pub use fdb::{Entry, Fdb, Key, Learned};
pub use segments::{Forward, Segment, Segments};
