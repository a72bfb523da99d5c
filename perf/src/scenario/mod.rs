//! What is measured: one scenario, one file.

pub(crate) mod aead;
pub(crate) mod end_to_end;
pub(crate) mod latency;
pub(crate) mod pipeline;
pub(crate) mod ports;
pub(crate) mod scale;
pub(crate) mod stages;
