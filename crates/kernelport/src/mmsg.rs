//! Whole bursts per system call: `recvmmsg` and `sendmmsg` on a packet socket. The only unsafe code of this crate.
#![allow(unsafe_code)]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc::{self, c_void, iovec, mmsghdr, msghdr, tpacket_auxdata};
use wire::buf::PacketBuf;
use wire::mac::MacAddr;
use wire::vlan::TAG_LEN;
use zerocopy::IntoBytes;

use crate::join::Joined;
use crate::vnet::VnetHeader;

/// Frames that one call takes.
const RECEIVE: usize = 16;

/// Octets of the largest frame: a super-frame of 64 KiB with its headers.
const FRAME: usize = 65_536 + 256;

/// Octets of both MAC addresses, behind which the kernel has taken a VLAN tag out.
const ADDRESSES: usize = 2 * MacAddr::LEN;

/// Room for one control message with `tpacket_auxdata`.
const CONTROL: usize = 64;

/// Buffers of a burst and the vnet headers before them.
const PIECES: usize = 2 * MESSAGES;

/// Messages that one call sends.
const MESSAGES: usize = 64;

/// What one call received.
pub(crate) struct Received {
    memory: Box<[u8]>,
    vnets: [VnetHeader; RECEIVE],
    controls: [[u64; CONTROL / 8]; RECEIVE],
    /// Where each frame starts in its part of the memory, and its length.
    frames: [(usize, usize); RECEIVE],
    count: usize,
}

impl Received {
    pub(crate) fn new() -> Self {
        Self {
            memory: vec![0; RECEIVE * FRAME].into(),
            vnets: [VnetHeader::default(); RECEIVE],
            controls: [[0; CONTROL / 8]; RECEIVE],
            frames: [(0, 0); RECEIVE],
            count: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Frame number `index` with what the kernel knows of it.
    pub(crate) fn frame(&self, index: usize) -> (&[u8], &VnetHeader) {
        let (start, len) = self.frames[index];
        (&self.memory[index * FRAME + start..][..len], &self.vnets[index])
    }

    /// Takes what waits, without waiting. Returns how many frames.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.count = 0;
        // The MAC addresses and the rest go to two places with room for a tag between them.
        let mut pieces = [[EMPTY; 3]; RECEIVE];
        let mut headers: [mmsghdr; RECEIVE] = zeroed_headers();
        let parts = self.memory.chunks_exact_mut(FRAME).zip(&mut self.vnets).zip(&mut self.controls);
        for (((memory, vnet), control), (piece, header)) in parts.zip(pieces.iter_mut().zip(&mut headers)) {
            let (addresses, rest) = memory.split_at_mut(ADDRESSES);
            let rest = &mut rest[TAG_LEN..];
            *piece = [slice(vnet.as_mut_bytes()), slice(addresses), slice(rest)];
            header.msg_hdr.msg_iov = piece.as_mut_ptr();
            header.msg_hdr.msg_iovlen = piece.len() as _;
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL as _;
        }
        // SAFETY: each header points to pieces and a control buffer, and those to memory, of this function or of `self`, which is
        // borrowed alone and outlives the call; the lengths are theirs.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                RECEIVE as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if received < 0 {
            return match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                error => Err(error),
            };
        }
        self.count = received as usize;
        for (index, header) in headers[..self.count].iter().enumerate() {
            let len = (header.msg_len as usize).saturating_sub(VnetHeader::LEN).min(FRAME - TAG_LEN);
            let tag = tag_of(&header.msg_hdr);
            let memory = &mut self.memory[index * FRAME..][..FRAME];
            self.frames[index] = match tag {
                Some(tag) if len >= ADDRESSES => {
                    memory[ADDRESSES..ADDRESSES + TAG_LEN].copy_from_slice(&tag);
                    // The kernel counts without the tag that it took out.
                    self.vnets[index] = self.vnets[index].moved_by(TAG_LEN as u16);
                    (0, len + TAG_LEN)
                }
                _ => {
                    memory.copy_within(..ADDRESSES, TAG_LEN);
                    (TAG_LEN, len)
                }
            };
        }
        Ok(self.count)
    }
}

/// The VLAN tag that the kernel took out of a frame.
fn tag_of(header: &msghdr) -> Option<[u8; TAG_LEN]> {
    // SAFETY: recvmmsg filled the control buffer that this header points to, and its length; it is alive.
    let message = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: null, or a control message within that buffer.
    let message = unsafe { message.as_ref() }?;
    let wanted = message.cmsg_level == libc::SOL_PACKET && message.cmsg_type == libc::PACKET_AUXDATA;
    // SAFETY: computes a length.
    let needed = unsafe { libc::CMSG_LEN(size_of::<tpacket_auxdata>() as u32) };
    if !wanted || (message.cmsg_len as u64) < u64::from(needed) {
        return None;
    }
    // SAFETY: the message holds a tpacket_auxdata, perhaps not aligned.
    let data = unsafe { libc::CMSG_DATA(message).cast::<tpacket_auxdata>().read_unaligned() };
    if data.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let has_type = data.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    let tpid = if has_type { data.tp_vlan_tpid } else { 0x8100 };
    let [a, b] = tpid.to_be_bytes();
    let [c, d] = data.tp_vlan_tci.to_be_bytes();
    Some([a, b, c, d])
}

/// Sends the messages of `joined` from number `from` on, each a chain of `bufs`, without waiting. Returns how many the kernel took.
pub(crate) fn send<B: PacketBuf, const N: usize>(
    socket: BorrowedFd<'_>,
    joined: &Joined<N>,
    bufs: &[B],
    from: usize,
) -> io::Result<usize> {
    let messages = &joined.messages()[from..];
    let mut pieces = [EMPTY; PIECES];
    let mut headers: [mmsghdr; MESSAGES] = zeroed_headers();
    let (mut used, mut count) = (0, 0);
    for (message, header) in messages.iter().zip(&mut headers) {
        let needed = 1 + message.count;
        if used + needed > PIECES {
            break;
        }
        let own = &mut pieces[used..used + needed];
        own[0] = shared(message.vnet.as_bytes());
        for (place, (nth, at)) in own[1..].iter_mut().zip(joined.chain(message).enumerate()) {
            let data = bufs[at].data();
            *place = shared(if nth == 0 { data } else { data.get(message.skip..).unwrap_or_default() });
        }
        header.msg_hdr.msg_iov = own.as_mut_ptr();
        header.msg_hdr.msg_iovlen = needed as _;
        used += needed;
        count += 1;
    }
    // SAFETY: each header points to pieces of this function, and those to octets of `joined` and `bufs`, which are borrowed for the
    // call; sendmmsg only reads them.
    let sent =
        unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count as u32, libc::MSG_DONTWAIT) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

const EMPTY: iovec = iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

fn zeroed_headers<const N: usize>() -> [mmsghdr; N] {
    // SAFETY: a header of zeros is valid: no name, no pieces, no control message.
    [const { unsafe { MaybeUninit::<mmsghdr>::zeroed().assume_init() } }; N]
}

fn slice(bytes: &mut [u8]) -> iovec {
    iovec { iov_base: bytes.as_mut_ptr().cast::<c_void>(), iov_len: bytes.len() }
}

/// For sending only.
fn shared(bytes: &[u8]) -> iovec {
    iovec { iov_base: bytes.as_ptr().cast_mut().cast::<c_void>(), iov_len: bytes.len() }
}
