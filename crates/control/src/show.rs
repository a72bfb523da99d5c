//! What `causeway show` gets: JSON, documented in `docs/show.md`.

use bridge::{Endpoint, Fdb, SegmentIndex};
use config::{Mode, Role};
use counters::{Counters, DropReason};
use pipeline::tables::Tables;
use serde_json::{Map, Value, json};
use session::{Now, PathStatus, SiteStatus};

use crate::clock::Clock;
use crate::gateways::GatewayPort;
use crate::guard::Guard;
use crate::layout::Layout;
use crate::privileges;

/// The state of a port's line, as its driver tells.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortState {
    /// Whether it is up.
    pub up: bool,
    /// Mbit/s, 0 when not known.
    pub mbps: u32,
    /// Packets that the device dropped: for want of descriptors, and of buffers.
    pub missed: (u64, u64),
}

/// What is counted below us for each pair of queues of a port, by name. `None`: nothing.
pub type QueueCounters = Option<Vec<Vec<(String, u64)>>>;

/// Asks the ports, by their number.
pub trait Lines {
    /// The state of each.
    fn states(&self) -> Vec<PortState>;

    /// What each counts by queue.
    fn queues(&self) -> Vec<QueueCounters>;
}

/// All that can be shown.
pub(crate) struct Shown<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) tables: &'a Tables,
    pub(crate) counters: &'a Counters,
    pub(crate) fdb: &'a Fdb,
    pub(crate) guard: &'a Guard,
    pub(crate) gateways: Vec<GatewayPort>,
    /// By number.
    pub(crate) sites: Vec<SiteStatus>,
    pub(crate) ports: Vec<PortState>,
    /// Whether the service runs.
    pub(crate) runs: bool,
    /// The services that share a server's TCP port.
    pub(crate) shares: Vec<Value>,
    /// Connections to a server's TCP port that came to nothing, by why.
    pub(crate) refused: Vec<(&'static str, u64)>,
    pub(crate) now: Now,
    pub(crate) clock: Clock,
}

/// The commands there are.
pub const COMMANDS: &[&str] = &[
    "service l2vpn",
    "service l2vpn statistics [site NAME | segment NAME]",
    "ports",
    "segments",
    "mac-table",
    "loops",
    "neighbours",
    "counters",
    "drops [REASON]",
    "privileges",
];

/// The words of NSX's statistics.
const STATISTICS: &str = "service l2vpn statistics";

