//! `ping segment`: is a host there, behind which place, and how long does its answer take?
//!
//! From the gateway of a segment, for a host of its network, the kernel pings by echo requests. Else there is no address to ping from: the
//! appliance asks by ARP as who has no address yet does (RFC 5227: the
//! sender is 0.0.0.0), or by a neighbour solicitation from a link-local address of its own; the answer comes to a MAC address of its own,
//! so that it also shows that the trunk delivers frames for addresses that are not the port's. It does so beside the echo requests too:
//! the answer says where the host is.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bridge::{AttachmentIndex, Endpoint, SegmentIndex};
use pipeline::command::Command;
use pipeline::notice::{OwnFrame, Seen, Target};
use serde_json::{Value, json};
use session::Now;
use wire::arp::ArpPacket;
use wire::checksum::Sum;
use wire::ethernet::EtherType;
use wire::inner::inner;
use wire::mac::MacAddr;
use wire::nd::PROTOCOL_ICMPV6;

use super::echo::Echo;
use super::{Job, capture};
use crate::appliance::Appliance;
use crate::requests::Reply;

/// Probes unless asked otherwise, and most of them.
const COUNT: u64 = 3;
const MAX_COUNT: u64 = 100;

const INTERVAL: Duration = Duration::from_millis(200);

/// The last probe is waited for so long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Workers see the new tables by then.
const SETTLE: Duration = Duration::from_millis(20);

/// Answers that nobody has looked at yet.
const KEPT: usize = 256;

/// Answers to probes, from all segments that are pinged.
#[derive(Debug, Default)]
pub(super) struct Answers(VecDeque<(SegmentIndex, IpAddr, MacAddr, Endpoint)>);

impl Answers {
    /// Takes a frame to our own address, if it is an answer.
    pub(super) fn take(&mut self, seen: &Seen) {
        if let Some(ip) = answer_of(&seen.rest) {
            if self.0.len() == KEPT {
                self.0.pop_front();
            }
            self.0.push_back((seen.segment, ip, seen.src, seen.from));
        }
    }

    fn of(&mut self, segment: SegmentIndex, ip: IpAddr) -> Option<(MacAddr, Endpoint)> {
        let at = self.0.iter().position(|(found, from, ..)| *found == segment && *from == ip)?;
        self.0.remove(at).map(|(.., mac, endpoint)| (mac, endpoint))
    }
}

/// Whose answer a frame is, given from its EtherType on.
fn answer_of(rest: &[u8]) -> Option<IpAddr> {
    let found = inner(rest)?;
    let packet = rest.get(found.start..)?;
    match found.ethertype {
        EtherType::ARP => ArpPacket::parse(packet).map(|arp| arp.sender().into()),
        // A neighbour advertisement (RFC 4861 4.4) has its target behind eight octets.
        EtherType::IPV6 if packet.get(6) == Some(&PROTOCOL_ICMPV6) && packet.get(40) == Some(&136) => {
            let target: [u8; 16] = packet.get(48..64)?.try_into().ok()?;
            Some(IpAddr::V6(target.into()))
        }
        _ => None,
    }
}

/// A probe: its destination, and the frame from its EtherType on.
fn probe(own: MacAddr, ip: IpAddr) -> (MacAddr, Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => {
            let arp =
                ArpPacket::new(ArpPacket::REQUEST, (own, Ipv4Addr::UNSPECIFIED), (MacAddr::default(), ip));
            (MacAddr::BROADCAST, [&EtherType::ARP.get().to_be_bytes()[..], &arp.to_bytes()].concat())
        }
        IpAddr::V6(ip) => solicitation(own, ip),
    }
}

/// A neighbour solicitation (RFC 4861 4.3) to the target's solicited-node group (RFC 4291 2.7.1).
fn solicitation(own: MacAddr, target: Ipv6Addr) -> (MacAddr, Vec<u8>) {
    let [.., a, b, c] = target.octets();
    let group = [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c];
    let mut source = [
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        own.0[0] ^ 2,
        own.0[1],
        own.0[2],
        0xff,
        0xfe,
        own.0[3],
        own.0[4],
        own.0[5],
    ];
    source[8] &= !1;
    let mut message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target.octets(), &[1, 1], &own.0].concat();
    let len = message.len() as u32;
    let sum = Sum::default().add_pseudo(IpAddr::from(source), IpAddr::from(group), PROTOCOL_ICMPV6, len);
    let checksum = sum.with(&message).finish();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let header = [0x60, 0, 0, 0, 0, len as u8, PROTOCOL_ICMPV6, 255];
    let dst = MacAddr([0x33, 0x33, 0xff, a, b, c]);
    (dst, [&EtherType::IPV6.get().to_be_bytes()[..], &header, &source, &group, &message].concat())
}

