//! A loop guard's probe on the wire (protocol section 5).

use std::fmt;

use ring::hmac;
use wire::ethernet::EtherType;

/// What follows the addresses of a probe: IEEE's first EtherType for local experiments.
pub const ETHERTYPE: EtherType = EtherType::new(0x88b5);

/// Most appliances that a probe passes; one more does not pass it on.
pub const MOST_PASSED: usize = 6;

/// Most octets of the text that says where a probe was seen.
const MOST_PLACE: usize = 44;

const MAGIC: [u8; 5] = *b"CWLG\x01";
const NAME: usize = 16;
const INSTANCE: usize = 7;
const MEMBER: usize = 1 + NAME + INSTANCE;
const TAG: usize = 16;
/// Octets of the origin's part; the flags among them are not signed, since they change on the way.
const FLAGS_AT: usize = 7;
const HEAD: usize = 2 + MAGIC.len() + 1 + 2 + 2 + 8 + MEMBER;

/// The key that an appliance signs its own probes with. Nobody else has to know it: only who sent a probe draws conclusions from it.
pub struct ProbeKey(hmac::Key);

impl ProbeKey {
    /// The key with these octets.
    pub fn new(octets: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, octets))
    }
}

impl fmt::Debug for ProbeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProbeKey(..)")
    }
}

/// An appliance, as probes name it. Their order says which of those in a loop breaks it: the last one. So a client does, and
/// of two clients the one whose name comes later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    client: bool,
    name: [u8; NAME],
    instance: [u8; INSTANCE],
}

impl Member {
    /// The appliance with this name, of which the first 16 octets count; `instance` tells it from others with that name.
    pub fn new(client: bool, name: &str, instance: [u8; INSTANCE]) -> Self {
        let mut short = [0; NAME];
        short.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        Self { client, name: short, instance }
    }

    /// Its name, fit to be shown.
    pub fn name(&self) -> String {
        let end = self.name.iter().position(|octet| *octet == 0).unwrap_or(NAME);
        printable(&self.name[..end])
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.client));
        out.extend(self.name);
        out.extend(self.instance);
    }

    fn parse(octets: &[u8; MEMBER]) -> Self {
        let (client, rest) = (octets[0] != 0, &octets[1..]);
        let mut member = Self { client, name: [0; NAME], instance: [0; INSTANCE] };
        member.name.copy_from_slice(&rest[..NAME]);
        member.instance.copy_from_slice(&rest[NAME..]);
        member
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:02x?})", self.name(), self.instance)
    }
}

/// A probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The tunnel ID of the segment that it was sent in.
    pub tunnel: u16,
    /// The number of the attachment that it left by, for who sent it.
    pub attachment: u16,
    /// When it was sent, in us of the sender's clock.
    pub sent: u64,
    /// Who sent it.
    pub origin: Member,
    /// Whether it came by an attachment that passes nothing but probes.
    pub broken: bool,
    /// Who passed it on, in this order.
    pub passed: Vec<Member>,
    /// Where the last of them who saw it on a local port saw it.
    pub place: String,
    tag: [u8; TAG],
}

impl Probe {
    /// A new one, signed.
    pub fn new(key: &ProbeKey, origin: Member, tunnel: u16, attachment: u16, sent: u64) -> Self {
        let mut probe = Self {
            tunnel,
            attachment,
            sent,
            origin,
            broken: false,
            passed: Vec::new(),
            place: String::new(),
            tag: [0; TAG],
        };
        let tag = hmac::sign(&key.0, &probe.signed());
        probe.tag.copy_from_slice(&tag.as_ref()[..TAG]);
        probe
    }

    /// Whether it was signed with this key.
    pub fn is_signed(&self, key: &ProbeKey) -> bool {
        let tag = hmac::sign(&key.0, &self.signed());
        // Every octet is looked at, so that time tells nothing.
        let differences = tag.as_ref().iter().zip(self.tag).map(|(a, b)| a ^ b);
        differences.fold(0, |all, one| all | one) == 0
    }

