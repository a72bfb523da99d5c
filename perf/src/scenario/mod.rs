//! What is measured: one scenario, one file.

pub(crate) mod aead;
pub(crate) mod pipeline;
