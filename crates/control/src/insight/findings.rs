//! What is wrong with a segment at this site, as far as this site can know: the part of the self-test that asks nobody.

use std::collections::HashMap;

use bridge::{AttachmentIndex, Endpoint, Limited, SegmentIndex, SessionIndex};
use config::{Device, Encap, Mode};
use counters::{DropReason, SideTotals};
use pipeline::capture::Fields;
use pipeline::tables::{AttachmentEntry, AttachmentState, Encap as Looks, PortIndex};
use serde_json::{Value, json};
use session::State;

use super::unlearned;
use crate::look::storm;
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
pub(super) const TELLING: &[(DropReason, Severity)] = &[
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
#[derive(Clone, Debug, Default)]
pub(super) struct Then {
    lan: SideTotals,
    tunnel: SideTotals,
    checksums: (u64, u64),
    drops: [u64; TELLING.len()],
    /// Who was above a limit of storm control.
    storm: Vec<(Endpoint, Limited)>,
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
        let storm = storm::limited(shown.tables, index);
        Self { lan, tunnel, checksums: (checksums.sampled, checksums.wrong), drops, storm }
    }
}

/// The attachments of each segment, whether frames pass them or not.
pub(super) fn attached(shown: &Shown<'_>) -> HashMap<SegmentIndex, Vec<AttachmentIndex>> {
    let mut attached: HashMap<_, Vec<_>> = HashMap::new();
    for (at, meeting) in (0..).map(AttachmentIndex).zip(shown.layout.attachment_places()) {
        if let Some(meeting) = meeting {
            attached.entry(meeting.segment).or_default().push(at);
        }
    }
    attached
}

