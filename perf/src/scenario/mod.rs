//! What is measured: one scenario, one file.

pub(crate) mod aead;
pub(crate) mod latency;
pub(crate) mod pipeline;
pub(crate) mod ports;
