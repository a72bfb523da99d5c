//! The PROXY protocol (HAProxy, versions 1 and 2): tells a service who its client is.

use std::net::{IpAddr, SocketAddr};

use config::ProxyProtocol;

const SIGNATURE: [u8; 12] = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];

/// Version 2, command PROXY.
const VERSION_AND_COMMAND: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// The header of a connection from `client` that came to `here`.
pub(super) fn header(version: ProxyProtocol, client: SocketAddr, here: SocketAddr) -> Vec<u8> {
    let (from, to) = (client.ip().to_canonical(), here.ip().to_canonical());
    // An IPv4 client of a socket for both families.
    let (from, to) = if from.is_ipv4() == to.is_ipv4() { (from, to) } else { (mapped(from), mapped(to)) };
    match version {
        ProxyProtocol::V1 => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            format!("PROXY {family} {from} {to} {} {}\r\n", client.port(), here.port()).into_bytes()
        }
        ProxyProtocol::V2 => {
            let family = if from.is_ipv4() { TCP_OVER_IPV4 } else { TCP_OVER_IPV6 };
            let mut addresses = [octets(from), octets(to)].concat();
            addresses.extend(client.port().to_be_bytes());
            addresses.extend(here.port().to_be_bytes());
            let mut header = SIGNATURE.to_vec();
            header.extend([VERSION_AND_COMMAND, family]);
            header.extend((addresses.len() as u16).to_be_bytes());
            header.extend(addresses);
            header
        }
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn mapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn headers_are_as_the_specification_has_them() {
        let (client, here) = (at("[::ffff:198.51.100.1]:4711"), at("[::ffff:192.0.2.1]:443"));
        assert_eq!(
            header(ProxyProtocol::V1, client, here),
            b"PROXY TCP4 198.51.100.1 192.0.2.1 4711 443\r\n"
        );
        let v2 = header(ProxyProtocol::V2, client, here);
        assert_eq!(v2[..12], *b"\r\n\r\n\0\r\nQUIT\n");
        assert_eq!(v2[12..], [0x21, 0x11, 0, 12, 198, 51, 100, 1, 192, 0, 2, 1, 0x12, 0x67, 0x01, 0xbb]);
        let (client, here) = (at("[2001:db8::9]:4711"), at("[2001:db8::1]:443"));
        assert_eq!(
            header(ProxyProtocol::V1, client, here),
            b"PROXY TCP6 2001:db8::9 2001:db8::1 4711 443\r\n"
        );
        let v2 = header(ProxyProtocol::V2, client, here);
        assert_eq!((v2[13], v2[15], v2.len()), (0x21, 36, 16 + 36));
    }
}