    /// From its EtherType on.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.head();
        out.extend(self.tag);
        out.push(self.passed.len() as u8);
        self.passed.iter().for_each(|member| member.write(&mut out));
        let place = &self.place.as_bytes()[..self.place.len().min(MOST_PLACE)];
        out.push(place.len() as u8);
        out.extend(place);
        out
    }

    /// The probe in a frame, given from its EtherType on; `None` when it holds something else.
    pub fn parse(rest: &[u8]) -> Option<Self> {
        let body = rest.strip_prefix(&ETHERTYPE.get().to_be_bytes()[..])?.strip_prefix(&MAGIC[..])?;
        let (flags, body) = body.split_first()?;
        let (tunnel, body) = body.split_first_chunk()?;
        let (attachment, body) = body.split_first_chunk()?;
        let (sent, body) = body.split_first_chunk()?;
        let (origin, body) = body.split_first_chunk::<MEMBER>()?;
        let (tag, body) = body.split_first_chunk()?;
        let (count, mut body) = body.split_first()?;
        let mut passed = Vec::new();
        for _ in 0..*count {
            let (member, more) = body.split_first_chunk::<MEMBER>()?;
            passed.push(Member::parse(member));
            body = more;
        }
        let (length, body) = body.split_first()?;
        let place = body.get(..usize::from(*length).min(MOST_PLACE))?;
        (passed.len() <= MOST_PASSED).then(|| Self {
            tunnel: u16::from_be_bytes(*tunnel),
            attachment: u16::from_be_bytes(*attachment),
            sent: u64::from_be_bytes(*sent),
            origin: Member::parse(origin),
            broken: flags & 1 == 1,
            passed,
            place: printable(place),
            tag: *tag,
        })
    }

    fn head(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend(ETHERTYPE.get().to_be_bytes());
        out.extend(MAGIC);
        out.push(u8::from(self.broken));
        out.extend(self.tunnel.to_be_bytes());
        out.extend(self.attachment.to_be_bytes());
        out.extend(self.sent.to_be_bytes());
        self.origin.write(&mut out);
        debug_assert_eq!(out.len(), HEAD);
        out
    }

    /// What the tag is made of: the head with its flags off.
    fn signed(&self) -> Vec<u8> {
        let mut head = self.head();
        head[FLAGS_AT] = 0;
        head
    }
}

/// Text of another appliance, fit for logs and tables.
fn printable(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(n: u8) -> ProbeKey {
        ProbeKey::new(&[n; 32])
    }

    fn member(name: &str) -> Member {
        Member::new(true, name, [7; 7])
    }

    fn probe(passed: usize) -> Probe {
        Probe {
            broken: true,
            passed: vec![member("oslo"); passed],
            place: "oslo trunk0 VLAN 10".into(),
            ..Probe::new(&key(1), member("paris"), 10, 3, 123_456_789)
        }
    }

    #[test]
    fn probes_round_trip_and_the_way_is_not_signed() {
        for passed in [0, 1, MOST_PASSED] {
            let read = Probe::parse(&probe(passed).to_bytes()).expect("a probe");
            assert_eq!(read, probe(passed));
            assert!(read.is_signed(&key(1)) && !read.is_signed(&key(2)));
        }
        assert_eq!(Probe::parse(&probe(MOST_PASSED + 1).to_bytes()), None);
    }

    #[test]
    fn the_longest_fits_into_a_notice() {
        let longest = Probe { place: "x".repeat(100), ..probe(MOST_PASSED) };
        assert!(longest.to_bytes().len() <= 256, "{}", longest.to_bytes().len());
        assert!(Probe::parse(&longest.to_bytes()).is_some());
    }

    #[test]
    fn what_is_signed_cannot_be_changed() {
        let bytes = probe(1).to_bytes();
        for at in (2 + MAGIC.len())..HEAD + TAG {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let read = Probe::parse(&changed).expect("still a probe");
            assert_eq!(read.is_signed(&key(1)), at == FLAGS_AT, "octet {at}");
        }
    }

    #[test]
    fn clients_come_after_servers_and_then_names_count() {
        let server = |name: &str, n: u8| Member::new(false, name, [n; 7]);
        let client = |name: &str, n: u8| Member::new(true, name, [n; 7]);
        let order = [server("z", 9), client("a", 9), client("b", 1), client("b", 2)];
        assert!(order.is_sorted());
        assert_eq!(client("a\x1b[31m", 0).name(), "a?[31m");
        assert_eq!(client("a name that is too long", 0).name(), "a name that is t");
    }

    proptest! {
        #[test]
        fn random_octets_do_not_panic(mut bytes: Vec<u8>, cut: prop::sample::Index) {
            let _ = Probe::parse(&bytes);
            let good = probe(2).to_bytes();
            bytes.splice(..0, good[..cut.index(good.len())].iter().copied());
            let _ = Probe::parse(&bytes);
        }
    }
}
