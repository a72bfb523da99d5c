//! Tunnel IDs: the names of segments across the tunnel.

use crate::number::ranged;

ranged!(
    /// Names a segment across the tunnel, 1 to 4093 as in NSX.
    TunnelId(u16), 1, 4093, "tunnel ID"
);

impl TunnelId {
    /// The smallest.
    pub const FIRST: Self = Self(Self::MIN);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_range_is_accepted() {
        assert!(TunnelId::new(0).is_none());
        assert!(TunnelId::new(4094).is_none());
        assert_eq!(TunnelId::new(4093).map(TunnelId::get), Some(4093));
        assert_eq!("17".parse().ok(), TunnelId::new(17));
        let error = "4094".parse::<TunnelId>().expect_err("out of range");
        assert_eq!(error.to_string(), "a tunnel ID is a number from 1 to 4093");
    }
}
