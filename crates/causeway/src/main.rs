//! The Causeway L2 VPN appliance.
fn main() {}
