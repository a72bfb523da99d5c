//! The workers: one pinned thread per configured core, polling its own queue of every port and
//! running the [`pipeline`] to completion. Per packet: no lock, no system call, no heap allocation, no log
//! line.
//!
//! A worker shares with others only what is read (the tables' snapshot), what is written rarely (the FDB), and its
//! counters, which it alone writes.
#![forbid(unsafe_code)]

mod fallback;
mod handover;
mod idle;
mod poll;
mod ports;
mod queue;
mod sink;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use arc_swap::ArcSwap;
use bridge::Fdb;
use counters::CoreCounters;
use crossbeam::channel::{Receiver, Sender};
use dpdk::MbufPool;
use pipeline::WorkerId;
use pipeline::command::{Command, Event};
use pipeline::notice::Notice;
use pipeline::tables::Tables;

pub use fallback::{Fallback, Wake};
pub use handover::Handover;
pub use idle::IdlePolicy;
pub use queue::{Pace, PortChange, PortQueues, Queues};

/// What a worker works with.
pub struct WorkerParams {
    /// Which worker it is; names the thread.
    pub id: WorkerId,
    /// The way to and from the other workers.
    pub handover: Arc<Handover>,
    /// The way to and from the control thread for records that go over TLS.
    pub fallback: Arc<Fallback>,
    /// The core to pin the thread to, as the kernel numbers them.
    pub core: usize,
    /// What to do when there is nothing to do.
    pub idle: IdlePolicy,
    /// The instant that the appliance counts its time from, the same for all its threads.
    pub start: Instant,
    /// The queues it owns at first, one pair for each port, in the ports' order.
    pub queues: Vec<PortQueues>,
    /// Ports that come and go while it runs.
    pub port_changes: Receiver<PortChange>,
    /// Where its buffers come from.
    pub pool: MbufPool,
    /// Most sessions there can be.
    pub max_sessions: usize,
    /// The tables in force.
    pub tables: Arc<ArcSwap<Tables>>,
    /// The forwarding database.
    pub fdb: Arc<Fdb>,
    /// This worker's counters.
    pub counters: Arc<CoreCounters>,
    /// Orders from the control thread.
    pub commands: Receiver<Command>,
    /// News for the control thread.
    pub events: Sender<Event>,
    /// News of the traffic.
    pub notices: Sender<Notice>,
}

/// A running worker. Dropping it without [`Worker::stop`] leaves the thread running.
pub struct Worker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<PortQueues>>,
}

impl Worker {
    /// Starts the thread. Fails when the system gives no thread.
    pub fn start(params: WorkerParams) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = Builder::new()
            .name(format!("worker-{}", params.id.index))
            .spawn(move || poll::run(params, &seen))?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread after its present burst and gives its queues back, so that the ports can be
    /// stopped. `None` when the thread panicked.
    pub fn stop(self) -> Option<Vec<PortQueues>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok()
    }

    /// Whether the thread has ended, which it does by itself only when it panicked.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}
