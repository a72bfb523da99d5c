//! What is wrong with a segment at this site, as far as this site can know: the part of the self-test that asks nobody.

use std::collections::HashMap;

use bridge::{AttachmentIndex, SegmentIndex, SessionIndex};
use config::{Device, Encap, Mode};
use counters::{DropReason, SideTotals};
use pipeline::capture::Fields;
use pipeline::tables::{AttachmentEntry, AttachmentState, Encap as Looks, PortIndex};
use serde_json::{Value, json};
use session::State;

use crate::show::Shown;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// Good to know.
    Info,
    /// Some traffic may be lost.
    Warning,
    /// Traffic does not get through.
    Error,
}

/// Something that is wrong. Codes stay the same from version to version; `docs/tasks/no-traffic.md` lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) code: &'static str,
    pub(super) severity: Severity,
    /// The site that it is about.
    pub(super) site: Option<String>,
    pub(super) text: String,
    pub(super) advice: String,
}

impl Finding {
    pub(super) fn new(
        code: &'static str,
        severity: Severity,
        text: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { code, severity, site: None, text: text.into(), advice: advice.into() }
    }

    pub(super) fn of_site(mut self, site: &str) -> Self {
        self.site = Some(site.into());
        self
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "code": self.code,
            "severity": self.severity.name(),
            "site": self.site,
            "text": self.text,
            "advice": self.advice,
        })
    }
}

impl Severity {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Reasons of drops in a segment that tell something.
const TELLING: &[(DropReason, Severity)] = &[
    (DropReason::Oversize, Severity::Warning),
    (DropReason::StormLimited, Severity::Warning),
    (DropReason::MacLimit, Severity::Warning),
    (DropReason::DuplicateMac, Severity::Error),
    (DropReason::UnknownUnicast, Severity::Info),
    (DropReason::EgressFiltered, Severity::Info),
    (DropReason::NoDestination, Severity::Info),
    (DropReason::NoBuffer, Severity::Error),
];

/// Wrong checksums among so many at least are no accident.
const CHECKSUMS: u64 = 3;

/// Counters of a segment at some moment, to tell what happened since.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Then {
    lan: SideTotals,
    tunnel: SideTotals,
    checksums: (u64, u64),
    drops: [u64; TELLING.len()],
}

impl Then {
    /// The counters as they are.
    pub(super) fn now(shown: &Shown<'_>, index: SegmentIndex) -> Self {
        let at = usize::from(index.0);
        let (lan, tunnel) = shown.counters.segment(at);
        let checksums = shown.counters.checksums(at);
        let mut drops = [0; TELLING.len()];
        for (count, (reason, _)) in drops.iter_mut().zip(TELLING) {
            *count = shown.counters.segment_drops(at, *reason);
        }
        Self { lan, tunnel, checksums: (checksums.sampled, checksums.wrong), drops }
    }
}

/// All that this site sees, compared with what was `then`.
pub(super) fn local(shown: &Shown<'_>, index: SegmentIndex, then: &Then) -> Vec<Finding> {
    let Some(segment) = shown.layout.segment(index) else { return Vec::new() };
    if !segment.enabled {
        return vec![Finding::new(
            "disabled_here",
            Severity::Error,
            format!("segment {} is disabled at this site", segment.name),
            "set enabled = true and reload",
        )];
    }
    let mut findings = Vec::new();
    let attachments = shown.tables.segments.get(index).map_or(&[][..], |entry| &entry.attachments);
    if segment.attachments.is_empty() && segment.gateway.is_none() {
        findings.push(Finding::new(
            "no_attachment",
            Severity::Warning,
            "the segment meets no local port and has no gateway",
            "add a [[segment.attachment]]",
        ));
    }
    for at in attachments {
        attachment(shown, *at, &mut findings);
    }
    traffic(shown, index, then, &mut findings);
    findings
}

fn attachment(shown: &Shown<'_>, at: AttachmentIndex, findings: &mut Vec<Finding>) {
    let Some(entry) = shown.tables.attachment(at) else { return };
    let place = shown.place(bridge::Endpoint::Attachment(at));
    let port = shown.layout.config().ports.get(entry.port.index());
    let name = port.map_or("its gateway", |port| port.name.as_str());
    if port.is_some() && !shown.ports.get(entry.port.index()).is_none_or(|state| state.up) {
        findings.push(Finding::new(
            "port_down",
            Severity::Error,
            format!("the line of port {name} is down, so that {place} is cut off"),
            "look at the cable, the virtual NIC's \"connected\" box, or the interface's state (ip link)",
        ));
    }
    match entry.state {
        AttachmentState::Forwarding => {}
        AttachmentState::Listening => findings.push(Finding::new(
            "attachment_listening",
            Severity::Info,
            format!("{place} has just come into service and listens for loops"),
            "test again in a moment",
        )),
        AttachmentState::Blocked => findings.push(Finding::new(
            "attachment_blocked",
            Severity::Error,
            format!("{place} is blocked: the loop guard's probes came back another way"),
            "find the second bridge, tunnel or cable (show loops); it unblocks by itself when the loop is gone",
        )),
    }
    vxlan(shown, entry, &place, findings);
}

