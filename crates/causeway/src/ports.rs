//! Opens the ports of the configuration, each with a pair of queues for every worker, and closes them.

use std::cell::RefCell;
use std::fs;

use config::{Config, Device, Role};
use control::{PortInfo, PortState, QueueCounters};
use dpdk::{Eal, MbufPool, PortConfig, RxQueue, StartedPort, TxQueue, vdev};
use kernelport::cut::Checksums;
use kernelport::{KernelPort, Options, Spread};
use pipeline::BURST;
use pipeline::tables::PortIndex;
use wire::mac::MacAddr;
use worker::{Pace, PortQueues, Queues};

use crate::Failure;

/// Packets that a port's queue holds.
const DESCRIPTORS: u16 = 1024;

/// Octets around a frame of the largest MTU: Ethernet header, VLAN tags, VXLAN over IPv6, and some to spare.
pub(crate) const AROUND: u16 = 128;

/// A port that receives and sends.
pub(crate) enum OpenPort {
    Dpdk(StartedPort),
    Kernel(OpenKernelPort),
}

/// A port on a Linux interface.
pub(crate) struct OpenKernelPort {
    port: KernelPort,
    /// How it was opened, to do it again.
    options: Options,
    /// What its interface has to carry.
    mtu: u16,
    /// What the kernel has counted so far for each pair of queues: frames, and those of them that it dropped.
    counted: RefCell<Vec<(u64, u64)>>,
}

/// All ports, in the order of their indices, with each worker's queues.
pub(crate) struct Opened {
    pub(crate) ports: Vec<OpenPort>,
    pub(crate) infos: Vec<PortInfo>,
    /// By worker, then by port.
    pub(crate) queues: Vec<Vec<PortQueues>>,
}

/// One port as it is opened: a port of the configuration, or the kernel's companion of one.
struct Wanted<'a> {
    name: String,
    device: Driver<'a>,
    mtu: u16,
    companion_of: Option<usize>,
    config: Option<&'a config::Port>,
}

enum Driver<'a> {
    Dpdk(String),
    Kernel(&'a str),
}

/// Opens all ports for so many workers.
pub(crate) fn open(eal: &Eal, pool: &MbufPool, config: &Config, workers: usize) -> Result<Opened, Failure> {
    let mut opened =
        Opened { ports: Vec::new(), infos: Vec::new(), queues: (0..workers).map(|_| Vec::new()).collect() };
    for (at, port) in wanted(config, workers).iter().enumerate() {
        check_interface(port)?;
        let failed = |error: &dyn std::error::Error| Failure(format!("port {:?}: {error}", port.name));
        let (open, queues, mac) = match &port.device {
            Driver::Dpdk(device) => {
                open_dpdk(eal, pool, port, device, workers, &opened.infos).map_err(|error| failed(&error))?
            }
            Driver::Kernel(interface) => {
                open_kernel(port, interface, workers).map_err(|error| failed(&error))?
            }
        };
        for (worker, queues) in opened.queues.iter_mut().zip(queues) {
            worker.push(PortQueues { port: PortIndex(at as u8), queues, pace: Pace::Always });
        }
        let state = open.state();
        tracing::info!(port = port.name, device = port.device.name(), %mac, mtu = port.mtu, link = state.up, "port started");
        if !state.up {
            tracing::warn!(port = port.name, "its link is down");
        }
        if let Some(of) = port.companion_of {
            opened.infos[of].host = Some(PortIndex(at as u8));
        }
        opened.ports.push(open);
        let companion_of = port.companion_of.map(|of| PortIndex(of as u8));
        opened.infos.push(PortInfo { name: port.name.clone(), mac, host: None, companion_of });
    }
    Ok(opened)
}

