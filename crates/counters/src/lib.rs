//! Counters that cost a worker one addition each: every worker has its own, writes them alone, and
//! readers add them up. Every packet that ends inside the appliance has a [`DropReason`].
#![forbid(unsafe_code)]

mod reasons;
mod samples;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use reasons::{DropReason, Group};
pub use samples::{Origin, SAMPLE_OCTETS, SAMPLES_KEPT, Sample, Samples};

/// A number that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning thread may call it: the addition is a load and a store, not an
    /// atomic read-modify-write, so that it costs what an ordinary addition costs.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The value at some recent moment.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Paths of a session that are counted, the one over its control connection included.
pub const PATHS: usize = 5;

/// Defines a struct of counters and the plain struct that a reader sums them into.
macro_rules! counters {
    ($(#[$doc:meta])* $name:ident => $totals:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: Counter,)*
        }

        #[doc = concat!("[`", stringify!($name), "`] of all cores, added up.")]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $totals {
            $($(#[$field_doc])* pub $field: u64,)*
        }

        impl $totals {
            /// Each counter's name and value, in order.
            pub fn fields(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field),)*]
            }

            fn add(&mut self, counters: &$name) {
                $(self.$field = self.$field.wrapping_add(counters.$field.get());)*
            }
        }

        impl $name {
            /// Takes the values of others away.
            fn take_away(&self, others: &Self) {
                $(self.$field.add(0_u64.wrapping_sub(others.$field.get()));)*
            }
        }
    };
}

counters! {
    /// What passed through a port.
    PortCounters => PortTotals {
        /// Packets received.
        rx_frames,
        /// Octets received, from the destination address on, without FCS.
        rx_octets,
        /// Packets sent.
        tx_frames,
        /// Octets sent.
        tx_octets,
        /// Packets left to the kernel's side of the port.
        to_kernel,
    }
}

counters! {
    /// What entered a segment from one side, and the broadcast and multicast frames among it.
    SideCounters => SideTotals {
        /// Frames.
        frames,
        /// Octets of those frames, without the attachment's encapsulation.
        octets,
        /// Broadcast and multicast frames among them.
        bum,
        /// Broadcast frames among those.
        broadcast,
        /// Frames to an address that was not known, which were flooded.
        unknown_unicast,
    }
}

counters! {
    /// What a segment sent into sessions: once for each of them.
    SentCounters => SentTotals {
        /// Frames.
        frames,
        /// Octets of those frames.
        octets,
    }
}

counters! {
    /// Checksums of TCP and UDP in frames from local attachments, of which a worker looks at a few a second.
    ChecksumCounters => ChecksumTotals {
        /// Looked at.
        sampled,
        /// Wrong among them: a sender leaves them to a NIC that is not there.
        wrong,
    }
}

counters! {
    /// What passed through a session. What is sent changes one cache line, and what is received another.
    #[repr(C, align(64))]
    SessionCounters => SessionTotals {
        /// Records sent.
        tx_records,
        /// Frames packed into records.
        tx_frames,
        /// Octets of those frames.
        tx_octets,
        /// Flooded frames among them.
        tx_bum,
        /// Broadcast frames among those.
        tx_broadcast,
        /// Frames to an address that was not known, among those.
        tx_unknown_unicast,
        /// Frames of a segment that were to be sent and were not.
        tx_dropped,
        /// Frames received that were above a limit of storm control. Here for the sake of the lines: it seldom changes.
        rx_storm_limited,
        /// Authentic records received.
        rx_records,
        /// Octets of those records.
        rx_record_octets,
        /// Whole frames taken out of records.
        rx_frames,
        /// Octets of those frames.
        rx_octets,
        /// Broadcast and multicast frames among them.
        rx_bum,
        /// Broadcast frames among those.
        rx_broadcast,
        /// Frames to an address that is not known here.
        rx_unknown_unicast,
        /// Frames that went no further.
        rx_dropped,
        /// Records of padding received: of a test of the path.
        rx_padding_records,
        /// Octets of those records.
        rx_padding_octets,
    }
}

