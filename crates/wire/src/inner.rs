//! What a frame carries behind its addresses and the VLAN tags inside of it.

use zerocopy::FromBytes;

use crate::ethernet::EtherType;
use crate::vlan::{TAG_LEN, VlanTag};

/// Tags that are looked behind. More than two are somebody's experiment.
const MOST_TAGS: usize = 2;

/// The packet in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// What it is.
    pub ethertype: EtherType,
    /// Where it starts, counted from the octets given.
    pub start: usize,
}

/// Looks behind the tags of a frame, given from its EtherType on. `None` when it ends before a packet could start, or
/// has more than two tags.
#[inline]
pub fn inner(rest: &[u8]) -> Option<Inner> {
    let mut start = 0;
    for _ in 0..=MOST_TAGS {
        let ethertype = EtherType::new(u16::from_be_bytes(*rest.get(start..)?.first_chunk()?));
        if !ethertype.is_tag() {
            return Some(Inner { ethertype, start: start + 2 });
        }
        start += TAG_LEN;
    }
    None
}

/// The priority tag (IEEE 802.1Q 9.6: a tag with VLAN ID 0) at the front of a frame, given from its EtherType on.
#[inline]
pub fn priority_tag(rest: &[u8]) -> Option<VlanTag> {
    let (tag, _) = VlanTag::read_from_prefix(rest).ok()?;
    (tag.tpid.get() == EtherType::VLAN.get() && tag.vid() == 0).then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_looked_behind() {
        assert_eq!(inner(&[8, 6, 0]), Some(Inner { ethertype: EtherType::ARP, start: 2 }));
        let tagged = [0x88, 0xa8, 0, 5, 0x81, 0, 0xe0, 0, 0x86, 0xdd, 0x60];
        assert_eq!(inner(&tagged), Some(Inner { ethertype: EtherType::IPV6, start: 10 }));
        for cut in 0..10 {
            assert_eq!(inner(&tagged[..cut]), None, "{cut}");
        }
        assert_eq!(inner(&[0x81, 0, 0, 1, 0x81, 0, 0, 1, 0x81, 0, 0, 1, 8, 0]), None, "three tags");
    }

    #[test]
    fn only_vlan_id_0_makes_a_priority_tag() {
        assert_eq!(priority_tag(&[0x81, 0, 0xa0, 0, 8, 0]).map(|tag| tag.pcp()), Some(5));
        assert_eq!(priority_tag(&[0x81, 0, 0xa0, 1, 8, 0]), None);
        assert_eq!(priority_tag(&[0x88, 0xa8, 0xa0, 0, 8, 0]), None);
        assert_eq!(priority_tag(&[8, 0, 0, 0]), None);
    }
}
