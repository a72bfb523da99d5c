//! The tables that the workers forward by: one immutable snapshot, built by the control thread,
//! published through one atomic pointer and looked at once per burst.

use std::net::IpAddr;
use std::sync::Arc;

use bridge::{AttachmentIndex, RemoteIndex, SegmentIndex, Segments, SessionIndex};
use hashbrown::HashMap;
use wire::mac::MacAddr;
use wire::mark::Mark;
use wire::template::UdpTemplate;
use wire::tunnel::TunnelId;
use wire::vlan::VlanId;
use wire::vxlan::Vni;
use wire::way::{ALL_PATHS, MAX_PATHS, Way};

use crate::capture::Taps;

/// A port of the appliance, counted from 0 in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortIndex(pub u8);

impl PortIndex {
    /// The index as a position in the tables.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Everything a worker needs to know to forward a frame.
#[derive(Debug, Default)]
pub struct Tables {
    /// Counts the snapshots; the newest has the highest number.
    pub generation: u64,
    /// By [`PortIndex`].
    pub ports: Vec<PortEntry>,
    /// By [`AttachmentIndex`].
    pub attachments: Vec<AttachmentEntry>,
    /// By [`RemoteIndex`]; an index keeps its meaning for as long as the appliance runs.
    pub remotes: Vec<RemoteVtep>,
    /// By [`SegmentIndex`], with the flood lists.
    pub segments: Segments,
    /// The segment of each tunnel ID.
    pub by_tunnel: TunnelMap,
    /// By [`SessionIndex`]; `None` where the session is down.
    pub sessions: Vec<Option<SessionEntry>>,
    /// Captures; `None` while nobody captures.
    pub taps: Option<Taps>,
}

/// What a port is for.
#[derive(Debug)]
pub enum PortRole {
    /// Towards the local network.
    Trunk(TrunkEntry),
    /// Towards the WAN.
    Uplink(UplinkEntry),
    /// The kernel's companion of the port with this index: what it sends leaves by that port.
    Host(PortIndex),
}

/// One port.
#[derive(Debug)]
pub struct PortEntry {
    /// The port's name in the configuration.
    pub name: String,
    /// Its MAC address: frames that come from it are our own, seen again.
    pub mac: MacAddr,
    /// What it is for.
    pub role: PortRole,
    /// The port of the kernel's companion, which takes what the fast path does not. `None` where the
    /// kernel sees the port's packets by itself (af_packet).
    pub host: Option<PortIndex>,
}

/// What a trunk port carries.
#[derive(Debug, Default)]
pub struct TrunkEntry {
    /// The attachment of untagged frames.
    pub untagged: Option<AttachmentIndex>,
    /// The attachment of each VLAN.
    pub vlans: VlanMap,
    /// What is in each service VLAN (IEEE 802.1ad).
    pub services: HashMap<VlanId, ServiceVlan>,
    /// The VXLAN tunnel end point on this port.
    pub vtep: Option<Vtep>,
}

/// What is in a service VLAN.
#[derive(Debug, Default)]
pub struct ServiceVlan {
    /// The attachment of each customer VLAN.
    pub vlans: VlanMap,
    /// The attachment of all the rest, which keeps its customer tags.
    pub rest: Option<AttachmentIndex>,
}

/// A local VXLAN tunnel end point (RFC 7348).
#[derive(Debug)]
pub struct Vtep {
    /// Our address: datagrams to it are taken, and datagrams come from it.
    pub local: IpAddr,
    /// The multicast group that flooded frames come by.
    pub group: Option<IpAddr>,
    /// UDP destination port, 4789 unless configured otherwise.
    pub udp_port: u16,
    /// The attachment of each VNI.
    pub vnis: HashMap<Vni, AttachmentIndex>,
    /// The remote VTEPs by address.
    pub remotes: HashMap<IpAddr, RemoteIndex>,
    /// Whether VTEPs that are not configured are learned from the datagrams that they send.
    pub learn: bool,
}

/// Where records come in.
#[derive(Debug)]
pub struct UplinkEntry {
    /// The local UDP port that records arrive on.
    pub data_port: u16,
    /// Whether records tell of congestion on their way.
    pub ecn: bool,
}

/// Where a segment meets a port.
#[derive(Debug)]
pub struct AttachmentEntry {
    /// The segment.
    pub segment: SegmentIndex,
    /// The port.
    pub port: PortIndex,
    /// How frames look on the port.
    pub encap: Encap,
    /// Whether frames pass.
    pub state: AttachmentState,
}

/// Whether frames pass an attachment. Probes of the loop guard always do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachmentState {
    /// They do.
    #[default]
    Forwarding,
    /// Not yet: the loop guard still listens for its own probes.
    Listening,
    /// Not: there is a loop.
    Blocked,
}

/// How an attachment's frames look on its port.
#[derive(Debug)]
pub enum Encap {
    /// As they are.
    Untagged,
    /// With one 802.1Q tag.
    Vlan(VlanId),
    /// With a service tag (802.1ad), and a customer tag behind it. Without one the segment keeps the customers' own tags.
    Service(VlanId, Option<VlanId>),
    /// In VXLAN; flooded frames go to each of these remote VTEPs (head-end replication), or to a multicast group.
    Vxlan(Vni, Vec<RemoteIndex>),
}

