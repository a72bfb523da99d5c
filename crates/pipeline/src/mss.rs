//! Clamping of TCP's maximum segment size (RFC 9293 3.7.1) in handshakes that go through a session, so that a segment fits one
//! record and the MTU at the other end.

use wire::checksum::Sum;
use wire::ethernet::EtherType;
use wire::inner::{Inner, inner};
use wire::ip::{Ipv4Header, Ipv6Header, PROTOCOL_TCP};

/// Octets of a TCP header without options.
const TCP_HEADER: usize = 20;
/// Where the flags stand in it, and the one that opens a connection.
const FLAGS: usize = 13;
const SYN: u8 = 0x02;
/// Where its checksum stands.
const CHECKSUM: usize = 16;

/// Options (RFC 9293 3.1).
const END: u8 = 0;
const PADDING: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;

/// What became of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clamped {
    /// Its maximum segment size was too large and is now what fits.
    Adjusted,
    /// It fits, or it names none.
    Ignored,
}

/// Looks at a frame, given from its EtherType on. `None`: it opens no TCP connection. `largest` is the largest IP packet that a segment
/// may make, a tag inside the frame counted to it.
#[inline]
pub(crate) fn clamp(rest: &mut [u8], largest: u16) -> Option<Clamped> {
    // Untagged IPv4 and IPv6 that open nothing, which is nearly all there is, are let go after a few octets.
    match rest {
        [0x08, 0x00, ip @ ..] if !opens_ipv4(ip) => None,
        [0x86, 0xdd, ip @ ..] if !opens_ipv6(ip) => None,
        _ => clamp_opening(rest, largest),
    }
}

#[inline]
fn opens_ipv4(ip: &[u8]) -> bool {
    let (Some(first), Some(PROTOCOL_TCP)) = (ip.first(), ip.get(9).copied()) else { return false };
    let flags = usize::from(first & 0x0f) * 4 + FLAGS;
    ip.get(flags).is_some_and(|flags| flags & SYN != 0)
}

#[inline]
fn opens_ipv6(ip: &[u8]) -> bool {
    ip.get(6) == Some(&PROTOCOL_TCP) && ip.get(Ipv6Header::LEN + FLAGS).is_some_and(|flags| flags & SYN != 0)
}

#[cold]
fn clamp_opening(rest: &mut [u8], largest: u16) -> Option<Clamped> {
    let Inner { ethertype, start } = inner(rest)?;
    // Tags inside take room beside the packet.
    let largest = largest.saturating_sub(start as u16 - 2);
    let ip = rest.get_mut(start..)?;
    let (opens, tcp, headers) = match ethertype {
        EtherType::IPV4 => {
            let fragment = u16::from_be_bytes([*ip.get(6)?, *ip.get(7)?]) & 0x1fff != 0;
            let header = usize::from(ip.first()? & 0x0f) * 4;
            (opens_ipv4(ip) && !fragment && header >= Ipv4Header::LEN, header, Ipv4Header::LEN)
        }
        EtherType::IPV6 => (opens_ipv6(ip), Ipv6Header::LEN, Ipv6Header::LEN),
        _ => return None,
    };
    if !opens {
        return None;
    }
    let most = largest.saturating_sub((headers + TCP_HEADER) as u16);
    Some(clamp_segment(ip.get_mut(tcp..)?, most).unwrap_or(Clamped::Ignored))
}

/// `None` when the segment is cut off or its options do not parse: that is its receiver's to judge.
fn clamp_segment(tcp: &mut [u8], most: u16) -> Option<Clamped> {
    let end = usize::from(tcp.get(12)? >> 4) * 4;
    let mut at = TCP_HEADER;
    while at < end {
        match *tcp.get(at)? {
            END => return None,
            PADDING => at += 1,
            MAXIMUM_SEGMENT_SIZE if tcp.get(at + 1) == Some(&4) && at + 4 <= end => {
                let value = tcp.get_mut(at + 2..at + 4)?;
                let old = u16::from_be_bytes([value[0], value[1]]);
                if old <= most {
                    return None;
                }
                value.copy_from_slice(&most.to_be_bytes());
                // The words that the option's two octets lie in: one, or half of each of two.
                let (old, new) =
                    if at.is_multiple_of(2) { (old, most) } else { (old.swap_bytes(), most.swap_bytes()) };
                let sum = tcp.get_mut(CHECKSUM..CHECKSUM + 2)?;
                let updated = update(u16::from_be_bytes([sum[0], sum[1]]), old, new);
                sum.copy_from_slice(&updated.to_be_bytes());
                return Some(Clamped::Adjusted);
            }
            _ => at += usize::from(*tcp.get(at + 1)?).max(2),
        }
    }
    None
}

