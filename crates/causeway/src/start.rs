//! Starts DPDK, the ports and the worker, and stops them in order.

use std::cell::RefCell;
use std::fs;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bridge::Fdb;
use config::{Config, Device, Idle, Role};
use control::clock::Clock;
use control::{PortInfo, PortState, session_count};
use counters::{CoreCounters, Counters};
use crossbeam::channel::{Receiver, Sender, bounded};
use dpdk::{Eal, EalConfig, MbufPool, PortConfig, RxQueue, StartedPort, TxQueue, vdev};
use pipeline::command::{Command, Event};
use pipeline::tables::{PortIndex, Tables};
use worker::{IdlePolicy, PortQueues, Worker, WorkerParams};

use crate::Failure;

/// Orders and news that wait at one time.
const QUEUE: usize = 4096;

/// Packets that a port's queue holds.
const DESCRIPTORS: u16 = 1024;

/// Octets around a frame of the largest MTU: Ethernet header, VLAN tags, VXLAN over IPv6, and some to spare.
const AROUND: u16 = 128;

/// Octets that DPDK adds to each buffer.
const BUFFER_OVERHEAD: u64 = 128 + 128 + 64;

/// The running data plane.
pub(crate) struct DataPlane {
    worker: Worker,
    ports: Rc<RefCell<Vec<StartedPort>>>,
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

/// One port as it is opened: a port of the configuration, or the kernel's companion of one.
struct Wanted<'a> {
    name: String,
    device: String,
    mtu: u16,
    companion_of: Option<usize>,
    config: Option<&'a config::Port>,
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
    let wanted = wanted(config);
    let (mut started, mut queues, mut infos) = (Vec::new(), Vec::new(), Vec::<PortInfo>::new());
    for (at, port) in wanted.iter().enumerate() {
        check_interface(port)?;
        let (port_started, queue, info) = open(&eal, &pool, port, &infos)
            .map_err(|error| Failure(format!("port {:?}: {error}", port.name)))?;
        let (rx, tx) = queue;
        queues.push(PortQueues { port: PortIndex(at as u8), rx, tx });
        if let Some(of) = port.companion_of {
            infos[of].host = Some(PortIndex(at as u8));
        }
        started.push(port_started);
        infos.push(info);
    }
    let sessions = session_count(config);
    let core = Arc::new(CoreCounters::new(wanted.len(), config.segments.len(), sessions));
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
        queues,
        pool,
        max_sessions: sessions,
        tables: Arc::clone(&tables),
        fdb: Arc::clone(&fdb),
        counters: Arc::clone(&core),
        commands: worker_commands,
        events: worker_events,
    })?;
    let ports = Rc::new(RefCell::new(started));
    let shown = Rc::clone(&ports);
    let state = |port: &StartedPort| {
        let link = port.link();
        PortState { up: link.up, mbps: link.mbps, missed: port.missed() }
    };
    let controls = Controls {
        ports: infos,
        tables,
        fdb,
        counters: Counters::new(vec![core]),
        commands,
        events,
        port_states: Box::new(move || shown.borrow().iter().map(state).collect()),
    };
    Ok((DataPlane { worker, ports }, controls))
}

impl DataPlane {
    /// Stops the worker, then the ports.
    pub(crate) fn stop(self) -> Result<(), Failure> {
        let queues = self.worker.stop().ok_or_else(|| Failure("the worker panicked".into()))?;
        let mut queues: Vec<(RxQueue, TxQueue)> =
            queues.into_iter().map(|queues| (queues.rx, queues.tx)).collect();
        for port in self.ports.take() {
            port.stop(vec![queues.remove(0)])?;
        }
        tracing::info!("ports are stopped");
        Ok(())
    }
}

