//! `explain`: what becomes of a frame, step by step, here and at the other ends.
//!
//! The data path itself says it, in a dry run on the tables in force ([`pipeline::explain`]); here it is put into words.

use bridge::{Endpoint, Forward, SegmentIndex, SessionIndex};
use pipeline::capture::Fields;
use pipeline::explain::{self, Finding};
use pipeline::tables::{Encap, PortIndex, PortRole};
use serde_json::{Value, json};
use wire::arp::ArpPacket;
use wire::buf::{BufPool, HeapPool, PacketBuf};
use wire::mac::MacAddr;
use wire::template::UdpTemplate;
use wire::vxlan::VxlanHeader;

use std::net::{IpAddr, SocketAddr};

use super::capture;
use super::drops::summary;
use crate::show::Shown;

/// A frame to explain, and where it comes in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// On a trunk port, as it is on the line.
    Port(PortIndex, Vec<u8>),
    /// Through a session, without encapsulation.
    Session(SessionIndex, u16, Vec<u8>),
}

impl Input {
    /// A frame that the other end of a session asks about. `None`: it is none.
    pub(super) fn of_peer(session: SessionIndex, tunnel: u16, frame: &[u8]) -> Option<Self> {
        let size = 14..=capture::MAX_SNAP;
        size.contains(&frame.len()).then(|| Self::Session(session, tunnel, frame.to_vec()))
    }
}

/// What was found out.
pub(super) struct Explained {
    /// The steps in words.
    pub(super) steps: Vec<Value>,
    /// The sessions that it goes into, with the tunnel ID and the frame as the other end gets it.
    pub(super) crossings: Vec<(SessionIndex, u16, Vec<u8>)>,
}

/// Segment, where from, destination and source of a frame.
type Entered = (SegmentIndex, Endpoint, MacAddr, MacAddr);

/// Tries a frame.
pub(super) fn explain(input: &Input, shown: &Shown<'_>) -> Explained {
    let now = pipeline::Now(shown.now);
    let (findings, intro) = match input {
        Input::Port(port, frame) => {
            let name = shown.tables.ports.get(port.index()).map_or("?", |port| port.name.as_str());
            let intro = format!("{} arrives on {name}", summary(&Fields::of(frame, frame.len())));
            (explain::from_port(shown.tables, shown.fdb, now, *port, frame), intro)
        }
        Input::Session(session, tunnel, frame) => {
            let site = shown.place(Endpoint::Session(*session));
            let intro = format!(
                "{} arrives from {site} under tunnel ID {tunnel}",
                summary(&Fields::of(frame, frame.len()))
            );
            let at = (*session, *tunnel);
            (explain::from_session(shown.tables, shown.fdb, now, at, frame), intro)
        }
    };
    let mut steps = vec![step("arrive", "note", intro)];
    let mut crossings = Vec::new();
    let (mut entered, mut inner) = (None, Vec::new());
    for finding in &findings {
        if let Finding::Entered { segment, from, dst, src, frame } = finding {
            entered = Some((*segment, *from, *dst, *src));
            inner.clone_from(frame);
        }
        steps.push(words(finding, entered, shown));
        let into = |session: &SessionIndex| entered.map(|(segment, ..)| (*session, segment));
        let crossing = match finding {
            Finding::Packed(session, ..) | Finding::OverTcp(session, _) => into(session),
            _ => None,
        };
        if let Some((session, segment)) = crossing {
            let Some(config) = shown.layout.segment(segment) else { continue };
            crossings.push((session, config.tunnel_id.get(), inner.clone()));
        }
    }
    Explained { steps, crossings }
}

fn step(stage: &str, verdict: &str, text: impl Into<String>) -> Value {
    json!({ "stage": stage, "verdict": verdict, "text": text.into() })
}

