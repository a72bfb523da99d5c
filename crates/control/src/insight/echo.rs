//! Echo requests from a gateway's address: the kernel sends them out of the gateway's host interface, and never makes us wait.

use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use wire::checksum::internet;

/// The least that IPv4 has before the message (RFC 791 3.1); a raw socket of IPv4 gives it too.
const IPV4_HEADER: usize = 20;

/// Who asks and who is asked.
pub(super) struct Echo {
    socket: Socket,
    is_ipv4: bool,
    id: u16,
    last: u16,
}

impl Echo {
    /// From the address `from` of the interface to `target`.
    pub(super) fn open(interface: &str, from: IpAddr, target: IpAddr, id: u16) -> io::Result<Self> {
        let (domain, protocol) = match target {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::RAW.nonblocking().cloexec(), Some(protocol))?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        // What others send does not come here.
        socket.connect(&SocketAddr::new(target, 0).into())?;
        Ok(Self { socket, is_ipv4: target.is_ipv4(), id, last: 0 })
    }

    /// Sends the next request.
    pub(super) fn send(&mut self) -> io::Result<()> {
        self.last = self.last.wrapping_add(1);
        self.socket.send(&request(self.is_ipv4, self.id, self.last)).map(drop)
    }

    /// Whether the last request has been answered since this was asked last.
    pub(super) fn answered(&mut self) -> bool {
        let mut octets = [0; 256];
        let mut answered = false;
        loop {
            match (&self.socket).read(&mut octets) {
                Ok(len) => answered |= is_reply(self.is_ipv4, &octets[..len], self.id, self.last),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Nothing more, or that the host is not reachable: then it has not answered.
                Err(_) => return answered,
            }
        }
    }
}

/// An echo request (RFC 792, RFC 4443 4.1). The kernel writes the checksum of ICMPv6.
fn request(is_ipv4: bool, id: u16, number: u16) -> Vec<u8> {
    let kind = if is_ipv4 { 8 } else { 128 };
    let mut message = [&[kind, 0, 0, 0], &id.to_be_bytes()[..], &number.to_be_bytes(), &[0; 48]].concat();
    if is_ipv4 {
        let checksum = internet(&message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
    message
}

fn is_reply(is_ipv4: bool, octets: &[u8], id: u16, number: u16) -> bool {
    let (kind, start) = match (is_ipv4, octets.first()) {
        (true, Some(first)) => (0, usize::from(first & 15) * 4),
        _ => (129, 0),
    };
    if is_ipv4 && start < IPV4_HEADER {
        return false;
    }
    let message = octets.get(start..).unwrap_or_default();
    let words = [&id.to_be_bytes()[..], &number.to_be_bytes()].concat();
    message.first() == Some(&kind) && message.get(4..8) == Some(&words[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_to_our_last_request() {
        let request = request(true, 7, 3);
        assert_eq!(internet(&request), 0, "its checksum is right");
        let reply = |kind: u8, number: u16| {
            let mut message = super::request(true, 7, number);
            message[0] = kind;
            [&[0x45][..], &[0; 19], &message].concat()
        };
        assert!(is_reply(true, &reply(0, 3), 7, 3));
        assert!(!is_reply(true, &reply(0, 2), 7, 3) && !is_reply(true, &reply(0, 3), 8, 3));
        assert!(!is_reply(true, &reply(8, 3), 7, 3), "a request");
        let mut six = super::request(false, 7, 3);
        six[0] = 129;
        assert!(is_reply(false, &six, 7, 3));
        for len in 0..reply(0, 3).len() {
            is_reply(true, &reply(0, 3)[..len], 7, 3);
        }
        assert!(!is_reply(true, &[0x40; 60], 7, 3) && !is_reply(false, &[], 7, 3));
    }
}