/// A ping on its way.
struct Ping {
    reply: Option<Reply>,
    segment: SegmentIndex,
    ip: IpAddr,
    left: u64,
    next: Now,
    /// When the last probe went, while it is not answered.
    waiting: Option<Now>,
    probes: Vec<Value>,
    /// From the segment's gateway, with its address.
    echo: Option<(Echo, IpAddr)>,
    /// After how many milliseconds the last echo came back.
    echoed: Option<f64>,
    /// Who has answered the last question by ARP or ND, where, and after how many milliseconds.
    seen: Option<(MacAddr, String, f64)>,
}

/// Starts one.
pub(super) fn start(appliance: &mut Appliance, words: &[&str], reply: Reply) {
    match parse(appliance, words) {
        Ok((segment, ip, count)) => {
            appliance.insight.own_address(segment);
            appliance.dirty = true;
            let next = appliance.now() + SETTLE;
            let reply = Some(reply);
            let echo = echo(appliance, segment, ip);
            appliance.start_job(Ping {
                reply,
                segment,
                ip,
                left: count,
                next,
                waiting: None,
                probes: Vec::new(),
                echo,
                echoed: None,
                seen: None,
            });
        }
        Err(error) => reply.answer(Err(error)),
    }
}

/// From the gateway, if there is one whose network the host is in, and the kernel lets us.
fn echo(appliance: &Appliance, segment: SegmentIndex, ip: IpAddr) -> Option<(Echo, IpAddr)> {
    let gateway = appliance.layout.segment(segment)?.gateway.as_ref()?;
    let from = gateway.beside(ip)?;
    // Told apart from another ping of the machine.
    let id = (appliance.now().as_nanos() >> 10) as u16;
    match Echo::open(&gateway.interface, from, ip, id) {
        Ok(echo) => Some((echo, from)),
        Err(error) => {
            tracing::warn!(interface = gateway.interface, %error, "cannot ping from the gateway");
            None
        }
    }
}

fn parse(appliance: &Appliance, words: &[&str]) -> Result<(SegmentIndex, IpAddr, u64), String> {
    appliance.has_room_for_a_job()?;
    let (name, ip, count) = match words {
        [name, ip] => (name, ip, COUNT),
        [name, ip, "count", count] => {
            let count = count.parse().ok().filter(|count| (1..=MAX_COUNT).contains(count));
            (name, ip, count.ok_or_else(|| format!("count is 1 to {MAX_COUNT}"))?)
        }
        _ => return Err("the words are: ping segment NAME ADDRESS [count N]".into()),
    };
    let segment = appliance.with_shown(|shown| capture::segment(name, shown))?;
    let ip = ip.parse().map_err(|_| format!("\"{ip}\" is no IP address"))?;
    Ok((segment, ip, count))
}

impl Ping {
    /// Whether the probe that was `sent` is answered, or has been waited for long enough.
    fn settle(&mut self, now: Now, sent: Now) {
        if self.echo.as_mut().is_some_and(|(echo, _)| echo.answered()) {
            self.echoed.get_or_insert(milliseconds(now, sent));
        }
        let late = now >= sent + PATIENCE;
        // Beside an echo request the answer to the question says where the host is, and is what there is when no echo comes back. It comes
        // at about the same time.
        let (ms, by) = match (self.echoed, &self.seen) {
            (Some(ms), seen) if seen.is_some() || now >= sent + INTERVAL => (Some(ms), Some("icmp")),
            (None, Some((.., ms))) if self.echo.is_none() || late => (Some(*ms), Some(self.question())),
            (None, None) if late => (None, None),
            _ => return,
        };
        (self.waiting, self.echoed) = (None, None);
        let (mac, place) = self.seen.take().map(|(mac, place, _)| (mac.to_string(), place)).unzip();
        self.probes.push(json!({ "mac": mac, "where": place, "ms": ms, "by": by }));
    }