fn words(finding: &Finding, entered: Option<Entered>, shown: &Shown<'_>) -> Value {
    let (from, dst, src) = match entered {
        Some((_, from, dst, src)) => (Some(from), dst, src),
        None => (None, MacAddr::default(), MacAddr::default()),
    };
    match finding {
        Finding::Entered { segment, from, .. } => {
            let segment = shown.layout.segment(*segment);
            let name = segment.map_or("?", |segment| segment.name.as_str());
            let tunnel = segment.map_or(0, |segment| segment.tunnel_id.get());
            step(
                "classify",
                "pass",
                format!("belongs to segment {name} (tunnel ID {tunnel}), from {}", shown.place(*from)),
            )
        }
        Finding::Kernel => step("classify", "end", "is left to the kernel: it belongs to no segment"),
        Finding::Probe => step("classify", "end", "is a probe of an appliance: the control thread takes it"),
        Finding::NoTrunk => step("classify", "drop", "this is no trunk port"),
        Finding::Source(None) => step("learn", "pass", format!("{src} was not known: it is learned here")),
        Finding::Source(Some(at)) if Some(*at) == from => {
            step("learn", "pass", format!("{src} is known here"))
        }
        Finding::Source(Some(at)) => step(
            "learn",
            "note",
            format!("{src} was known at {}: it has moved, or two have this address", shown.place(*at)),
        ),
        Finding::Destination(Some(at)) => {
            step("look up", "pass", format!("{dst} is at {}", shown.place(*at)))
        }
        Finding::Destination(None) if dst.is_multicast() => {
            step("look up", "pass", format!("{dst} is a group address: it goes everywhere"))
        }
        Finding::Destination(None) => {
            step("look up", "note", format!("{dst} is not known: it has not sent anything here for a while"))
        }
        Finding::Decision(Forward::To(at)) => {
            step("decide", "pass", format!("goes to {} only", shown.place(*at)))
        }
        Finding::Decision(Forward::Flood) => step("decide", "pass", flood(entered, shown)),
        Finding::Decision(Forward::SameEndpoint) => step(
            "decide",
            "drop",
            "its destination is where it came from, or where spoke_to_spoke does not let it go",
        ),
        Finding::Shown(true) => step("inspect", "note", "the control thread gets a copy"),
        Finding::Shown(false) => step("inspect", "note", "the control thread answers it or passes it on"),
        Finding::Clamped => {
            step("clamp", "note", "the maximum segment size of its TCP handshake is made to fit the tunnel")
        }
        Finding::Dropped(reason) => step("drop", "drop", format!("{}: {}", reason.name(), reason.help())),
        Finding::Leaves(port, octets) => {
            let name = shown.tables.ports.get(port.index()).map_or("?", |port| port.name.as_str());
            step("send", "pass", format!("leaves by {name}: {}", summary(&Fields::of(octets, octets.len()))))
        }
        Finding::Packed(session, port, len, to) => {
            let name = shown.tables.ports.get(port.index()).map_or("?", |port| port.name.as_str());
            let site = shown.place(Endpoint::Session(*session));
            step("send", "pass", format!("goes to {site} in a record of {len} octets, by {name} to {to}"))
        }
        Finding::OverTcp(session, len) => {
            let site = shown.place(Endpoint::Session(*session));
            step(
                "send",
                "pass",
                format!("goes to {site} in a record of {len} octets, over TCP: UDP does not get through"),
            )
        }
    }
}

fn flood(entered: Option<Entered>, shown: &Shown<'_>) -> String {
    let Some((segment, from, ..)) = entered else { return "flooded".into() };
    let segments = &shown.tables.segments;
    let attachments = segments.flood_attachments(segment, from).map(Endpoint::Attachment);
    let sessions = segments.flood_sessions(segment, from).map(Endpoint::Session);
    let places: Vec<String> = attachments.chain(sessions).map(|at| shown.place(at)).collect();
    match places.as_slice() {
        [] => "would be flooded, but there is nowhere to".into(),
        places => format!("is flooded to {}", places.join(", ")),
    }
}

/// The frame that the words of a request describe.
pub(super) fn parse(words: &[&str], shown: &Shown<'_>) -> Result<Input, String> {
    const USAGE: &str = "explain segment NAME src MAC dst MAC [ip ADDRESS] [size N] [port PORT | from SITE]";
    let ["segment", name, rest @ ..] = words else { return Err(format!("the words are: {USAGE}")) };
    let segment = capture::segment(name, shown)?;
    let (mut src, mut dst, mut ip, mut size, mut port, mut site) = (None, None, None, 60, None, None);
    for pair in rest.chunks(2) {
        let &[key, value] = pair else {
            return Err(format!("{} has no value; the words are: {USAGE}", pair[0]));
        };
        let mac = || value.parse::<MacAddr>().map_err(|_| format!("\"{value}\" is no MAC address"));
        match key {
            "src" => src = Some(mac()?),
            "dst" => dst = Some(mac()?),
            "ip" => ip = Some(value.parse::<IpAddr>().map_err(|_| format!("\"{value}\" is no IP address"))?),
            "size" => {
                let parsed = value.parse().ok().filter(|size| (14..=capture::MAX_SNAP).contains(size));
                size = parsed.ok_or_else(|| format!("\"{value}\" is no size of a frame"))?;
            }
            "port" => port = Some(value),
            "from" => site = Some(capture::session(value, shown)?),
            other => return Err(format!("\"{other}\" is unknown; the words are: {USAGE}")),
        }
    }
    let (src, dst) = src.zip(dst).ok_or_else(|| format!("src and dst are needed; the words are: {USAGE}"))?;
    let rest = payload((dst, src), ip, size);
    if let Some(session) = site {
        let tunnel = shown.layout.segment(segment).map_or(0, |segment| segment.tunnel_id.get());
        return Ok(Input::Session(session, tunnel, [&dst.0[..], &src.0, &rest].concat()));
    }
    on_port(segment, (dst, src), port, &rest, shown)
}

