//! Filters: the part of tcpdump's language that is needed on a bridge.

use std::net::IpAddr;
use std::str::FromStr;

use wire::ethernet::EtherType;
use wire::ip::{PROTOCOL_TCP, PROTOCOL_UDP};
use wire::mac::MacAddr;

use super::Fields;

/// How deep expressions may be nested, and how many words they may have: a filter is evaluated for each packet.
const MAX_DEPTH: usize = 32;
const MAX_WORDS: usize = 256;

/// What packets a capture takes. The default takes all.
///
/// The words are tcpdump's; unlike there, all but `vlan` look behind VLAN tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Option<Test>);

/// A filter that does not parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFilter(String);

impl std::fmt::Display for BadFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "filter: {}", self.0)
    }
}

impl std::error::Error for BadFilter {}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Not(Box<Self>),
    And(Vec<Self>),
    Or(Vec<Self>),
    Mac(Side, MacAddr),
    Net(Side, IpAddr, u8),
    Ports(Side, u16, u16),
    EtherType(u16),
    Protocol(u8),
    Vlan(Option<u16>),
    Broadcast,
    Multicast,
    Longer(usize),
    Shorter(usize),
}

/// Which of two addresses or ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
    Either,
}

impl Side {
    fn any<T>(self, (source, destination): (T, T), test: impl Fn(T) -> bool) -> bool {
        match self {
            Self::Source => test(source),
            Self::Destination => test(destination),
            Self::Either => test(source) || test(destination),
        }
    }
}

impl Filter {
    /// Whether it takes all there is.
    pub fn takes_all(&self) -> bool {
        self.0.is_none()
    }

    /// Whether it takes a frame.
    pub fn matches(&self, fields: &Fields) -> bool {
        self.0.as_ref().is_none_or(|test| test.holds(fields))
    }

    /// The filter of these words.
    ///
    /// # Errors
    /// They are none.
    pub fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, BadFilter> {
        // Parentheses stand on their own, however they were written.
        let text = words.into_iter().collect::<Vec<_>>().join(" ");
        let text = text.replace('(', " ( ").replace(')', " ) ").replace("&&", " and ").replace("||", " or ");
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() {
            return Ok(Self::default());
        }
        if words.len() > MAX_WORDS {
            return Err(BadFilter(format!("more than {MAX_WORDS} words")));
        }
        let mut parser = Parser { words: &words, at: 0, depth: 0 };
        let test = parser.alternatives()?;
        match parser.peek() {
            None => Ok(Self(Some(test))),
            Some(word) => {
                Err(bad(format!("\"{word}\" is not expected here: an \"and\" or \"or\" is missing")))
            }
        }
    }
}

impl FromStr for Filter {
    type Err = BadFilter;

    fn from_str(text: &str) -> Result<Self, BadFilter> {
        Self::of_words([text])
    }
}

impl Test {
    fn holds(&self, fields: &Fields) -> bool {
        match self {
            Self::Not(test) => !test.holds(fields),
            Self::And(tests) => tests.iter().all(|test| test.holds(fields)),
            Self::Or(tests) => tests.iter().any(|test| test.holds(fields)),
            Self::Mac(side, mac) => side.any((fields.src, fields.dst), |found| found == Some(*mac)),
            Self::Net(side, net, len) => {
                fields.ip.is_some_and(|pair| side.any(pair, |found| within(found, *net, *len)))
            }
            Self::Ports(side, first, last) => {
                fields.ports.is_some_and(|pair| side.any(pair, |found| (*first..=*last).contains(&found)))
            }
            Self::EtherType(ethertype) => fields.ethertype == Some(*ethertype),
            Self::Protocol(protocol) => fields.protocol == Some(*protocol),
            Self::Vlan(None) => fields.vlans[0].is_some(),
            Self::Vlan(vlan) => fields.vlans.contains(vlan),
            Self::Broadcast => fields.dst.is_some_and(MacAddr::is_broadcast),
            Self::Multicast => fields.dst.is_some_and(|dst| dst.is_multicast() && !dst.is_broadcast()),
            Self::Longer(len) => fields.len >= *len,
            Self::Shorter(len) => fields.len <= *len,
        }
    }
}

