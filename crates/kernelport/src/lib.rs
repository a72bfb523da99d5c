//! Ports on Linux interfaces, for virtual machines, containers and tests: packet sockets with `PACKET_VNET_HDR`, whole
//! bursts per system call.
//!
//! The kernel's super-frames and unfinished checksums end here: [`cut`] makes segments of what is received, [`join`] makes
//! super-frames of consecutive segments before they are sent. So hosts behind such a port need no `ethtool` settings, one
//! crossing moves up to 64 KB, and the data path sees frames as they stand on a wire.
//!
//! [`mmsg`] and [`socket`] speak to the kernel and are the only files here with `unsafe` code.
#![deny(unsafe_code)]

pub mod cut;
pub mod join;
mod layers;
mod mmsg;
mod socket;
pub mod vnet;

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use arrayvec::ArrayVec;
use wire::buf::{BufPool, PacketBuf};
use wire::mac::MacAddr;

use crate::cut::{Checksums, Cutter};
use crate::join::Joined;
use crate::mmsg::Received;
use crate::socket::PacketSocket;
pub use crate::socket::Spread;

/// A kernel port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no interface of this name in this network namespace.
    #[error("there is no interface {0}")]
    NoInterface(String),
    /// The interface has no MAC address of 6 octets.
    #[error("interface {0} has no Ethernet address")]
    NoAddress(String),
    /// The kernel refuses.
    #[error("interface {interface}: {what}: {error}")]
    System {
        /// The interface.
        interface: String,
        /// What was tried.
        what: &'static str,
        /// What the kernel says.
        error: io::Error,
    },
}

/// How a kernel port works.
#[derive(Clone, Debug)]
pub struct Options {
    /// The Linux interface.
    pub interface: String,
    /// Pairs of queues, one for each worker.
    pub queues: usize,
    /// Whether frames to any address are received.
    pub promiscuous: bool,
    /// How received frames are spread over the queues.
    pub spread: Spread,
    /// What becomes of unfinished checksums.
    pub checksums: Checksums,
}

/// What is known of an open port.
#[derive(Clone, Debug)]
pub struct KernelPort {
    interface: String,
    /// The interface's number: another of the same name has another.
    index: u32,
    mac: MacAddr,
    sockets: Vec<Arc<PacketSocket>>,
}

/// The receiving half of a queue pair. One thread polls it.
pub struct KernelRx {
    socket: Arc<PacketSocket>,
    received: Received,
    /// The frame of `received` that is being cut.
    at: usize,
    cutter: Option<Cutter>,
    checksums: Checksums,
    /// What did not become a frame.
    pub lost: Lost,
}

/// Frames that were received and lost before the data path saw them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Super-frames that do not parse.
    pub malformed: u64,
    /// For want of buffers, or larger than a buffer.
    pub no_buffer: u64,
}

/// The sending half of a queue pair. One thread fills it.
pub struct KernelTx<const N: usize> {
    socket: Arc<PacketSocket>,
    mac: MacAddr,
    joined: Joined<N>,
    /// Whether the kernel takes UDP super-frames, which it does from Linux 6.2 on.
    udp: bool,
}

impl KernelPort {
    /// Opens the port and its pairs of queues.
    ///
    /// # Errors
    /// There is no such interface, or the kernel refuses: it wants `CAP_NET_RAW`.
    pub fn open<const N: usize>(
        options: &Options,
    ) -> Result<(Self, Vec<(KernelRx, KernelTx<N>)>), OpenError> {
        let interface = &options.interface;
        let failed =
            |what| move |error| OpenError::System { interface: options.interface.clone(), what, error };
        let index = nix::net::if_::if_nametoindex(interface.as_str())
            .map_err(|_| OpenError::NoInterface(interface.clone()))?;
        let text = read_attribute(interface, "address").map_err(failed("cannot read its address"))?;
        let mac: MacAddr = text.parse().map_err(|_| OpenError::NoAddress(interface.clone()))?;
        let mut sockets = Vec::with_capacity(options.queues);
        for _ in 0..options.queues {
            let socket = PacketSocket::open().map_err(failed("cannot open a packet socket"))?;
            socket.bind(index).map_err(failed("cannot bind to it"))?;
            if options.promiscuous {
                socket.promiscuous(index).map_err(failed("cannot receive frames to other addresses"))?;
            }
            if options.queues > 1 {
                socket
                    .join(index as u16, options.spread)
                    .map_err(failed("cannot spread its frames over workers"))?;
            }
            sockets.push(Arc::new(socket));
        }
        let queues = sockets
            .iter()
            .map(|socket| {
                let rx = KernelRx {
                    socket: Arc::clone(socket),
                    received: Received::new(),
                    at: 0,
                    cutter: None,
                    checksums: options.checksums,
                    lost: Lost::default(),
                };
                let tx = KernelTx { socket: Arc::clone(socket), mac, joined: Joined::default(), udp: true };
                (rx, tx)
            })
            .collect();
        Ok((Self { interface: interface.clone(), index, mac, sockets }, queues))
    }

