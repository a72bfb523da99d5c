//! `capture`: packets from the workers' taps, streamed as pcapng or as lines.
//!
//! The control thread writes no file: it streams, and who asked writes. What the reader does not take in time is counted and left out.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bridge::{Endpoint, SegmentIndex, SessionIndex};
use counters::DropReason;
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgBlock;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pipeline::capture::{Fields, Filter, Packet, Place, Point, Tap, Tapped};
use pipeline::tables::PortIndex;
use serde_json::{Value, json};
use session::Now;

use super::drops::summary;
use crate::requests::{Reply, Stream};
use crate::show::Shown;

/// Most captures at one time.
const MAX_CAPTURES: usize = 8;

/// Packets of a capture that wait for the control thread.
const BUFFERS: usize = 1024;

/// Octets of the largest packet: a jumbo frame in a tagged VXLAN datagram, or a record.
pub(super) const MAX_SNAP: usize = console::commands::MAX_FRAME as usize;

/// Who watches lines may be gone: they end by themselves, unless it is said when.
const LINES_TIME: Duration = Duration::from_secs(600);

/// Packets are written in chunks of so many octets.
const CHUNK: usize = 64 << 10;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) point: Point,
    pub(super) filter: Filter,
    pub(super) count: Option<u64>,
    pub(super) time: Option<Duration>,
    pub(super) snap: usize,
    /// Lines for people, and not pcapng.
    pub(super) lines: bool,
}

/// A capture that is on.
#[derive(Debug)]
pub(super) struct Capture {
    tapped: Tapped,
    stream: Stream,
    lines: bool,
    snap: usize,
    left: Option<u64>,
    until: Option<Now>,
    taken: u64,
    /// Packets that the reader did not take.
    lost: u64,
    /// Interfaces by place, as pcapng numbers them, and how many the reader knows.
    interfaces: HashMap<Place, u32>,
    declared: u32,
    chunk: Vec<u8>,
    in_chunk: u64,
}

/// Reads the words of a request: options, then where, then a filter.
pub(super) fn parse(words: &[&str], shown: &Shown<'_>) -> Result<Wanted, String> {
    let mut rest = words;
    let (mut count, mut time, mut snap, mut lines) = (None, None, MAX_SNAP, false);
    loop {
        let number = |what: &str| {
            let number = rest.get(1).and_then(|word| word.parse::<u64>().ok()).filter(|number| *number > 0);
            number.ok_or_else(|| format!("capture: {what} wants a number above 0"))
        };
        match rest.first() {
            Some(&"count") => count = Some(number("count")?),
            Some(&"seconds") => time = Some(Duration::from_secs(number("seconds")?.min(86_400 * 365))),
            Some(&"snap") => snap = (number("snap")? as usize).min(MAX_SNAP),
            Some(&"lines") => {
                lines = true;
                rest = &rest[1..];
                continue;
            }
            _ => break,
        }
        rest = &rest[2..];
    }
    if lines {
        time = time.or(Some(LINES_TIME));
    }
    let (point, filter) = point(rest, shown)?;
    let filter = Filter::of_words(filter.iter().copied()).map_err(|error| error.to_string())?;
    if matches!(point, Point::Blocks(_)) && !filter.takes_all() {
        return Err("capture: a filter reads frames, and opened records are none; filter in Wireshark".into());
    }
    Ok(Wanted { point, filter, count, time, snap, lines })
}

