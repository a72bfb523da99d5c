//! What is measured: one scenario, one file.

pub(crate) mod aead;
pub(crate) mod e2e;
pub(crate) mod latency;
pub(crate) mod pipeline;
pub(crate) mod ports;
pub(crate) mod scale;
pub(crate) mod section;
pub(crate) mod stages;
