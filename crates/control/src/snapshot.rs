//! Builds the workers' tables from the configuration and from what changes: sessions, next hops, learned VTEPs, gateways.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use bridge::{AttachmentIndex, RemoteIndex, Segment, SegmentIndex, Segments, SessionIndex};
use config::{Config, Role};
use pipeline::tables::{
    AttachmentEntry, AttachmentState, Encap, Marks, Path, PathEntry, PortEntry, PortIndex, PortRole,
    RemoteVtep, SessionEntry, Spread, Tables, TrunkEntry, TunnelMap, UplinkEntry, VlanMap, Vtep,
};
use session::{PathView, SessionView};
use wire::mac::MacAddr;
use wire::mark::Mark;
use wire::template::UdpTemplate;
use wire::tunnel::TunnelId;
use wire::way::{ALL_PATHS, Way};

use crate::gateways::GatewayPort;
use crate::guard::Guard;
use crate::hops::Hops;
use crate::insight::Watch;
use crate::layout::{Layout, Meeting};
use crate::policy;

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

/// A remote VTEP, or the group of some. Its position in the list is its [`RemoteIndex`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    /// The port that it is reached by.
    pub(crate) port: usize,
    pub(crate) address: IpAddr,
    /// Whether it made itself known, and is not of the configuration.
    pub(crate) learned: bool,
}

/// What the tables are built from.
pub(crate) struct Source<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) ports: &'a [PortInfo],
    pub(crate) gateways: Vec<GatewayPort>,
    pub(crate) guard: &'a Guard,
    pub(crate) remotes: &'a [Remote],
    pub(crate) hops: &'a Hops,
    /// By number.
    pub(crate) sessions: Vec<Option<SessionView>>,
    pub(crate) data_port: u16,
    /// What is watched.
    pub(crate) watch: Watch,
    /// The tables that these follow, whose budgets they take over.
    pub(crate) old: &'a Tables,
}