/// A remote VXLAN tunnel end point.
#[derive(Debug)]
pub struct RemoteVtep {
    /// Its address.
    pub address: IpAddr,
    /// The outer headers towards it; `None` while its next hop is not resolved.
    pub header: Option<UdpTemplate>,
}

/// A session that is up.
#[derive(Debug)]
pub struct SessionEntry {
    /// Its parallel paths, at most [`ALL_PATHS`]. Elsewhere, so that the entries of many sessions lie close to each other.
    pub paths: Vec<PathEntry>,
    /// Which path each flow takes.
    pub spread: Spread,
    /// The segments that both ends attach.
    pub segments: TunnelSet,
}

impl SessionEntry {
    /// A session with one path.
    pub fn alone(path: Path, way: Way, segments: TunnelSet) -> Self {
        let path = PathEntry { path: Some(path), way: Some(way) };
        Self { paths: vec![path], spread: Spread::new(1, &[0]), segments }
    }

    /// A path.
    #[inline]
    pub fn path(&self, at: usize) -> Option<&PathEntry> {
        self.paths.get(at)
    }
}

/// One of the parallel paths of a session.
#[derive(Clone, Debug)]
pub struct PathEntry {
    /// Where its records go; `None` while the peer's address or its next hop is not known.
    pub path: Option<Path>,
    /// The way to the peer, proven, to notice when it changes.
    pub way: Option<Way>,
}

/// Which path of a session a flow takes, by its hash. When a path dies, only its own flows take others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    buckets: [u8; BUCKETS],
    /// Whether all flows take the same.
    one: bool,
}

/// As many as there can be paths, so that each number of paths from 1 to 4 has equal shares.
const BUCKETS: usize = 12;
const _: () = assert!(MAX_PATHS == 4 && counters::PATHS == ALL_PATHS);

impl Spread {
    /// Over so many paths, of which those in `usable` carry frames.
    pub fn new(paths: usize, usable: &[usize]) -> Self {
        let paths = paths.max(1);
        let bucket = |at: usize| match usable {
            _ if usable.contains(&(at % paths)) => at % paths,
            [] => 0,
            others => others[at / paths % others.len()],
        };
        let buckets: [u8; BUCKETS] = std::array::from_fn(|at| bucket(at) as u8);
        Self { buckets, one: buckets.iter().all(|path| *path == buckets[0]) }
    }

    /// The path that all flows take, if it is the same.
    #[inline]
    pub fn one(&self) -> Option<usize> {
        self.one.then_some(usize::from(self.buckets[0]))
    }

    /// The path of a flow with this hash.
    #[inline]
    pub fn path(&self, hash: u32) -> usize {
        usize::from(self.buckets[hash as usize % BUCKETS])
    }
}

/// The way to a peer.
#[derive(Clone, Debug)]
pub struct Path {
    /// The port that records leave by.
    pub port: PortIndex,
    /// The outer headers; `None`: records go to the control thread, which sends them over TLS.
    pub header: Option<UdpTemplate>,
    /// What records tell outside of the packets inside.
    pub marks: Marks,
    /// Largest UDP payload in octets that fits the path: a record with its header and tag.
    pub max_record: u16,
    /// Whether each worker sends from a UDP port of its own, counted from the header's: so a NIC that spreads by addresses and ports
    /// spreads our lanes over the peer's workers.
    pub port_per_worker: bool,
}

/// What records tell outside of the packets inside (RFC 6040, RFC 2983). Without any, all have the mark of the path's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The DSCP of all records, unless it is copied.
    pub dscp: u8,
    /// Whether the DSCP is that of the packets inside.
    pub copy: bool,
    /// Whether packets that understand congestion signals travel in records that do.
    pub ecn: bool,
}

impl Marks {
    /// Whether a record's mark depends on what is in it.
    #[inline]
    pub fn any(self) -> bool {
        self.copy || self.ecn
    }

    /// The mark of a record with this frame, given from its EtherType on.
    pub fn of(self, rest: &[u8]) -> Mark {
        let inner = Mark::of_frame(rest).entering();
        let dscp = if self.copy { inner.without_ecn() } else { Mark::dscp(self.dscp) };
        if self.ecn { Mark(dscp.0 | inner.only_ecn().0) } else { dscp }
    }
}

/// VLAN ID to attachment, one load per lookup.
#[derive(Debug, Clone, Default)]
pub struct VlanMap(Option<Arc<[u16]>>);

impl VlanMap {
    /// Builds the map.
    pub fn new(entries: impl IntoIterator<Item = (VlanId, AttachmentIndex)>) -> Self {
        let mut map = vec![ABSENT; 4096];
        for (vlan, attachment) in entries {
            map[usize::from(vlan.get())] = attachment.0;
        }
        Self(Some(map.into()))
    }

    /// The attachment of the 12-bit VLAN ID `vid`.
    pub fn get(&self, vid: u16) -> Option<AttachmentIndex> {
        let found = *self.0.as_ref()?.get(usize::from(vid))?;
        (found != ABSENT).then_some(AttachmentIndex(found))
    }
}

