//! Records that go over TLS: the workers' queues as the control thread sees them.

use std::sync::Arc;

use bridge::SessionIndex;
use control::RecordQueues;
use dpdk::MbufPool;
use wire::buf::PacketBuf;
use worker::Fallback;

/// The queues, and where buffers for what comes are taken from.
pub(crate) struct Records {
    pub(crate) queues: Arc<Fallback>,
    pub(crate) pool: MbufPool,
}

impl RecordQueues for Records {
    fn wakes(&mut self, wake: Box<dyn Fn() + Send + Sync>) {
        self.queues.wakes(wake);
    }

    fn sleep(&mut self) -> bool {
        self.queues.sleep()
    }

    fn awake(&mut self) {
        self.queues.awake();
    }

    fn take(&mut self, send: &mut dyn FnMut(SessionIndex, &[u8])) -> bool {
        let Some((session, record)) = self.queues.take() else { return false };
        send(session, record.data());
        true
    }

    fn give(&mut self, worker: usize, record: &[u8]) {
        self.queues.give(&mut self.pool, worker, record);
    }

    fn take_lost(&mut self) -> u64 {
        self.queues.take_lost()
    }
}
