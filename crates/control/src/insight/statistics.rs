//! `show service l2vpn statistics`: what NSX shows, under its names (`docs/show.md`).

use bridge::SegmentIndex;
use config::Mode;
use counters::DropReason::{self, *};
use serde_json::{Map, Value, json};
use session::{SiteStatus, State};

use crate::clock::utc_text;
use crate::show::Shown;

/// Frames that are none.
const MALFORMED: &[DropReason] = &[Runt, SourceMulticast, SourceZero];
/// Frames that nothing could be done with.
const NO_MATCH: &[DropReason] = &[NoDestination, UnknownUnicast, NoNextHop];
/// Frames of a loop, or kept from making one.
const L2_LOOP: &[DropReason] = &[LoopListening, LoopBlocked, DuplicateMac];
/// Frames that there was no room for.
const NO_MEMORY: &[DropReason] = &[NoBuffer];
/// Frames that stay at their site, and questions that were answered here.
const ARP_REQUEST_FILTER: &[DropReason] = &[EgressFiltered, NeighbourHeld];

impl Shown<'_> {
    /// All, or those of one site or segment.
    pub(crate) fn statistics(&self, words: &str) -> Result<Value, String> {
        let updated = self.date(self.now);
        match words.split_once(' ') {
            None if words.is_empty() => {
                let site = |index: bridge::SessionIndex| {
                    Some(self.site_statistics(usize::from(index.0), self.sites.get(usize::from(index.0))?))
                };
                let sites: Vec<Value> = self.layout.session_indices().into_iter().filter_map(site).collect();
                let segments: Vec<Value> = self
                    .layout
                    .segments()
                    .map(|(at, segment)| self.segment_statistics(at, segment))
                    .collect();
                // The service runs while somebody is here to say so; a client's stands and falls with its tunnel.
                let up = match self.layout.config().mode {
                    Mode::Server(_) => self.runs,
                    Mode::Client(_) => self.sites.iter().any(|site| site.state == State::Up),
                };
                Ok(json!({
                    "serverStatus": up_or_down(up),
                    "lastUpdatedTime": updated,
                    "totals": totals(&sites),
                    "sites": sites,
                    "segments": segments,
                }))
            }
            Some(("site", name)) => {
                let indices = self.layout.session_indices();
                let mut places = indices.into_iter().map(|index| usize::from(index.0));
                let at = places.find(|at| self.sites.get(*at).is_some_and(|site| site.site == name));
                let at = at.ok_or_else(|| format!("there is no site \"{name}\""))?;
                Ok(self.site_statistics(at, &self.sites[at]))
            }
            Some(("segment", name)) => {
                let found = self.layout.segments().find(|(_, segment)| segment.name == name);
                let (at, segment) = found.ok_or_else(|| format!("there is no segment \"{name}\""))?;
                Ok(self.segment_statistics(at, segment))
            }
            _ => Err(
                "statistics of what? There are: statistics, statistics site NAME, statistics segment NAME"
                    .into(),
            ),
        }
    }

    fn site_statistics(&self, at: usize, site: &SiteStatus) -> Value {
        let counters = self.counters.session(at);
        let failure = site.last_failure.as_ref().filter(|_| site.state != State::Up);
        json!({
            "name": site.site,
            "tunnelStatus": up_or_down(site.state == State::Up),
            "establishedDate": site.up_since.map(|then| self.date(then)),
            "encryptionAlgorithm": site.cipher.map(record::Cipher::name),
            "failureMessage": failure.map(|(_, reason)| reason),
            "txBytesFromLocalSubnet": counters.tx_octets,
            "rxBytesOnLocalSubnet": counters.rx_octets,
            "txPackets": counters.tx_frames,
            "rxPackets": counters.rx_frames,
            "droppedTxPackets": counters.tx_dropped,
            "droppedRxPackets": counters.rx_dropped,
            "stormLimited": counters.rx_storm_limited,
            "txBroadcast": counters.tx_broadcast,
            "txMulticast": counters.tx_bum.saturating_sub(counters.tx_broadcast + counters.tx_unknown_unicast),
            "txUnknownUnicast": counters.tx_unknown_unicast,
            "rxBroadcast": counters.rx_broadcast,
            "rxMulticast": counters.rx_bum.saturating_sub(counters.rx_broadcast),
            "rxUnknownUnicast": counters.rx_unknown_unicast,
            "lastUpdatedTime": self.date(self.now),
        })
    }

    fn segment_statistics(&self, index: SegmentIndex, segment: &config::Segment) -> Value {
        let at = usize::from(index.0);
        let (lan, tunnel) = self.counters.segment(at);
        let (sent, mss) = (self.counters.to_tunnel(at), self.counters.mss(at));
        let dropped = |reasons: &[DropReason]| -> u64 {
            reasons.iter().map(|reason| self.counters.segment_drops(at, *reason)).sum()
        };
        let lost = DropReason::ALL.iter().filter(|reason| reason.is_loss());
        let by_reason: Map<String, Value> = DropReason::ALL
            .iter()
            .map(|reason| (reason.name(), self.counters.segment_drops(at, *reason)))
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| (name.into(), count.into()))
            .collect();
        json!({
            "name": segment.name,
            "tunnelId": segment.tunnel_id.get(),
            "txPackets": sent.frames,
            "txBytes": sent.octets,
            "rxPackets": tunnel.frames,
            "rxBytes": tunnel.octets,
            "localPackets": lan.frames,
            "localBytes": lan.octets,
            "mssAdjusted": mss.adjusted,
            "mssIgnored": mss.ignored,
            "drops": lost.map(|reason| dropped(&[*reason])).sum::<u64>(),
            "malformed": dropped(MALFORMED),
            "noMatch": dropped(NO_MATCH),
            "l2Loop": dropped(L2_LOOP),
            "noMemory": dropped(NO_MEMORY),
            "arpRequestFilter": dropped(ARP_REQUEST_FILTER),
            "dropsByReason": by_reason,
            "stormLimited": self.storm_limited(index),
            "txBroadcast": lan.broadcast,
            "txMulticast": lan.bum.saturating_sub(lan.broadcast),
            "txUnknownUnicast": lan.unknown_unicast,
            "rxBroadcast": tunnel.broadcast,
            "rxMulticast": tunnel.bum.saturating_sub(tunnel.broadcast),
            "rxUnknownUnicast": tunnel.unknown_unicast,
            "checksumsSampled": self.counters.checksums(at).sampled,
            "checksumsWrong": self.counters.checksums(at).wrong,
        })
    }

    /// The date of a moment since the start.
    pub(crate) fn date(&self, then: session::Now) -> String {
        utc_text(self.clock.unix_seconds(then))
    }
}