/// Where to capture, and the words behind that.
fn point<'w, 'a>(words: &'w [&'a str], shown: &Shown<'_>) -> Result<(Point, &'w [&'a str]), String> {
    let name = || words.get(1).copied().ok_or("capture: the name is missing");
    match words.first().copied() {
        Some("port") => {
            let name = name()?;
            let at = shown.tables.ports.iter().position(|port| port.name == name);
            let at = at.ok_or_else(|| format!("there is no port \"{name}\""))?;
            Ok((Point::Port(PortIndex(at as u8)), &words[2..]))
        }
        Some("segment") => Ok((Point::Segment(segment(name()?, shown)?), &words[2..])),
        Some("session") => {
            let session = session(name()?, shown)?;
            Ok(match words.get(2) {
                Some(&"outside") => (Point::Outside(session), &words[3..]),
                Some(&"records") => (Point::Blocks(session), &words[3..]),
                Some(&"inside") => (Point::Inside(session), &words[3..]),
                _ => (Point::Inside(session), &words[2..]),
            })
        }
        Some("drops") => {
            let reason = words.get(1).and_then(|word| {
                DropReason::ALL.iter().copied().find(|reason| reason.name() == *word)
            });
            Ok((Point::Drops(reason), &words[if reason.is_some() { 2 } else { 1 }..]))
        }
        _ => Err("capture where? There are: port NAME, segment NAME, session SITE [inside | outside | records], drops [REASON]"
            .into()),
    }
}

/// The number of a segment.
pub(super) fn segment(name: &str, shown: &Shown<'_>) -> Result<SegmentIndex, String> {
    let found = shown.layout.segments().find(|(_, segment)| segment.name == name);
    found.map(|(index, _)| index).ok_or_else(|| format!("there is no segment \"{name}\""))
}

/// The number of a site's session.
pub(super) fn session(name: &str, shown: &Shown<'_>) -> Result<SessionIndex, String> {
    let mut indices = shown.layout.session_indices().into_iter();
    let found =
        indices.find(|index| shown.sites.get(usize::from(index.0)).is_some_and(|site| site.site == name));
    found.ok_or_else(|| format!("there is no site \"{name}\""))
}

/// All captures.
#[derive(Debug, Default)]
pub(super) struct Captures(Vec<Capture>);

impl Captures {
    /// Starts one.
    pub(super) fn start(&mut self, wanted: Wanted, reply: Reply, now: Now) {
        if self.0.len() >= MAX_CAPTURES {
            return reply.answer(Err(format!("there are {MAX_CAPTURES} captures already")));
        }
        let (_, tapped) = Tap::new(wanted.point, wanted.filter, wanted.snap, BUFFERS);
        let mut stream = reply.stream();
        let mut chunk = Vec::new();
        if !wanted.lines {
            stream.line(json!({ "capture": "pcapng" }));
            write(&mut chunk, section());
        }
        self.0.push(Capture {
            tapped,
            stream,
            lines: wanted.lines,
            snap: wanted.snap,
            left: wanted.count,
            until: wanted.time.map(|time| now + time),
            taken: 0,
            lost: 0,
            interfaces: HashMap::new(),
            declared: 0,
            chunk,
            in_chunk: 0,
        });
    }

    /// Whether there is something to do.
    pub(super) fn has_work(&self, now: Now) -> bool {
        self.0.iter().any(|capture| capture.tapped.is_waiting() || capture.has_ended(now))
    }

    /// How many are on.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// What the workers look at.
    pub(super) fn taps(&self) -> impl Iterator<Item = Arc<Tap>> + '_ {
        self.0.iter().map(|capture| Arc::clone(capture.tapped.tap()))
    }

    /// Moves packets on to their readers. Returns whether a capture has ended.
    pub(super) fn work(&mut self, shown: &Shown<'_>) -> bool {
        let mut ended = false;
        for mut capture in std::mem::take(&mut self.0) {
            capture.work(shown);
            if capture.has_ended(shown.now) {
                capture.finish();
                ended = true;
            } else {
                self.0.push(capture);
            }
        }
        ended
    }
}

