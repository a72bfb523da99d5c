//! Joins the consecutive segments of a flow in one burst into super-frames, so that one crossing into the kernel moves
//! up to 64 KB. TCP and UDP, IPv4 and IPv6, with VLAN tags before them; what cannot be joined without a trace goes as it is.
//!
//! The rules are those of generic receive offload: joined and cut again, every octet is as it was. So a segment
//! whose checksum is wrong is not joined, for the kernel would write a right one.

use arrayvec::ArrayVec;
use wire::buf::PacketBuf;
use wire::ip::{Ipv4Header, PROTOCOL_TCP, PROTOCOL_UDP, UdpHeader};
use wire::mac::MacAddr;

use crate::layers::{self, Ip};
use crate::vnet::{Segmented, Transport, VnetHeader};

/// Flows that are joined at one time; the oldest is closed for a new one.
const OPEN: usize = 8;

/// Segments of a UDP super-frame, at most: what every kernel takes (`UDP_MAX_SEGMENTS`).
const MAX_DATAGRAMS: usize = 64;

/// Octets of an IP packet, at most.
const MAX_PACKET: usize = 65_535;

const ACK: u8 = 0x10;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;

/// The end of a chain.
const END: u8 = u8::MAX;

/// One frame or super-frame for the kernel: a chain of buffers of the burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// What the kernel has to know of it.
    pub vnet: VnetHeader,
    /// Octets of headers of each buffer after the first, which are left out.
    pub skip: usize,
    /// Buffers in the chain.
    pub count: usize,
    first: u8,
}

impl Message {
    /// Whether it is several UDP datagrams.
    pub(crate) fn is_udp_super_frame(&self) -> bool {
        matches!(self.vnet.segmented(), Ok(Some(Segmented { transport: Transport::Udp, .. })))
    }
}

/// How a burst is sent.
#[derive(Debug)]
pub struct Joined<const N: usize> {
    messages: ArrayVec<Message, N>,
    next: [u8; N],
}

/// A flow that is being joined.
#[derive(Clone, Copy, Debug)]
struct Group {
    message: usize,
    head: Segment,
    first: u8,
    last: u8,
    /// The first segment's own checksum has been looked at.
    verified: bool,
    expected_sequence: u32,
    expected_id: u16,
    octets: usize,
}

/// A segment that may be joined.
#[derive(Clone, Copy, Debug)]
struct Segment {
    ip: Ip,
    /// Where the TCP or UDP header starts.
    at: usize,
    payload_at: usize,
    payload: usize,
    /// Of TCP.
    sequence: u32,
    flags: u8,
    id: u16,
    /// The 4 octets of both ports: a cheap first look.
    ports: u32,
    /// Made by ourselves: its checksum needs no look, and may be absent.
    own: bool,
}

impl<const N: usize> Default for Joined<N> {
    fn default() -> Self {
        const { assert!(N < END as usize) };
        Self { messages: ArrayVec::new(), next: [END; N] }
    }
}

impl<const N: usize> Joined<N> {
    /// Plans how to send `bufs`, and prepares the first buffer of each super-frame. `own` is the port's MAC address; UDP is joined
    /// only where `udp` says that the kernel takes it.
    pub fn plan<B: PacketBuf>(&mut self, bufs: &mut [B], own: MacAddr, udp: bool) {
        self.messages.clear();
        let mut open: ArrayVec<Group, OPEN> = ArrayVec::new();
        for at in 0..bufs.len().min(N) {
            self.next[at] = END;
            let segment = Segment::parse(bufs[at].data(), own, udp);
            if let Some(segment) = &segment {
                if let Some(found) = open.iter().position(|group| same_flow(group, segment, bufs, at)) {
                    match self.extend(&mut open[found], segment, bufs, at) {
                        Extended::Open => continue,
                        Extended::Closed => {
                            open.remove(found);
                            continue;
                        }
                        // Nothing of this flow goes before this segment any more.
                        Extended::Refused => drop(open.remove(found)),
                    }
                }
            } else if !open.is_empty() {
                // An acknowledgement, say: what follows of its flow must not overtake it.
                close_of_same_addresses(&mut open, bufs, at);
            }
            let message = Message { vnet: VnetHeader::default(), skip: 0, count: 1, first: at as u8 };
            self.messages.push(message);
            if let Some(head) = segment.filter(Segment::may_begin) {
                if open.is_full() {
                    open.remove(0);
                }
                open.push(Group {
                    message: self.messages.len() - 1,
                    head,
                    first: at as u8,
                    last: at as u8,
                    verified: head.own,
                    expected_sequence: head.sequence.wrapping_add(head.payload as u32),
                    expected_id: head.id.wrapping_add(1),
                    octets: bufs[at].len(),
                });
            }
        }
        for message in 0..self.messages.len() {
            if self.messages[message].count > 1 {
                self.finish(message, bufs, own, udp);
            }
        }
    }

