//! Holding the UDP ports that the data plane takes packets from.
//!
//! Where the kernel sees the packets of a port too (af_packet, kernel ports), it would answer each record with
//! ICMP "port unreachable", which tells attackers where we are and confuses peers. So the control thread binds
//! a socket to each such port, with a filter that throws every datagram away before it takes any memory. It also
//! keeps other programs off the port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::sys::socket::{setsockopt, sockopt::UdpGroSegment};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

/// Ports to try when any will do, until one is free for every address.
const TRIES: usize = 16;

/// A UDP port held for the data plane, on one or more local addresses, until dropped.
#[derive(Debug)]
pub struct HeldPort {
    port: u16,
    sockets: Vec<Socket>,
}

/// Why a UDP port cannot be held.
#[derive(Debug, thiserror::Error)]
#[error("cannot hold UDP {address}: {error}{}", hint(.error))]
pub struct HoldError {
    address: SocketAddr,
    error: io::Error,
}

impl HeldPort {
    /// Holds `port` on each of `addresses`; port 0 takes one that is free on all of them. An IPv6 address never
    /// means IPv4 as well.
    ///
    /// # Errors
    /// An address is not local, or the port is taken.
    pub fn new(addresses: &[IpAddr], port: u16) -> Result<Self, HoldError> {
        if port != 0 {
            return Self::on(addresses, port);
        }
        let mut attempt = 1;
        loop {
            match Self::on(addresses, 0) {
                Err(error) if error.error.kind() == io::ErrorKind::AddrInUse && attempt < TRIES => {
                    attempt += 1
                }
                outcome => return outcome,
            }
        }
    }

    /// Holds `port` on every address of the machine, IPv4 and IPv6 (if the kernel has it).
    ///
    /// # Errors
    /// The port is taken.
    pub fn everywhere(port: u16) -> Result<Self, HoldError> {
        let (v4, v6) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into());
        match Self::new(&[v4, v6], port) {
            Err(error) if error.error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) => {
                Self::new(&[v4], port)
            }
            outcome => outcome,
        }
    }

    /// Joins a multicast group on the interface with the address `local`, so that the network brings its packets there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn join(&self, group: IpAddr, local: IpAddr) -> Result<(), HoldError> {
        let Some(socket) = self.sockets.first() else { return Ok(()) };
        let joined = match (group, local) {
            (IpAddr::V4(group), IpAddr::V4(local)) => socket.join_multicast_v4(&group, &local),
            (IpAddr::V6(group), _) => {
                interface_of(local).and_then(|index| socket.join_multicast_v6(&group, index))
            }
            (IpAddr::V4(_), IpAddr::V6(_)) => Err(io::ErrorKind::InvalidInput.into()),
        };
        joined.map_err(|error| HoldError { address: SocketAddr::new(group, self.port), error })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn on(addresses: &[IpAddr], mut port: u16) -> Result<Self, HoldError> {
        let mut sockets = Vec::with_capacity(addresses.len());
        for ip in addresses {
            let address = SocketAddr::new(*ip, port);
            let (socket, chosen) = hold(address).map_err(|error| HoldError { address, error })?;
            sockets.push(socket);
            port = chosen;
        }
        Ok(Self { port, sockets })
    }
}

/// The number of the interface that has this address.
fn interface_of(local: IpAddr) -> io::Result<u32> {
    let has = |interface: &nix::ifaddrs::InterfaceAddress| {
        let address =
            interface.address.as_ref().and_then(|address| address.as_sockaddr_in6().map(|v6| v6.ip()));
        address.is_some_and(|address| IpAddr::V6(address) == local)
    };
    let found = nix::ifaddrs::getifaddrs()?.find(has).ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok(nix::net::if_::if_nametoindex(found.interface_name.as_str())?)
}

fn hold(address: SocketAddr) -> io::Result<(Socket, u16)> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // Before the bind, so that not one datagram gets in.
    socket.attach_filter(&[drop_all()])?;
    // Super-frames of records are thrown away whole; without this the kernel would cut them first. Kernels before 5.0 make none.
    if let Err(error) = setsockopt(&socket, UdpGroSegment, &true) {
        tracing::debug!(%error, "UDP_GRO");
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    let bound = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok((socket, bound.port()))
}

/// Classic BPF: `ret #0`, keep no octet of any packet.
fn drop_all() -> SockFilter {
    const BPF_RET_K: u16 = 0x06;
    SockFilter::new(BPF_RET_K, 0, 0, 0)
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (another program or a kernel VXLAN device has this port)",
        io::ErrorKind::AddrNotAvailable => " (no interface of this machine has this address)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    /// Sends to `to` and tells whether the kernel answered "port unreachable", which a connected socket sees
    /// as a refused connection.
    fn refused(to: SocketAddr) -> bool {
        let local: IpAddr =
            if to.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        let socket = UdpSocket::bind((local, 0)).expect("a socket");
        socket.connect(to).expect("connected");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time-out");
        socket.send(b"record").expect("sent");
        socket.recv(&mut [0; 16]).expect_err("nobody answers").kind() == io::ErrorKind::ConnectionRefused
    }

    #[test]
    fn a_held_port_is_silent_and_an_open_one_is_not() {
        let held = HeldPort::everywhere(0).expect("a free port");
        assert_ne!(held.port(), 0);
        let at = |ip: IpAddr| SocketAddr::new(ip, held.port());
        let (v4, v6) = (at(Ipv4Addr::LOCALHOST.into()), at(Ipv6Addr::LOCALHOST.into()));
        assert!(!refused(v4));
        assert!(!refused(v6));
        drop(held);
        assert!(refused(v4));
        assert!(refused(v6));
    }

    #[test]
    fn a_port_that_is_taken_or_an_address_that_is_not_ours_is_told() {
        let first = HeldPort::new(&[Ipv4Addr::LOCALHOST.into()], 0).expect("a free port");
        let told = HeldPort::new(&[Ipv4Addr::LOCALHOST.into()], first.port()).expect_err("taken").to_string();
        assert!(told.contains("another program") && told.contains(&first.port().to_string()), "{told}");
        let foreign: IpAddr = Ipv4Addr::new(192, 0, 2, 1).into();
        let told = HeldPort::new(&[foreign], 4789).expect_err("not ours").to_string();
        assert!(told.contains("192.0.2.1:4789") && told.contains("no interface"), "{told}");
    }
}
