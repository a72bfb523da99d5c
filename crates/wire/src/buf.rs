//! The packet buffer that the data path works on, as a trait, so that the same stages run over
//! DPDK mbufs in the appliance and over plain memory in tests, fuzzers and the simulator.

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
}
