//! Starts DPDK, the ports and the worker, and stops them in order.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bridge::Fdb;
use config::{Config, Device, Idle};
use control::clock::Clock;
use control::{PortInfo, PortState, session_count};
use counters::{CoreCounters, Counters};
use crossbeam::channel::{Receiver, Sender, bounded};
use dpdk::{Eal, EalConfig, MbufPool, vdev};
use pipeline::command::{Command, Event};
use pipeline::tables::Tables;
use worker::{IdlePolicy, Worker, WorkerParams};

use crate::Failure;
use crate::ports::{self, AROUND, OpenPort, Opened};

/// Orders and news that wait at one time.
const QUEUE: usize = 4096;

/// Octets that DPDK adds to each buffer.
const BUFFER_OVERHEAD: u64 = 128 + 128 + 64;

/// The running data plane.
pub(crate) struct DataPlane {
    worker: Worker,
    ports: Rc<RefCell<Vec<OpenPort>>>,
}

/// What the control thread needs of it.
pub(crate) struct Controls {
    pub(crate) ports: Vec<PortInfo>,
    pub(crate) tables: Arc<ArcSwap<Tables>>,
    pub(crate) fdb: Arc<Fdb>,
    pub(crate) counters: Counters,
    pub(crate) commands: Sender<Command>,
    pub(crate) events: Receiver<Event>,
    pub(crate) port_states: Box<dyn Fn() -> Vec<PortState>>,
}

pub(crate) fn start(config: &Config, clock: Clock) -> Result<(DataPlane, Controls), Failure> {
    let pci = config.ports.iter().filter_map(|port| match &port.device {
        Device::Pci(address) => Some(address.clone()),
        _ => None,
    });
    let eal = Eal::init(&EalConfig {
        hugepages: config.system.hugepages,
        memory_mb: config.system.memory_mb,
        pci: pci.collect(),
    })?;
    let pool = pool(&eal, config)?;
    let Opened { ports, infos, mut queues } = ports::open(&eal, &pool, config, 1)?;
    let sessions = session_count(config);
    let core = Arc::new(CoreCounters::new(ports.len(), config.segments.len(), sessions));
    let tables = Arc::new(ArcSwap::from_pointee(Tables::default()));
    let fdb = Arc::new(Fdb::new(config.system.max_macs));
    let (commands, worker_commands) = bounded(QUEUE);
    let (worker_events, events) = bounded(QUEUE);
    let worker = Worker::start(WorkerParams {
        index: 0,
        core: config.system.workers[0],
        idle: match config.system.idle {
            Idle::Spin => IdlePolicy::Spin,
            Idle::Adaptive(pause) => IdlePolicy::Adaptive(pause),
        },
        start: clock.origin(),
        queues: queues.remove(0),
        pool,
        max_sessions: sessions,
        tables: Arc::clone(&tables),
        fdb: Arc::clone(&fdb),
        counters: Arc::clone(&core),
        commands: worker_commands,
        events: worker_events,
    })?;
    let ports = Rc::new(RefCell::new(ports));
    let shown = Rc::clone(&ports);
    let controls = Controls {
        ports: infos,
        tables,
        fdb,
        counters: Counters::new(vec![core]),
        commands,
        events,
        port_states: Box::new(move || shown.borrow().iter().map(OpenPort::state).collect()),
    };
    Ok((DataPlane { worker, ports }, controls))
}

impl DataPlane {
    /// Stops the worker, then the ports.
    pub(crate) fn stop(self) -> Result<(), Failure> {
        let queues = self.worker.stop().ok_or_else(|| Failure("the worker panicked".into()))?;
        ports::close(self.ports.take(), vec![queues])?;
        tracing::info!("ports are stopped");
        Ok(())
    }
}

fn pool(eal: &Eal, config: &Config) -> Result<MbufPool, dpdk::Error> {
    let ports = config.ports.iter().map(|port| match port.device {
        Device::AfPacket(_) => vdev::af_packet_frame(port.mtu).max(port.mtu + AROUND),
        _ => port.mtu + AROUND,
    });
    let segments = config.segments.iter().map(|segment| segment.mtu + AROUND);
    let size = ports.chain(segments).max().unwrap_or(1500);
    // The rest of the memory is for DPDK's own structures, and for what is lost to alignment.
    let memory = (u64::from(config.system.memory_mb) << 20) * 2 / 5;
    let count = (memory / (u64::from(size) + BUFFER_OVERHEAD)).clamp(2047, 262_143);
    MbufPool::new(eal, "packets", count as u32, size)
}
