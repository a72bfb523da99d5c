//! `test segment`: why a segment carries no traffic, and in which direction. What this site sees, what the other ends see, and test
//! frames of both sizes in both directions.

use std::time::Duration;

use bridge::{SegmentIndex, SessionIndex};
use serde_json::{Map, Value, json};
use session::Now;
use session::question::{Detail, Details, get};
use wire::tunnel::TunnelId;

use super::asks::{Answered, details_of, printable, to_json};
use super::findings::{self, Finding, Severity};
use super::testframes::{COPIES, SMALL};
use super::{Job, capture, gateway};
use crate::appliance::Appliance;
use crate::requests::Reply;
use crate::show::Shown;

/// Test frames have so long to arrive.
const FLIGHT: Duration = Duration::from_millis(700);

/// Most sites that are tested at once.
const MAX_SITES: usize = 64;

/// A test.
struct SegmentTest {
    reply: Option<Reply>,
    segment: SegmentIndex,
    findings: Vec<Finding>,
    sites: Vec<SiteTest>,
    /// When the other ends are asked what has arrived.
    counted_at: Now,
    counted: bool,
}

/// One site of a test.
struct SiteTest {
    session: SessionIndex,
    name: String,
    token: u64,
    /// The largest payload that both ends take; `None`: it has not joined.
    mtu: Option<u16>,
    /// Its own view.
    view: Question,
    /// What has arrived there.
    arrived: Question,
}

/// A question on its way.
enum Question {
    NotAsked,
    Asked(u64),
    Answered(Option<Details>),
}

/// All that this end finds by itself.
fn here(shown: &Shown<'_>, segment: SegmentIndex, then: &findings::Then) -> Vec<Finding> {
    let attached = findings::attached(shown).remove(&segment).unwrap_or_default();
    let mut found = findings::local(shown, segment, &attached, then);
    found.extend(findings::interfaces(shown, segment));
    found.extend(gateway::gateway(shown, segment));
    found
}

/// Starts a test.
pub(super) fn start(appliance: &mut Appliance, name: &str, reply: Reply) {
    let found = appliance
        .has_room_for_a_job()
        .and_then(|()| appliance.with_shown(|shown| capture::segment(name, shown)));
    match found {
        Ok(segment) => begin(appliance, segment, reply),
        Err(error) => reply.answer(Err(error)),
    }
}

fn begin(appliance: &mut Appliance, segment: SegmentIndex, reply: Reply) {
    let then = appliance.insight.then(segment);
    let mut sites = Vec::new();
    let mut found = appliance.with_shown(|shown| here(shown, segment, &then));
    for session in appliance.layout.session_indices().into_iter().take(MAX_SITES) {
        let wrong = appliance.with_shown(|shown| findings::session(shown, segment, session));
        if wrong.is_empty() {
            sites.push(site(appliance, segment, session));
        }
        found.extend(wrong);
    }
    let now = appliance.now();
    appliance.start_job(SegmentTest {
        reply: Some(reply),
        segment,
        findings: found,
        sites,
        counted_at: now + FLIGHT,
        counted: false,
    });
}

/// Sends test frames to a site that is up, and asks it for its view and for test frames of its own.
fn site(appliance: &mut Appliance, segment: SegmentIndex, session: SessionIndex) -> SiteTest {
    let name = appliance.site_name(session);
    let token = appliance.insight.token();
    let tunnel = appliance.layout.segment(segment).map(|segment| segment.tunnel_id);
    let mtu = tunnel.and_then(|tunnel| joined(appliance, session, tunnel));
    if let Some(mtu) = mtu {
        appliance.send_test_frames(session, segment, token, &[SMALL, mtu]);
    }
    let mut details = vec![("tunnel".into(), Detail::Uint(tunnel.map_or(0, |tunnel| tunnel.get().into())))];
    if let Some(mtu) = mtu {
        details.push(("token".into(), Detail::Uint(token)));
        details.push((
            "payloads".into(),
            Detail::List(vec![Detail::Uint(SMALL.into()), Detail::Uint(mtu.into())]),
        ));
    }
    let view = appliance.ask(session, "segment", details);
    let view = view.map_or(Question::Answered(None), Question::Asked);
    SiteTest { session, name, token, mtu, view, arrived: Question::NotAsked }
}

