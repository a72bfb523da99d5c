//! Ports whose Linux interface is removed and made anew (a bond, a VLAN, a NIC that is plugged out) work again on the new one.

use std::collections::BTreeMap;

use pipeline::tables::PortIndex;

use crate::appliance::Appliance;

/// Why ports are silent.
#[derive(Debug, Default)]
pub(crate) struct Silent(BTreeMap<u8, String>);

impl Silent {
    /// Notes what became of a port. Whether that is news.
    fn note(&mut self, port: PortIndex, trouble: Option<&str>) -> bool {
        match trouble {
            Some(trouble) => self.0.insert(port.0, trouble.into()).as_deref() != Some(trouble),
            None => {
                self.0.remove(&port.0);
                true
            }
        }
    }
}

impl Appliance {
    /// Opens what is gone and there again; to be called now and then.
    pub(crate) fn reopen_ports(&mut self) {
        for (port, opened) in self.gateways.reopen_ports() {
            let info = &mut self.parts.ports[port.index()];
            match opened {
                Ok(mac) => {
                    tracing::warn!(port = info.name, %mac, "its interface was made anew: the port uses the new one");
                    info.mac = mac;
                    self.silent.note(port, None);
                    self.dirty = true;
                    self.hops.hurry();
                }
                Err(error) if self.silent.note(port, Some(&error)) => {
                    tracing::error!(port = info.name, %error, "its interface is gone: the port is silent");
                }
                Err(_) => {}
            }
        }
        if self.gateways.any_gone() {
            tracing::warn!("the interface of a gateway was removed by somebody else: it is made anew");
            self.gateways.arrange(&self.layout);
            self.dirty = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_stays_silent_is_told_once() {
        let (mut silent, port) = (Silent::default(), PortIndex(1));
        assert!(silent.note(port, Some("there is no interface eth1")));
        assert!(!silent.note(port, Some("there is no interface eth1")));
        assert!(silent.note(port, Some("interface eth1 has MTU 1400")), "another reason");
        assert!(silent.note(port, None) && silent.note(port, Some("there is no interface eth1")), "again");
    }
}