/// Stops the ports, which get their queues back.
pub(crate) fn close(ports: Vec<OpenPort>, queues: Vec<Vec<PortQueues>>) -> Result<(), Failure> {
    let mut of_port: Vec<Vec<(RxQueue, TxQueue)>> = ports.iter().map(|_| Vec::new()).collect();
    for queue in queues.into_iter().flatten() {
        if let Queues::Dpdk(rx, tx) = queue.queues {
            of_port[queue.port.index()].push((rx, tx));
        }
    }
    for (port, queues) in ports.into_iter().zip(of_port) {
        if let OpenPort::Dpdk(port) = port {
            port.stop(queues)?;
        }
    }
    Ok(())
}

impl OpenPort {
    pub(crate) fn state(&self) -> PortState {
        match self {
            Self::Dpdk(port) => {
                let link = port.link();
                PortState { up: link.up, mbps: link.mbps, missed: port.missed() }
            }
            Self::Kernel(port) => port.state(),
        }
    }

    /// What is counted below the workers for each pair of queues.
    pub(crate) fn queues(&self) -> QueueCounters {
        match self {
            Self::Dpdk(port) => port.queue_counters(),
            Self::Kernel(port) => Some(port.queues()),
        }
    }
}

impl OpenKernelPort {
    /// Opens a port, with a pair of queues for each worker.
    pub(crate) fn open(options: Options, mtu: u16) -> Result<(Self, Vec<Queues>), kernelport::OpenError> {
        let (port, queues) = KernelPort::open::<BURST>(&options)?;
        let queues = queues.into_iter().map(|pair| Queues::Kernel(Box::new(pair))).collect();
        Ok((Self { port, options, mtu, counted: RefCell::default() }, queues))
    }

    /// Opens it once more, on the interface that has its interface's name now, and tells its address.
    pub(crate) fn reopen(&mut self) -> Result<(MacAddr, Vec<Queues>), String> {
        is_large_enough(self.port.interface(), self.mtu)?;
        let (anew, queues) = Self::open(self.options.clone(), self.mtu).map_err(|error| error.to_string())?;
        self.count();
        let counted = self.counted.take();
        *self = Self { counted: RefCell::new(counted), ..anew };
        Ok((self.port.mac(), queues))
    }

    /// As [`KernelPort::is_gone`].
    pub(crate) fn is_gone(&self) -> bool {
        self.port.is_gone()
    }

    /// As [`KernelPort::has_another_address`].
    pub(crate) fn has_another_address(&self) -> bool {
        self.port.has_another_address()
    }

    pub(crate) fn state(&self) -> PortState {
        let (up, mbps) = self.port.link();
        self.count();
        let missed = self.counted.borrow().iter().map(|(_, dropped)| dropped).sum();
        PortState { up, mbps, missed: (missed, 0) }
    }

    fn queues(&self) -> Vec<Vec<(String, u64)>> {
        self.count();
        let named = |(frames, dropped): &(u64, u64)| {
            vec![("rx_packets".into(), frames - dropped), ("rx_dropped".into(), *dropped)]
        };
        self.counted.borrow().iter().map(named).collect()
    }

    /// Adds what the kernel has counted since the last time.
    fn count(&self) {
        let mut counted = self.counted.borrow_mut();
        for (at, (frames, dropped)) in self.port.counted().enumerate() {
            if counted.len() <= at {
                counted.push((0, 0));
            }
            counted[at] = (counted[at].0 + frames, counted[at].1 + dropped);
        }
    }
}

impl Driver<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Dpdk(device) => device,
            Self::Kernel(interface) => interface,
        }
    }
}