    /// What to send, in order.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The buffers of a message, as positions in the burst.
    pub fn chain(&self, message: &Message) -> impl Iterator<Item = usize> + '_ {
        let mut at = message.first;
        std::iter::from_fn(move || {
            let here = usize::from(at);
            at = *self.next.get(here)?;
            Some(here)
        })
    }

    fn extend<B: PacketBuf>(
        &mut self,
        group: &mut Group,
        segment: &Segment,
        bufs: &[B],
        at: usize,
    ) -> Extended {
        let message = &mut self.messages[group.message];
        let tcp = group.head.ip.protocol == PROTOCOL_TCP;
        let in_order = if tcp { segment.sequence == group.expected_sequence } else { true };
        // Cut again the identifications count up, as most senders' do. Nobody looks at that of our own.
        let id_goes_on = segment.ip.v6 || segment.own || segment.id == group.expected_id;
        let octets = group.octets + segment.payload;
        let fits = segment.payload <= group.head.payload
            && octets - group.head.ip.at <= MAX_PACKET
            && (tcp || message.count < MAX_DATAGRAMS);
        if !(in_order && id_goes_on && fits) {
            return Extended::Refused;
        }
        let first = &bufs[usize::from(message.first)];
        if !group.verified && !checksum_is_right(first.data(), &group.head)
            || !segment.own && !checksum_is_right(bufs[at].data(), segment)
        {
            return Extended::Refused;
        }
        group.verified = true;
        group.octets = octets;
        group.expected_sequence = group.expected_sequence.wrapping_add(segment.payload as u32);
        group.expected_id = group.expected_id.wrapping_add(1);
        self.next[usize::from(group.last)] = at as u8;
        group.last = at as u8;
        message.count += 1;
        message.skip = segment.payload_at;
        // A shorter segment is the last, and so is one that the sender pushed.
        let ends = segment.payload < group.head.payload || segment.flags & (PSH | FIN) != 0;
        if ends { Extended::Closed } else { Extended::Open }
    }

    /// Turns the first buffer's headers into those of the super-frame.
    fn finish<B: PacketBuf>(&mut self, index: usize, bufs: &mut [B], own: MacAddr, udp: bool) {
        let message = self.messages[index];
        let first = usize::from(message.first);
        let Some(head) = Segment::parse(bufs[first].data(), own, udp) else { return };
        let (mut octets, mut flags) = (bufs[first].len(), head.flags);
        for at in self.chain(&message).skip(1) {
            octets += bufs[at].len() - message.skip;
            flags |= bufs[at].data().get(head.at + 13).copied().unwrap_or(0) & (PSH | FIN);
        }
        let frame = bufs[first].data_mut();
        layers::set_ip_len(frame, head.ip, octets);
        let transport = if head.ip.protocol == PROTOCOL_TCP {
            frame[head.at + 13] = flags;
            Transport::Tcp
        } else {
            let len = (octets - head.at) as u16;
            frame[head.at + 4..head.at + 6].copy_from_slice(&len.to_be_bytes());
            Transport::Udp
        };
        let sum = layers::pseudo_header(frame, head.ip, octets - head.at).folded();
        if let Some(offset) = layers::checksum_offset(head.ip.protocol) {
            frame[head.at + offset..head.at + offset + 2].copy_from_slice(&sum.to_be_bytes());
        }
        let segmented = Segmented { transport, size: head.payload };
        self.messages[index].vnet =
            VnetHeader::super_frame(segmented, head.ip.v6, false, head.at, head.payload_at);
    }
}

enum Extended {
    Open,
    Closed,
    Refused,
}