/// The MTU that both ends of a session have for a segment; `None`: not both attach it.
fn joined(appliance: &Appliance, session: SessionIndex, tunnel: TunnelId) -> Option<u16> {
    let view = appliance.sessions.view(session)?;
    view.segments.iter().find(|(found, _)| *found == tunnel).map(|(_, mtu)| *mtu)
}

impl Question {
    /// Looks for the answer. Returns whether there is nothing to wait for.
    fn look(&mut self, appliance: &mut Appliance, now: Now) -> bool {
        let Self::Asked(number) = self else { return true };
        match appliance.insight.asks.take(*number, now) {
            Answered::Waiting => return false,
            Answered::NotKnown => *self = Self::Answered(None),
            Answered::Known(details) => *self = Self::Answered(Some(details)),
        }
        true
    }

    fn answer(&self) -> Option<&Details> {
        if let Self::Answered(Some(details)) = self { Some(details) } else { None }
    }
}

impl Job for SegmentTest {
    fn work(&mut self, appliance: &mut Appliance, now: Now) -> bool {
        if self.reply.as_ref().is_none_or(Reply::is_gone) {
            return true;
        }
        if !self.counted && now >= self.counted_at {
            self.counted = true;
            for site in self.sites.iter_mut().filter(|site| site.mtu.is_some()) {
                let tunnel =
                    appliance.layout.segment(self.segment).map_or(0, |segment| segment.tunnel_id.get());
                let details = vec![
                    ("tunnel".into(), Detail::Uint(tunnel.into())),
                    ("token".into(), Detail::Uint(site.token)),
                    (
                        "payloads".into(),
                        Detail::List(vec![
                            Detail::Uint(SMALL.into()),
                            Detail::Uint(site.mtu.unwrap_or(0).into()),
                        ]),
                    ),
                ];
                let asked = appliance.ask(site.session, "arrived", details);
                site.arrived = asked.map_or(Question::Answered(None), Question::Asked);
            }
        }
        let mut waits = !self.counted;
        for site in &mut self.sites {
            waits |= !site.view.look(appliance, now);
            waits |= !site.arrived.look(appliance, now);
        }
        if waits {
            return false;
        }
        let sites: Vec<Value> =
            self.sites.iter().map(|site| judge(appliance, self.segment, site, &mut self.findings)).collect();
        self.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let result = match self.findings.first().map(|finding| finding.severity) {
            Some(Severity::Error) => "failed",
            Some(Severity::Warning) => "warnings",
            _ => "ok",
        };
        if let Some(reply) = self.reply.take() {
            reply.answer(Ok(json!({
                "segment": appliance.layout.segment(self.segment).map(|segment| &segment.name),
                "result": result,
                "sites": sites,
                "findings": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
            })));
        }
        true
    }
}

/// What a site's answers tell.
fn judge(
    appliance: &Appliance,
    segment: SegmentIndex,
    site: &SiteTest,
    findings: &mut Vec<Finding>,
) -> Value {
    let mut found = Vec::new();
    let view = site.view.answer();
    let Some(mtu) = site.mtu else {
        found.push(not_joined(&site.name, view));
        findings.append(&mut found);
        return json!({ "site": site.name, "joined": false });
    };
    let error = |code, text: String, advice: &str| {
        Finding::new(code, Severity::Error, text, advice).of_site(&site.name)
    };
    let ours = appliance.layout.segment(segment).map_or(0, |segment| u64::from(segment.mtu));
    found.extend(of_view(&site.name, view, ours));
    let counted = |name: &str| site.arrived.answer().and_then(|answer| get(answer, name)?.uint());
    let to = (counted("46"), counted(&mtu.to_string()));
    let count = |payload| appliance.insight.frames.count(site.session, segment, site.token, payload) as u64;
    // Without an answer nobody has sent us any.
    let from = view.map(|_| (count(SMALL), count(mtu)));
    if let (Some(small), large) = to {
        found.extend(direction(
            small,
            large.unwrap_or(0),
            mtu,
            (&format!("to site {}", site.name), "to"),
            error,
        ));
    }
    if let Some((small, large)) = from {
        found.extend(direction(small, large, mtu, (&format!("from site {}", site.name), "from"), error));
    }
    findings.append(&mut found);
    json!({
        "site": site.name,
        "joined": true,
        "mtu": mtu,
        "sent_each": COPIES,
        "to": { "small": to.0, "large": to.1 },
        "from": { "small": from.map(|from| from.0), "large": from.map(|from| from.1) },
        "there": view.map(to_json),
    })
}

