//! `show drops`: what was dropped, with the headers of the last frames for each reason.

use bridge::{Endpoint, SegmentIndex};
use counters::{DropReason, Sample};
use pipeline::capture::Fields;
use serde_json::{Map, Value, json};

use crate::show::Shown;

impl Shown<'_> {
    /// Every reason that was counted, or the one that is named.
    pub(crate) fn drops(&self, words: &str) -> Result<Value, String> {
        if !words.is_empty() && !DropReason::ALL.iter().any(|reason| reason.name() == words) {
            return Err(format!("there is no drop reason \"{words}\"; \"show counters\" has all of them"));
        }
        let wanted = |reason: &&DropReason| match words {
            "" => self.counters.drops(**reason) > 0,
            name => reason.name() == name,
        };
        let drops: Vec<Value> =
            DropReason::ALL.iter().filter(wanted).map(|reason| self.reason(*reason)).collect();
        Ok(json!({ "drops": drops }))
    }

    fn reason(&self, reason: DropReason) -> Value {
        let by_segment: Map<String, Value> = self
            .layout
            .segments()
            .map(|(at, segment)| {
                (segment.name.clone(), self.counters.segment_drops(usize::from(at.0), reason))
            })
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| (name, count.into()))
            .collect();
        let last: Vec<Value> =
            self.counters.samples(reason).iter().map(|sample| self.sample(sample)).collect();
        json!({
            "reason": reason.name(),
            "count": self.counters.drops(reason),
            "help": reason.help(),
            "by_segment": by_segment,
            "last": last,
        })
    }

    fn sample(&self, sample: &Sample) -> Value {
        let origin = sample.origin;
        let port = origin.port.and_then(|port| self.tables.ports.get(usize::from(port)));
        let segment = origin.segment.and_then(|segment| self.layout.segment(SegmentIndex(segment)));
        let endpoint = origin.endpoint.and_then(Endpoint::unpack);
        let hex: String = sample.octets.iter().map(|octet| format!("{octet:02x}")).collect();
        json!({
            "ago_s": self.now.saturating_sub(sample.at).as_secs_f64(),
            "port": port.map(|port| &port.name),
            "segment": segment.map(|segment| &segment.name),
            "from": endpoint.map(|endpoint| self.place(endpoint)),
            "length": sample.len,
            "summary": summary(&Fields::of(&sample.octets, sample.len)),
            "octets": hex,
        })
    }
}

/// A frame in one line.
pub(crate) fn summary(fields: &Fields) -> String {
    let Some((src, dst)) = fields.src.zip(fields.dst) else { return "too short for a frame".into() };
    let mut text = format!("{src} > {dst}");
    for vlan in fields.vlans.iter().flatten() {
        text += &format!(" vlan {vlan}");
    }
    let ethertype = fields.ethertype.unwrap_or_default();
    match (ethertype, fields.ip) {
        (0x0806, Some((sender, target))) => text += &format!(" arp {sender} > {target}"),
        (_, Some((source, destination))) => {
            let (from, to) = match fields.ports {
                Some((from, to)) => (format!(" port {from}"), format!(" port {to}")),
                None => Default::default(),
            };
            let protocol = match fields.protocol {
                Some(6) => "tcp".into(),
                Some(17) => "udp".into(),
                Some(1) => "icmp".into(),
                Some(58) => "icmp6".into(),
                other => format!("protocol {}", other.unwrap_or_default()),
            };
            text += &format!(" {protocol} {source}{from} > {destination}{to}");
        }
        _ => text += &format!(" ethertype 0x{ethertype:04x}"),
    }
    text + &format!(", {} octets", fields.len)
}
