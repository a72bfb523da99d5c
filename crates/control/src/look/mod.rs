//! More that can be shown, each subject in a file of its own.

mod macs;
mod queues;
mod rates;
mod request;
mod service;
pub(crate) mod storm;
mod system;
mod top;

pub(crate) use macs::Filter;
pub(crate) use rates::Rates;
use system::{configuration, tech_support, version};