impl Source<'_> {
    pub(crate) fn build(&self, generation: u64) -> Tables {
        let attachments = self.attachments();
        let enabled = self.layout.segments().filter(|(_, segment)| segment.enabled);
        let sessions: Vec<Option<SessionEntry>> =
            self.sessions.iter().map(|view| view.as_ref().map(|view| self.session(view))).collect();
        Tables {
            generation,
            ports: self.ports(&attachments),
            remotes: self.remotes.iter().map(|remote| self.remote(*remote)).collect(),
            segments: Segments::new(self.segments(&attachments, &sessions)),
            by_tunnel: TunnelMap::new(enabled.map(|(index, segment)| (segment.tunnel_id, index))),
            attachments,
            sessions,
            taps: self.watch.taps(),
        }
    }

    /// The outer headers of a way; `None` while the next hop is not known.
    pub(crate) fn path(&self, way: &Way, max_record: u16) -> Option<Path> {
        let hop = self.hops.get(way)?;
        let source = SocketAddr::new(hop.source, self.data_port);
        let mac = self.ports.get(usize::from(way.port))?.mac;
        let system = &self.config().system;
        let marks = Marks { dscp: system.dscp, copy: system.copy_dscp, ecn: system.ecn };
        let header =
            UdpTemplate::new(mac, hop.mac?, source, way.peer).ok()?.with_mark(Mark::dscp(marks.dscp));
        // A server answers from its one port, which firewalls and address translators in front of a client expect.
        let port_per_worker = matches!(self.config().mode, config::Mode::Client(_));
        Some(Path { port: PortIndex(way.port), header: Some(header), marks, max_record, port_per_worker })
    }

    fn config(&self) -> &Config {
        self.layout.config()
    }

    /// By number. A gap has an entry that belongs to no segment.
    fn attachments(&self) -> Vec<AttachmentEntry> {
        let entry = |(at, meeting): (AttachmentIndex, &Option<Meeting>)| match meeting {
            Some(meeting) => AttachmentEntry {
                segment: meeting.segment,
                port: self.port_of(meeting),
                encap: match (meeting.encap, meeting.port) {
                    (config::Encap::Untagged, _) => Encap::Untagged,
                    (config::Encap::Vlan(vlan), _) => Encap::Vlan(vlan),
                    (config::Encap::Service(service, vlan), _) => Encap::Service(service, vlan),
                    (config::Encap::Vxlan(vni), port) => Encap::Vxlan(vni, self.flooded_to(port)),
                },
                state: self.guard.state(at),
            },
            None => AttachmentEntry {
                segment: NO_SEGMENT,
                port: NO_PORT,
                encap: Encap::Untagged,
                state: AttachmentState::Blocked,
            },
        };
        (0..).map(AttachmentIndex).zip(self.layout.attachment_places()).map(entry).collect()
    }

    fn port_of(&self, meeting: &Meeting) -> PortIndex {
        match meeting.port {
            Some(position) => PortIndex(position as u8),
            None => {
                let gateway = self.gateways.iter().find(|gateway| gateway.segment == meeting.segment);
                gateway.map_or(NO_PORT, |gateway| gateway.port)
            }
        }
    }

    /// The VTEPs that flooded frames of a port go to: its group, or each of them.
    fn flooded_to(&self, port: Option<usize>) -> Vec<RemoteIndex> {
        let Some(port) = port else { return Vec::new() };
        let Some(vtep) = &self.config().ports[port].vtep else { return Vec::new() };
        let wanted = |remote: &Remote| match vtep.group {
            Some(group) => remote.address == group,
            None => remote.learned || vtep.remotes.contains(&remote.address),
        };
        let here = self.remotes.iter().zip(0..).filter(|(remote, _)| remote.port == port && wanted(remote));
        here.map(|(_, at)| RemoteIndex(at)).collect()
    }

    /// By number. A gap has no attachments and no sessions.
    fn segments(&self, attachments: &[AttachmentEntry], sessions: &[Option<SessionEntry>]) -> Vec<Segment> {
        let members = self.members();
        let mut attached = vec![Vec::new(); self.layout.segment_places().count()];
        for (index, entry) in (0..).map(AttachmentIndex).zip(attachments) {
            if entry.state == AttachmentState::Forwarding && entry.port != NO_PORT {
                if let Some(of_segment) = attached.get_mut(usize::from(entry.segment.0)) {
                    of_segment.push(index);
                }
            }
        }
        let places = (0..).map(SegmentIndex).zip(self.layout.segment_places()).zip(attached);
        let segment = |((index, segment), attached): ((SegmentIndex, Option<&config::Segment>), Vec<_>)| {
            let Some(config) = segment.filter(|segment| segment.enabled) else {
                return gone(segment);
            };
            let joined = members.get(&config.tunnel_id).map_or(&[][..], Vec::as_slice);
            let policy = policy::build(&policy::Of {
                index,
                config,
                attachments: &attached,
                joined,
                sessions,
                gateway: self
                    .gateways
                    .iter()
                    .find(|gateway| gateway.segment == index)
                    .map(|gateway| gateway.mac),
                guard: self.guard,
                layout: self.layout,
                watch: &self.watch,
                old: self.old.segments.get(index).map(|segment| &segment.policy),
            });
            Segment {
                name: config.name.clone(),
                tunnel_id: config.tunnel_id,
                mtu: config.mtu,
                attachments: attached,
                sessions: joined.iter().map(|(session, _)| *session).collect(),
                spoke_to_spoke: config.spoke_to_spoke,
                policy,
            }
        };
        places.map(segment).collect()
    }

    /// The sessions that join each tunnel ID, with the MTU that both ends have for it.
    fn members(&self) -> HashMap<TunnelId, Vec<(SessionIndex, u16)>> {
        let mut members: HashMap<TunnelId, Vec<(SessionIndex, u16)>> = HashMap::new();
        for (session, view) in (0..).map(SessionIndex).zip(&self.sessions) {
            for (tunnel, mtu) in view.iter().flat_map(|view| &view.segments) {
                members.entry(*tunnel).or_default().push((session, *mtu));
            }
        }
        members
    }

    /// First the ports that were there at the start, then the gateways'.
    fn ports(&self, attachments: &[AttachmentEntry]) -> Vec<PortEntry> {
        let started = self.ports.iter().enumerate();
        let mut ports: Vec<PortEntry> = started.map(|(at, info)| self.port(at, info, attachments)).collect();
        let mut gateways: Vec<&GatewayPort> = self.gateways.iter().collect();
        gateways.sort_by_key(|gateway| gateway.port.0);
        for gateway in gateways {
            // Nothing is on the ports between.
            ports.resize_with(gateway.port.index(), || PortEntry {
                name: String::new(),
                mac: MacAddr::default(),
                role: PortRole::Trunk(TrunkEntry::default()),
                host: None,
            });
            let own =
                (0..).map(AttachmentIndex).zip(attachments).find(|(_, entry)| entry.port == gateway.port);
            let untagged = own.map(|(at, _)| at);
            ports.push(PortEntry {
                name: gateway.name.clone(),
                // Frames come from the gateway's own address, which is no reflection of ours.
                mac: MacAddr::default(),
                role: PortRole::Trunk(TrunkEntry { untagged, ..TrunkEntry::default() }),
                host: None,
            });
        }
        ports
    }

    fn port(&self, at: usize, info: &PortInfo, attachments: &[AttachmentEntry]) -> PortEntry {
        let role = match (info.companion_of, self.config().ports.get(at)) {
            (None, Some(port)) if port.role == Role::Trunk => {
                PortRole::Trunk(self.trunk(at, port, attachments))
            }
            (Some(port), _) => PortRole::Host(port),
            _ => PortRole::Uplink(UplinkEntry { data_port: self.data_port, ecn: self.config().system.ecn }),
        };
        PortEntry { name: info.name.clone(), mac: info.mac, role, host: info.host }
    }

    fn trunk(&self, at: usize, port: &config::Port, attachments: &[AttachmentEntry]) -> TrunkEntry {
        let in_service = |entry: &AttachmentEntry| {
            self.layout.segment(entry.segment).is_some_and(|segment| segment.enabled)
        };
        let mut trunk = TrunkEntry::default();
        let (mut vlans, mut vnis) = (Vec::new(), hashbrown::HashMap::new());
        let mut pairs: HashMap<_, Vec<_>> = HashMap::new();
        for (index, entry) in (0..).map(AttachmentIndex).zip(attachments) {
            if entry.port.index() != at || !in_service(entry) {
                continue;
            }
            match &entry.encap {
                Encap::Untagged => trunk.untagged = Some(index),
                Encap::Vlan(vlan) => vlans.push((*vlan, index)),
                Encap::Service(service, None) => {
                    trunk.services.entry(*service).or_default().rest = Some(index)
                }
                Encap::Service(service, Some(vlan)) => {
                    pairs.entry(*service).or_default().push((*vlan, index))
                }
                Encap::Vxlan(vni, _) => {
                    vnis.insert(*vni, index);
                }
            }
        }
        for (service, vlans) in pairs {
            trunk.services.entry(service).or_default().vlans = VlanMap::new(vlans);
        }
        trunk.vlans = VlanMap::new(vlans);
        let remotes = self.remotes.iter().zip(0..).filter(|(remote, _)| remote.port == at);
        trunk.vtep = port.vtep.as_ref().map(|vtep| Vtep {
            local: vtep.local,
            group: vtep.group,
            udp_port: vtep.udp_port,
            vnis,
            remotes: remotes.map(|(remote, index)| (remote.address, RemoteIndex(index))).collect(),
            learn: vtep.learn,
        });
        trunk
    }

    fn remote(&self, Remote { port, address, .. }: Remote) -> RemoteVtep {
        let header = || {
            let vtep = self.config().ports[port].vtep.as_ref()?;
            let mac = match MacAddr::of_group(address) {
                Some(group) => group,
                None => self.hops.get(address)?.mac?,
            };
            // The source port comes with each packet, from the inner flow (RFC 7348 4.2).
            let source = SocketAddr::new(vtep.local, 0);
            UdpTemplate::new(self.ports[port].mac, mac, source, SocketAddr::new(address, vtep.udp_port)).ok()
        };
        RemoteVtep { address, header: header() }
    }

    fn session(&self, view: &SessionView) -> SessionEntry {
        let marks = Marks::default();
        let over_tcp =
            |max_record| Path { port: NO_PORT, header: None, marks, max_record, port_per_worker: false };
        let path = |path: &PathView| PathEntry {
            path: match path.tcp {
                true => Some(over_tcp(path.max_record)),
                false => path.way.and_then(|way| self.path(&way, path.max_record)),
            },
            way: path.way,
        };
        let paths: Vec<PathEntry> = view.paths.iter().map(path).take(ALL_PATHS).collect();
        let by_udp = view.paths.iter().filter(|path| !path.tcp).count();
        // A path without a next hop carries nothing, whatever the session hopes.
        let usable = (0..paths.len()).filter(|at| view.paths[*at].usable && paths[*at].path.is_some());
        SessionEntry {
            spread: Spread::new(by_udp, &usable.collect::<Vec<_>>()),
            paths,
            segments: view.segments.iter().map(|(tunnel, _)| *tunnel).collect(),
        }
    }
}

/// No segment and no port has these numbers.
const NO_SEGMENT: SegmentIndex = SegmentIndex(u16::MAX);
pub(crate) const NO_PORT: PortIndex = PortIndex(u8::MAX);

/// A segment that nothing enters or leaves.
fn gone(config: Option<&config::Segment>) -> Segment {
    Segment {
        name: config.map_or_else(String::new, |segment| segment.name.clone()),
        tunnel_id: config.map_or(TunnelId::FIRST, |segment| segment.tunnel_id),
        mtu: 0,
        attachments: Vec::new(),
        sessions: Vec::new(),
        spoke_to_spoke: false,
        policy: bridge::Policy::default(),
    }
}