fn within(address: IpAddr, net: IpAddr, len: u8) -> bool {
    match (address, net) {
        (IpAddr::V4(address), IpAddr::V4(net)) => {
            u32::from(address).checked_shr(32 - u32::from(len))
                == u32::from(net).checked_shr(32 - u32::from(len))
        }
        (IpAddr::V6(address), IpAddr::V6(net)) => {
            u128::from(address).checked_shr(128 - u32::from(len))
                == u128::from(net).checked_shr(128 - u32::from(len))
        }
        _ => false,
    }
}

struct Parser<'a> {
    words: &'a [&'a str],
    at: usize,
    depth: usize,
}

fn bad(what: impl Into<String>) -> BadFilter {
    BadFilter(what.into())
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    fn next(&mut self, wanted: &str) -> Result<&'a str, BadFilter> {
        let word = self.peek().ok_or_else(|| bad(format!("{wanted} is missing at the end")))?;
        self.at += 1;
        Ok(word)
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        self.at += usize::from(found);
        found
    }

    fn alternatives(&mut self) -> Result<Test, BadFilter> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(bad("nested too deeply"));
        }
        let mut tests = vec![self.conjunction()?];
        while self.take("or") {
            tests.push(self.conjunction()?);
        }
        self.depth -= 1;
        Ok(one_or(tests, Test::Or))
    }

    fn conjunction(&mut self) -> Result<Test, BadFilter> {
        let mut tests = vec![self.factor()?];
        while self.take("and") {
            tests.push(self.factor()?);
        }
        Ok(one_or(tests, Test::And))
    }

    fn factor(&mut self) -> Result<Test, BadFilter> {
        let mut negated = false;
        while self.take("not") || self.take("!") {
            negated = !negated;
        }
        let test = if self.take("(") {
            let test = self.alternatives()?;
            if self.next("a closing parenthesis")? != ")" {
                return Err(bad("a closing parenthesis is missing"));
            }
            test
        } else {
            self.primitive()?
        };
        Ok(if negated { Test::Not(Box::new(test)) } else { test })
    }

    fn primitive(&mut self) -> Result<Test, BadFilter> {
        let word = self.next("a test")?;
        let protocol = match word {
            "tcp" => Some(Test::Protocol(PROTOCOL_TCP)),
            "udp" => Some(Test::Protocol(PROTOCOL_UDP)),
            "icmp" => Some(Test::Protocol(1)),
            "icmp6" => Some(Test::Protocol(58)),
            "ip" => Some(Test::EtherType(EtherType::IPV4.get())),
            "ip6" => Some(Test::EtherType(EtherType::IPV6.get())),
            "arp" => Some(Test::EtherType(EtherType::ARP.get())),
            _ => None,
        };
        if let Some(protocol) = protocol {
            // As in "tcp port 80" and "arp host 10.0.0.1".
            let more = ["src", "dst", "host", "net", "port", "portrange"];
            return Ok(match self.peek() {
                Some(next) if more.contains(&next) => Test::And(vec![protocol, self.primitive()?]),
                _ => protocol,
            });
        }
        Ok(match word {
            "ether" => return self.ether(),
            "broadcast" => Test::Broadcast,
            "multicast" => Test::Multicast,
            "vlan" => {
                let vlan = self.peek().and_then(|word| word.parse::<u16>().ok());
                self.at += usize::from(vlan.is_some());
                if vlan.is_some_and(|vlan| vlan > 4095) {
                    return Err(bad("a VLAN ID is at most 4095"));
                }
                Test::Vlan(vlan)
            }
            "greater" => Test::Longer(self.number("a length")?),
            "less" => Test::Shorter(self.number("a length")?),
            "src" => return self.sided(Side::Source),
            "dst" => return self.sided(Side::Destination),
            "host" | "net" | "port" | "portrange" => return self.of_kind(Side::Either, word),
            other => {
                return Err(bad(format!(
                    "\"{other}\" is unknown; there are host, net, port, portrange, src, dst, ether, vlan, arp, ip, ip6, icmp, icmp6, tcp, \
                 udp, broadcast, multicast, greater, less, and, or, not"
                )));
            }
        })
    }

    fn sided(&mut self, side: Side) -> Result<Test, BadFilter> {
        match self.peek() {
            Some(kind @ ("host" | "net" | "port" | "portrange")) => {
                self.at += 1;
                self.of_kind(side, kind)
            }
            _ => self.of_kind(side, "host"),
        }
    }

    fn of_kind(&mut self, side: Side, kind: &str) -> Result<Test, BadFilter> {
        let word = self.next("an address or port")?;
        let not_a = |what: &str| bad(format!("\"{word}\" is no {what}"));
        Ok(match kind {
            "host" => {
                let ip: IpAddr = word.parse().map_err(|_| not_a("IP address"))?;
                Test::Net(side, ip, if ip.is_ipv4() { 32 } else { 128 })
            }
            "net" => {
                let (address, len) =
                    word.split_once('/').ok_or_else(|| not_a("network, such as 10.0.0.0/8"))?;
                let ip: IpAddr = address.parse().map_err(|_| not_a("network, such as 10.0.0.0/8"))?;
                let most = if ip.is_ipv4() { 32 } else { 128 };
                let len = len.parse().ok().filter(|len| *len <= most).ok_or_else(|| not_a("network"))?;
                Test::Net(side, ip, len)
            }
            "port" => {
                let port = word.parse().map_err(|_| not_a("port"))?;
                Test::Ports(side, port, port)
            }
            _ => {
                let range = word.split_once('-');
                let range = range.and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
                let (first, last) = range.ok_or_else(|| not_a("range of ports, such as 8000-8099"))?;
                Test::Ports(side, first, last)
            }
        })
    }

    fn ether(&mut self) -> Result<Test, BadFilter> {
        let word = self.next("a test of Ethernet")?;
        let side = match word {
            "host" => Side::Either,
            "src" => Side::Source,
            "dst" => Side::Destination,
            "broadcast" => return Ok(Test::Broadcast),
            "multicast" => return Ok(Test::Multicast),
            "proto" => {
                let word = self.next("an EtherType")?;
                let parsed = match word.strip_prefix("0x") {
                    Some(hex) => u16::from_str_radix(hex, 16).ok(),
                    None => word.parse().ok(),
                };
                return parsed.map(Test::EtherType).ok_or_else(|| bad(format!("\"{word}\" is no EtherType")));
            }
            other => {
                return Err(bad(format!(
                    "\"ether {other}\" is unknown; there are ether host, src, dst, proto, broadcast, multicast"
                )));
            }
        };
        self.take("host");
        let word = self.next("a MAC address")?;
        let mac = word.parse().map_err(|_| bad(format!("\"{word}\" is no MAC address")))?;
        Ok(Test::Mac(side, mac))
    }

    fn number(&mut self, wanted: &str) -> Result<usize, BadFilter> {
        let word = self.next(wanted)?;
        word.parse().map_err(|_| bad(format!("\"{word}\" is no number")))
    }
}

