//! Raw DPDK: what bindgen makes of its headers, and a small C shim for what is inline there.
//!
//! Nothing here is safe to use without reading DPDK's documentation; the `dpdk` crate is.
#![allow(unsafe_code, missing_docs, unreachable_pub, rust_2018_idioms)]
#![allow(
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));

// The one structure that we read and write by its fields must be the one that DPDK was built with.
const _: () = assert!(size_of::<rte_mbuf>() == 128);
const _: () = assert!(std::mem::offset_of!(rte_mbuf, buf_addr) == 0);