/// The ports of the configuration, and behind them the companions of those that the kernel does not see.
fn wanted(config: &Config, workers: usize) -> Vec<Wanted<'_>> {
    let mut wanted = Vec::new();
    for (at, port) in config.ports.iter().enumerate() {
        let device = match &port.device {
            Device::Pci(address) => Driver::Dpdk(address.clone()),
            Device::Vdev(device) => Driver::Dpdk(device.clone()),
            Device::AfPacket(interface) => Driver::Dpdk(vdev::af_packet(at, interface, port.mtu, workers)),
            Device::Kernel(interface) => Driver::Kernel(interface),
        };
        let name = port.name.clone();
        wanted.push(Wanted { name, device, mtu: port.mtu, companion_of: None, config: Some(port) });
    }
    for (at, port) in config.ports.iter().enumerate() {
        let kernel_sees_it = match &port.device {
            Device::AfPacket(_) | Device::Kernel(_) => true,
            Device::Vdev(device) => vdev::interface(device).is_some(),
            Device::Pci(_) => false,
        };
        if let (false, Some(interface)) = (kernel_sees_it, &port.interface) {
            wanted.push(Wanted {
                name: format!("{}-host", port.name),
                device: Driver::Dpdk(format!("net_tap{at},iface={interface}")),
                mtu: port.mtu,
                companion_of: Some(at),
                config: None,
            });
        }
    }
    wanted
}

/// Checks what would only be found out in silence: that the Linux interface of a port is there, and large enough.
fn check_interface(wanted: &Wanted<'_>) -> Result<(), Failure> {
    match wanted.config.map(|port| &port.device) {
        Some(Device::AfPacket(interface) | Device::Kernel(interface)) => {
            is_large_enough(interface, wanted.mtu)
                .map_err(|reason| Failure(format!("port {:?}: {reason}", wanted.name)))
        }
        _ => Ok(()),
    }
}

fn is_large_enough(interface: &str, wanted: u16) -> Result<(), String> {
    let mtu = fs::read_to_string(format!("/sys/class/net/{interface}/mtu"))
        .map_err(|_| format!("there is no interface {interface}"))?;
    let mtu: u16 = mtu.trim().parse().unwrap_or(u16::MAX);
    if mtu < wanted {
        return Err(format!(
            "interface {interface} has MTU {mtu}, less than the port's {wanted}: ip link set dev {interface} mtu {wanted}"
        ));
    }
    Ok(())
}

type Queued<E> = Result<(OpenPort, Vec<Queues>, MacAddr), E>;

fn open_dpdk(
    eal: &Eal,
    pool: &MbufPool,
    wanted: &Wanted<'_>,
    device: &str,
    workers: usize,
    opened: &[PortInfo],
) -> Queued<dpdk::Error> {
    let is_af_packet = matches!(wanted.config.map(|port| &port.device), Some(Device::AfPacket(_)));
    let config = PortConfig {
        mtu: (!is_af_packet).then_some(wanted.mtu),
        queues: workers as u16,
        descriptors: DESCRIPTORS,
        promiscuous: wanted.config.is_none_or(is_trunk),
    };
    let (port, queues) = eal.open(device)?.start(&config, pool)?;
    if let Some(of) = wanted.companion_of {
        // The kernel answers ARP with the address of the line's own port.
        port.set_mac(opened[of].mac)?;
    }
    let mac = port.mac()?;
    let queues = queues.into_iter().map(|(rx, tx)| Queues::Dpdk(rx, tx)).collect();
    Ok((OpenPort::Dpdk(port), queues, mac))
}

fn open_kernel(wanted: &Wanted<'_>, interface: &str, queues: usize) -> Queued<kernelport::OpenError> {
    let trunk = wanted.config.is_none_or(is_trunk);
    // On the uplink, records find the worker that owns their lane, and need no checksum but their own tag.
    let (spread, checksums) =
        if trunk { (Spread::Flow, Checksums::Finish) } else { (Spread::Lane, Checksums::Leave) };
    let options = Options { interface: interface.into(), queues, promiscuous: trunk, spread, checksums };
    let (open, queues) = OpenKernelPort::open(options, wanted.mtu)?;
    let mac = open.port.mac();
    Ok((OpenPort::Kernel(open), queues, mac))
}

fn is_trunk(port: &config::Port) -> bool {
    port.role == Role::Trunk
}