impl Capture {
    fn work(&mut self, shown: &Shown<'_>) {
        // No more than was there at first, so that a flood does not keep us here.
        for _ in 0..BUFFERS {
            if self.left == Some(0) {
                break;
            }
            let Some(packet) = self.tapped.take() else { break };
            self.taken += 1;
            self.left = self.left.map(|left| left - 1);
            if self.lines {
                let line = line(&packet, shown, self.tapped.tap().point);
                self.lost += u64::from(!self.stream.line(line));
            } else {
                self.add(&packet, shown);
            }
            self.tapped.give_back(packet);
            if self.chunk.len() >= CHUNK {
                self.flush();
            }
        }
        self.flush();
    }

    fn add(&mut self, packet: &Packet, shown: &Shown<'_>) {
        let records = matches!(self.tapped.tap().point, Point::Blocks(_));
        let place = Place { outbound: false, ..packet.place };
        let next = self.interfaces.len() as u32;
        let interface = *self.interfaces.entry(place).or_insert(next);
        if interface == next {
            // USER0 carries opened records, which docs/wireshark/causeway.lua takes apart.
            let linktype = if records { DataLink::USER0 } else { DataLink::ETHERNET };
            let name = place_name(place, shown);
            write(
                &mut self.chunk,
                InterfaceDescriptionBlock {
                    linktype,
                    snaplen: self.snap as u32,
                    options: vec![
                        InterfaceDescriptionOption::IfName(Cow::Owned(name)),
                        InterfaceDescriptionOption::IfTsResol(9),
                    ],
                },
            );
        }
        // Bits 0 and 1: 1 inbound, 2 outbound.
        let mut options = vec![EnhancedPacketOption::Flags(if packet.place.outbound { 2 } else { 1 })];
        options.extend(comment(packet, shown).map(|text| EnhancedPacketOption::Comment(Cow::Owned(text))));
        write(
            &mut self.chunk,
            EnhancedPacketBlock {
                interface_id: interface,
                timestamp: shown.clock.unix_time(packet.at),
                original_len: packet.len as u32,
                data: Cow::Borrowed(&packet.octets),
                options,
            },
        );
        self.in_chunk += 1;
    }

    /// Gives the reader what is written: its length in four octets, then as many.
    fn flush(&mut self) {
        if self.chunk.is_empty() {
            return;
        }
        let framed = [&(self.chunk.len() as u32).to_be_bytes()[..], &self.chunk].concat();
        if !self.stream.octets(framed) {
            self.lost += self.in_chunk;
            // The interfaces among them are lost too, and will be told again.
            let declared = self.declared;
            self.interfaces.retain(|_, number| *number < declared);
        }
        self.declared = self.interfaces.len() as u32;
        self.chunk.clear();
        self.in_chunk = 0;
    }

    fn has_ended(&self, now: Now) -> bool {
        self.left == Some(0) || self.until.is_some_and(|until| now >= until) || self.stream.is_gone()
    }

    fn finish(mut self) {
        if !self.lines {
            self.stream.octets(vec![0; 4]);
        }
        let lost = self.lost + self.tapped.missed();
        self.stream.finish(Ok(json!({ "captured": self.taken - self.lost, "missed": lost })));
    }
}

fn section() -> SectionHeaderBlock<'static> {
    SectionHeaderBlock {
        options: vec![SectionHeaderOption::UserApplication(Cow::Borrowed(concat!(
            "causeway ",
            env!("CARGO_PKG_VERSION")
        )))],
        ..SectionHeaderBlock::default()
    }
}

fn write<'a>(out: &mut Vec<u8>, block: impl PcapNgBlock<'a>) {
    // Writing to a vector does not fail.
    let _ = block.into_block().write_to::<byteorder_slice::BigEndian, _>(out);
}

/// Why a packet was dropped, and what is known of an inner frame.
fn comment(packet: &Packet, shown: &Shown<'_>) -> Option<String> {
    let segment = packet.place.segment.and_then(|segment| shown.layout.segment(segment));
    let segment = segment.map(|segment| format!("segment {}, tunnel ID {}", segment.name, segment.tunnel_id));
    let reason = packet.reason.map(|reason| format!("dropped: {}", reason.name()));
    match (reason, segment) {
        (Some(reason), Some(segment)) => Some(format!("{reason}, {segment}")),
        (reason, segment) => reason.or(segment),
    }
}

