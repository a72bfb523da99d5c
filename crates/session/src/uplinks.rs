//! The ports towards the WAN, as far as sessions need to know them.

/// A port towards the WAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Its number among all ports.
    pub port: u8,
    /// Octets of an IP packet that it carries.
    pub mtu: u16,
    /// Whether its line is up.
    pub up: bool,
}

/// All of them, in the order of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uplinks(pub Vec<Uplink>);

impl Uplinks {
    /// Whether a port's line is up.
    pub(crate) fn is_up(&self, port: u8) -> bool {
        self.0.iter().any(|uplink| uplink.port == port && uplink.up)
    }

    /// What a port carries.
    pub(crate) fn mtu(&self, port: u8) -> Option<u16> {
        self.0.iter().find(|uplink| uplink.port == port).map(|uplink| uplink.mtu)
    }
}
