//! One way between an appliance and its peer.

use std::net::{IpAddr, SocketAddr};

/// Most parallel paths of a session (protocol 4.5).
pub const MAX_PATHS: usize = 4;

/// Most paths of a session with the one over its control connection (protocol 4.7).
pub const ALL_PATHS: usize = MAX_PATHS + 1;

/// The port on our side and the addresses of both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Way {
    /// Our port, counted from 0 in the order of the configuration.
    pub port: u8,
    /// Our address; `None`: the one that the kernel's route says.
    pub local: Option<IpAddr>,
    /// The peer's address.
    pub peer: SocketAddr,
}

impl Way {
    /// Whether a datagram that came by `other`, whose local address is known, came by this way.
    #[inline]
    pub fn is_way_of(&self, other: &Self) -> bool {
        self.peer == other.peer
            && self.port == other.port
            && (self.local.is_none() || self.local == other.local)
    }

    /// Octets of IP and UDP headers around a record.
    pub fn overhead(&self) -> u16 {
        if self.peer.is_ipv4() { 28 } else { 48 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_without_a_local_address_takes_any() {
        let way = |port, local: Option<&str>| Way {
            port,
            local: local.map(|local| local.parse().expect("an address")),
            peer: "192.0.2.1:443".parse().expect("an address"),
        };
        let seen = way(1, Some("198.51.100.1"));
        assert!(way(1, None).is_way_of(&seen) && seen.is_way_of(&seen));
        assert!(!way(2, None).is_way_of(&seen) && !way(1, Some("198.51.100.2")).is_way_of(&seen));
    }
}