/// A checksum after one of its words changed (RFC 1624 3, equation 3).
fn update(checksum: u16, old: u16, new: u16) -> u16 {
    Sum::default().add_word(!checksum).add_word(!old).add_word(new).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::IpAddr;

    const TAGS: [&[u8]; 3] = [&[], &[0x81, 0, 0xe0, 0], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6]];

    fn tcp(flags: u8, options: &[u8]) -> Vec<u8> {
        let words = (TCP_HEADER + options.len()).div_ceil(4);
        let mut tcp = vec![0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, (words << 4) as u8, flags, 4, 0, 0, 0, 0, 0];
        tcp.extend(options);
        tcp.resize(4 * words, 0);
        tcp
    }

    fn addresses(v6: bool) -> (IpAddr, IpAddr) {
        let of = |last: u8| {
            if v6 {
                IpAddr::from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last])
            } else {
                IpAddr::from([10, 0, 0, last])
            }
        };
        (of(1), of(2))
    }

    fn sum(v6: bool, tcp: &[u8]) -> u16 {
        let (src, dst) = addresses(v6);
        Sum::default().add_pseudo(src, dst, PROTOCOL_TCP, tcp.len() as u32).with(tcp).finish()
    }

    /// A frame from its EtherType on, and where its TCP segment starts.
    fn frame(v6: bool, tags: &[u8], mut tcp: Vec<u8>) -> (Vec<u8>, usize) {
        let checksum = sum(v6, &tcp).to_be_bytes();
        tcp[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum);
        let mut rest = tags.to_vec();
        let octets = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let (src, dst) = addresses(v6);
        if v6 {
            rest.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, tcp.len() as u8, PROTOCOL_TCP, 64]);
        } else {
            rest.extend([
                0x08,
                0x00,
                0x45,
                0,
                0,
                20 + tcp.len() as u8,
                0,
                0,
                0x40,
                0,
                64,
                PROTOCOL_TCP,
                0,
                0,
            ]);
        }
        rest.extend(octets(src));
        rest.extend(octets(dst));
        let at = rest.len();
        rest.extend(tcp);
        (rest, at)
    }

    proptest! {
        #[test]
        fn a_clamped_handshake_keeps_a_right_checksum(
            v6: bool, tags in 0..3usize, ack: bool, mss: u16, paddings in 0..4usize, largest in 500..2000u16,
        ) {
            let mut options = vec![PADDING; paddings];
            options.extend([MAXIMUM_SEGMENT_SIZE, 4]);
            options.extend(mss.to_be_bytes());
            options.extend([4, 2, 3, 3, 7]);
            let (mut rest, at) = frame(v6, TAGS[tags], tcp(if ack { SYN | 0x10 } else { SYN }, &options));
            let fits = largest - if v6 { 60 } else { 40 } - TAGS[tags].len() as u16;
            let clamped = clamp(&mut rest, largest);
            prop_assert_eq!(clamped, Some(if mss > fits { Clamped::Adjusted } else { Clamped::Ignored }));
            let option = at + TCP_HEADER + paddings + 2;
            prop_assert_eq!(u16::from_be_bytes([rest[option], rest[option + 1]]), mss.min(fits));
            prop_assert_eq!(sum(v6, &rest[at..]), 0);
        }

        #[test]
        fn octets_of_any_kind_do_not_panic(mut rest: Vec<u8>, kind in 0..4usize, cut in 0..80usize) {
            let _ = clamp(&mut rest, 1400);
            let (mut rest, at) = frame(kind & 1 == 1, TAGS[kind / 2], tcp(SYN, &[2, 4, 5, 180]));
            rest[at + 12] = (cut as u8) << 2;
            rest.truncate(cut);
            let _ = clamp(&mut rest, 1400);
        }
    }

    #[test]
    fn what_opens_nothing_is_left_alone() {
        let options = [2, 4, 5, 180];
        for (mut rest, at) in
            [frame(false, &[], tcp(0x10, &options)), frame(true, TAGS[1], tcp(0x18, &options))]
        {
            let before = rest.clone();
            assert_eq!(clamp(&mut rest, 600), None, "{at}");
            assert_eq!(rest, before);
        }
        let (mut fragment, _) = frame(false, &[], tcp(SYN, &options));
        fragment[9] = 1; // not the first of its packet
        assert_eq!(clamp(&mut fragment, 600), None);
    }

    #[test]
    fn options_that_do_not_parse_are_left_alone() {
        for options in [&[2, 3, 5, 180][..], &[9, 200, 2, 4], &[0, 2, 4, 255], &[2], &[3, 0, 2, 4, 5, 180]] {
            let (mut rest, _) = frame(false, &[], tcp(SYN, options));
            let before = rest.clone();
            let clamped = clamp(&mut rest, 600);
            assert!(clamped == Some(Clamped::Ignored) && rest == before || options[0] == 3, "{options:?}");
        }
    }
}