/// What counts, of all sites together.
fn totals(sites: &[Value]) -> Map<String, Value> {
    let mut totals: Map<String, Value> = Map::new();
    for (name, value) in sites.iter().filter_map(Value::as_object).flatten() {
        if let Some(count) = value.as_u64() {
            let before = totals.get(name).and_then(Value::as_u64).unwrap_or(0);
            totals.insert(name.clone(), (before + count).into());
        }
    }
    totals
}

fn up_or_down(up: bool) -> &'static str {
    if up { "UP" } else { "DOWN" }
}

#[cfg(test)]
mod tests {
    use wire::mac::MacAddr;

    use super::super::world::{World, frame};

    /// A frame goes to two other attachments, and there is one buffer, its own: the copy is lost. And the way to the site is not known.
    #[test]
    fn what_there_is_no_buffer_for_is_no_memory_and_what_a_site_does_not_get_is_dropped() {
        let world = World::with("");
        let statistics = |world: &World| {
            let shown = world.shown();
            let of = |words: &str| shown.statistics(words).expect("known");
            (of("segment servers"), of("site branch"))
        };
        let (segment, site) = statistics(&world);
        assert_eq!((&segment["noMemory"], &site["droppedTxPackets"]), (&0.into(), &0.into()));
        let everybody = frame(MacAddr::BROADCAST, MacAddr([2, 0, 0, 0, 0, 1]), 10);
        world.receive(std::slice::from_ref(&everybody), 1);
        let (segment, site) = statistics(&world);
        assert_eq!((&segment["noMemory"], &segment["dropsByReason"]["no_buffer"]), (&1.into(), &1.into()));
        assert_eq!((&site["droppedTxPackets"], &segment["localPackets"]), (&1.into(), &1.into()));
        world.receive(&[everybody], 8);
        let (segment, _) = statistics(&world);
        assert_eq!(segment["noMemory"], 1, "there are enough now");
        let whole = world.shown().statistics("").expect("all");
        assert_eq!(whole["totals"]["droppedTxPackets"], 2);
    }
}
