//! Starts DPDK, the ports and the workers, and stops them in order.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bridge::{Fdb, MAX_PORTS, MAX_SEGMENTS};
use config::{Config, Device, Idle};
use control::clock::Clock;
use control::{HostPorts, Lines, PortInfo, RecordQueues, session_places};
use counters::{CoreCounters, Counters};
use crossbeam::channel::{Receiver, Sender, bounded};
use dpdk::{Eal, EalConfig, MbufPool, vdev};
use pipeline::WorkerId;
use pipeline::command::{Command, Event};
use pipeline::notice::Notice;
use pipeline::tables::Tables;
use worker::{Fallback, Handover, IdlePolicy, Worker, WorkerParams};

use crate::Failure;
use crate::kernel_ports::KernelPorts;
use crate::ports::{self, AROUND, OpenPort, Opened};
use crate::records::Records;

/// Orders and news that wait at one time.
const QUEUE: usize = 4096;

/// News of the traffic that waits at one time.
const NOTICES: usize = 1024;

/// Octets that DPDK adds to each buffer.
const BUFFER_OVERHEAD: u64 = 128 + 128 + 64;

/// The running data plane.
pub(crate) struct DataPlane {
    workers: Vec<Worker>,
    ports: Rc<RefCell<Vec<OpenPort>>>,
}

/// What the control thread needs of it.
pub(crate) struct Controls {
    pub(crate) ports: Vec<PortInfo>,
    pub(crate) tables: Arc<ArcSwap<Tables>>,
    pub(crate) fdb: Arc<Fdb>,
    pub(crate) counters: Counters,
    pub(crate) commands: Vec<Sender<Command>>,
    pub(crate) events: Receiver<Event>,
    pub(crate) notices: Receiver<Notice>,
    pub(crate) lines: Box<dyn Lines>,
    pub(crate) host_ports: Box<dyn HostPorts>,
    pub(crate) records: Box<dyn RecordQueues>,
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
    let count = config.system.workers.len();
    let Opened { ports, infos, queues } = ports::open(&eal, &pool, config, count)?;
    let sessions = session_places(config);
    let cores: Vec<_> =
        (0..count).map(|_| Arc::new(CoreCounters::new(MAX_PORTS, MAX_SEGMENTS, sessions))).collect();
    let tables = Arc::new(ArcSwap::from_pointee(Tables::default()));
    let fdb = Arc::new(Fdb::new(config.system.max_macs));
    let handover = Arc::new(Handover::new(count));
    let fallback = Arc::new(Fallback::new(count));
    let (worker_events, events) = bounded(QUEUE);
    let (worker_notices, notices) = bounded(NOTICES);
    let (mut commands, mut workers, mut port_changes) = (Vec::new(), Vec::new(), Vec::new());
    for (index, queues) in queues.into_iter().enumerate() {
        let (sender, worker_commands) = bounded(QUEUE);
        commands.push(sender);
        let (change, worker_changes) = bounded(QUEUE);
        port_changes.push(change);
        workers.push(Worker::start(WorkerParams {
            id: WorkerId { index, count },
            handover: Arc::clone(&handover),
            fallback: Arc::clone(&fallback),
            core: config.system.workers[index],
            idle: match config.system.idle {
                Idle::Spin => IdlePolicy::Spin,
                Idle::Adaptive(pause) => IdlePolicy::Adaptive(pause),
            },
            start: clock.origin(),
            queues,
            port_changes: worker_changes,
            pool: pool.clone(),
            max_sessions: sessions,
            tables: Arc::clone(&tables),
            fdb: Arc::clone(&fdb),
            counters: Arc::clone(&cores[index]),
            commands: worker_commands,
            events: worker_events.clone(),
            notices: worker_notices.clone(),
        })?);
    }
    let ports = Rc::new(RefCell::new(ports));
    let kernel_ports = KernelPorts::new(Rc::clone(&ports), port_changes);
    let controls = Controls {
        ports: infos,
        tables,
        fdb,
        counters: Counters::new(cores),
        commands,
        events,
        notices,
        lines: Box::new(kernel_ports.clone()),
        host_ports: Box::new(kernel_ports),
        records: Box::new(Records { queues: fallback, pool }),
    };
    Ok((DataPlane { workers, ports }, controls))
}

impl DataPlane {
    /// Stops the workers, then the ports.
    pub(crate) fn stop(self) -> Result<(), Failure> {
        let queues: Option<Vec<_>> = self.workers.into_iter().map(Worker::stop).collect();
        let queues = queues.ok_or_else(|| Failure("a worker panicked".into()))?;
        ports::close(self.ports.take(), queues)?;
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
    // The largest record that may come over TLS fits in any case.
    let over_tls = session::MAX_RECORD as u16;
    let size = ports.chain(segments).fold(over_tls, u16::max);
    // The rest of the memory is for DPDK's own structures, and for what is lost to alignment.
    let memory = (u64::from(config.system.memory_mb) << 20) * 2 / 5;
    let count = (memory / (u64::from(size) + BUFFER_OVERHEAD)).clamp(2047, 262_143);
    MbufPool::new(eal, "packets", count as u32, size)
}