/// What the other end's view tells, where our MTU is this.
fn of_view(site: &str, view: Option<&Details>, ours: u64) -> Vec<Finding> {
    let Some(view) = view else {
        let finding = Finding::new(
            "no_answer",
            Severity::Info,
            format!("site {site} does not answer questions, so that only this end is judged"),
            "its software is older, or its control connection is lost: see show service l2vpn",
        );
        return vec![finding.of_site(site)];
    };
    let mut found = theirs(site, view);
    if let Some(their) = get(view, "mtu").and_then(Detail::uint).filter(|their| *their != ours) {
        let finding = Finding::new(
            "mtu_differs",
            Severity::Warning,
            format!("the segment's MTU is {ours} here and {their} at site {site}"),
            "give it the same mtu at all sites: frames that are larger than an end's are dropped there",
        );
        found.push(finding.of_site(site));
    }
    found
}

/// What the test frames of one direction tell.
fn direction(
    small: u64,
    large: u64,
    mtu: u16,
    (way, which): (&str, &str),
    error: impl Fn(&'static str, String, &str) -> Finding,
) -> Option<Finding> {
    let to = which == "to";
    match (small, large) {
        (0, 0) => Some(error(
            if to { "to_site_lost" } else { "from_site_lost" },
            format!("no test frame got {way}"),
            "compare show drops of both ends: a firewall or NAT that lets one direction through, or a path that has just broken",
        )),
        (_, 0) => Some(error(
            if to { "to_site_large_lost" } else { "from_site_large_lost" },
            format!("small test frames got {way}, those with {mtu} octets did not"),
            "the WAN's MTU is smaller than the uplink's mtu, and path MTU discovery does not get through; or an end drops them as oversize",
        )),
        (small, large) if small + large < 2 * COPIES as u64 => {
            let lost = 2 * COPIES as u64 - small - large;
            let mut finding = error(
                if to { "to_site_lossy" } else { "from_site_lossy" },
                format!("{lost} of {} test frames did not get {way}", 2 * COPIES),
                "the WAN loses packets: test path SITE measures it",
            );
            finding.severity = Severity::Warning;
            Some(finding)
        }
        _ => None,
    }
}

/// Why a segment is not joined in a session that is up.
fn not_joined(site: &str, view: Option<&Details>) -> Finding {
    let flag = |name: &str| view.and_then(|view| get(view, name)).map(Detail::is_true);
    let error =
        |code, text: String, advice: &str| Finding::new(code, Severity::Error, text, advice).of_site(site);
    match (flag("configured"), flag("enabled"), flag("allowed")) {
        (Some(false), ..) => error(
            "tunnel_id_unknown",
            format!("site {site} has no segment with this tunnel ID"),
            "compare tunnel_id at both ends: it names the segment across the tunnel",
        ),
        (_, Some(false), _) => error(
            "disabled_there",
            format!("the segment is disabled at site {site}"),
            "set enabled = true there and reload",
        ),
        (.., Some(false)) => error(
            "not_allowed_there",
            format!("site {site}, the server, does not let us join this segment"),
            "add it to our site's segments at the server",
        ),
        _ => error(
            "not_joined",
            format!("site {site} does not attach this segment, and does not say why"),
            "is its tunnel ID configured there, enabled, and allowed for the site?",
        ),
    }
}

/// The other end's own findings.
fn theirs(site: &str, view: &Details) -> Vec<Finding> {
    let Some(Detail::List(found)) = get(view, "findings") else { return Vec::new() };
    let finding = |finding: &Detail| {
        let Detail::Map(map) = finding else { return None };
        let text = |name| get(map, name).and_then(Detail::text).map(printable);
        let severity = match get(map, "severity")?.text()? {
            "error" => Severity::Error,
            "warning" => Severity::Warning,
            _ => Severity::Info,
        };
        // Codes are ours, so that they are known by name; of another version's the text says what it is.
        let code = text("code")?;
        let code = CODES.iter().find(|known| **known == code).copied().unwrap_or("other");
        Some(
            Finding::new(code, severity, format!("at site {site}: {}", text("text")?), text("advice")?)
                .of_site(site),
        )
    };
    found.iter().take(50).filter_map(finding).collect()
}

/// Codes that one end tells the other.
const CODES: &[&str] = &[
    "disabled_here",
    "no_attachment",
    "port_down",
    "attachment_listening",
    "attachment_blocked",
    "port_mtu",
    "gateway_down",
    "vtep_none",
    "vtep_no_neighbour",
    "no_local_frames",
    "foreign_macs",
    "checksum_offload",
    "oversize",
    "storm_limited",
    "mac_not_learned",
    "duplicate_mac",
    "unknown_unicast",
    "egress_filtered",
    "no_destination",
    "no_buffer",
];

impl Appliance {
    /// The answer to "segment": our view of a segment, for the other end of `session`. Sends test frames if it wants some.
    pub(super) fn segment_view(&mut self, session: SessionIndex, details: &Details) -> Option<Details> {
        let tunnel = get(details, "tunnel")?.uint()?;
        let found = self.layout.segments().find(|(_, segment)| u64::from(segment.tunnel_id.get()) == tunnel);
        let Some((index, _)) = found else { return Some(vec![("configured".into(), Detail::Bool(false))]) };
        let then = self.insight.then(index);
        let now = self.now();
        let local_macs = self.insight.local_macs.of(index, &self.parts.fdb, now);
        let view = self.with_shown(|shown| our_view(shown, index, session, (&then, local_macs)));
        if let (Some(token), true) = (get(details, "token").and_then(Detail::uint), view["allowed"] == true) {
            let payloads = payloads(details);
            self.send_test_frames(session, index, token, &payloads);
        }
        Some(details_of(view.as_object()?))
    }

    /// The answer to "arrived": which test frames came.
    pub(super) fn arrived_view(&self, session: SessionIndex, details: &Details) -> Option<Details> {
        let tunnel = get(details, "tunnel")?.uint()?;
        let token = get(details, "token")?.uint()?;
        let (index, _) =
            self.layout.segments().find(|(_, segment)| u64::from(segment.tunnel_id.get()) == tunnel)?;
        let counted = |payload: u16| {
            let count = self.insight.frames.count(session, index, token, payload);
            (payload.to_string(), Detail::Uint(count as u64))
        };
        Some(payloads(details).into_iter().map(counted).collect())
    }
}

/// The payloads that are asked for: few, and none too large.
fn payloads(details: &Details) -> Vec<u16> {
    let Some(Detail::List(payloads)) = get(details, "payloads") else { return Vec::new() };
    let payload = |payload: &Detail| u16::try_from(payload.uint()?).ok().filter(|payload| *payload <= 9216);
    payloads.iter().take(2).filter_map(payload).collect()
}

/// A segment for the other end of a session. Who may not join it learns only that.
fn our_view(
    shown: &Shown<'_>,
    index: SegmentIndex,
    session: SessionIndex,
    (then, local_macs): (&findings::Then, usize),
) -> Value {
    let Some(segment) = shown.layout.segment(index) else { return Value::Null };
    let allowed = findings::allowed(shown, index, session);
    let mut view = Map::new();
    view.insert("configured".into(), true.into());
    view.insert("allowed".into(), allowed.into());
    if !allowed {
        return view.into();
    }
    let (lan, tunnel) = shown.counters.segment(usize::from(index.0));
    let found = here(shown, index, then);
    view.insert("enabled".into(), segment.enabled.into());
    view.insert("name".into(), segment.name.clone().into());
    view.insert("mtu".into(), segment.mtu.into());
    view.insert("attachments".into(), findings::attachments(shown, segment).into());
    view.insert("local_macs".into(), local_macs.into());
    view.insert("local_frames".into(), lan.frames.into());
    view.insert("local_unicast".into(), (lan.frames - lan.bum).into());
    view.insert("tunnel_frames".into(), tunnel.frames.into());
    view.insert("findings".into(), found.iter().map(Finding::to_json).collect());
    view.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, value: &str) -> (String, Detail) {
        (name.into(), Detail::Text(value.into()))
    }

    #[test]
    fn what_arrives_tells_what_is_lost_and_in_which_direction() {
        let all = COPIES as u64;
        let code = |small, large, which| {
            let error = |code, text: String, advice: &str| Finding::new(code, Severity::Error, text, advice);
            direction(small, large, 1500, ("that way", which), error)
                .map(|found| (found.code, found.severity))
        };
        for (which, lost, large, lossy) in [
            ("to", "to_site_lost", "to_site_large_lost", "to_site_lossy"),
            ("from", "from_site_lost", "from_site_large_lost", "from_site_lossy"),
        ] {
            assert_eq!(code(all, all, which), None);
            assert_eq!(code(0, 0, which), Some((lost, Severity::Error)));
            assert_eq!(code(all, 0, which), Some((large, Severity::Error)));
            assert_eq!(code(all - 1, all, which), Some((lossy, Severity::Warning)));
        }
    }

    #[test]
    fn why_a_segment_is_not_joined_is_what_the_other_end_says() {
        let flags = |pairs: &[(&str, bool)]| -> Details {
            pairs.iter().map(|(name, value)| ((*name).into(), Detail::Bool(*value))).collect()
        };
        for (said, code) in [
            (&[("configured", false)][..], "tunnel_id_unknown"),
            (&[("configured", true), ("allowed", true), ("enabled", false)], "disabled_there"),
            (&[("configured", true), ("allowed", false)], "not_allowed_there"),
            (&[("configured", true), ("allowed", true), ("enabled", true)], "not_joined"),
        ] {
            let finding = not_joined("branch", Some(&flags(said)));
            assert_eq!((finding.code, finding.site.as_deref()), (code, Some("branch")), "{said:?}");
        }
        assert_eq!(not_joined("branch", None).code, "not_joined", "it does not answer");
    }

    #[test]
    fn the_other_end_s_view_is_judged_with_ours() {
        let codes = |view: Option<&Details>| {
            let found = of_view("branch", view, 1500);
            assert!(found.iter().all(|finding| finding.site.as_deref() == Some("branch")));
            found.into_iter().map(|finding| (finding.code, finding.severity)).collect::<Vec<_>>()
        };
        assert_eq!(codes(None), [("no_answer", Severity::Info)]);
        let same = vec![("mtu".into(), Detail::Uint(1500))];
        assert_eq!(codes(Some(&same)), []);
        let other = vec![("mtu".into(), Detail::Uint(1400))];
        assert_eq!(codes(Some(&other)), [("mtu_differs", Severity::Warning)]);
    }

    #[test]
    fn what_the_other_end_found_is_told_as_its_own_and_is_fit_to_be_shown() {
        let finding = |code: &str, severity: &str, words: &str| {
            Detail::Map(vec![
                text("code", code),
                text("severity", severity),
                text("text", words),
                text("advice", "look"),
            ])
        };
        let view = vec![(
            "findings".into(),
            Detail::List(vec![
                finding("mac_not_learned", "warning", "9 frames"),
                finding("of_tomorrow", "error", "\x1b[2Jsomething new"),
                Detail::Uint(7),
            ]),
        )];
        let found = theirs("branch", &view);
        let codes: Vec<_> = found.iter().map(|finding| (finding.code, finding.severity)).collect();
        assert_eq!(codes, [("mac_not_learned", Severity::Warning), ("other", Severity::Error)]);
        assert_eq!(found[0].text, "at site branch: 9 frames");
        assert!(!found[1].text.chars().any(char::is_control), "{}", found[1].text);
    }

    #[test]
    fn every_code_that_a_site_finds_by_itself_is_known_to_the_other() {
        let sources = [include_str!("findings.rs"), include_str!("unlearned.rs"), include_str!("gateway.rs")];
        let of_sessions = ["not_allowed_here", "site_disabled", "site_down", "path_unknown"];
        for source in sources {
            let code = source.split("#[cfg(test)]").next().unwrap_or_default();
            for part in code.split("Finding::new(").skip(1) {
                let Some(code) = part.split('"').nth(1).filter(|_| part.trim_start().starts_with('"')) else {
                    continue;
                };
                assert!(CODES.contains(&code) || of_sessions.contains(&code), "{code}");
            }
        }
        for (reason, _) in findings::TELLING {
            let code =
                if *reason == counters::DropReason::MacLimit { "mac_not_learned" } else { reason.name() };
            assert!(CODES.contains(&code), "{code}");
        }
    }
}
