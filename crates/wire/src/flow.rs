//! A cheap hash of a frame's flow, to spread flows over UDP source ports and cores.

use zerocopy::FromBytes;

use crate::ethernet::EtherType;
use crate::ip::{Ipv4Header, Ipv6Header, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::mac::MacBits;

/// A hash over the MAC addresses, and with IPv4 and IPv6 over addresses, protocol and TCP or UDP
/// ports. Frames of one flow have one hash; fragments leave the ports out, so that all pieces of a
/// packet go one way. Not secret and not collision-free. `rest` is what follows the addresses, from the EtherType on.
pub fn hash(dst: MacBits, src: MacBits, rest: &[u8]) -> u32 {
    let state = mix(mix(0, dst.get()), src.get());
    let Some((ethertype, packet)) = rest.split_first_chunk() else {
        return finish(state);
    };
    let state = match EtherType::new(u16::from_be_bytes(*ethertype)) {
        EtherType::IPV4 => ipv4(state, packet),
        EtherType::IPV6 => ipv6(state, packet),
        _ => state,
    };
    finish(state)
}

/// The last step once more: one alone leaves bits that hardly change from one port to the next, and a host opens its
/// connections from ports that follow each other.
fn finish(state: u64) -> u32 {
    (mix(state, 0) >> 32) as u32
}

fn ipv4(state: u64, packet: &[u8]) -> u64 {
    let Ok((header, _)) = Ipv4Header::ref_from_prefix(packet) else {
        return state;
    };
    let addresses =
        u64::from(u32::from_be_bytes(header.src)) << 32 | u64::from(u32::from_be_bytes(header.dst));
    let state = mix(state, addresses);
    let ports = if header.is_fragment() { None } else { packet.get(header.header_len()..) };
    transport(state, header.protocol, ports)
}

fn ipv6(state: u64, packet: &[u8]) -> u64 {
    let Ok((header, rest)) = Ipv6Header::ref_from_prefix(packet) else {
        return state;
    };
    let halves = [&header.src, &header.dst].into_iter().flat_map(|address| address.as_chunks::<8>().0);
    let state = halves.fold(state, |state, half| mix(state, u64::from_be_bytes(*half)));
    transport(state, header.next_header, Some(rest))
}

fn transport(state: u64, protocol: u8, segment: Option<&[u8]>) -> u64 {
    let ports = match (protocol, segment) {
        (PROTOCOL_TCP | PROTOCOL_UDP, Some([a, b, c, d, ..])) => u32::from_be_bytes([*a, *b, *c, *d]),
        _ => 0,
    };
    mix(state, u64::from(protocol) << 32 | u64::from(ports))
}

/// One step of a multiply-and-fold hash.
fn mix(state: u64, word: u64) -> u64 {
    let product = u128::from(state ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(frame: &[u8]) -> u32 {
        let (dst, src) = MacBits::of_frame(frame).unwrap_or_default();
        super::hash(dst, src, frame.get(12..).unwrap_or_default())
    }

    use proptest::prelude::*;
    use std::collections::HashSet;

    fn tcp(src_port: u16) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
        frame.extend([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        frame.extend(src_port.to_be_bytes());
        frame.extend([0; 18]);
        frame
    }

    #[test]
    fn flows_spread_over_the_vxlan_source_ports() {
        let ports: HashSet<u16> = (0..1000).map(|port| crate::vxlan::source_port(hash(&tcp(port)))).collect();
        assert!(ports.len() > 900, "{} ports for 1000 flows", ports.len());
    }

    #[test]
    fn two_dozen_connections_in_a_row_use_every_path() {
        for (paths, step) in [(2, 1), (2, 2), (3, 2), (4, 2)] {
            let spread = |first: u16| {
                let ports = (0..24).map(|at| first + at * step);
                ports.map(|port| hash(&tcp(port)) % 12 % paths).collect::<HashSet<_>>().len()
            };
            let lopsided = (0..1000).filter(|at| spread(32768 + 31 * at) < paths as usize).count();
            // By chance 24 flows leave one of four paths empty 4 times in 1000.
            assert!(
                lopsided < 15,
                "{lopsided} of 1000 times leave one of {paths} paths empty, ports {step} apart"
            );
        }
    }

    #[test]
    fn payload_and_fragment_ports_do_not_matter() {
        let mut other = tcp(80);
        other[50] = 9;
        assert_eq!(hash(&tcp(80)), hash(&other));
        let fragment = |port| {
            let mut frame = tcp(port);
            frame[21] = 3;
            frame
        };
        assert_eq!(hash(&fragment(80)), hash(&fragment(81)));
    }

    proptest! {
        #[test]
        fn random_octets_never_panic(bytes: Vec<u8>) {
            hash(&bytes);
        }
    }
}