    /// The interface.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Its MAC address.
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// Whether the interface was removed since the port was opened, and perhaps made anew: the port is silent for ever.
    pub fn is_gone(&self) -> bool {
        nix::net::if_::if_nametoindex(self.interface.as_str()) != Ok(self.index)
    }

    /// Whether the interface has got another MAC address since the port was opened: frames to that are taken for others'.
    pub fn has_another_address(&self) -> bool {
        read_attribute(&self.interface, "address").is_ok_and(|text| text.parse() != Ok(self.mac))
    }

    /// Whether its line is up, and its speed in Mbit/s; 0 when that is not known.
    pub fn link(&self) -> (bool, u32) {
        let up = !self.is_gone() && read_attribute(&self.interface, "carrier").is_ok_and(|text| text == "1");
        let speed = read_attribute(&self.interface, "speed").ok().and_then(|text| text.parse().ok());
        (up, speed.unwrap_or(0))
    }

    /// For each pair of queues: frames that the kernel had for it, super-frames whole, and those of them that it dropped for want of room.
    /// Both since the last call.
    pub fn counted(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.sockets.iter().map(|socket| socket.counted())
    }
}

fn read_attribute(interface: &str, name: &str) -> io::Result<String> {
    Ok(fs::read_to_string(format!("/sys/class/net/{interface}/{name}"))?.trim().to_owned())
}

impl KernelRx {
    /// Takes what has arrived, as far as `burst` has room, with buffers of `pool`. Returns how many frames it added. A super-frame
    /// that does not fit goes on in the next call.
    pub fn burst<P: BufPool, const N: usize>(
        &mut self,
        pool: &mut P,
        burst: &mut ArrayVec<P::Buf, N>,
    ) -> usize {
        let held = burst.len();
        while !burst.is_full() {
            if self.at == self.received.len() && !self.receive() {
                break;
            }
            let (frame, vnet) = self.received.frame(self.at);
            let cutter = match &mut self.cutter {
                Some(cutter) => cutter,
                none => match Cutter::new(frame, vnet, self.checksums) {
                    Ok(cutter) => none.insert(cutter),
                    Err(_) => {
                        self.lost.malformed += 1;
                        self.at += 1;
                        continue;
                    }
                },
            };
            while cutter.left() > 0 && !burst.is_full() {
                let Some(mut buf) = pool.alloc() else {
                    self.lost.no_buffer += cutter.left() as u64;
                    cutter.give_up();
                    break;
                };
                if cutter.next(frame, &mut buf) {
                    burst.push(buf);
                } else {
                    self.lost.no_buffer += 1;
                }
            }
            if cutter.left() == 0 {
                self.cutter = None;
                self.at += 1;
            }
        }
        burst.len() - held
    }

    fn receive(&mut self) -> bool {
        self.at = 0;
        // An error of the device (it went down) looks like silence until it is up again.
        self.received.receive(self.socket.as_fd()).is_ok_and(|count| count > 0)
    }

    /// What becomes readable when a frame arrives.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<const N: usize> KernelTx<N> {
    /// Sends what the kernel takes of `burst`, at most `N` frames, and returns how many those were. The frames
    /// are used up: of a super-frame the first has other headers now.
    pub fn burst<B: PacketBuf>(&mut self, burst: &mut [B]) -> usize {
        self.joined.plan(burst, self.mac, self.udp);
        let (mut done, mut sent) = (0, 0);
        while let Some(next) = self.joined.messages().get(done) {
            match mmsg::send(self.socket.as_fd(), &self.joined, burst, done) {
                Ok(count) => {
                    let taken = &self.joined.messages()[done..][..count];
                    sent += taken.iter().map(|message| message.count).sum::<usize>();
                    done += count.max(1);
                }
                Err(error) => match error.raw_os_error() {
                    // Only this frame is at fault: larger than the interface's MTU, or of a kind that this kernel does not know.
                    Some(nix::libc::EMSGSIZE) => done += 1,
                    Some(nix::libc::EINVAL) => {
                        self.udp &= !next.is_udp_super_frame();
                        done += 1;
                    }
                    // The kernel is full, or the interface is down.
                    _ => break,
                },
            }
        }
        sent
    }
}
