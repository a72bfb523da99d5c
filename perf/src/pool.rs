//! Packet buffers that are used again, as a mempool's are: the measured code must not pay for the heap.

use std::cell::RefCell;
use std::rc::Rc;

use wire::buf::{BufPool, HEADROOM, PacketBuf};

type Free = Rc<RefCell<Vec<Box<[u8]>>>>;

/// A pool of a fixed number of buffers.
#[derive(Clone)]
pub(crate) struct Recycling(Free);

/// One of them; goes back when dropped.
pub(crate) struct Buf {
    memory: Option<Box<[u8]>>,
    start: usize,
    end: usize,
    home: Free,
}

impl Recycling {
    pub(crate) fn new(count: usize, size: usize) -> Self {
        Self(Rc::new(RefCell::new((0..count).map(|_| vec![0; HEADROOM + size].into()).collect())))
    }
}

impl BufPool for Recycling {
    type Buf = Buf;

    fn alloc(&mut self) -> Option<Buf> {
        let memory = self.0.borrow_mut().pop()?;
        Some(Buf { memory: Some(memory), start: HEADROOM, end: HEADROOM, home: Rc::clone(&self.0) })
    }
}

impl Buf {
    fn memory(&self) -> &[u8] {
        self.memory.as_deref().unwrap_or_default()
    }

    fn memory_mut(&mut self) -> &mut [u8] {
        self.memory.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        self.home.borrow_mut().extend(self.memory.take());
    }
}

impl PacketBuf for Buf {
    fn data(&self) -> &[u8] {
        &self.memory()[self.start..self.end]
    }

    fn data_mut(&mut self) -> &mut [u8] {
        let (start, end) = (self.start, self.end);
        &mut self.memory_mut()[start..end]
    }

    fn headroom(&self) -> usize {
        self.start
    }

    fn tailroom(&self) -> usize {
        self.memory().len() - self.end
    }

    fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        self.start = self.start.checked_sub(n)?;
        let start = self.start;
        Some(&mut self.memory_mut()[start..start + n])
    }

    fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.tailroom() {
            return None;
        }
        let start = self.end;
        self.end += n;
        Some(&mut self.memory_mut()[start..start + n])
    }

    fn trim_front(&mut self, n: usize) {
        assert!(n <= self.end - self.start, "cannot trim {n} octets");
        self.start += n;
    }

    fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start + len);
    }
}