counters! {
    /// What passed through one path of a session.
    PathCounters => PathTotals {
        /// Records sent.
        tx_records,
        /// Authentic records received.
        rx_records,
    }
}

counters! {
    /// What a worker's loop did.
    PollCounters => PollTotals {
        /// Rounds over all queues.
        polls,
        /// Rounds in which there was something to do.
        busy_polls,
        /// Sleeps of the adaptive idle policy.
        sleeps,
        /// Packets received.
        frames,
        /// Bursts in which they came.
        bursts,
        /// Nanoseconds of rounds in which there was something to do.
        busy_ns,
    }
}

counters! {
    /// TCP handshakes that entered the tunnel.
    MssCounters => MssTotals {
        /// Their maximum segment size was too large and was made to fit.
        adjusted,
        /// It fitted, or they named none.
        ignored,
    }
}

/// What entered a segment, and what was dropped of it.
#[derive(Debug, Default)]
pub struct SegmentCounters {
    /// From its local attachments.
    pub from_lan: SideCounters,
    /// From sessions.
    pub from_tunnel: SideCounters,
    /// Into sessions.
    pub to_tunnel: SentCounters,
    /// Checksums of frames from local attachments.
    pub checksums: ChecksumCounters,
    /// TCP handshakes.
    pub mss: MssCounters,
    /// Frames dropped after their segment was known.
    pub drops: Drops,
}

/// Dropped packets by reason.
#[derive(Debug)]
pub struct Drops([Counter; DropReason::COUNT]);

impl Drops {
    /// Counts `n` packets.
    #[inline]
    pub fn add(&self, reason: DropReason, n: u64) {
        self.0[reason as usize].add(n);
    }

    /// The packets dropped for `reason`.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize].get()
    }
}

impl Drops {
    fn take_away(&self, others: &Self) {
        for (mine, theirs) in self.0.iter().zip(&others.0) {
            mine.add(0_u64.wrapping_sub(theirs.get()));
        }
    }
}

impl Default for Drops {
    fn default() -> Self {
        Self([const { Counter(AtomicU64::new(0)) }; DropReason::COUNT])
    }
}

/// The counters of one worker, on cache lines of their own.
#[derive(Debug)]
#[repr(align(128))]
pub struct CoreCounters {
    /// What was dropped.
    pub drops: Drops,
    /// The last of it.
    pub samples: Samples,
    /// What the poll loop did.
    pub poll: PollCounters,
    /// By port.
    pub ports: Box<[PortCounters]>,
    /// By segment.
    pub segments: Box<[SegmentCounters]>,
    /// By session.
    pub sessions: Box<[SessionCounters]>,
    /// The first path of each session, then the second of each: most sessions have one.
    paths: Box<[PathCounters]>,
}

impl CoreCounters {
    /// Counters for so many ports, segments and sessions.
    pub fn new(ports: usize, segments: usize, sessions: usize) -> Self {
        Self {
            drops: Drops::default(),
            samples: Samples::default(),
            poll: PollCounters::default(),
            ports: some(ports),
            segments: some(segments),
            sessions: some(sessions),
            paths: some(sessions * PATHS),
        }
    }

    /// Those of a path of a session.
    #[inline]
    pub fn path(&self, session: usize, path: usize) -> Option<&PathCounters> {
        let sessions = self.sessions.len();
        self.paths.get(path * sessions + session).filter(|_| session < sessions)
    }
}

impl CoreCounters {
    fn take_away(&self, others: &Self) {
        self.drops.take_away(&others.drops);
        self.poll.take_away(&others.poll);
        let ports = self.ports.iter().zip(&others.ports);
        ports.for_each(|(mine, theirs)| mine.take_away(theirs));
        for (mine, theirs) in self.segments.iter().zip(&others.segments) {
            mine.from_lan.take_away(&theirs.from_lan);
            mine.from_tunnel.take_away(&theirs.from_tunnel);
            mine.to_tunnel.take_away(&theirs.to_tunnel);
            mine.checksums.take_away(&theirs.checksums);
            mine.mss.take_away(&theirs.mss);
            mine.drops.take_away(&theirs.drops);
        }
        let sessions = self.sessions.iter().zip(&others.sessions);
        sessions.for_each(|(mine, theirs)| mine.take_away(theirs));
        self.paths.iter().zip(&others.paths).for_each(|(mine, theirs)| mine.take_away(theirs));
    }
}

