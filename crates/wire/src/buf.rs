//! The packet buffer that the data path works on, as a trait, so that the same stages run over
//! DPDK mbufs in the appliance and over plain memory in tests, fuzzers and the simulator.

use std::sync::Arc;

use arrayvec::ArrayVec;

/// Octets kept free in front of a fresh buffer: room for the outer Ethernet, VLAN, IPv6, UDP and
/// record or VXLAN headers that a stage may put in front without copying.
pub const HEADROOM: usize = 128;

/// One packet in one contiguous piece of memory, with room to grow at both ends.
pub trait PacketBuf: Sized {
    /// The packet's octets.
    fn data(&self) -> &[u8];
    /// The packet's octets, to be changed in place.
    fn data_mut(&mut self) -> &mut [u8];
    /// Octets free in front of the packet.
    fn headroom(&self) -> usize;
    /// Octets free behind the packet.
    fn tailroom(&self) -> usize;
    /// Grows the packet by `n` octets at its front and returns them (their content is not
    /// defined), or `None` with nothing changed when the headroom is smaller.
    fn prepend(&mut self, n: usize) -> Option<&mut [u8]>;
    /// Grows the packet by `n` octets at its end and returns them (their content is not
    /// defined), or `None` with nothing changed when the tailroom is smaller.
    fn append(&mut self, n: usize) -> Option<&mut [u8]>;
    /// Drops the first `n` octets. Panics when the packet is shorter: a bug of the caller.
    fn trim_front(&mut self, n: usize);
    /// Makes the buffer as a pool gives it: empty, with [`HEADROOM`] octets in front.
    fn reset(&mut self);
    /// Shortens the packet to `len` octets; does nothing when it is not longer.
    fn truncate(&mut self, len: usize);
    /// Length of the packet in octets.
    fn len(&self) -> usize {
        self.data().len()
    }
    /// Whether the packet holds no octet.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where packet buffers come from.
pub trait BufPool {
    /// The kind of buffer it gives.
    type Buf: PacketBuf;
    /// An empty buffer with [`HEADROOM`] octets in front, or `None` when the pool is empty.
    fn alloc(&mut self) -> Option<Self::Buf>;

    /// Fills `bufs` with empty buffers, as far as there are enough.
    fn alloc_burst<const N: usize>(&mut self, bufs: &mut ArrayVec<Self::Buf, N>) {
        while !bufs.is_full() {
            let Some(buf) = self.alloc() else { return };
            bufs.push(buf);
        }
    }

    /// Takes all of `bufs` back.
    fn free_burst<const N: usize>(&mut self, bufs: &mut ArrayVec<Self::Buf, N>) {
        bufs.clear();
    }
}

/// A pool's buffers, taken and given back many at a time.
#[derive(Debug)]
pub struct Stash<P: BufPool> {
    pool: P,
    fresh: ArrayVec<P::Buf, 32>,
    used: ArrayVec<P::Buf, 32>,
}

impl<P: BufPool> Stash<P> {
    /// Takes from `pool` what is needed, when it is needed.
    pub fn new(pool: P) -> Self {
        Self { pool, fresh: ArrayVec::new(), used: ArrayVec::new() }
    }

    /// Takes a buffer back, sooner or later.
    #[inline]
    pub fn recycle(&mut self, buf: P::Buf) {
        if self.used.is_full() {
            self.tidy();
        }
        self.used.push(buf);
    }

    /// Gives all that was taken back to the pool.
    #[inline]
    pub fn tidy(&mut self) {
        if !self.used.is_empty() {
            self.pool.free_burst(&mut self.used);
        }
    }
}

impl<P: BufPool> BufPool for Stash<P> {
    type Buf = P::Buf;

    #[inline]
    fn alloc(&mut self) -> Option<P::Buf> {
        // What was used last is in the cache still.
        if let Some(mut buf) = self.used.pop() {
            buf.reset();
            return Some(buf);
        }
        if self.fresh.is_empty() {
            self.pool.alloc_burst(&mut self.fresh);
        }
        self.fresh.pop()
    }
}

/// A packet buffer in ordinary memory, for tests, fuzzers and the simulator.
#[derive(Clone, Debug)]
pub struct HeapBuf {
    memory: Vec<u8>,
    start: usize,
    end: usize,
    /// Lives as long as the buffer: how many of a limited pool's buffers are in use.
    _lease: Arc<()>,
}

/// A source of [`HeapBuf`]s.
#[derive(Clone, Debug)]
pub struct HeapPool {
    size: usize,
    limit: usize,
    lease: Arc<()>,
}

impl HeapPool {
    /// A pool without end of buffers for packets of up to `size` octets.
    pub fn new(size: usize) -> Self {
        Self::limited(size, usize::MAX - 1)
    }

    /// A pool of `count` buffers for packets of up to `size` octets.
    pub fn limited(size: usize, count: usize) -> Self {
        Self { size, limit: count, lease: Arc::new(()) }
    }
}

impl BufPool for HeapPool {
    type Buf = HeapBuf;

    fn alloc(&mut self) -> Option<HeapBuf> {
        // The pool itself holds one reference.
        (Arc::strong_count(&self.lease) <= self.limit).then(|| HeapBuf {
            memory: vec![0xa5; HEADROOM + self.size],
            start: HEADROOM,
            end: HEADROOM,
            _lease: Arc::clone(&self.lease),
        })
    }
}

impl PacketBuf for HeapBuf {
    fn data(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.end]
    }

    fn headroom(&self) -> usize {
        self.start
    }

    fn tailroom(&self) -> usize {
        self.memory.len() - self.end
    }

    fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        self.start = self.start.checked_sub(n)?;
        Some(&mut self.memory[self.start..self.start + n])
    }

    fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.tailroom() {
            return None;
        }
        let start = self.end;
        self.end += n;
        Some(&mut self.memory[start..self.end])
    }

    fn trim_front(&mut self, n: usize) {
        assert!(n <= self.len(), "cannot trim {n} octets off {}", self.len());
        self.start += n;
    }

    fn reset(&mut self) {
        (self.start, self.end) = (HEADROOM, HEADROOM);
    }

    fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start + len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_grows_and_shrinks_at_both_ends() {
        let mut buf = HeapPool::new(10).alloc().expect("unlimited");
        buf.append(4).expect("room").copy_from_slice(&[3, 4, 5, 6]);
        buf.prepend(2).expect("room").copy_from_slice(&[1, 2]);
        assert_eq!(buf.data(), [1, 2, 3, 4, 5, 6]);
        buf.trim_front(1);
        buf.truncate(3);
        assert_eq!(buf.data(), [2, 3, 4]);
        assert!(buf.append(100).is_none() && buf.prepend(HEADROOM).is_none());
        assert_eq!(buf.data(), [2, 3, 4], "a refused change changes nothing");
    }

    #[test]
    fn a_limited_pool_ends_and_recovers() {
        let mut pool = HeapPool::limited(10, 2);
        let held = (pool.alloc(), pool.alloc());
        assert!(held.0.is_some() && held.1.is_some() && pool.alloc().is_none());
        drop(held);
        assert!(pool.alloc().is_some());
    }
}
