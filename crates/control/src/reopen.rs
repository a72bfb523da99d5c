//! Ports whose Linux interface is removed and made anew (a bond, a VLAN, a NIC that is plugged out), or gets another MAC address, work
//! again on what there is then.

use std::collections::{BTreeMap, BTreeSet};

use pipeline::tables::PortIndex;

use crate::appliance::Appliance;

/// What is not as it was yet.
#[derive(Debug, Default)]
pub(crate) struct Reopening {
    /// Why ports are silent.
    silent: BTreeMap<u8, String>,
    /// Ports whose VTEP is not in its multicast group any more.
    outside: BTreeSet<usize>,
}

impl Reopening {
    /// Notes that a port stays silent. Whether that is news.
    fn fails(&mut self, port: PortIndex, why: &str) -> bool {
        self.silent.insert(port.0, why.into()).as_deref() != Some(why)
    }

    fn works(&mut self, port: PortIndex) {
        self.silent.remove(&port.0);
        self.outside.insert(port.index());
    }
}

impl Appliance {
    /// Opens what is gone and there again; to be called now and then.
    pub(crate) fn reopen_ports(&mut self) {
        for (port, opened) in self.gateways.reopen_ports() {
            let info = &mut self.parts.ports[port.index()];
            match opened {
                Ok(mac) => {
                    tracing::warn!(port = info.name, %mac, "its interface was made anew, or has another MAC address: opened again");
                    info.mac = mac;
                    self.reopening.works(port);
                    self.dirty = true;
                    self.hops.hurry();
                }
                Err(error) if self.reopening.fails(port, &error) => {
                    tracing::error!(port = info.name, %error, "its interface is gone: the port is silent");
                }
                Err(_) => {}
            }
        }
        self.join_groups();
        if self.gateways.any_gone() {
            tracing::warn!("the interface of a gateway was removed by somebody else: it is made anew");
            self.adopt();
        }
    }

    /// Joins the groups of VTEPs whose port was opened anew. An interface gets its address a moment after it is made.
    fn join_groups(&mut self) {
        if self.reopening.outside.is_empty() {
            return;
        }
        let ports = &self.layout.config().ports;
        let vteps = ports.iter().enumerate().filter_map(|(at, port)| Some((at, port.vtep.as_ref()?)));
        let mut still_outside = BTreeSet::new();
        for ((at, vtep), held) in vteps.zip(&self.vtep_ports) {
            let Some(group) = vtep.group.filter(|_| self.reopening.outside.contains(&at)) else { continue };
            if held.join(group, vtep.local).is_err() {
                still_outside.insert(at);
            }
        }
        self.reopening.outside = still_outside;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_stays_silent_is_told_once() {
        let (mut reopening, port) = (Reopening::default(), PortIndex(1));
        assert!(reopening.fails(port, "there is no interface eth1"));
        assert!(!reopening.fails(port, "there is no interface eth1"));
        assert!(reopening.fails(port, "interface eth1 has MTU 1400"), "another reason");
        reopening.works(port);
        assert!(reopening.fails(port, "interface eth1 has MTU 1400"), "again");
    }
}