/// The counters of all workers.
#[derive(Clone, Debug)]
pub struct Counters {
    cores: Vec<Arc<CoreCounters>>,
    control: Arc<Drops>,
    /// What they were when they were last cleared, negative: it is added like a core's own.
    cleared: Option<Arc<CoreCounters>>,
}

impl Counters {
    /// The counters of `cores`.
    pub fn new(cores: Vec<Arc<CoreCounters>>) -> Self {
        Self { cores, control: Arc::default(), cleared: None }
    }

    /// The same counters, counted from now on. The workers' own go on: nobody but they may write them.
    #[must_use]
    pub fn cleared(&self) -> Self {
        let cleared = self
            .cores
            .first()
            .map(|core| CoreCounters::new(core.ports.len(), core.segments.len(), core.sessions.len()));
        for core in &self.cores {
            cleared.iter().for_each(|cleared| cleared.take_away(core));
        }
        cleared.iter().for_each(|cleared| cleared.drops.take_away(&self.control));
        Self { cores: self.cores.clone(), control: Arc::clone(&self.control), cleared: cleared.map(Arc::new) }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<CoreCounters>> {
        self.cores.iter().chain(&self.cleared)
    }

    /// Each worker's own.
    pub fn cores(&self) -> &[Arc<CoreCounters>] {
        &self.cores
    }

    /// What the control thread, which alone writes them, has dropped.
    pub fn control(&self) -> &Drops {
        &self.control
    }

    /// Packets dropped for `reason`.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.all().fold(self.control.get(reason), |sum, core| sum.wrapping_add(core.drops.get(reason)))
    }

    /// What passed through port number `index`; zeros for a port that does not exist.
    pub fn port(&self, index: usize) -> PortTotals {
        let mut totals = PortTotals::default();
        self.all().filter_map(|core| core.ports.get(index)).for_each(|port| totals.add(port));
        totals
    }

    /// What passed through one worker's queues of port number `index` since the start.
    pub fn queue(&self, worker: usize, index: usize) -> PortTotals {
        let mut totals = PortTotals::default();
        self.cores
            .get(worker)
            .and_then(|core| core.ports.get(index))
            .into_iter()
            .for_each(|port| totals.add(port));
        totals
    }

    /// What entered segment number `index` from the local side and from sessions.
    pub fn segment(&self, index: usize) -> (SideTotals, SideTotals) {
        let (mut lan, mut tunnel) = (SideTotals::default(), SideTotals::default());
        for segment in self.segments(index) {
            lan.add(&segment.from_lan);
            tunnel.add(&segment.from_tunnel);
        }
        (lan, tunnel)
    }

    /// What segment number `index` sent into sessions.
    pub fn to_tunnel(&self, index: usize) -> SentTotals {
        let mut totals = SentTotals::default();
        self.segments(index).for_each(|segment| totals.add(&segment.to_tunnel));
        totals
    }

    /// Checksums that were looked at in segment number `index`.
    pub fn checksums(&self, index: usize) -> ChecksumTotals {
        let mut totals = ChecksumTotals::default();
        self.segments(index).for_each(|segment| totals.add(&segment.checksums));
        totals
    }

    /// The last frames dropped for `reason`, the newest first.
    pub fn samples(&self, reason: DropReason) -> Vec<Sample> {
        let mut samples: Vec<Sample> = self.all().flat_map(|core| core.samples.read(reason)).collect();
        samples.sort_by_key(|sample| std::cmp::Reverse(sample.at));
        samples
    }

