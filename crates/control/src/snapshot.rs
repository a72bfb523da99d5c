//! Builds the workers' tables from the configuration and from what changes: sessions, next hops, learned VTEPs.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use bridge::{AttachmentIndex, Policy, RemoteIndex, Segment, SegmentIndex, Segments, SessionIndex};
use config::{Config, Role};
use pipeline::tables::{
    AttachmentEntry, AttachmentState, Encap, Path, PortEntry, PortIndex, PortRole, RemoteVtep, SessionEntry,
    Tables, TrunkEntry, TunnelMap, UplinkEntry, VlanMap, Vtep,
};
use session::SessionView;
use wire::mac::MacAddr;
use wire::template::UdpTemplate;

use crate::nexthop::NextHop;

/// A port as it was started. First those of the configuration, in its order, then the kernel's companions.
#[derive(Clone, Debug)]
pub struct PortInfo {
    /// Its name.
    pub name: String,
    /// Its MAC address.
    pub mac: MacAddr,
    /// The port of the kernel's companion.
    pub host: Option<PortIndex>,
    /// For such a companion: the port that it belongs to.
    pub companion_of: Option<PortIndex>,
}

/// A remote VTEP: the port that it is reached by, and its address. Its position is its [`RemoteIndex`].
pub(crate) type Remote = (usize, IpAddr);

/// What the tables are built from.
pub(crate) struct Source<'a> {
    pub(crate) config: &'a Config,
    pub(crate) ports: &'a [PortInfo],
    pub(crate) remotes: &'a [Remote],
    pub(crate) hops: &'a HashMap<IpAddr, NextHop>,
    pub(crate) sessions: Vec<Option<SessionView>>,
    pub(crate) data_port: u16,
}