/// Whether the interfaces of a segment's ports take frames as large as the ports'. Somebody may have changed them since the start.
/// Reads files, so that it is for tests and not for the watch.
pub(super) fn interfaces(shown: &Shown<'_>, index: SegmentIndex) -> Vec<Finding> {
    let attachments = shown.layout.segment(index).map_or(&[][..], |segment| &segment.attachments);
    let mut ports: Vec<usize> = attachments.iter().map(|at| at.port).collect();
    ports.sort_unstable();
    ports.dedup();
    let finding = |port: &config::Port| {
        let (Device::Kernel(interface) | Device::AfPacket(interface)) = &port.device else { return None };
        let mtu = std::fs::read_to_string(format!("/sys/class/net/{interface}/mtu")).ok()?;
        let mtu: u16 = mtu.trim().parse().ok().filter(|mtu| *mtu < port.mtu)?;
        Some(Finding::new(
            "port_mtu",
            Severity::Error,
            format!(
                "interface {interface} has MTU {mtu}, but port {} is to carry frames of {}",
                port.name, port.mtu
            ),
            "raise the interface's MTU and its network's, or lower the port's and the segments' at all sites",
        ))
    };
    ports.into_iter().filter_map(|at| finding(shown.layout.config().ports.get(at)?)).collect()
}

fn vxlan(shown: &Shown<'_>, entry: &AttachmentEntry, place: &str, findings: &mut Vec<Finding>) {
    let Looks::Vxlan(_, remotes) = &entry.encap else { return };
    if remotes.is_empty() {
        findings.push(Finding::new(
            "vtep_none",
            Severity::Error,
            format!("no remote VTEP is known for {place}"),
            "name them in [port.vtep] remotes, or a group, or let them send first (learn = true)",
        ));
    }
    for remote in remotes.iter().filter_map(|remote| shown.tables.remote(*remote)) {
        if remote.header.is_none() {
            findings.push(Finding::new(
                "vtep_no_neighbour",
                Severity::Error,
                format!("the next hop towards VTEP {} of {place} is not resolved", remote.address),
                format!(
                    "look at ip route get {} and ip neigh; does it answer ARP on the underlay?",
                    remote.address
                ),
            ));
        }
    }
}

fn traffic(shown: &Shown<'_>, index: SegmentIndex, then: &Then, findings: &mut Vec<Finding>) {
    let now = Then::now(shown, index);
    let since = |of: fn(&Then) -> u64| of(&now) - of(then);
    let arrived = since(|then| then.lan.frames);
    let unicast = arrived - since(|then| then.lan.bum);
    let delivered = since(|then| then.tunnel.frames) - since(|then| then.tunnel.bum);
    let attached = shown.layout.segment(index).is_some_and(|segment| !segment.attachments.is_empty());
    if now.lan.frames == 0 && attached {
        findings.push(Finding::new(
            "no_local_frames",
            Severity::Warning,
            "nothing has ever arrived from a local attachment",
            format!(
                "do hosts send? Is the VLAN allowed on the switch's port, the VNI the same?{}",
                strays(shown)
            ),
        ));
    } else if arrived > 0 && unicast == 0 && delivered > 0 {
        findings.push(Finding::new(
            "foreign_macs",
            if delivered >= 3 { Severity::Error } else { Severity::Warning },
            format!(
                "of {arrived} frames from local attachments all were broadcast or multicast, though {delivered} unicast frames came for local hosts: the trunk \
                 does not deliver frames for addresses that are not the port's own"
            ),
            "on a hypervisor allow promiscuous mode (or a sink port, MAC learning) and forged transmits on the port group; on a cloud NIC switch its \
             source/destination check off",
        ));
    }
    let (sampled, wrong) = (now.checksums.0 - then.checksums.0, now.checksums.1 - then.checksums.1);
    if wrong >= CHECKSUMS && 2 * wrong >= sampled {
        findings.push(Finding::new(
            "checksum_offload",
            Severity::Error,
            format!("{wrong} of {sampled} TCP and UDP checksums that were looked at are wrong: a local sender leaves them to a NIC that is not there"),
            "switch transmit checksums off behind this port (ethtool -K IFACE tx off), or use a kernel: port, which finishes them",
        ));
    }
    for ((reason, severity), (now, then)) in TELLING.iter().zip(now.drops.iter().zip(then.drops)) {
        let count = now - then;
        if count > 0 {
            findings.push(Finding::new(
                reason.name(),
                *severity,
                format!("{count} frames were dropped as {}", reason.name()),
                reason.help(),
            ));
        }
    }
}

