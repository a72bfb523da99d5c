//! Packet buffers and the pools that they come from.

use std::ptr::NonNull;
use std::slice;

use arrayvec::ArrayVec;
use dpdk_sys::{RTE_PKTMBUF_HEADROOM, rte_mbuf, rte_mempool};
use wire::buf::{BufPool, HEADROOM, PacketBuf};

use crate::eal::c_string;
use crate::{Eal, Error};

// What the pipeline expects in front of a packet is what DPDK leaves there.
const _: () = assert!(HEADROOM == RTE_PKTMBUF_HEADROOM as usize);

/// Buffers that each registered thread keeps for itself.
const CACHE: u32 = 256;

/// One packet. Freed to its pool when dropped.
#[derive(Debug)]
#[repr(transparent)]
pub struct Mbuf(NonNull<rte_mbuf>);

// SAFETY: an mbuf belongs to whoever holds it, on any thread; pools take buffers back from any thread.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// Takes over a packet that DPDK gave us.
    ///
    /// # Safety
    /// `raw` is a valid mbuf with one reference, which is ours.
    pub(crate) unsafe fn from_raw(raw: NonNull<rte_mbuf>) -> Self {
        Self(raw)
    }

    /// Whether the packet lies in one piece, as [`PacketBuf`] needs. All its methods see the first piece only.
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        self.raw().nb_segs == 1
    }

    #[inline]
    fn raw(&self) -> &rte_mbuf {
        // SAFETY: the pointer is valid while we own the mbuf, and nobody else holds it.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn raw_mut(&mut self) -> &mut rte_mbuf {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { self.0.as_mut() }
    }

    #[inline]
    fn start(&self) -> *mut u8 {
        let raw = self.raw();
        // SAFETY: data_off lies within the buffer: DPDK makes it so, and every method below keeps it so.
        unsafe { raw.buf_addr.cast::<u8>().add(usize::from(raw.data_off)) }
    }

    /// Sets where the packet lies. The caller has checked that it lies within the buffer.
    #[inline]
    fn place(&mut self, data_off: u16, data_len: u16) {
        let raw = self.raw_mut();
        debug_assert!(u32::from(data_off) + u32::from(data_len) <= u32::from(raw.buf_len));
        raw.data_off = data_off;
        raw.data_len = data_len;
        raw.pkt_len = u32::from(data_len);
    }
}

impl PacketBuf for Mbuf {
    #[inline]
    fn data(&self) -> &[u8] {
        // SAFETY: data_len octets from start() lie within the buffer, which is initialised memory of ours.
        unsafe { slice::from_raw_parts(self.start(), usize::from(self.raw().data_len)) }
    }

    #[inline]
    fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { slice::from_raw_parts_mut(self.start(), usize::from(self.raw().data_len)) }
    }

    #[inline]
    fn headroom(&self) -> usize {
        usize::from(self.raw().data_off)
    }

    #[inline]
    fn tailroom(&self) -> usize {
        let raw = self.raw();
        usize::from(raw.buf_len - raw.data_off - raw.data_len)
    }

    #[inline]
    fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        let (offset, len) = (self.raw().data_off, self.raw().data_len);
        let n = u16::try_from(n).ok()?;
        self.place(offset.checked_sub(n)?, len + n);
        Some(&mut self.data_mut()[..usize::from(n)])
    }

    #[inline]
    fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.tailroom() {
            return None;
        }
        let (offset, len) = (self.raw().data_off, self.raw().data_len);
        self.place(offset, len + n as u16);
        Some(&mut self.data_mut()[usize::from(len)..])
    }

    #[inline]
    fn trim_front(&mut self, n: usize) {
        let (offset, len) = (self.raw().data_off, self.raw().data_len);
        assert!(n <= usize::from(len), "cannot trim {n} octets off {len}");
        self.place(offset + n as u16, len - n as u16);
    }

    #[inline]
    fn reset(&mut self) {
        debug_assert!(self.is_contiguous());
        self.place(HEADROOM as u16, 0);
        self.raw_mut().ol_flags = 0;
    }

    #[inline]
    fn truncate(&mut self, len: usize) {
        let (offset, old) = (self.raw().data_off, self.raw().data_len);
        if len < usize::from(old) {
            self.place(offset, len as u16);
        }
    }

    #[inline]
    fn len(&self) -> usize {
        usize::from(self.raw().data_len)
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: we own the one reference.
        unsafe { dpdk_sys::shim_free(self.0.as_ptr()) };
    }
}

