//! Tests of the whole: `tests/house.rs` checks the rules of the house, `tests/fuzz.rs` is the fuzzer, `e2e/` drives the
//! real binary in network namespaces, `decoder/` is an independent implementation of `docs/protocol.md`.
