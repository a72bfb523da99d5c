//! Which limit keeps addresses of a segment out of the forwarding database.

use bridge::{Endpoint, Fdb, Part, SegmentIndex, SessionIndex};
use pipeline::tables::PortIndex;

use super::findings::{Finding, Severity};
use crate::show::Shown;

/// A part of the network that has as many addresses as it may have.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Full {
    /// What it is, in words.
    part: String,
    held: u32,
    /// The key that says how many.
    key: &'static str,
}

/// So many frames of a segment came from addresses that were not learned: what is full.
pub(super) fn not_learned(shown: &Shown<'_>, index: SegmentIndex, frames: u64) -> Finding {
    let Some(segment) = shown.tables.segments.get(index) else { return judge("", frames, &[]) };
    let mut ports: Vec<PortIndex> =
        segment.attachments.iter().filter_map(|at| Some(shown.tables.attachment(*at)?.port)).collect();
    ports.sort_unstable_by_key(|port| port.0);
    ports.dedup();
    let port = |port: &PortIndex| {
        let name = shown.tables.ports.get(port.index()).map_or("?", |port| port.name.as_str());
        full(shown.fdb, Part::Port(port.0), format!("port {name}"), "max_macs of the port")
    };
    let site = |session: &SessionIndex| {
        let place = shown.place(Endpoint::Session(*session));
        full(shown.fdb, Part::Session(*session), place, "max_macs of the site")
    };
    let held = u32::try_from(shown.fdb.len()).unwrap_or(u32::MAX);
    let whole = (shown.fdb.len() >= shown.fdb.max_entries()).then(|| Full {
        part: "the appliance".into(),
        held,
        key: "system.max_macs",
    });
    let own =
        full(shown.fdb, Part::Segment(index), format!("segment {}", segment.name), "max_macs of the segment");
    let parts = whole.into_iter().chain(own);
    let parts = parts.chain(ports.iter().filter_map(port)).chain(segment.sessions.iter().filter_map(site));
    judge(&segment.name, frames, &parts.collect::<Vec<_>>())
}

fn full(fdb: &Fdb, part: Part, name: String, key: &'static str) -> Option<Full> {
    let (held, most) = (fdb.held(part), fdb.most(part)?);
    (held >= most).then_some(Full { part: name, held, key })
}

fn judge(segment: &str, frames: u64, full: &[Full]) -> Finding {
    let reached =
        |full: &Full| format!("{} has {} addresses, as many as {} allows", full.part, full.held, full.key);
    let why = match full {
        [] => {
            "a limit was reached for a while, or too many addresses fall into one place of the table".into()
        }
        some => some.iter().map(reached).collect::<Vec<_>>().join("; "),
    };
    let what = full.first().map_or("max_macs", |full| full.key);
    Finding::new(
        "mac_not_learned",
        Severity::Warning,
        format!(
            "{frames} frames came from addresses that were not learned, so that what is sent to these is flooded: {why}"
        ),
        format!("raise {what}, or find who invents addresses: show mac-table segment {segment}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::mac::MacAddr;

    #[test]
    fn a_part_is_full_when_it_has_what_it_may_have() {
        let (fdb, site) = (Fdb::new(1024), Part::Session(SessionIndex(0)));
        let is_full = || full(&fdb, site, "site branch".into(), "max_macs of the site");
        for last in 0..5 {
            let mac = MacAddr([2, 0, 0, 0, 0, last]);
            fdb.learn(SegmentIndex(0), mac, Endpoint::Session(SessionIndex(0)), 1);
        }
        assert_eq!(is_full(), None, "there is no limit");
        fdb.limit(site, Some(6));
        assert_eq!(is_full(), None);
        fdb.limit(site, Some(5));
        assert_eq!(is_full().map(|full| full.held), Some(5));
    }

    #[test]
    fn the_limit_that_was_reached_is_named_with_what_to_do() {
        let one = |part: &str, held, key| Full { part: part.into(), held, key };
        let site = one("site branch", 9, "max_macs of the site");
        let finding = judge("servers", 12, std::slice::from_ref(&site));
        assert_eq!((finding.code, finding.severity), ("mac_not_learned", Severity::Warning));
        assert!(finding.text.starts_with("12 frames"), "{}", finding.text);
        assert!(
            finding.text.ends_with("site branch has 9 addresses, as many as max_macs of the site allows")
        );
        assert_eq!(
            finding.advice,
            "raise max_macs of the site, or find who invents addresses: show mac-table segment servers"
        );
        let both = judge("servers", 12, &[one("the appliance", 64, "system.max_macs"), site]);
        assert!(both.text.contains("system.max_macs allows; site branch"), "{}", both.text);
        assert!(both.advice.starts_with("raise system.max_macs"));
        assert!(judge("servers", 1, &[]).text.contains("for a while"));
    }
}
