//! Why a packet was dropped. A new reason is one more line in the list below.

/// Which side of the appliance a drop belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Frames from trunk ports.
    Lan,
    /// Datagrams from the uplink.
    Wan,
    /// Frames from either side, on their way through a segment.
    Bridge,
    /// The appliance's own means.
    Resource,
}

macro_rules! reasons {
    ($($variant:ident, $name:literal, $group:ident, $help:literal;)*) => {
        /// Why a packet was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $(#[doc = $help] $variant,)*
        }

        impl DropReason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The name in the console and in metrics.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means, and what to look at.
            pub fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }

            /// Whether a packet is lost by it: it may have gone on, or be in the control thread's hands.
            pub fn is_loss(self) -> bool {
                !matches!(self, Self::MacLimit | Self::OwnDestination | Self::NeighbourHeld)
            }

            /// Where it belongs.
            pub fn group(self) -> Group {
                match self { $(Self::$variant => Group::$group,)* }
            }
        }
    };
}

reasons! {
    Runt, "runt", Lan, "Shorter than an Ethernet header.";
    OwnSource, "own_source", Lan, "Sent by this port's own MAC address: the kernel's own packets on a shared interface, or ours reflected.";
    UnknownVlan, "unknown_vlan", Lan, "A VLAN that no segment attaches on this trunk port.";
    UntaggedNotAttached, "untagged_not_attached", Lan, "Untagged on a trunk port without an untagged attachment.";
    VxlanBadFlags, "vxlan_bad_flags", Lan, "VXLAN without the I flag, or cut off (RFC 7348 5).";
    VxlanUnknownVni, "vxlan_unknown_vni", Lan, "A VNI that no segment attaches on this trunk port.";
    VxlanInnerRunt, "vxlan_inner_runt", Lan, "VXLAN around less than an Ethernet header.";
    VxlanUnknownVtep, "vxlan_unknown_vtep", Lan, "From a VTEP that is not configured, or is being learned at this moment.";
    Multisegment, "multisegment", Lan, "Received in several buffers: the port's MTU is larger than the buffers.";

    SuperFrame, "super_frame", Lan, "A super-frame of the kernel that does not parse, on a kernel port.";

    SourceMulticast, "source_multicast", Bridge, "The source address is a group address, which no station has.";
    SourceZero, "source_zero", Bridge, "The source address is zero, which no station has.";
    ReservedMac, "reserved_mac", Bridge, "To 01-80-C2-00-00-0x (spanning tree, LACP, LLDP), which bridges do not forward.";
    Oversize, "oversize", Bridge, "Larger than the segment's MTU: raise the segment's mtu at both ends, or lower the hosts'.";
    Hairpin, "hairpin", Bridge, "The destination is where the frame came from: those two reach each other without us.";
    NoDestination, "no_destination", Bridge, "Nothing to send it to: the segment has no other attachment and no session that is up.";
    MacLimit, "mac_limit", Bridge, "The forwarding database is full, or what max_macs gives the segment, port or site of it, so the source was not learned; the frame itself went on. test segment says which.";

    UnknownUnicast, "unknown_unicast", Bridge, "To an address that is not known, in a segment with unknown_unicast = \"drop\".";
    StormLimited, "storm_limited", Bridge, "Above what storm_control lets this attachment or site send: somebody there floods, or there is a loop. See show segments.";
    EgressFiltered, "egress_filtered", Bridge, "ARP, neighbour discovery or a frame of a gateway that each site has for itself: stays at its site.";
    NeighbourHeld, "neighbour_held", Bridge, "An ARP request or solicitation that was answered, or passed on, by the control thread (arp_suppression).";
    OwnDestination, "own_destination", Bridge, "To the appliance itself, which asked for it (ping segment, test segment): taken, not lost.";
    DuplicateMac, "duplicate_mac", Bridge, "From an address that moved too often and now counts only where it was last: two hosts have it, or there is a loop.";
    Reflected, "reflected", Lan, "A frame that had just left by the same attachment: the network behind it gives back what it gets (promiscuous port group, two uplinks). See show loops.";
    LoopListening, "loop_listening", Bridge, "On an attachment that has just come into service and listens for its own probes.";
    LoopBlocked, "loop_blocked", Bridge, "On an attachment that is blocked: the loop guard's probes come back another way. See show loops.";

    RecordShort, "record_short", Wan, "A datagram to the data port that is too short for a record.";
    RecordType, "record_type", Wan, "A datagram to the data port that is no record of this protocol version.";
    NoSuchLane, "no_such_lane", Wan, "A record of a lane that is not open: of an earlier session, or forged.";
    Replayed, "replayed", Wan, "A record that was received before: duplicated by the network, or replayed.";
    TooOld, "too_old", Wan, "A record that is 16,384 or more behind the newest: extreme reordering, or replayed.";
    WrongPhase, "wrong_phase", Wan, "A record under keys that are too old or not yet due.";
    NotAuthentic, "not_authentic", Wan, "A record that does not open: damaged or forged.";
    MalformedBlock, "malformed_block", Wan, "An authentic record whose blocks do not parse: the peer has a fault.";
    UnknownTunnelId, "unknown_tunnel_id", Wan, "A frame of a segment that is not joined in this session: compare tunnel IDs at both ends.";
    ReassemblyGaveUp, "reassembly_gave_up", Wan, "A piece of a frame whose other pieces did not come: a record was lost.";

    SessionDown, "session_down", Resource, "For a session that is down.";
    NoPeerAddress, "no_peer_address", Resource, "The peer's address, or the next hop towards it, is not known yet.";
    NoNextHop, "no_next_hop", Resource, "The next hop towards the remote VTEP is not resolved: is there a route and a neighbour?";
    NoTxLane, "no_tx_lane", Resource, "This worker has no lane to send on: the session is just opening or closing.";
    LaneExhausted, "lane_exhausted", Resource, "The lane's keys have reached their limit and could not be renewed.";
    PathTooSmall, "path_too_small", Resource, "The path's MTU leaves no room for a record.";
    NoBuffer, "no_buffer", Resource, "The buffer pool is empty: raise system.memory_mb.";
    TxQueueFull, "tx_queue_full", Resource, "The port did not take the packet: the line is overloaded.";
    EventQueueFull, "event_queue_full", Resource, "News for the control thread that it did not take in time; no packet of a segment.";
    NoticeQueueFull, "notice_queue_full", Resource, "News of the traffic (moved addresses, ARP, probes) that the control thread did not take in time; no packet of a segment.";
    OwnFrameQueueFull, "own_frame_queue_full", Resource, "A frame of the appliance itself (a probe, ARP that was held back, a test frame) that a worker did not take in time.";
    HandoverFull, "handover_full", Resource, "A record for another worker that did not take it in time.";
    FallbackFull, "fallback_full", Resource, "A record that goes over TCP because UDP does not get through, above what the connection takes: dropped rather than delayed.";
}