fn one_or(mut tests: Vec<Test>, many: impl Fn(Vec<Test>) -> Test) -> Test {
    match (tests.len(), tests.pop()) {
        (1, Some(test)) => test,
        (_, last) => {
            tests.extend(last);
            many(tests)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// ARP 10.0.0.1 asks for 10.0.0.2 in VLAN 10; TCP 10.0.0.1:4000 to 10.0.0.2:80; UDP over IPv6 to port 53; a fragment.
    fn frames() -> [Vec<u8>; 4] {
        let macs = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1];
        let unicast = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        let arp = [
            &macs[..],
            &[0x81, 0, 0xe0, 10, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1],
            &[0, 0, 0, 0, 0, 0, 10, 0, 0, 2],
        ];
        let ipv4 = |flags: u8| {
            let header = [0x45, 0, 0, 40, 0, 0, flags, 1, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
            [&unicast[..], &[8, 0], &header, &[0x0f, 0xa0, 0, 80], &[0; 16]].concat()
        };
        let mut first = ipv4(0);
        first[21] = 0;
        let v6 = |last: u8| [&[0xfd][..], &[0; 14], &[last]].concat();
        let header = [0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64];
        let ipv6 = [&unicast[..], &header, &v6(1), &v6(2), &[0x30, 0x39, 0, 53, 0, 8, 0, 0]].concat();
        [arp.concat(), first, ipv6, ipv4(0)]
    }

    fn taken(filter: &str) -> Vec<usize> {
        let filter: Filter = filter.parse().expect(filter);
        let frames = frames();
        let matches = |at: &usize| filter.matches(&Fields::of(&frames[*at], frames[*at].len()));
        (0..frames.len()).filter(matches).collect()
    }

    #[test]
    fn words_mean_what_tcpdump_means() {
        for (filter, expected) in [
            ("", &[0, 1, 2, 3][..]),
            ("arp", &[0]),
            ("not arp", &[1, 2, 3]),
            ("! ( arp or ip6 )", &[1, 3]),
            ("vlan", &[0]),
            ("vlan 10", &[0]),
            ("vlan 11", &[]),
            ("host 10.0.0.1", &[0, 1, 3]),
            ("arp host 10.0.0.2", &[0]),
            ("src 10.0.0.1 and tcp", &[1, 3]),
            ("dst host 10.0.0.1", &[]),
            ("host fd00::2", &[2]),
            ("net 10.0.0.0/30", &[0, 1, 3]),
            ("net 0.0.0.0/0", &[0, 1, 3]),
            ("src net fd00::/64", &[2]),
            ("port 80", &[1]),
            ("tcp dst port 80", &[1]),
            ("src port 80", &[]),
            ("udp port 53 or port 80", &[1, 2]),
            ("portrange 50-79", &[2]),
            ("ether host 02:00:00:00:00:02", &[1, 2, 3]),
            ("ether src 02:00:00:00:00:01 and ether broadcast", &[0]),
            ("ether proto 0x0806", &[0]),
            ("ether proto 2048 and (tcp && greater 54)", &[1, 3]),
            ("less 50", &[0]),
            ("multicast", &[]),
        ] {
            assert_eq!(taken(filter), expected, "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_says_where() {
        for (filter, part) in [
            ("hots 1.2.3.4", "\"hots\" is unknown"),
            ("host", "is missing"),
            ("host me", "\"me\" is no IP address"),
            ("net 10.0.0.0/33", "no network"),
            ("port 70000", "no port"),
            ("vlan 5000", "at most 4095"),
            ("(arp", "closing parenthesis"),
            ("arp)", "not expected"),
            ("arp icmp", "is missing"),
            ("ether", "is missing"),
            ("ether from x", "ether from"),
            ("arp and", "is missing"),
        ] {
            let error = filter.parse::<Filter>().expect_err(filter).to_string();
            assert!(error.contains(part), "{filter}: {error}");
        }
        let deep = "(".repeat(100);
        assert!(deep.parse::<Filter>().is_err());
        assert!("not ".repeat(300).parse::<Filter>().is_err());
    }

    proptest! {
        #[test]
        fn no_words_and_no_frame_make_it_panic(
            words in prop::collection::vec(
                prop::sample::select(vec!["not", "and", "or", "(", ")", "host", "1.2.3.4", "ether", "vlan", "7", "tcp", "port", "x"]),
                0..12,
            ),
            frame in prop::collection::vec(any::<u8>(), 0..80),
            which in 0..4usize,
            cut in 0..80usize,
        ) {
            let mut known = frames()[which].clone();
            known.truncate(cut);
            if let Ok(filter) = Filter::of_words(words) {
                filter.matches(&Fields::of(&frame, 80));
                filter.matches(&Fields::of(&known, 80));
            }
        }
    }
}