/// The ports of the configuration, and behind them the companions of those that the kernel does not see.
fn wanted(config: &Config) -> Vec<Wanted<'_>> {
    let mut wanted = Vec::new();
    for (at, port) in config.ports.iter().enumerate() {
        let device = match &port.device {
            Device::Pci(address) => address.clone(),
            Device::Vdev(device) => device.clone(),
            Device::AfPacket(interface) => vdev::af_packet(at, interface, port.mtu, 1),
        };
        let name = port.name.clone();
        wanted.push(Wanted { name, device, mtu: port.mtu, companion_of: None, config: Some(port) });
    }
    for (at, port) in config.ports.iter().enumerate() {
        let kernel_sees_it = matches!(&port.device, Device::AfPacket(_))
            || matches!(&port.device, Device::Vdev(device) if vdev::interface(device).is_some());
        if let (false, Some(interface)) = (kernel_sees_it, &port.interface) {
            wanted.push(Wanted {
                name: format!("{}-host", port.name),
                device: format!("net_tap{at},iface={interface}"),
                mtu: port.mtu,
                companion_of: Some(at),
                config: None,
            });
        }
    }
    wanted
}

/// Checks what DPDK would only find out in silence: that the Linux interface of a port is there, up, and large enough.
fn check_interface(wanted: &Wanted<'_>) -> Result<(), Failure> {
    let Some(Device::AfPacket(interface)) = wanted.config.map(|port| &port.device) else { return Ok(()) };
    let failure = |reason: String| Err(Failure(format!("port {:?}: {reason}", wanted.name)));
    let Ok(mtu) = fs::read_to_string(format!("/sys/class/net/{interface}/mtu")) else {
        return failure(format!("there is no interface {interface}"));
    };
    let mtu: u16 = mtu.trim().parse().unwrap_or(u16::MAX);
    if mtu < wanted.mtu {
        return failure(format!(
            "interface {interface} has MTU {mtu}, less than the port's {}: ip link set dev {interface} mtu {}",
            wanted.mtu, wanted.mtu
        ));
    }
    Ok(())
}

fn open(
    eal: &Eal,
    pool: &MbufPool,
    wanted: &Wanted<'_>,
    opened: &[PortInfo],
) -> Result<(StartedPort, (RxQueue, TxQueue), PortInfo), dpdk::Error> {
    let is_af_packet = matches!(wanted.config.map(|port| &port.device), Some(Device::AfPacket(_)));
    let config = PortConfig {
        mtu: (!is_af_packet).then_some(wanted.mtu),
        queues: 1,
        descriptors: DESCRIPTORS,
        promiscuous: wanted.config.is_none_or(|port| port.role == Role::Trunk),
    };
    let (port, mut queues) = eal.open(&wanted.device)?.start(&config, pool)?;
    if let Some(of) = wanted.companion_of {
        // The kernel answers ARP with the address of the line's own port.
        port.set_mac(opened[of].mac)?;
    }
    let mac = port.mac()?;
    let link = port.link();
    tracing::info!(port = wanted.name, device = wanted.device, %mac, mtu = wanted.mtu, link = link.up, "port started");
    if !link.up {
        tracing::warn!(port = wanted.name, "its link is down");
    }
    let companion_of = wanted.companion_of.map(|of| PortIndex(of as u8));
    let info = PortInfo { name: wanted.name.clone(), mac, host: None, companion_of };
    Ok((port, queues.remove(0), info))
}

fn pool(eal: &Eal, config: &Config) -> Result<MbufPool, dpdk::Error> {
    let ports = config.ports.iter().map(|port| match port.device {
        Device::AfPacket(_) => vdev::af_packet_frame(port.mtu).max(port.mtu + AROUND),
        _ => port.mtu + AROUND,
    });
    let segments = config.segments.iter().map(|segment| segment.mtu + AROUND);
    let size = ports.chain(segments).max().unwrap_or(1500);
    // Half of the memory is for DPDK's own structures, and for what is lost to alignment.
    let memory = u64::from(config.system.memory_mb) << 19;
    let count = (memory / (u64::from(size) + BUFFER_OVERHEAD)).clamp(2047, 262_143);
    MbufPool::new(eal, "packets", count as u32, size)
}