/// A frame from its EtherType on: ARP or an IP packet to `ip`, or something of no meaning.
fn payload((dst, src): (MacAddr, MacAddr), ip: Option<IpAddr>, size: usize) -> Vec<u8> {
    let mut rest = match ip {
        Some(IpAddr::V4(ip)) if dst.is_broadcast() => {
            let arp =
                ArpPacket::new(ArpPacket::REQUEST, (src, [0, 0, 0, 0].into()), (MacAddr::default(), ip));
            [&[0x08, 0x06][..], &arp.to_bytes()].concat()
        }
        Some(IpAddr::V4(ip)) => {
            let len = ((size - 14).max(28) as u16).to_be_bytes();
            let header = [0x45, 0, len[0], len[1], 0, 0, 0x40, 0, 64, 1, 0, 0, 0, 0, 0, 0];
            [&[0x08, 0x00][..], &header, &ip.octets(), &[8, 0, 0, 0, 0, 0, 0, 0]].concat()
        }
        Some(IpAddr::V6(ip)) => {
            let len = ((size - 14).max(48) as u16 - 40).to_be_bytes();
            let header = [0x60, 0, 0, 0, len[0], len[1], 58, 64];
            [&[0x86, 0xdd][..], &header, &[0; 16], &ip.octets(), &[128, 0, 0, 0, 0, 0, 0, 0]].concat()
        }
        // For local experiments (IEEE 802).
        None => vec![0x88, 0xb5],
    };
    rest.resize(rest.len().max(size - 12), 0);
    rest
}

/// Puts the encapsulation around that the frame has on its port: the one that is named, or where the source is, or the first.
fn on_port(
    segment: SegmentIndex,
    (dst, src): (MacAddr, MacAddr),
    port: Option<&str>,
    rest: &[u8],
    shown: &Shown<'_>,
) -> Result<Input, String> {
    let tables = shown.tables;
    let attachments = tables.segments.get(segment).map_or(&[][..], |segment| &segment.attachments);
    let name_of = |at: &bridge::AttachmentIndex| {
        let port = tables.attachment(*at)?.port;
        tables.ports.get(port.index()).map(|port| port.name.as_str())
    };
    let known = match shown.fdb.lookup(segment, src) {
        Some(Endpoint::Session(session)) if port.is_none() => {
            let tunnel = shown.layout.segment(segment).map_or(0, |segment| segment.tunnel_id.get());
            return Ok(Input::Session(session, tunnel, [&dst.0[..], &src.0, rest].concat()));
        }
        Some(Endpoint::Attachment(at) | Endpoint::Vtep(at, _)) => Some(at),
        _ => None,
    };
    let at = match port {
        Some(port) => attachments.iter().copied().find(|at| name_of(at) == Some(port)),
        None => known.or(attachments.first().copied()),
    };
    let at = at
        .ok_or("the segment has no such attachment that is in service: say which port, or from which site")?;
    let entry = tables.attachment(at).ok_or("the attachment is gone")?;
    let addresses = [dst.0, src.0].concat();
    let tag = |ethertype: u16, vlan: u16| [ethertype.to_be_bytes(), vlan.to_be_bytes()].concat();
    let frame = match &entry.encap {
        Encap::Untagged => [&addresses, rest].concat(),
        Encap::Vlan(vlan) => [&addresses, &tag(0x8100, vlan.get())[..], rest].concat(),
        Encap::Service(service, None) => [&addresses, &tag(0x88a8, service.get())[..], rest].concat(),
        Encap::Service(service, Some(vlan)) => {
            [&addresses, &tag(0x88a8, service.get())[..], &tag(0x8100, vlan.get()), rest].concat()
        }
        Encap::Vxlan(vni, remotes) => {
            let port = tables.ports.get(entry.port.index()).ok_or("the port is gone")?;
            let PortRole::Trunk(trunk) = &port.role else { return Err("the port is no trunk".into()) };
            let vtep = trunk.vtep.as_ref().ok_or("the port has no VTEP")?;
            let remote = remotes.first().and_then(|remote| tables.remote(*remote));
            let remote = remote.ok_or("no remote VTEP is known that the frame could come from")?;
            let (from, to) = (SocketAddr::new(remote.address, 0), SocketAddr::new(vtep.local, vtep.udp_port));
            let header = UdpTemplate::new(MacAddr([2, 0, 0, 0, 0, 1]), port.mac, from, to)
                .map_err(|error| error.to_string())?;
            let inner = [&VxlanHeader::new(*vni).to_bytes()[..], &addresses, rest].concat();
            let mut buf = HeapPool::new(capture::MAX_SNAP + 100).alloc().ok_or("no buffer")?;
            buf.append(inner.len()).ok_or("too large")?.copy_from_slice(&inner);
            if !header.write(&mut buf, 50_000) {
                return Err("too large".into());
            }
            buf.data().to_vec()
        }
    };
    Ok(Input::Port(entry.port, frame))
}
