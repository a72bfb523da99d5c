//! Packet sockets (packet(7)): opened, bound to one interface, joined to a group when there are several.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::libc::{self, c_int, c_void, sock_filter, sock_fprog, socklen_t};

/// Octets that the kernel holds for us in each direction, which it doubles for its own needs. More makes for longer delays under TCP, less for
/// loss when many small datagrams come at once.
const BUFFER: c_int = 1 << 20;

/// How the kernel spreads the frames of an interface over several sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// All frames of a flow to one.
    Flow,
    /// By the lane ID of a record, modulo the number of sockets; all else to the first.
    Lane,
}

/// One socket that receives and sends the frames of an interface.
#[derive(Debug)]
pub(crate) struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Opens a socket; nothing is received before [`PacketSocket::bind`].
    pub(crate) fn open() -> io::Result<Self> {
        // SAFETY: takes and returns numbers.
        let fd = unsafe {
            libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor of ours.
        let socket = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        socket.set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1)?;
        socket.set(libc::SOL_PACKET, libc::PACKET_AUXDATA, &1)?;
        socket.set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1)?;
        // No PACKET_QDISC_BYPASS: that way the kernel drops super-frames that a device cannot segment itself.
        for (forced, asked) in
            [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
        {
            if socket.set(libc::SOL_SOCKET, forced, &BUFFER).is_err() {
                socket.set(libc::SOL_SOCKET, asked, &BUFFER)?;
            }
        }
        Ok(socket)
    }

    pub(crate) fn bind(&self, interface: u32) -> io::Result<()> {
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
            sll_ifindex: interface as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let len = size_of::<libc::sockaddr_ll>() as socklen_t;
        // SAFETY: an address of the stated length that lives through the call.
        check(unsafe { libc::bind(self.0.as_raw_fd(), (&raw const address).cast(), len) })
    }

    /// Receives frames to any address.
    pub(crate) fn promiscuous(&self, interface: u32) -> io::Result<()> {
        let request = libc::packet_mreq {
            mr_ifindex: interface as i32,
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        self.set(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// Joins the group number `group` of sockets of one interface. To be called after the bind.
    pub(crate) fn join(&self, group: u16, spread: Spread) -> io::Result<()> {
        let kind = match spread {
            Spread::Flow => libc::PACKET_FANOUT_HASH,
            Spread::Lane => libc::PACKET_FANOUT_CBPF,
        };
        let argument = u32::from(group) | kind << 16;
        self.set(libc::SOL_PACKET, libc::PACKET_FANOUT, &argument)?;
        if spread == Spread::Lane {
            let mut program = lane_of_record();
            let program = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
            self.set(libc::SOL_PACKET, libc::PACKET_FANOUT_DATA, &program)?;
        }
        Ok(())
    }

    /// Frames that the kernel had for us, and those of them that it dropped for want of room, since the last call.
    pub(crate) fn counted(&self) -> (u64, u64) {
        let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut len = size_of::<libc::tpacket_stats>() as socklen_t;
        // SAFETY: a structure of the stated length that lives through the call.
        let code = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut len,
            )
        };
        if code == 0 { (stats.tp_packets.into(), stats.tp_drops.into()) } else { (0, 0) }
    }

    /// Sets an option. `T` is the structure or number that the option is defined with.
    fn set<T>(&self, level: c_int, name: c_int, value: &T) -> io::Result<()> {
        let value: *const T = value;
        // SAFETY: a value of the stated size that lives through the call.
        check(unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                level,
                name,
                value.cast::<c_void>(),
                size_of::<T>() as socklen_t,
            )
        })
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn check(code: c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Classic BPF that returns the lane ID of a record (protocol 4.1) in UDP over IPv4 or IPv6, and 0 for everything else.
/// Offsets count from the IP header.
fn lane_of_record() -> [sock_filter; 14] {
    const LOAD_BYTE: u16 = 0x30; // at k
    const LOAD_HALF: u16 = 0x28;
    const LOAD_WORD: u16 = 0x20;
    const LOAD_WORD_INDEXED: u16 = 0x40; // at x + k
    const LOAD_X_HEADER_LEN: u16 = 0xb1; // x = 4 * (octet & 15)
    const JUMP: u16 = 0x05;
    const JUMP_EQUAL: u16 = 0x15;
    const AND: u16 = 0x54;
    const RETURN_K: u16 = 0x06;
    const RETURN_A: u16 = 0x16;
    const ETHERTYPE: u32 = (-0x1000_i32) as u32; // SKF_AD_OFF + SKF_AD_PROTOCOL
    const UDP: u32 = wire::ip::PROTOCOL_UDP as u32;
    let op = |code, k| sock_filter { code, jt: 0, jf: 0, k };
    let unless_equal = |k, jf| sock_filter { code: JUMP_EQUAL, jt: 0, jf, k };
    [
        op(LOAD_HALF, ETHERTYPE),
        unless_equal(0x0800, 5), // else to the test for IPv6
        op(LOAD_BYTE, 9),
        unless_equal(UDP, 9), // else to the end
        op(LOAD_X_HEADER_LEN, 0),
        op(LOAD_WORD_INDEXED, 8),
        op(JUMP, 4), // to the mask
        unless_equal(0x86dd, 5),
        op(LOAD_BYTE, 6),
        unless_equal(UDP, 3),
        op(LOAD_WORD, 48),
        op(AND, 0x00ff_ffff),
        op(RETURN_A, 0),
        op(RETURN_K, 0),
    ]
}