fn place_name(place: Place, shown: &Shown<'_>) -> String {
    let port = place.port.and_then(|port| shown.tables.ports.get(port.index())).map(|port| port.name.clone());
    port.or_else(|| place.endpoint.map(|endpoint| shown.place(endpoint))).unwrap_or_else(|| "gone".into())
}

/// A packet for people.
fn line(packet: &Packet, shown: &Shown<'_>, point: Point) -> Value {
    let place = Place { outbound: false, ..packet.place };
    let text = match (point, place.endpoint) {
        (Point::Blocks(_), Some(Endpoint::Session(_))) => format!("record, {} octets", packet.len),
        _ => summary(&Fields::of(&packet.octets, packet.len)),
    };
    let time = shown.clock.unix_time(packet.at);
    json!({
        "time": format!("{}.{:06}", crate::clock::utc_text(time.as_secs()).trim_end_matches('Z'), time.subsec_micros()),
        "interface": place_name(place, shown),
        "direction": if packet.place.outbound { "out" } else { "in" },
        "segment": packet.place.segment.and_then(|segment| shown.layout.segment(segment)).map(|segment| &segment.name),
        "reason": packet.reason.map(DropReason::name),
        "summary": text,
    })
}

#[cfg(test)]
mod tests {
    use console::tree::{Arg, Role, Walk};
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn walk() -> Walk<'static> {
        let mut walk = Walk::new(console::commands::root(), Role::Admin);
        ["capture", "lines", "port", "trunk0"].iter().for_each(|word| walk.step(word).expect(word));
        walk
    }

    #[test]
    fn the_console_takes_what_is_a_filter() {
        for filter in [
            "arp",
            "not arp",
            "! ( arp or ip6 )",
            "vlan",
            "vlan 10",
            "arp host 10.0.0.2",
            "src 10.0.0.1 and tcp",
            "dst host fd00::2",
            "net 0.0.0.0/0",
            "src net fd00::/64",
            "tcp dst port 80",
            "udp port 53 or port 80",
            "portrange 50-79",
            "ether host 02:00:00:00:00:02",
            "ether src host 02:00:00:00:00:01 and ether broadcast",
            "ether proto 0x0806",
            "ether proto 2048 and (tcp && greater 54)",
            "less 50",
            "multicast",
            "icmp or icmp6 or ip and not not broadcast",
        ] {
            filter.parse::<Filter>().expect(filter);
            let mut walk = walk();
            filter
                .split(' ')
                .for_each(|word| walk.step(word).unwrap_or_else(|wrong| panic!("{filter}: {wrong}")));
            assert!(walk.does().is_some(), "{filter}");
        }
    }

    proptest! {
        #[test]
        fn what_the_console_takes_is_a_filter(ways in prop::collection::vec(any::<Index>(), 0..30)) {
            let (mut walk, mut whole) = (walk(), Vec::new());
            let before = walk.words.len();
            for way in ways {
                let next = walk.next();
                let node = way.get(&next);
                let word = match node.arg {
                    None => node.word,
                    Some(Arg::Mac) => "02-00-00-00-00-01",
                    Some(Arg::Ip) => "10.0.0.1",
                    Some(Arg::Net) => "fd00::/8",
                    Some(Arg::PortRange) => "1-2",
                    Some(Arg::EtherType) => "0x806",
                    Some(Arg::Number(..)) => "7",
                    Some(other) => panic!("{other:?} in a filter"),
                };
                walk.step(word).expect("it may follow");
                if walk.does().is_some() {
                    whole = walk.words[before..].to_vec();
                }
            }
            prop_assert!(Filter::of_words(whole.iter().map(String::as_str)).is_ok(), "{whole:?}");
        }
    }
}