impl Shown<'_> {
    /// The answer to `show` with these words.
    pub(crate) fn answer(&self, words: &str) -> Result<Value, String> {
        match words {
            "service l2vpn" => Ok(self.service()),
            "ports" => Ok(self.ports()),
            "privileges" => Ok(privileges::show(self.layout.config())),
            "segments" => Ok(self.segments()),
            "mac-table" => self.mac_table(&[]),
            "loops" => Ok(self.loops()),
            "neighbours" => Ok(self.neighbours()),
            "counters" => Ok(self.counters()),
            _ if words.starts_with(STATISTICS) => self.statistics(words[STATISTICS.len()..].trim()),
            _ if words.starts_with("drops") => self.drops(words["drops".len()..].trim()),
            other => Err(format!("there is no \"show {other}\"; there are: {}", COMMANDS.join(", "))),
        }
    }

    fn service(&self) -> Value {
        let mode = match &self.layout.config().mode {
            Mode::Server(_) => "server",
            Mode::Client(_) => "client",
        };
        let sites: Vec<Value> = self
            .layout
            .session_indices()
            .into_iter()
            .filter_map(|index| Some(self.site(usize::from(index.0), self.sites.get(usize::from(index.0))?)))
            .collect();
        json!({
            "mode": mode,
            "uptime_s": self.now.as_secs(),
            "sites": sites,
            "shared_port": self.shares,
            "refused": fields(&self.refused),
        })
    }

    fn site(&self, at: usize, site: &SiteStatus) -> Value {
        let ago = |then: Now| self.now.saturating_sub(then).as_secs_f64();
        let tables = self.tables.sessions.get(at).and_then(Option::as_ref);
        let in_session = |tunnel: u16| tables.is_some_and(|entry| entry.segments.contains(tunnel));
        let joined: Vec<&str> = self
            .layout
            .segments()
            .filter(|(_, segment)| in_session(segment.tunnel_id.get()))
            .map(|(_, segment)| segment.name.as_str())
            .collect();
        json!({
            "site": site.site,
            "state": site.state.name(),
            "up_s": site.up_since.map(ago),
            "peer": site.peer.map(|peer| peer.to_string()),
            "path_known": tables.is_some_and(|entry| entry.paths.iter().any(|path| path.path.is_some())),
            "transport": site.transport.map(|carrier| if carrier.tcp { "tcp" } else { "udp" }),
            "transport_s": site.transport.map(|carrier| ago(carrier.since)),
            "transport_why": site.transport.map(|carrier| carrier.why),
            "path_mtu": site.path_mtu(),
            "paths": site.paths.iter().enumerate().map(|(path, status)| self.path(at, path, status)).collect::<Vec<_>>(),
            "cipher": site.cipher.map(record::Cipher::name),
            "round_trip_ms": site.round_trip.map(|time| time.as_secs_f64() * 1000.0),
            "last_heard_s": site.last_heard.map(ago),
            "renewals": site.renewals,
            "software": site.software,
            "segments": joined,
            "last_failure": site.last_failure.as_ref().map(|(_, reason)| reason),
            "last_failure_s": site.last_failure.as_ref().map(|(then, _)| ago(*then)),
            "counters": fields(&self.counters.session(at).fields()),
        })
    }

    fn path(&self, session: usize, path: usize, status: &PathStatus) -> Value {
        let entry = self.tables.sessions.get(session).and_then(|entry| entry.as_ref()?.path(path));
        let header = entry.and_then(|entry| entry.path.as_ref()).and_then(|path| path.header.as_ref());
        let uplink = status.way.and_then(|way| self.tables.ports.get(usize::from(way.port)));
        json!({
            "transport": if status.tcp { "tcp" } else { "udp" },
            "uplink": uplink.map(|port| &port.name),
            "local": header.map(|header| header.src().to_string()),
            "peer": status.way.map(|way| way.peer.to_string()),
            "next_hop_known": header.is_some(),
            "state": status.state.name(),
            "round_trip_ms": status.round_trip.map(|time| time.as_secs_f64() * 1000.0),
            "path_mtu": status.mtu,
            "loss": status.loss,
            "counters": fields(&self.counters.path(session, path).fields()),
        })
    }

    fn ports(&self) -> Value {
        let port = |(at, entry): (usize, &pipeline::tables::PortEntry)| {
            let state = self.ports.get(at).copied().unwrap_or_default();
            let config = self.layout.config().ports.get(at);
            let role = config.map_or("host", |port| match port.role {
                Role::Trunk => "trunk",
                Role::Uplink => "uplink",
            });
            json!({
                "port": entry.name,
                "role": role,
                "mac": entry.mac.to_string(),
                "mtu": config.map(|port| port.mtu),
                "link": if state.up { "up" } else { "down" },
                "mbps": state.mbps,
                "missed": state.missed.0,
                "no_buffer": state.missed.1,
                "counters": fields(&self.counters.port(at).fields()),
            })
        };
        json!({ "ports": self.tables.ports.iter().enumerate().map(port).collect::<Vec<_>>() })
    }

    fn segments(&self) -> Value {
        let ports = &self.layout.config().ports;
        let segment = |(index, config): (SegmentIndex, &config::Segment)| {
            let entry = self.tables.segments.get(index)?;
            let attachments: Vec<String> = config
                .attachments
                .iter()
                .map(|attachment| format!("{} {}", ports[attachment.port].name, attachment.encap))
                .collect();
            let sites: Vec<&str> = entry
                .sessions
                .iter()
                .filter_map(|at| Some(self.sites.get(usize::from(at.0))?.site.as_str()))
                .collect();
            let (lan, tunnel) = self.counters.segment(usize::from(index.0));
            Some(json!({
                "segment": config.name,
                "tunnel_id": config.tunnel_id.get(),
                "mtu": config.mtu,
                "enabled": config.enabled,
                "spoke_to_spoke": config.spoke_to_spoke,
                "gateway": config.gateway.as_ref().map(|gateway| self.gateway(index, gateway)),
                "attachments": attachments,
                "sites": sites,
                "from_lan": fields(&lan.fields()),
                "from_tunnel": fields(&tunnel.fields()),
                "storm_limited": self.storm_limited(index),
            }))
        };
        json!({ "segments": self.layout.segments().filter_map(segment).collect::<Vec<_>>() })
    }

    fn gateway(&self, index: SegmentIndex, gateway: &config::Gateway) -> Value {
        let running = self.gateways.iter().find(|running| running.segment == index);
        json!({
            "interface": gateway.interface,
            "mac": running.map(|running| running.mac.to_string()),
            "addresses": gateway.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "egress": gateway.egress.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }

    pub(crate) fn place(&self, endpoint: Endpoint) -> String {
        let attachment = |at: bridge::AttachmentIndex| {
            let entry = self.tables.attachment(at)?;
            let port = &self.tables.ports.get(entry.port.index())?.name;
            Some(match &entry.encap {
                pipeline::tables::Encap::Untagged => format!("{port} untagged"),
                pipeline::tables::Encap::Vlan(vlan) => format!("{port} VLAN {vlan}"),
                pipeline::tables::Encap::Service(service, None) => format!("{port} S-VLAN {service}"),
                pipeline::tables::Encap::Service(service, Some(vlan)) => {
                    format!("{port} S-VLAN {service} VLAN {vlan}")
                }
                pipeline::tables::Encap::Vxlan(vni, _) => format!("{port} VNI {vni}"),
            })
        };
        let place = match endpoint {
            Endpoint::Attachment(at) => attachment(at),
            Endpoint::Vtep(at, remote) => attachment(at)
                .zip(self.tables.remote(remote))
                .map(|(place, remote)| format!("{place} at {}", remote.address)),
            Endpoint::Session(at) => {
                self.sites.get(usize::from(at.0)).map(|site| format!("site {}", site.site))
            }
        };
        place.unwrap_or_else(|| "gone".into())
    }

    pub(crate) fn counters(&self) -> Value {
        let drops: Map<String, Value> = DropReason::ALL
            .iter()
            .map(|reason| (reason.name().into(), self.counters.drops(*reason).into()))
            .collect();
        let help: Map<String, Value> =
            DropReason::ALL.iter().map(|reason| (reason.name().into(), reason.help().into())).collect();
        let ports: Map<String, Value> = self
            .tables
            .ports
            .iter()
            .enumerate()
            .map(|(at, port)| (port.name.clone(), fields(&self.counters.port(at).fields())))
            .collect();
        let sessions: Map<String, Value> = self
            .layout
            .session_indices()
            .into_iter()
            .map(|index| usize::from(index.0))
            .filter_map(|at| {
                Some((self.sites.get(at)?.site.clone(), fields(&self.counters.session(at).fields())))
            })
            .collect();
        json!({
            "drops": drops,
            "drops_help": help,
            "ports": ports,
            "sessions": sessions,
            "workers": fields(&self.counters.poll().fields()),
            "by_worker": self.counters.by_worker().iter().map(|poll| fields(&poll.fields())).collect::<Vec<_>>(),
        })
    }
}

fn fields(fields: &[(&'static str, u64)]) -> Value {
    Value::Object(fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
}