/// Tunnel ID to segment, one load per lookup.
#[derive(Debug, Clone, Default)]
pub struct TunnelMap(Option<Arc<[u16]>>);

impl TunnelMap {
    /// Builds the map.
    pub fn new(entries: impl IntoIterator<Item = (TunnelId, SegmentIndex)>) -> Self {
        let mut map = vec![ABSENT; 4096];
        for (tunnel, segment) in entries {
            map[usize::from(tunnel.get())] = segment.0;
        }
        Self(Some(map.into()))
    }

    /// The segment of the 12-bit tunnel ID `raw`.
    pub fn get(&self, raw: u16) -> Option<SegmentIndex> {
        let found = *self.0.as_ref()?.get(usize::from(raw))?;
        (found != ABSENT).then_some(SegmentIndex(found))
    }
}

/// No index reaches this: there are at most 4,093 segments and fewer attachments than 65,535.
const ABSENT: u16 = u16::MAX;

/// A set of tunnel IDs.
#[derive(Clone, Debug)]
pub struct TunnelSet(Box<[u64; 64]>);

impl Default for TunnelSet {
    fn default() -> Self {
        Self(Box::new([0; 64]))
    }
}

impl TunnelSet {
    /// Adds `tunnel`.
    pub fn insert(&mut self, tunnel: TunnelId) {
        let raw = usize::from(tunnel.get());
        self.0[raw / 64] |= 1 << (raw % 64);
    }

    /// Whether the 12-bit tunnel ID `raw` is in the set.
    pub fn contains(&self, raw: u16) -> bool {
        let raw = usize::from(raw);
        self.0.get(raw / 64).is_some_and(|word| word >> (raw % 64) & 1 == 1)
    }
}

impl FromIterator<TunnelId> for TunnelSet {
    fn from_iter<T: IntoIterator<Item = TunnelId>>(iter: T) -> Self {
        let mut set = Self::default();
        iter.into_iter().for_each(|tunnel| set.insert(tunnel));
        set
    }
}

impl Tables {
    /// The session's entry while it is up.
    pub fn session(&self, session: SessionIndex) -> Option<&SessionEntry> {
        self.sessions.get(usize::from(session.0))?.as_ref()
    }

    /// The segment of an attachment and where it is.
    pub fn attachment(&self, attachment: AttachmentIndex) -> Option<&AttachmentEntry> {
        self.attachments.get(usize::from(attachment.0))
    }

    /// A remote VTEP.
    pub fn remote(&self, remote: RemoteIndex) -> Option<&RemoteVtep> {
        self.remotes.get(usize::from(remote.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel(raw: u16) -> TunnelId {
        TunnelId::new(raw).expect("in range")
    }

    #[test]
    fn a_tunnel_set_holds_what_was_put_in_and_nothing_else() {
        let set: TunnelSet = [1, 63, 64, 4093].map(tunnel).into_iter().collect();
        let held: Vec<u16> = (0..=4095).filter(|raw| set.contains(*raw)).collect();
        assert_eq!(held, [1, 63, 64, 4093]);
        assert!(!set.contains(u16::MAX));
    }

    #[test]
    fn flows_are_spread_over_the_paths_that_are_alive() {
        let shares = |paths, usable: &[usize]| {
            let spread = Spread::new(paths, usable);
            let mut shares = [0; MAX_PATHS];
            (0..BUCKETS as u32).for_each(|hash| shares[spread.path(hash)] += 1);
            shares
        };
        assert_eq!(shares(1, &[0]), [12, 0, 0, 0]);
        assert_eq!(shares(2, &[0, 1]), [6, 6, 0, 0]);
        assert_eq!(shares(3, &[0, 1, 2]), [4, 4, 4, 0]);
        assert_eq!(shares(4, &[0, 1, 2, 3]), [3; 4]);
        assert_eq!(shares(2, &[1]), [0, 12, 0, 0]);
        assert_eq!(shares(3, &[0, 2]), [6, 0, 6, 0]);
        assert_eq!(shares(2, &[]), [12, 0, 0, 0]);
        assert_eq!(Spread::new(2, &[4]).one(), Some(4), "TCP, when no other is usable");
        assert_eq!((Spread::new(2, &[1]).one(), Spread::new(2, &[0, 1]).one()), (Some(1), None));
        let (all, less) = (Spread::new(3, &[0, 1, 2]), Spread::new(3, &[0, 2]));
        assert!((0..12).all(|hash| all.path(hash) == 1 || all.path(hash) == less.path(hash)), "others stay");
    }

    #[test]
    fn maps_find_their_entries_and_only_those() {
        let map = TunnelMap::new([(tunnel(10), SegmentIndex(0)), (tunnel(4093), SegmentIndex(7))]);
        assert_eq!(map.get(10), Some(SegmentIndex(0)));
        assert_eq!(map.get(4093), Some(SegmentIndex(7)));
        assert_eq!(map.get(11), None);
        assert_eq!(map.get(u16::MAX), None);
        assert_eq!(TunnelMap::default().get(10), None);
    }
}