/// All that this site sees, compared with what was `then`.
pub(super) fn local(
    shown: &Shown<'_>,
    index: SegmentIndex,
    attachments: &[AttachmentIndex],
    then: &Then,
) -> Vec<Finding> {
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
    let place = shown.place(Endpoint::Attachment(at));
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
    for ((reason, severity), (before, count)) in TELLING.iter().zip(then.drops.iter().zip(now.drops)) {
        let count = count - before;
        if count == 0 {
            continue;
        }
        let who = match reason {
            DropReason::MacLimit => {
                findings.push(unlearned::not_learned(shown, index, count));
                continue;
            }
            DropReason::StormLimited => storm::words(shown, &storm::since(&now.storm, &then.storm)),
            DropReason::DuplicateMac => shown.duplicates_of(index),
            _ => String::new(),
        };
        let why = if who.is_empty() { who } else { format!(": {who}") };
        let text = format!("{count} frames were dropped as {}{why}", reason.name());
        findings.push(Finding::new(reason.name(), *severity, text, reason.help()));
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bridge::{Flooded, Part, StormControl, StormLimits};
    use session::State;
    use wire::mac::MacAddr;

    use super::super::world::{BRANCH, SEGMENT, World, frame};
    use super::*;

    fn host(last: u8) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0, last])
    }

    /// A world that is well: frames arrive.
    fn world() -> World {
        let world = World::with("");
        world.receive(&[frame(host(9), host(1), 10)], 8);
        world
    }

    #[test]
    fn attachments_that_do_not_pass_frames_say_why() {
        let mut world = world();
        assert_eq!(world.codes(), Vec::<&str>::new());
        world.trunk.up = false;
        assert_eq!(world.codes(), ["port_down"; 3], "each attachment of the port");
        world.trunk.up = true;
        // What does not forward is not in the segment's table.
        let segments = |world: &World| -> Vec<bridge::Segment> {
            world.tables.segments.iter().map(|(_, segment)| segment.clone()).collect()
        };
        let mut without = segments(&world);
        without[0].attachments.retain(|at| at.0 != 1);
        world.tables.segments = bridge::Segments::new(without);
        for (state, code, severity) in [
            (AttachmentState::Blocked, "attachment_blocked", Severity::Error),
            (AttachmentState::Listening, "attachment_listening", Severity::Info),
        ] {
            world.tables.attachments[1].state = state;
            let found = world.findings();
            let told: Vec<_> = found.iter().map(|finding| (finding.code, finding.severity)).collect();
            assert_eq!(told, [(code, severity)]);
            assert!(found[0].text.starts_with("trunk0 VLAN 11"), "{}", found[0].text);
        }
    }

    #[test]
    fn a_segment_that_meets_nothing_or_no_vtep_says_so() {
        let mut world = world();
        world.tables.attachments[2].encap =
            Looks::Vxlan(wire::vxlan::Vni::new(7).expect("24 bits"), Vec::new());
        assert_eq!(world.codes(), ["vtep_none"]);
        let text =
            "mode = \"client\"\n[[port]]\nname = \"trunk0\"\nrole = \"trunk\"\ndevice = \"kernel:eth1\"\n\
            [[port]]\nname = \"wan\"\nrole = \"uplink\"\ndevice = \"kernel:eth0\"\n\
            [[segment]]\nname = \"servers\"\ntunnel_id = 10\n\
            [client]\nserver = \"a\"\nuser = \"b\"\npassword = \"c\"\nfingerprint = \"FF\"\n"
                .replace("FF", &"00".repeat(32));
        let config = config::Config::parse(std::path::Path::new("a.toml"), &text).expect("good");
        world.layout = crate::layout::Layout::new(config, std::time::Duration::ZERO).expect("there is room");
        assert_eq!(world.codes(), ["no_attachment"]);
    }

    #[test]
    fn drops_of_the_last_minute_are_told_by_their_reason() {
        for (reason, severity) in TELLING.iter().filter(|(reason, _)| *reason != DropReason::MacLimit) {
            let world = world();
            world.core.segments[0].drops.add(*reason, 5);
            let [finding] = &world.findings()[..] else { panic!("{reason:?}: one") };
            assert_eq!((finding.code, finding.severity), (reason.name(), *severity));
            assert_eq!(finding.text, format!("5 frames were dropped as {}", reason.name()));
            let then = Then::now(&world.shown(), SEGMENT);
            assert!(local(&world.shown(), SEGMENT, &[], &then).is_empty(), "told once");
        }
    }

    #[test]
    fn who_floods_is_named() {
        let mut world = world();
        let limits = StormLimits { broadcast: 1, ..StormLimits::default() };
        let (branch, lan) = (Endpoint::Session(BRANCH), Endpoint::Attachment(AttachmentIndex(1)));
        let storm = Arc::new(StormControl::new([branch, lan].map(|side| (side, limits))));
        let mut segments: Vec<bridge::Segment> =
            world.tables.segments.iter().map(|(_, segment)| segment.clone()).collect();
        segments[0].policy.storm = Some(Arc::clone(&storm));
        world.tables.segments = bridge::Segments::new(segments);
        world.receive(&vec![frame(MacAddr::BROADCAST, host(1), 11); 3], 16);
        for _ in 0..9 {
            storm.allows(branch.into(), Flooded::Broadcast, std::time::Duration::ZERO);
        }
        let [finding] = &world.findings()[..] else { panic!("one: {:?}", world.findings()) };
        let told = "2 frames were dropped as storm_limited: 8 broadcast from site branch, 2 broadcast from trunk0 VLAN 11";
        assert_eq!((finding.code, finding.text.as_str()), ("storm_limited", told));
    }

    #[test]
    fn addresses_that_were_not_learned_name_the_limit() {
        let world = world();
        world.fdb.limit(Part::Port(0), Some(2));
        world.receive(&[2, 3, 4].map(|last| frame(MacAddr::BROADCAST, host(last), 10)), 16);
        let [finding] = &world.findings()[..] else { panic!("one: {:?}", world.findings()) };
        assert_eq!(finding.code, "mac_not_learned");
        assert!(
            finding.text.starts_with("2 frames came from addresses that were not learned"),
            "{}",
            finding.text
        );
        assert!(
            finding.text.ends_with("port trunk0 has 2 addresses, as many as max_macs of the port allows")
        );
        // The segment, the site and the appliance have limits of their own.
        for (part, named) in
            [(Part::Segment(SEGMENT), "segment servers"), (Part::Session(BRANCH), "site branch")]
        {
            let world = self::world();
            world.fdb.limit(part, Some(1));
            world.fdb.learn(SEGMENT, host(7), Endpoint::Session(BRANCH), 1);
            world.core.segments[0].drops.add(DropReason::MacLimit, 1);
            let found = world.findings();
            assert!(found[0].text.contains(named), "{}", found[0].text);
        }
    }

    #[test]
    fn a_session_that_carries_nothing_says_why() {
        let mut world = world();
        let codes = |world: &World| {
            session(&world.shown(), SEGMENT, BRANCH).iter().map(|finding| finding.code).collect::<Vec<_>>()
        };
        assert_eq!(codes(&world), ["path_unknown"]);
        world.tables.sessions[0] = None;
        assert_eq!(codes(&world), ["path_unknown"]);
        for (state, code) in
            [(State::Disabled, "site_disabled"), (State::Down, "site_down"), (State::Connecting, "site_down")]
        {
            world.site.state = state;
            assert_eq!(codes(&world), [code]);
        }
    }
}