impl Segment {
    fn parse(frame: &[u8], own_mac: MacAddr, udp: bool) -> Option<Self> {
        let layers = layers::find(frame, None)?;
        let (ip, at) = (layers.inner(), layers.transport);
        if ip.v6 && ip.len != 40 || !ip.v6 && ip.len != Ipv4Header::LEN {
            return None; // options or extension headers
        }
        let end = if ip.v6 {
            ip.at + ip.len + usize::from(be16(frame, ip.at + 4)?)
        } else {
            ip.at + usize::from(be16(frame, ip.at + 2)?)
        };
        if end != frame.len() {
            return None; // padded, or cut off
        }
        let own = frame[6..12] == own_mac.0;
        let (payload_at, sequence, flags) = match ip.protocol {
            PROTOCOL_TCP => {
                let header = usize::from(*frame.get(at + 12)? >> 4) * 4;
                let flags = *frame.get(at + 13)?;
                // No SYN, RST, URG, ECE or CWR: those are marks that have their place.
                if header < 20 || flags & !(ACK | PSH | FIN) != 0 || flags & ACK == 0 {
                    return None;
                }
                (at + header, u32::from_be_bytes(*frame.get(at + 4..)?.first_chunk()?), flags)
            }
            PROTOCOL_UDP if udp => {
                let len = usize::from(be16(frame, at + 4)?);
                // Without a checksum the kernel would add one.
                if len != end - at || !own && be16(frame, at + 6)? == 0 {
                    return None;
                }
                (at + UdpHeader::LEN, 0, 0)
            }
            _ => return None,
        };
        let payload = end.checked_sub(payload_at).filter(|payload| *payload > 0)?;
        let id = if ip.v6 { 0 } else { be16(frame, ip.at + 4)? };
        let ports = u32::from_be_bytes(*frame.get(at..)?.first_chunk()?);
        Some(Self { ip, at, payload_at, payload, sequence, flags, id, ports, own })
    }

    /// What the sender pushed or ended goes at once.
    fn may_begin(&self) -> bool {
        self.flags & (PSH | FIN) == 0
    }
}

/// Whether all that a super-frame has once is the same in `segment`, number `at`, and in the group's first.
fn same_flow<B: PacketBuf>(group: &Group, segment: &Segment, bufs: &[B], at: usize) -> bool {
    let head = &group.head;
    if head.ports != segment.ports || head.ip != segment.ip || head.payload_at != segment.payload_at {
        return false;
    }
    // Of the first buffer only the headers matter, which are not changed before all is planned.
    let first = bufs[usize::from(group.first)].data();
    let this = bufs[at].data();
    let (ip, transport) = (head.ip.at, head.at);
    let ip_same = if head.ip.v6 {
        // All but the length.
        first[ip..ip + 4] == this[ip..ip + 4] && first[ip + 6..transport] == this[ip + 6..transport]
    } else {
        // All but length, identification and checksum.
        first[ip..ip + 2] == this[ip..ip + 2]
            && first[ip + 6..ip + 10] == this[ip + 6..ip + 10]
            && first[ip + 12..transport] == this[ip + 12..transport]
    };
    let transport_same = head.ip.protocol != PROTOCOL_TCP || {
        // Acknowledgement, header length, window, urgent pointer, options.
        first[transport + 8..transport + 13] == this[transport + 8..transport + 13]
            && first[transport + 14..transport + 16] == this[transport + 14..transport + 16]
            && first[transport + 18..head.payload_at] == this[transport + 18..head.payload_at]
    };
    first[..ip] == this[..ip] && ip_same && transport_same
}

/// Closes the groups between the same two MAC addresses as frame number `at`.
fn close_of_same_addresses<B: PacketBuf>(open: &mut ArrayVec<Group, OPEN>, bufs: &[B], at: usize) {
    let this = bufs[at].data();
    open.retain(|group| bufs[usize::from(group.first)].data().get(..12) != this.get(..12));
}

fn checksum_is_right(frame: &[u8], segment: &Segment) -> bool {
    let pseudo = layers::pseudo_header(frame, segment.ip, frame.len() - segment.at);
    pseudo.with(&frame[segment.at..]).finish() == 0
}

fn be16(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?))
}
