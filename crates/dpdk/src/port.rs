//! Ports: found, started with their queues, stopped when all queues are back.

use std::mem::MaybeUninit;

use dpdk_sys::{
    RTE_ETH_LINK_UP, rte_eth_dev_info, rte_eth_link, rte_eth_stats, rte_eth_xstat, rte_eth_xstat_name,
    rte_ether_addr,
};
use wire::mac::MacAddr;

use crate::eal::c_string;
use crate::{Error, MbufPool, RxQueue, TxQueue};

/// A port that is there and does nothing yet.
#[derive(Debug)]
pub struct Port {
    id: u16,
    device: String,
}

/// How a port is to work.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// Octets of a frame after its Ethernet header, at most. `None` leaves the device's own, as `net_af_packet` needs
    /// it: that refuses more than 1500, and carries what its Linux interface carries.
    pub mtu: Option<u16>,
    /// Pairs of queues, one for each worker.
    pub queues: u16,
    /// Packets that each queue holds.
    pub descriptors: u16,
    /// Whether frames to any address are received.
    pub promiscuous: bool,
}

/// The state of a port's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether it is up.
    pub up: bool,
    /// Mbit/s; 0 when it is not known.
    pub mbps: u32,
}

impl Port {
    /// The port with this device name.
    pub(crate) fn find(device: &str) -> Result<Self, Error> {
        let name = c_string(device)?;
        let mut id = 0;
        // SAFETY: a string and a number that live through the call.
        let code = unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut id) };
        if code == 0 { Ok(Self { id, device: device.into() }) } else { Err(Error::NoSuchPort(device.into())) }
    }

    /// The name of its device.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Starts the port with buffers from `pool`, and returns its pairs of queues.
    ///
    /// # Errors
    /// The port has fewer queues than asked for or cannot do the MTU, or its driver refuses.
    pub fn start(
        self,
        config: &PortConfig,
        pool: &MbufPool,
    ) -> Result<(StartedPort, Vec<(RxQueue, TxQueue)>), Error> {
        let failed = |what: &str, code: i32| Error::code(format!("port {}: {what}", self.device), code);
        let unsuitable = |reason: String| Error::Unsuitable { port: self.device.clone(), reason };
        let info = self.info()?;
        let most = info.max_rx_queues.min(info.max_tx_queues);
        if config.queues > most {
            return Err(unsuitable(format!(
                "it has {most} queue pairs, but {} workers need one each: lower system.workers, or give the \
                 device more queues",
                config.queues
            )));
        }
        // SAFETY: for this and the calls below: the port exists and belongs to this value alone; what is passed by
        // reference lives through the call; the pool lives until the process ends.
        let code = unsafe { dpdk_sys::shim_configure(self.id, config.queues) };
        if code != 0 {
            return Err(failed("cannot configure it", code));
        }
        if let Some(mtu) = config.mtu {
            // Before the queues: some drivers size them by the MTU. Drivers of rings and the like have none.
            // SAFETY: see above.
            let code = unsafe { dpdk_sys::rte_eth_dev_set_mtu(self.id, mtu) };
            if code != 0 && code != -NOT_SUPPORTED {
                return Err(failed(&format!("cannot set its MTU to {mtu}"), code));
            }
        }
        for queue in 0..config.queues {
            let socket = u32::MAX; // SOCKET_ID_ANY
            // SAFETY: see above. A null configuration means the driver's defaults.
            let code = unsafe {
                dpdk_sys::rte_eth_rx_queue_setup(
                    self.id,
                    queue,
                    config.descriptors,
                    socket,
                    std::ptr::null(),
                    pool.raw(),
                )
            };
            if code != 0 {
                return Err(failed("cannot set up a receive queue", code));
            }
            // SAFETY: see above.
            let code = unsafe {
                dpdk_sys::rte_eth_tx_queue_setup(self.id, queue, config.descriptors, socket, std::ptr::null())
            };
            if code != 0 {
                return Err(failed("cannot set up a transmit queue", code));
            }
        }
        // SAFETY: see above.
        let code = unsafe { dpdk_sys::rte_eth_dev_start(self.id) };
        if code != 0 {
            return Err(failed("cannot start it", code));
        }
        if config.promiscuous {
            // SAFETY: see above.
            let code = unsafe { dpdk_sys::rte_eth_promiscuous_enable(self.id) };
            if code != 0 && code != -NOT_SUPPORTED {
                return Err(failed("cannot receive frames to other addresses than its own", code));
            }
        }
        let queues =
            (0..config.queues).map(|q| (RxQueue::new(self.id, q), TxQueue::new(self.id, q))).collect();
        Ok((StartedPort { port: self, queues: config.queues }, queues))
    }

    fn info(&self) -> Result<rte_eth_dev_info, Error> {
        let mut info = rte_eth_dev_info::default();
        // SAFETY: the port exists; the structure is filled by the call.
        let code = unsafe { dpdk_sys::rte_eth_dev_info_get(self.id, &mut info) };
        if code == 0 {
            Ok(info)
        } else {
            Err(Error::code(format!("port {}: cannot ask it", self.device), code))
        }
    }
}

/// ENOTSUP.
const NOT_SUPPORTED: i32 = 95;

/// A port that receives and sends.
#[derive(Debug)]
pub struct StartedPort {
    port: Port,
    queues: u16,
}

impl StartedPort {
    /// The name of its device.
    pub fn device(&self) -> &str {
        &self.port.device
    }