impl Source<'_> {
    pub(crate) fn build(&self, generation: u64) -> Tables {
        let attachments = self.attachments();
        let segments = self.segments(&attachments);
        let enabled = self.config.segments.iter().enumerate().filter(|(_, segment)| segment.enabled);
        Tables {
            generation,
            ports: self
                .ports
                .iter()
                .enumerate()
                .map(|(at, info)| self.port(at, info, &attachments))
                .collect(),
            attachments,
            remotes: self.remotes.iter().map(|remote| self.remote(*remote)).collect(),
            segments: Segments::new(segments),
            by_tunnel: TunnelMap::new(
                enabled.map(|(at, segment)| (segment.tunnel_id, SegmentIndex(at as u16))),
            ),
            sessions: self.sessions.iter().map(|view| view.as_ref().map(|view| self.session(view))).collect(),
        }
    }

    /// The way to `to` by the uplink; `None` while the next hop is not known.
    pub(crate) fn path(&self, to: SocketAddr) -> Option<Path> {
        let uplink = self.config.ports.iter().position(|port| port.role == Role::Uplink)?;
        let hop = self.hops.get(&to.ip())?;
        let source = SocketAddr::new(hop.source, self.data_port);
        let header = UdpTemplate::new(self.ports[uplink].mac, hop.mac?, source, to).ok()?;
        let max_record = self.config.ports[uplink].mtu - header.overhead() as u16;
        // A server answers from its one port, which firewalls and address translators in front of a client expect.
        let port_per_worker = matches!(self.config.mode, config::Mode::Client(_));
        Some(Path { port: PortIndex(uplink as u8), header, max_record, port_per_worker })
    }

    fn attachments(&self) -> Vec<AttachmentEntry> {
        let all = self.config.segments.iter().enumerate();
        all.flat_map(|(at, segment)| {
            segment.attachments.iter().map(move |attachment| AttachmentEntry {
                segment: SegmentIndex(at as u16),
                port: PortIndex(attachment.port as u8),
                encap: match attachment.encap {
                    config::Encap::Untagged => Encap::Untagged,
                    config::Encap::Vlan(vlan) => Encap::Vlan(vlan),
                    config::Encap::Vxlan(vni) => Encap::Vxlan(vni, self.remotes_on(attachment.port)),
                },
                state: AttachmentState::Forwarding,
            })
        })
        .collect()
    }

    fn remotes_on(&self, port: usize) -> Vec<RemoteIndex> {
        let here = self.remotes.iter().zip(0..).filter(|((on, _), _)| *on == port);
        here.map(|(_, at)| RemoteIndex(at)).collect()
    }

    fn segments(&self, attachments: &[AttachmentEntry]) -> Vec<Segment> {
        let sessions_of = |segment: &config::Segment| {
            let joined = self.sessions.iter().zip(0..).filter(|(view, _)| {
                view.as_ref().is_some_and(|view| view.segments.contains(&segment.tunnel_id))
            });
            joined.map(|(_, at)| SessionIndex(at)).collect()
        };
        let all = self.config.segments.iter().zip(0..);
        all.map(|(segment, at)| {
            let index = SegmentIndex(at);
            let own = attachments.iter().zip(0..).filter(|(entry, _)| entry.segment == index);
            Segment {
                name: segment.name.clone(),
                tunnel_id: segment.tunnel_id,
                mtu: segment.mtu,
                attachments: own.map(|(_, at)| AttachmentIndex(at)).collect(),
                sessions: if segment.enabled { sessions_of(segment) } else { Vec::new() },
                spoke_to_spoke: segment.spoke_to_spoke,
                policy: Policy::default(),
            }
        })
        .collect()
    }

    fn port(&self, at: usize, info: &PortInfo, attachments: &[AttachmentEntry]) -> PortEntry {
        let role = match (info.companion_of, self.config.ports.get(at)) {
            (None, Some(port)) if port.role == Role::Trunk => {
                PortRole::Trunk(self.trunk(at, port, attachments))
            }
            (Some(port), _) => PortRole::Host(port),
            _ => PortRole::Uplink(UplinkEntry { data_port: self.data_port }),
        };
        PortEntry { name: info.name.clone(), mac: info.mac, role, host: info.host }
    }

    fn trunk(&self, at: usize, port: &config::Port, attachments: &[AttachmentEntry]) -> TrunkEntry {
        let in_service =
            |entry: &&AttachmentEntry| self.config.segments[usize::from(entry.segment.0)].enabled;
        let (mut untagged, mut vlans, mut vnis) = (None, Vec::new(), hashbrown::HashMap::new());
        for (index, entry) in attachments.iter().enumerate() {
            if entry.port.index() != at || !in_service(&entry) {
                continue;
            }
            let index = AttachmentIndex(index as u16);
            match &entry.encap {
                Encap::Untagged => untagged = Some(index),
                Encap::Vlan(vlan) => vlans.push((*vlan, index)),
                Encap::Service(..) => {}
                Encap::Vxlan(vni, _) => {
                    vnis.insert(*vni, index);
                }
            }
        }
        let remotes = self.remotes.iter().zip(0..).filter(|((on, _), _)| *on == at);
        let vtep = port.vtep.as_ref().map(|vtep| Vtep {
            local: vtep.local,
            group: None,
            udp_port: vtep.udp_port,
            vnis,
            remotes: remotes.map(|((_, address), index)| (*address, RemoteIndex(index))).collect(),
            learn: vtep.learn,
        });
        TrunkEntry { untagged, vlans: VlanMap::new(vlans), vtep, ..TrunkEntry::default() }
    }

    fn remote(&self, (port, address): Remote) -> RemoteVtep {
        let header = || {
            let vtep = self.config.ports[port].vtep.as_ref()?;
            let mac = self.hops.get(&address)?.mac?;
            // The source port comes with each packet, from the inner flow (RFC 7348 4.2).
            let source = SocketAddr::new(vtep.local, 0);
            UdpTemplate::new(self.ports[port].mac, mac, source, SocketAddr::new(address, vtep.udp_port)).ok()
        };
        RemoteVtep { address, header: header() }
    }

    fn session(&self, view: &SessionView) -> SessionEntry {
        SessionEntry {
            path: view.peer.and_then(|peer| self.path(peer)),
            peer: view.peer,
            segments: view.segments.iter().copied().collect(),
        }
    }
}
