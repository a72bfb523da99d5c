//! What is joined and cut again is what it was, octet for octet; what must not be joined is not.
#![allow(missing_docs)]

use kernelport::cut::{Checksums, Cutter};
use kernelport::join::Joined;
use kernelport::vnet::VnetHeader;
use proptest::prelude::*;
use wire::buf::{BufPool, HeapBuf, HeapPool, PacketBuf};
use wire::checksum::{self, Sum};
use wire::mac::MacAddr;

const N: usize = 64;
const OWN: MacAddr = MacAddr([2, 9, 9, 9, 9, 9]);

#[derive(Clone, Debug)]
struct Flow {
    v6: bool,
    tagged: bool,
    tcp: bool,
    port: u16,
    size: usize,
    options: usize,
}

impl Flow {
    /// The segment of `payload` at `offset` of the stream, number `index`.
    fn segment(&self, index: u16, offset: usize, payload: &[u8], flags: u8) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        if self.tagged {
            frame.extend([0x81, 0, 0x60, 10]);
        }
        frame.extend(if self.v6 { [0x86, 0xdd] } else { [8, 0] });
        let ip = frame.len();
        let protocol = if self.tcp { 6 } else { 17 };
        let header = if self.tcp { 20 + 4 * self.options } else { 8 };
        let len = (header + payload.len()) as u16;
        if self.v6 {
            frame.extend([0x60, 0, 0, 0]);
            frame.extend(len.to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend([0x20; 16]);
            frame.extend([0x21; 16]);
        } else {
            frame.extend([0x45, 0]);
            frame.extend((len + 20).to_be_bytes());
            frame.extend((100 + index).to_be_bytes());
            frame.extend([0x40, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
            let sum = checksum::internet(&frame[ip..]);
            frame[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
        }
        let at = frame.len();
        frame.extend(self.port.to_be_bytes());
        frame.extend([0x14, 0x51]);
        if self.tcp {
            frame.extend((7000 + offset as u32).to_be_bytes());
            frame.extend([0, 0, 0, 1, ((5 + self.options) << 4) as u8, flags, 1, 2, 0, 0, 0, 0]);
            frame.extend(vec![1; 4 * self.options]);
        } else {
            frame.extend(len.to_be_bytes());
            frame.extend([0, 0]);
        }
        frame.extend(payload);
        let addresses = if self.v6 { ip + 8..ip + 40 } else { ip + 12..ip + 20 };
        let pseudo = Sum::default().with(&frame[addresses]).add_word(protocol.into()).add_word(len);
        let sum = pseudo.with(&frame[at..]).finish();
        let place = at + if self.tcp { 16 } else { 6 };
        frame[place..place + 2]
            .copy_from_slice(&if sum == 0 && !self.tcp { 0xffff_u16 } else { sum }.to_be_bytes());
        frame
    }
}

fn bufs(frames: &[Vec<u8>]) -> Vec<HeapBuf> {
    let mut pool = HeapPool::new(10_000);
    let buf = |frame: &Vec<u8>| {
        let mut buf = pool.alloc().expect("a buffer");
        buf.append(frame.len()).expect("room").copy_from_slice(frame);
        buf
    };
    frames.iter().map(buf).collect()
}

/// What the kernel would see: each message as one piece.
fn joined(frames: &[Vec<u8>]) -> Vec<(VnetHeader, Vec<u8>)> {
    let mut bufs = bufs(frames);
    let mut plan = Joined::<N>::default();
    plan.plan(&mut bufs, OWN, true);
    let piece = |message: &kernelport::join::Message| {
        let mut octets = Vec::new();
        for (nth, at) in plan.chain(message).enumerate() {
            octets.extend_from_slice(&bufs[at].data()[if nth == 0 { 0 } else { message.skip }..]);
        }
        (message.vnet, octets)
    };
    plan.messages().iter().map(piece).collect()
}

fn cut(vnet: &VnetHeader, frame: &[u8]) -> Vec<Vec<u8>> {
    let mut cutter = Cutter::new(frame, vnet, Checksums::Finish).expect("well-formed");
    let mut pool = HeapPool::new(10_000);
    let mut frames = Vec::new();
    while cutter.left() > 0 {
        let mut buf = pool.alloc().expect("a buffer");
        assert!(cutter.next(frame, &mut buf));
        frames.push(buf.data().to_vec());
    }
    frames
}

fn stream(flow: &Flow, payload: &[u8]) -> Vec<Vec<u8>> {
    let count = payload.len().div_ceil(flow.size);
    let piece = |(index, piece): (usize, &[u8])| {
        let flags = if index + 1 == count { 0x18 } else { 0x10 };
        flow.segment(index as u16, index * flow.size, piece, flags)
    };
    payload.chunks(flow.size).enumerate().map(piece).collect()
}

fn any_flow() -> impl Strategy<Value = Flow> {
    (any::<bool>(), any::<bool>(), any::<bool>(), 1..4u16, 1..1400usize, 0..4usize)
        .prop_map(|(v6, tagged, tcp, port, size, options)| Flow { v6, tagged, tcp, port, size, options })
}

proptest! {
    #[test]
    fn joined_and_cut_again_it_is_the_same(flow in any_flow(), segments in 1..40usize, rest in 0..1399usize, fill: u8) {
        let rest = rest % flow.size;
        let payload: Vec<u8> = (0..segments * flow.size + rest).map(|at| (at as u8).wrapping_mul(fill)).collect();
        let frames = stream(&flow, &payload);
        let messages = joined(&frames);
        prop_assert!(messages.len() <= 1 + frames.len() * (flow.size + 100) / 60_000, "{} messages", messages.len());
        let again: Vec<_> = messages.iter().flat_map(|(vnet, frame)| cut(vnet, frame)).collect();
        prop_assert!(again == frames);
    }

    #[test]
    fn flows_that_are_mixed_keep_their_order_and_their_octets(flows in prop::collection::vec(any_flow(), 2..4), turns in prop::collection::vec(0..4usize, 1..60)) {
        // Each flow has a port of its own.
        let flows: Vec<_> = flows.into_iter().zip(1..).map(|(flow, port)| Flow { port, ..flow }).collect();
        let streams: Vec<_> = flows.iter().map(|flow| stream(flow, &vec![7; flow.size * 40])).collect();
        let mut next = vec![0; flows.len()];
        let mut frames = Vec::new();
        for turn in turns {
            let at = turn % flows.len();
            frames.extend(streams[at].get(next[at]).cloned());
            next[at] += 1;
        }
        let again: Vec<_> = joined(&frames).iter().flat_map(|(vnet, frame)| cut(vnet, frame)).collect();
        prop_assert_eq!(again.len(), frames.len());
        for (stream, sent) in streams.iter().zip(next) {
            let sent = &stream[..sent.min(stream.len())];
            let arrived: Vec<_> = again.iter().filter(|frame| sent.contains(frame)).cloned().collect();
            prop_assert!(arrived[..] == *sent);
        }
    }

    #[test]
    fn whatever_the_kernel_says_nothing_panics(vnet: [u8; 10], mut frame in prop::collection::vec(any::<u8>(), 0..300), kind in 0..3u8) {
        if frame.len() > 60 && kind > 0 {
            frame[12..14].copy_from_slice(if kind == 1 { &[8, 0] } else { &[0x86, 0xdd] });
            frame[14] = if kind == 1 { 0x45 } else { 0x60 };
            frame[23] = 17;
            frame[20] = 17;
        }
        let vnet = zerocopy::FromBytes::read_from_bytes(&vnet[..]).expect("10 octets");
        if let Ok(mut cutter) = Cutter::new(&frame, &vnet, Checksums::Finish) {
            let mut pool = HeapPool::new(70_000);
            for _ in 0..cutter.left().min(500) {
                let _ = cutter.next(&frame, &mut pool.alloc().expect("a buffer"));
            }
        }
        let mut bufs = bufs(&[frame.clone(), frame]);
        Joined::<N>::default().plan(&mut bufs, OWN, true);
    }
}

#[test]
fn a_wrong_checksum_is_not_joined_and_stays_wrong() {
    let flow = Flow { v6: false, tagged: false, tcp: true, port: 1, size: 1000, options: 3 };
    let mut frames = stream(&flow, &[5; 5000]);
    let last = frames[2].len() - 1;
    frames[2][last] ^= 1;
    let messages = joined(&frames);
    assert!(messages.iter().any(|(vnet, frame)| *vnet == VnetHeader::default() && *frame == frames[2]));
    let again: Vec<_> = messages.iter().flat_map(|(vnet, frame)| cut(vnet, frame)).collect();
    assert_eq!(again, frames);
}

#[test]
fn what_follows_an_acknowledgement_does_not_overtake_it() {
    let flow = Flow { v6: true, tagged: true, tcp: true, port: 1, size: 500, options: 0 };
    let mut frames = stream(&flow, &[5; 3000]);
    let acknowledgement = flow.segment(0, 0, &[], 0x10);
    frames.insert(2, acknowledgement);
    let again: Vec<_> = joined(&frames).iter().flat_map(|(vnet, frame)| cut(vnet, frame)).collect();
    assert_eq!(again, frames);
    assert_eq!(joined(&frames).len(), 3);
}

/// A VXLAN device hands over inner super-frames with the outer headers once.
#[test]
fn super_frames_inside_vxlan_are_cut_inside() {
    let flow = Flow { v6: false, tagged: false, tcp: true, port: 1, size: 700, options: 3 };
    let inner = stream(&flow, &[6; 2000]);
    let (vnet, big) = joined(&inner).remove(0);
    let outer = Flow { v6: false, tagged: false, tcp: false, port: 5000, size: 1, options: 0 };
    let wrapped = |frame: &[u8]| {
        let mut packet = outer.segment(0, 0, &[&[8, 0, 0, 0, 0, 0, 9, 0], frame].concat(), 0);
        packet[40..42].fill(0); // no outer checksum
        packet
    };
    let segmented = vnet.segmented().expect("known").expect("a super-frame");
    let moved = VnetHeader::super_frame(segmented, false, false, 50 + 34, 50 + 34 + 32);
    let segments = cut(&moved, &wrapped(&big));
    assert_eq!(segments.len(), inner.len());
    for (at, (segment, inner)) in segments.iter().zip(&inner).enumerate() {
        assert_eq!(&segment[50..], &inner[..], "segment {at}");
        let mut expected = wrapped(inner);
        // The outer identification goes on as well.
        expected[18..20].copy_from_slice(&(100 + at as u16).to_be_bytes());
        expected[24..26].fill(0);
        let sum = checksum::internet(&expected[14..34]);
        expected[24..26].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(segment[..50], expected[..50], "outer headers of segment {at}");
    }
}
