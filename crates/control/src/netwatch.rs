//! News of the kernel's links, addresses, routes and neighbours (rtnetlink(7)), so that changes are followed when they happen.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;

/// Multicast groups (RTNLGRP_*): links, neighbours, and of both families addresses, routes and rules.
const GROUPS: [u32; 8] = [1, 3, 5, 7, 8, 9, 11, 19];

/// Large enough for any single message.
const MESSAGE: usize = 32 * 1024;

/// Messages that are looked at in one round.
const MOST: usize = 256;

/// What has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// A link: up, down, MTU.
    pub(crate) links: bool,
    /// Something that next hops depend on.
    pub(crate) hops: bool,
}

/// Hears the kernel's news.
pub(crate) struct NetWatch {
    socket: Socket,
    memory: Vec<u8>,
}

impl NetWatch {
    /// Subscribes.
    ///
    /// # Errors
    /// The system gives no socket.
    pub(crate) fn new() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        Ok(Self { socket, memory: vec![0; MESSAGE] })
    }

    /// What has changed since the last call. Neighbours matter only if `matters` says so of their address.
    pub(crate) fn changed(&mut self, matters: impl Fn(IpAddr) -> bool) -> Changed {
        let mut changed = Changed::default();
        for _ in 0..MOST {
            match self.socket.recv(&mut &mut self.memory[..], 0) {
                Ok(length) => match NetlinkMessage::deserialize(&self.memory[..length]) {
                    Ok(message) => changed.note(&message, &matters),
                    // Of a kind that the library does not know: better to look once too often.
                    Err(_) => changed.hops = true,
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // ENOBUFS: more news than there was room for.
                Err(_) => changed = Changed { links: true, hops: true },
            }
        }
        changed
    }
}

impl Changed {
    fn note(&mut self, message: &NetlinkMessage<RouteNetlinkMessage>, matters: impl Fn(IpAddr) -> bool) {
        let NetlinkPayload::InnerMessage(inner) = &message.payload else { return };
        match inner {
            RouteNetlinkMessage::NewLink(_) | RouteNetlinkMessage::DelLink(_) => {
                *self = Self { links: true, hops: true };
            }
            RouteNetlinkMessage::NewNeighbour(neighbour) | RouteNetlinkMessage::DelNeighbour(neighbour) => {
                self.hops |= address(neighbour).is_some_and(matters);
            }
            _ => self.hops = true,
        }
    }
}

fn address(neighbour: &NeighbourMessage) -> Option<IpAddr> {
    neighbour.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some((*address).into()),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some((*address).into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_news_when_nothing_happens() {
        let mut watch = NetWatch::new().expect("a socket");
        // Others may use this machine's network meanwhile; but it does not change all the time.
        let quiet = (0..50).any(|_| watch.changed(|_| false) == Changed::default());
        assert!(quiet);
    }
}