/// Frees all packets of a burst with one call, and leaves it empty.
pub fn free_burst<const N: usize>(burst: &mut ArrayVec<Mbuf, N>) {
    let count = burst.len();
    // SAFETY: the first `count` elements are mbufs that we own (Mbuf is transparent over a pointer); the length is
    // set to 0 first, so nobody frees them again.
    unsafe {
        burst.set_len(0);
        dpdk_sys::rte_pktmbuf_free_bulk(burst.as_mut_ptr().cast(), count as u32);
    }
}

/// Where packet buffers come from. It lives until the process ends, since a packet may be anywhere.
#[derive(Clone, Debug)]
pub struct MbufPool(NonNull<rte_mempool>);

// SAFETY: a mempool is made to be used by many threads at once.
unsafe impl Send for MbufPool {}
// SAFETY: as above.
unsafe impl Sync for MbufPool {}

impl MbufPool {
    /// Makes a pool of `count` buffers for packets of up to `size` octets.
    ///
    /// # Errors
    /// The name is taken, or the EAL's memory does not suffice.
    pub fn new(_eal: &Eal, name: &str, count: u32, size: u16) -> Result<Self, Error> {
        const ANY_SOCKET: i32 = -1;
        let c_name = c_string(name)?;
        let room = size.checked_add(HEADROOM as u16).ok_or_else(|| Error::Failed {
            what: format!("cannot make the buffer pool {name}"),
            reason: format!("{size} octets are too many for one buffer"),
        })?;
        // SAFETY: the EAL runs (`_eal`); the name lives through the call and is copied.
        let pool =
            unsafe { dpdk_sys::rte_pktmbuf_pool_create(c_name.as_ptr(), count, CACHE, 0, room, ANY_SOCKET) };
        NonNull::new(pool).map(Self).ok_or_else(|| {
            let need = (u64::from(count) * (u64::from(room) + 256)) >> 20;
            Error::errno(format!("cannot make {count} packet buffers of {size} octets (about {need} MiB)"))
        })
    }

    /// Buffers that are free now, those in the caches of threads included.
    pub fn available(&self) -> u32 {
        // SAFETY: the pool lives until the process ends.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.0.as_ptr()) }
    }

    pub(crate) fn raw(&self) -> *mut rte_mempool {
        self.0.as_ptr()
    }
}

impl BufPool for MbufPool {
    type Buf = Mbuf;

    #[inline]
    fn alloc(&mut self) -> Option<Mbuf> {
        // SAFETY: the pool is valid; what it gives is an mbuf with one reference, ours.
        unsafe { NonNull::new(dpdk_sys::shim_alloc(self.0.as_ptr())).map(|raw| Mbuf::from_raw(raw)) }
    }

    #[inline]
    fn alloc_burst<const N: usize>(&mut self, bufs: &mut ArrayVec<Mbuf, N>) {
        let (held, room) = (bufs.len(), N - bufs.len());
        // SAFETY: there is room for `room` pointers behind the elements held; when the call returns 0 all of them are mbufs with one
        // reference, ours, and Mbuf is transparent over such a pointer. Otherwise none was taken.
        unsafe {
            let free = bufs.as_mut_ptr().add(held).cast();
            if dpdk_sys::shim_alloc_bulk(self.0.as_ptr(), free, room as u32) == 0 {
                bufs.set_len(N);
                return;
            }
        }
        // Fewer than wanted are left: one by one.
        while !bufs.is_full() {
            let Some(buf) = self.alloc() else { return };
            bufs.push(buf);
        }
    }

    #[inline]
    fn free_burst<const N: usize>(&mut self, bufs: &mut ArrayVec<Mbuf, N>) {
        free_burst(bufs);
    }
}