    /// How a host is asked for that has no gateway to answer.
    fn question(&self) -> &'static str {
        if self.ip.is_ipv4() { "arp" } else { "nd" }
    }
}

fn milliseconds(now: Now, sent: Now) -> f64 {
    now.saturating_sub(sent).as_secs_f64() * 1000.0
}

impl Job for Ping {
    fn work(&mut self, appliance: &mut Appliance, now: Now) -> bool {
        if let Some((mac, from)) = appliance.insight.answers.of(self.segment, self.ip) {
            if let Some(sent) = self.waiting {
                let place = appliance.with_shown(|shown| shown.place(from));
                self.seen = Some((mac, place, milliseconds(now, sent)));
            }
        }
        if let Some(sent) = self.waiting {
            self.settle(now, sent);
        }
        let gone = self.reply.as_ref().is_none_or(Reply::is_gone);
        if self.waiting.is_none() && self.left > 0 && now >= self.next && !gone {
            self.left -= 1;
            self.seen = None;
            self.next = now + INTERVAL;
            self.waiting = Some(now);
            let own = appliance.insight.mac;
            let (dst, rest) = probe(own, self.ip);
            // From no place, so that it goes everywhere.
            let to = Target::From(Endpoint::Attachment(AttachmentIndex(Endpoint::MAX_ATTACHMENT)));
            let frame = OwnFrame { segment: self.segment, to, dst, src: own, rest };
            appliance.command(0, Command::SendFrame(Box::new(frame)));
            if let Some((echo, _)) = &mut self.echo {
                if let Err(error) = echo.send() {
                    tracing::debug!(%error, "an echo request was not sent");
                }
            }
        }
        if !gone && (self.left > 0 || self.waiting.is_some()) {
            return false;
        }
        appliance.insight.no_own_address(self.segment);
        appliance.dirty = true;
        if let Some(reply) = self.reply.take() {
            let answered = self.probes.iter().filter(|probe| !probe["ms"].is_null()).count();
            let how = if self.echo.is_some() { "icmp" } else { self.question() };
            let source = self.echo.as_ref().map(|(_, from)| from.to_string());
            let segment = appliance.layout.segment(self.segment).map(|segment| segment.name.clone());
            reply.answer(Ok(json!({
                "segment": segment,
                "address": self.ip.to_string(),
                "how": how,
                "from": source,
                "sent": self.probes.len(),
                "answered": answered,
                "probes": self.probes,
            })));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::nd::{Message, NdPacket};

    const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    #[test]
    fn probes_ask_without_an_address_and_answers_say_whose_they_are() {
        let (dst, rest) = probe(OWN, "10.0.0.7".parse().expect("an address"));
        let arp = ArpPacket::parse(&rest[2..]).expect("ARP");
        assert_eq!(
            (dst, arp.sender(), arp.target()),
            (MacAddr::BROADCAST, Ipv4Addr::UNSPECIFIED, [10, 0, 0, 7].into())
        );
        let answer =
            ArpPacket::new(ArpPacket::REPLY, (OWN, [10, 0, 0, 7].into()), (OWN, Ipv4Addr::UNSPECIFIED));
        let rest = [&[8, 6][..], &answer.to_bytes()].concat();
        assert_eq!(answer_of(&rest), Some([10, 0, 0, 7].into()));
        assert_eq!(answer_of(&rest[..20]), None);
    }

    #[test]
    fn a_solicitation_parses_and_an_advertisement_names_its_target() {
        let target: Ipv6Addr = "fd10::abcd".parse().expect("an address");
        let (dst, mut rest) = solicitation(OWN, target);
        assert_eq!(dst, MacAddr([0x33, 0x33, 0xff, 0, 0xab, 0xcd]));
        let nd = NdPacket::parse(&rest[2..]).expect("ND");
        assert!(matches!(nd.message, Message::Solicitation { .. }) && !nd.source.is_unspecified());
        assert_eq!(answer_of(&rest), None);
        rest[42] = 136;
        assert_eq!(answer_of(&rest), Some(target.into()));
    }
}
