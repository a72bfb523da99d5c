//! Queues of a started port.

use std::cell::Cell;
use std::marker::PhantomData;

use arrayvec::ArrayVec;

use crate::Mbuf;

/// A receive queue. `Send` and not `Sync`: one thread polls it.
///
/// ```compile_fail
/// fn shared<T: Sync>() {}
/// shared::<dpdk::RxQueue>();
/// ```
#[derive(Debug)]
pub struct RxQueue {
    port: u16,
    queue: u16,
    _one_thread: PhantomData<Cell<()>>,
}

/// A transmit queue. `Send` and not `Sync`: one thread fills it.
///
/// ```compile_fail
/// fn shared<T: Sync>() {}
/// shared::<dpdk::TxQueue>();
/// ```
#[derive(Debug)]
pub struct TxQueue {
    port: u16,
    queue: u16,
    _one_thread: PhantomData<Cell<()>>,
}

impl RxQueue {
    /// Queue `queue` of the port with DPDK's number `port`, which has been started. Made once for each queue.
    pub(crate) fn new(port: u16, queue: u16) -> Self {
        Self { port, queue, _one_thread: PhantomData }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Takes what has arrived, as far as `burst` has room, and returns how many.
    #[inline]
    pub fn burst<const N: usize>(&mut self, burst: &mut ArrayVec<Mbuf, N>) -> usize {
        let held = burst.len();
        let room = (N - held).min(usize::from(u16::MAX)) as u16;
        // SAFETY: the port is started, for this queue exists; `&mut self` makes this thread the only one.
        // There is room for `room` pointers behind the elements held; those written are mbufs that are now ours, and Mbuf
        // is transparent over such a pointer.
        unsafe {
            let free = burst.as_mut_ptr().add(held).cast();
            let received = dpdk_sys::shim_rx_burst(self.port, self.queue, free, room);
            burst.set_len(held + usize::from(received));
            usize::from(received)
        }
    }
}

impl TxQueue {
    /// As [`RxQueue::new`].
    pub(crate) fn new(port: u16, queue: u16) -> Self {
        Self { port, queue, _one_thread: PhantomData }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Sends what the port takes of `burst`, from its front. The rest stays in it, in order. Returns how many
    /// were sent.
    #[inline]
    pub fn burst<const N: usize>(&mut self, burst: &mut ArrayVec<Mbuf, N>) -> usize {
        let count = burst.len().min(usize::from(u16::MAX));
        // SAFETY: the port is started and this thread the only one, as above. The first `sent` mbufs belong to the
        // port afterwards: the others move to the front, and the length says that the first are gone.
        unsafe {
            let first = burst.as_mut_ptr();
            let sent = dpdk_sys::shim_tx_burst(self.port, self.queue, first.cast(), count as u16);
            let sent = usize::from(sent);
            let left = burst.len() - sent;
            std::ptr::copy(first.add(sent), first, left);
            burst.set_len(left);
            sent
        }
    }
}