/// What arrives where nothing is attached: often what is missing here.
fn strays(shown: &Shown<'_>) -> String {
    let reasons = [
        DropReason::UnknownVlan,
        DropReason::UntaggedNotAttached,
        DropReason::VxlanUnknownVni,
        DropReason::VxlanUnknownVtep,
    ];
    let mut text = String::new();
    for reason in reasons.into_iter().filter(|reason| shown.counters.drops(*reason) > 0) {
        text += &format!(" {} frames were dropped as {}", shown.counters.drops(reason), reason.name());
        if let Some(sample) = shown.counters.samples(reason).first() {
            let vlan = Fields::of(&sample.octets, sample.len).vlans[0];
            text += &vlan.map_or_else(String::new, |vlan| format!(", the last in VLAN {vlan}"));
            let port = sample.origin.port.map(|port| PortIndex(port).index());
            let port = port.and_then(|port| shown.tables.ports.get(port));
            text += &port.map_or_else(String::new, |port| format!(" on port {}", port.name));
        }
        text += ".";
    }
    text
}

/// What is wrong with a session, as far as a segment needs it.
pub(super) fn session(shown: &Shown<'_>, index: SegmentIndex, session: SessionIndex) -> Vec<Finding> {
    let Some(site) = shown.sites.get(usize::from(session.0)) else { return Vec::new() };
    let name = site.site.as_str();
    let finding = |code, text: String, advice: &str| {
        vec![Finding::new(code, Severity::Error, text, advice).of_site(name)]
    };
    if !allowed(shown, index, session) {
        return vec![
            Finding::new(
                "not_allowed_here",
                Severity::Info,
                format!("site {name} may not join this segment"),
                "add the segment to the site's segments if it should",
            )
            .of_site(name),
        ];
    }
    match site.state {
        State::Disabled if !shown.runs => {
            return finding(
                "site_disabled",
                "the L2 VPN service is disabled".into(),
                "service l2vpn enable, or enabled = true",
            );
        }
        State::Disabled => {
            return finding(
                "site_disabled",
                format!("site {name} is disabled"),
                "site enable, or enabled = true",
            );
        }
        State::Down | State::Connecting => {
            let why =
                site.last_failure.as_ref().map_or("it has not logged in yet", |(_, reason)| reason.as_str());
            return finding(
                "site_down",
                format!("the session with site {name} is down: {why}"),
                "look at show service l2vpn and the logs of both ends",
            );
        }
        State::Up => {}
    }
    let entry = shown.tables.session(session);
    if entry.is_none_or(|entry| entry.paths.iter().all(|path| path.path.is_none())) {
        return finding(
            "path_unknown",
            format!("the way to site {name} is not known: its address, or the next hop towards it"),
            "look at ip route get and ip neigh for the peer of show service l2vpn",
        );
    }
    Vec::new()
}

/// Whether our configuration lets a session join a segment.
pub(super) fn allowed(shown: &Shown<'_>, index: SegmentIndex, session: SessionIndex) -> bool {
    match shown.layout.config().mode {
        Mode::Client(_) => true,
        Mode::Server(_) => shown.layout.sites().any(|(at, site)| {
            at == session
                && site.segments.iter().any(|position| shown.layout.segment_index(*position) == Some(index))
        }),
    }
}

/// An attachment in words, as the configuration has it.
pub(super) fn attachments(shown: &Shown<'_>, segment: &config::Segment) -> Vec<String> {
    let ports = &shown.layout.config().ports;
    let words = |port: usize, encap: &Encap| {
        ports.get(port).map_or_else(|| encap.to_string(), |port| format!("{} {encap}", port.name))
    };
    segment.attachments.iter().map(|at| words(at.port, &at.encap)).collect()
}

/// What was some time ago, by segment.
pub(super) type History = HashMap<SegmentIndex, Then>;
