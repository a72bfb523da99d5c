//! Protected records: keys, seal, open, record numbers, replay window, blocks, reassembly.