    /// TCP handshakes that entered the tunnel in segment number `index`.
    pub fn mss(&self, index: usize) -> MssTotals {
        let mut totals = MssTotals::default();
        self.segments(index).for_each(|segment| totals.add(&segment.mss));
        totals
    }

    /// Frames of segment number `index` that were dropped for `reason`.
    pub fn segment_drops(&self, index: usize, reason: DropReason) -> u64 {
        self.segments(index).fold(0, |sum, segment| sum.wrapping_add(segment.drops.get(reason)))
    }

    fn segments(&self, index: usize) -> impl Iterator<Item = &SegmentCounters> {
        self.all().filter_map(move |core| core.segments.get(index))
    }

    /// What passed through session number `index`.
    pub fn session(&self, index: usize) -> SessionTotals {
        let mut totals = SessionTotals::default();
        self.all().filter_map(|core| core.sessions.get(index)).for_each(|session| totals.add(session));
        totals
    }

    /// What passed through path number `path` of session number `session`.
    pub fn path(&self, session: usize, path: usize) -> PathTotals {
        let mut totals = PathTotals::default();
        let of_path = |core: &Arc<CoreCounters>| core.path(session, path).map(|path| totals.add(path));
        self.all().filter_map(of_path).for_each(drop);
        totals
    }

    /// What each poll loop did.
    pub fn by_worker(&self) -> Vec<PollTotals> {
        let totals = |core: &Arc<CoreCounters>| {
            let mut totals = PollTotals::default();
            totals.add(&core.poll);
            totals
        };
        self.cores.iter().map(totals).collect()
    }

    /// What all poll loops did.
    pub fn poll(&self) -> PollTotals {
        let mut totals = PollTotals::default();
        self.cores.iter().for_each(|core| totals.add(&core.poll));
        totals
    }
}

fn some<T: Default>(count: usize) -> Box<[T]> {
    (0..count).map(|_| T::default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn totals_are_the_sum_over_cores() {
        let cores: Vec<_> = (0..2).map(|_| Arc::new(CoreCounters::new(2, 3, 4))).collect();
        cores[0].ports[1].rx_frames.add(5);
        cores[1].ports[1].rx_frames.add(7);
        cores[1].segments[2].from_tunnel.bum.add(3);
        cores[0].drops.add(DropReason::Replayed, 2);
        cores[1].drops.add(DropReason::Replayed, 2);
        let counters = Counters::new(cores);
        assert_eq!(counters.port(1).rx_frames, 12);
        assert_eq!(counters.port(99), PortTotals::default());
        assert_eq!(counters.segment(2).1.bum, 3);
        assert_eq!(counters.drops(DropReason::Replayed), 4);
        assert_eq!(counters.drops(DropReason::TooOld), 0);
    }

    #[test]
    fn cleared_counters_count_from_then_on() {
        let core = Arc::new(CoreCounters::new(1, 1, 1));
        core.ports[0].rx_frames.add(5);
        core.drops.add(DropReason::Replayed, 7);
        core.segments[0].drops.add(DropReason::Replayed, 7);
        let counters = Counters::new(vec![Arc::clone(&core)]);
        let cleared = counters.cleared();
        assert_eq!((cleared.port(0).rx_frames, cleared.drops(DropReason::Replayed)), (0, 0));
        core.ports[0].rx_frames.add(2);
        core.drops.add(DropReason::Replayed, 1);
        assert_eq!((cleared.port(0).rx_frames, cleared.drops(DropReason::Replayed)), (2, 1));
        assert_eq!(cleared.segment_drops(0, DropReason::Replayed), 0);
        assert_eq!(counters.port(0).rx_frames, 7, "who watches from outside sees them rise for ever");
        assert_eq!(cleared.cleared().port(0).rx_frames, 0, "again");
    }

    #[test]
    fn every_reason_has_a_name_of_its_own_and_a_help() {
        let names: HashSet<&str> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::COUNT);
        for (at, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at, "{}", reason.name());
            assert!(reason.help().len() > 10, "{}", reason.name());
        }
    }
}
