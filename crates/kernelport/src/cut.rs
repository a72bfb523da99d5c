//! Cuts what the kernel gives into frames as they stand on a wire: super-frames into segments, unfinished checksums finished.

use wire::buf::PacketBuf;
use wire::checksum::Sum;
use wire::ip::{PROTOCOL_UDP, UdpHeader};

use crate::layers::{self, Layers};
use crate::vnet::{Partial, Segmented, Transport, UnknownKind, VnetHeader};

/// Largest set of headers in front of a super-frame's payload.
const MAX_HEADERS: usize = 256;

const TCP_SEQUENCE: usize = 4;
const TCP_OFFSET: usize = 12;
const TCP_FLAGS: usize = 13;
const TCP_MIN: usize = 20;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// What the kernel gave cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a super-frame that does not parse")]
pub struct Malformed;

impl From<UnknownKind> for Malformed {
    fn from(_: UnknownKind) -> Self {
        Self
    }
}

/// Whether checksums that the kernel left unfinished matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// They are finished: the frames go on to other hosts.
    Finish,
    /// They are left as they are: what is inside is protected better.
    Leave,
}

/// How one frame of the kernel is cut, and how far that has come.
#[derive(Debug)]
pub struct Cutter {
    checksums: Checksums,
    partial: Option<Partial>,
    plan: Option<Plan>,
    /// Segments made so far.
    made: usize,
    count: usize,
}

#[derive(Debug)]
struct Plan {
    layers: Layers,
    transport: Transport,
    /// Octets of all headers.
    headers: usize,
    /// Octets of payload of each segment but the last.
    size: usize,
}

impl Cutter {
    /// Looks at `frame`, which came with `vnet`.
    pub fn new(frame: &[u8], vnet: &VnetHeader, checksums: Checksums) -> Result<Self, Malformed> {
        let partial = vnet.partial();
        if partial.is_some_and(|partial| partial.start + partial.offset + 2 > frame.len()) {
            return Err(Malformed);
        }
        let Some(segmented) = vnet.segmented()? else {
            return Ok(Self { checksums, partial, plan: None, made: 0, count: 1 });
        };
        let plan = Plan::new(frame, segmented, partial)?;
        let count = (frame.len() - plan.headers).div_ceil(plan.size);
        Ok(Self { checksums, partial, plan: Some(plan), made: 0, count })
    }

    /// Segments that are left.
    pub fn left(&self) -> usize {
        self.count - self.made
    }

    /// Makes no more segments of this frame.
    pub fn give_up(&mut self) {
        self.made = self.count;
    }

    /// Writes the next segment into the empty `buf`. False when it does not fit.
    #[must_use]
    pub fn next<B: PacketBuf>(&mut self, frame: &[u8], buf: &mut B) -> bool {
        let (index, last) = (self.made, self.left() <= 1);
        self.made += 1;
        match &self.plan {
            None => {
                let Some(room) = buf.append(frame.len()) else { return false };
                room.copy_from_slice(frame);
                if let (Checksums::Finish, Some(partial)) = (self.checksums, self.partial) {
                    finish(room, partial);
                }
                true
            }
            Some(plan) => plan.segment(frame, buf, index, last, self.checksums),
        }
    }
}

impl Plan {
    fn new(frame: &[u8], segmented: Segmented, partial: Option<Partial>) -> Result<Self, Malformed> {
        let layers = layers::find(frame, partial.map(|partial| partial.start)).ok_or(Malformed)?;
        let at = layers.transport;
        let header = match segmented.transport {
            Transport::Tcp => {
                let octets = frame.get(at + TCP_OFFSET).map(|offset| usize::from(offset >> 4) * 4);
                octets.filter(|octets| *octets >= TCP_MIN).ok_or(Malformed)?
            }
            Transport::Udp => UdpHeader::LEN,
        };
        let headers = at + header;
        if headers > MAX_HEADERS || headers >= frame.len() {
            return Err(Malformed);
        }
        Ok(Self { layers, transport: segmented.transport, headers, size: segmented.size })
    }

    /// Writes segment number `index`: RFC 9293 3.1 for TCP's fields, RFC 6864 4 for the identification.
    fn segment<B: PacketBuf>(
        &self,
        frame: &[u8],
        buf: &mut B,
        index: usize,
        last: bool,
        checksums: Checksums,
    ) -> bool {
        let from = self.headers + index * self.size;
        let payload = &frame[from..frame.len().min(from + self.size)];
        let end = self.headers + payload.len();
        let Some(room) = buf.append(end) else { return false };
        room[..self.headers].copy_from_slice(&frame[..self.headers]);
        room[self.headers..].copy_from_slice(payload);
        for ip in &self.layers.ips {
            if !ip.v6 {
                let id = &mut room[ip.at + 4..ip.at + 6];
                let next = u16::from_be_bytes([id[0], id[1]]).wrapping_add(index as u16);
                id.copy_from_slice(&next.to_be_bytes());
            }
            layers::set_ip_len(room, *ip, end);
        }
        let at = self.layers.transport;
        match self.transport {
            Transport::Tcp => {
                let sequence = room[at + TCP_SEQUENCE..].first_chunk().copied().unwrap_or_default();
                let next = u32::from_be_bytes(sequence).wrapping_add((index * self.size) as u32);
                room[at + TCP_SEQUENCE..at + TCP_SEQUENCE + 4].copy_from_slice(&next.to_be_bytes());
                let flags = &mut room[at + TCP_FLAGS];
                if !last {
                    *flags &= !(FIN | PSH);
                }
                if index > 0 {
                    *flags &= !CWR;
                }
            }
            Transport::Udp => {
                let len = (end - at) as u16;
                room[at + 4..at + 6].copy_from_slice(&len.to_be_bytes());
            }
        }
        if checksums == Checksums::Finish {
            transport_checksum(room, self.layers.inner(), at);
        }
        if let Some(udp) = self.layers.outer_udp {
            let len = (end - udp) as u16;
            room[udp + 4..udp + 6].copy_from_slice(&len.to_be_bytes());
            // 0 is "none" and stays (RFC 768, RFC 6935 5).
            if room[udp + 6..udp + 8] != [0, 0] {
                transport_checksum(room, self.layers.ips[0], udp);
            }
        }
        true
    }
}

/// Computes the TCP or UDP checksum of the packet that `ip` begins, whose transport header is at `at`.
fn transport_checksum(frame: &mut [u8], ip: layers::Ip, at: usize) {
    let Some(offset) = layers::checksum_offset(ip.protocol) else { return };
    let pseudo = layers::pseudo_header(frame, ip, frame.len() - at);
    frame[at + offset..at + offset + 2].fill(0);
    let sum = pseudo.with(&frame[at..]).finish();
    let sum = if sum == 0 && ip.protocol == PROTOCOL_UDP { 0xffff } else { sum };
    frame[at + offset..at + offset + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Finishes a checksum: its field holds the sum of the pseudo-header already.
fn finish(frame: &mut [u8], partial: Partial) {
    let sum = Sum::default().with(&frame[partial.start..]).finish();
    // As UDP wants it (RFC 768); for TCP 0 and 0xffff say the same.
    let sum = if sum == 0 { 0xffff } else { sum };
    let at = partial.start + partial.offset;
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}