    /// Its MAC address.
    pub fn mac(&self) -> Result<MacAddr, Error> {
        let mut address = rte_ether_addr::default();
        // SAFETY: the port exists; the structure is filled by the call.
        let code = unsafe { dpdk_sys::rte_eth_macaddr_get(self.port.id, &mut address) };
        if code == 0 { Ok(MacAddr(address.addr_bytes)) } else { Err(self.failed("has no MAC address", code)) }
    }

    /// Gives it another MAC address.
    pub fn set_mac(&self, mac: MacAddr) -> Result<(), Error> {
        let mut address = rte_ether_addr { addr_bytes: mac.0 };
        // SAFETY: the port exists; the address lives through the call.
        let code = unsafe { dpdk_sys::rte_eth_dev_default_mac_addr_set(self.port.id, &mut address) };
        if code == 0 { Ok(()) } else { Err(self.failed("does not take the MAC address", code)) }
    }

    /// The state of its line, as its driver saw it last.
    pub fn link(&self) -> Link {
        let mut link = MaybeUninit::<rte_eth_link>::zeroed();
        // SAFETY: the port exists. All zeros are a valid rte_eth_link, whether or not the call fills it.
        let link = unsafe {
            dpdk_sys::rte_eth_link_get_nowait(self.port.id, link.as_mut_ptr());
            link.assume_init()
        };
        let mbps = if link.link_speed == u32::MAX { 0 } else { link.link_speed };
        Link { up: u32::from(link.link_status()) == RTE_ETH_LINK_UP, mbps }
    }

    /// Packets that the device itself had to drop on receipt: for want of descriptors, and for want of buffers.
    pub fn missed(&self) -> (u64, u64) {
        let mut stats = rte_eth_stats::default();
        // SAFETY: the port exists; the structure is filled by the call.
        unsafe { dpdk_sys::rte_eth_stats_get(self.port.id, &mut stats) };
        (stats.imissed, stats.rx_nombuf)
    }

    /// What the driver counts for each queue, by what it is: `rx_packets`, `tx_bytes`. `None`: it counts no queue by itself.
    pub fn queue_counters(&self) -> Option<Vec<Vec<(String, u64)>>> {
        let id = self.port.id;
        // SAFETY: the port exists; with no room for any the call tells how many there are.
        let count = unsafe { dpdk_sys::rte_eth_xstats_get_names(id, std::ptr::null_mut(), 0) };
        let count = usize::try_from(count).ok().filter(|count| *count > 0)?;
        let mut names = vec![rte_eth_xstat_name::default(); count];
        let mut values = vec![rte_eth_xstat::default(); count];
        // SAFETY: the port exists; both have room for so many, and are filled by the calls.
        let told = unsafe {
            [
                dpdk_sys::rte_eth_xstats_get_names(id, names.as_mut_ptr(), count as u32),
                dpdk_sys::rte_eth_xstats_get(id, values.as_mut_ptr(), count as u32),
            ]
        };
        if told.iter().any(|told| usize::try_from(*told) != Ok(count)) {
            return None;
        }
        let mut queues = vec![Vec::new(); usize::from(self.queues)];
        for value in values {
            let Some(name) = usize::try_from(value.id).ok().and_then(|at| names.get(at)) else { continue };
            let name: String = name
                .name
                .iter()
                .take_while(|octet| **octet != 0)
                .map(|octet| char::from(*octet as u8))
                .collect();
            let Some((queue, what)) = of_queue(&name) else { continue };
            queues.get_mut(queue).into_iter().for_each(|queue| queue.push((what.clone(), value.value)));
        }
        queues.iter().any(|queue| !queue.is_empty()).then_some(queues)
    }

    /// Stops and closes the port. It takes all its queues back, so that nobody polls a port that is gone; with
    /// some missing it stays as it is, which is harmless when the process ends.
    pub fn stop(self, queues: Vec<(RxQueue, TxQueue)>) -> Result<(), Error> {
        let own = |(rx, tx): &(RxQueue, TxQueue)| rx.port() == self.port.id && tx.port() == self.port.id;
        if queues.len() != usize::from(self.queues) || !queues.iter().all(own) {
            return Err(Error::Unsuitable {
                port: self.port.device,
                reason: "cannot stop it while some of its queues are in use".into(),
            });
        }
        drop(queues);
        // SAFETY: the port exists, is started, and no queue of it exists any more.
        let code = unsafe { dpdk_sys::rte_eth_dev_stop(self.port.id) };
        if code != 0 {
            return Err(self.failed("cannot be stopped", code));
        }
        // SAFETY: as above; `self` is gone afterwards.
        let code = unsafe { dpdk_sys::rte_eth_dev_close(self.port.id) };
        if code != 0 { Err(self.failed("cannot be closed", code)) } else { Ok(()) }
    }

    fn failed(&self, what: &str, code: i32) -> Error {
        Error::code(format!("port {} {what}", self.port.device), code)
    }
}

/// `rx_q3_packets` is `rx_packets` of queue 3.
fn of_queue(name: &str) -> Option<(usize, String)> {
    let (way, rest) = name.split_once("_q").filter(|(way, _)| matches!(*way, "rx" | "tx"))?;
    let (queue, what) = rest.split_once('_')?;
    Some((queue.parse().ok()?, format!("{way}_{what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_queues_are_known_by_their_names() {
        assert_eq!(of_queue("rx_q3_packets"), Some((3, "rx_packets".into())));
        assert_eq!(of_queue("tx_q12_size_64_packets"), Some((12, "tx_size_64_packets".into())));
        for other in ["rx_good_packets", "rx_qos_packets", "mac_q1_x", "rx_q1", ""] {
            assert_eq!(of_queue(other), None, "{other}");
        }
    }
}
