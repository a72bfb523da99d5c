//! A frame inside its segment, without what its attachment or record put around it.

use bridge::{Checks, Packed, SegmentIndex};
use counters::DropReason;
use wire::buf::{BufPool, PacketBuf};
use wire::mac::{MacAddr, MacBits};

/// Octets of both addresses.
pub(crate) const ADDRESSES: usize = 2 * MacAddr::LEN;

/// What is known of a frame beside its octets.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// Its segment.
    pub segment: SegmentIndex,
    /// Where it came from.
    pub from: Packed,
    /// Its destination address.
    pub dst: MacBits,
    /// Its source address.
    pub src: MacBits,
    /// What its segment wants looked at.
    pub checks: Checks,
}

impl Meta {
    /// Both addresses as they stand at the front of the frame.
    #[inline]
    pub(crate) fn addresses(&self) -> [u8; ADDRESSES] {
        MacBits::to_front(self.dst, self.src)
    }
}

/// A frame from its EtherType on: the addresses are in its [`Meta`], and are put in front again where it leaves. So a VLAN tag
/// between the two goes and comes without moving anything.
#[derive(Debug)]
pub enum Body<'a, B> {
    /// In a buffer of its own.
    Own(B),
    /// In a record, among others.
    InRecord(&'a [u8]),
}

impl<B: PacketBuf> Body<'_, B> {
    /// Its octets.
    #[inline]
    pub fn data(&self) -> &[u8] {
        match self {
            Self::Own(buf) => buf.data(),
            Self::InRecord(bytes) => bytes,
        }
    }

    /// In a buffer of its own; copied only if need be. `None` when the pool is empty.
    #[inline]
    pub(crate) fn into_buf<P: BufPool<Buf = B>>(self, pool: &mut P) -> Option<B> {
        match self {
            Self::Own(buf) => Some(buf),
            Self::InRecord(bytes) => copy_of(pool, bytes),
        }
    }
}

/// A new buffer that holds `bytes`.
#[inline]
pub(crate) fn copy_of<P: BufPool>(pool: &mut P, bytes: &[u8]) -> Option<P::Buf> {
    let mut copy = pool.alloc()?;
    copy.append(bytes.len())?.copy_from_slice(bytes);
    Some(copy)
}

/// Checks that hold for every frame that enters a segment, from whichever side. `payload` are its octets behind its EtherType.
#[inline]
pub(crate) fn bridgeable(dst: MacBits, src: MacBits, payload: usize, mtu: u16) -> Result<(), DropReason> {
    if src.is_multicast() {
        return Err(DropReason::SourceMulticast);
    }
    if src.is_zero() {
        return Err(DropReason::SourceZero);
    }
    if dst.is_link_reserved() {
        return Err(DropReason::ReservedMac);
    }
    if payload > usize::from(mtu) {
        return Err(DropReason::Oversize);
    }
    Ok(())
}
