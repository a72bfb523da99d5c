//! The lanes of one TLS handshake: their IDs, secrets and both ends (protocol 3).

use std::collections::HashSet;

use bridge::SessionIndex;
use record::{KeyLimits, LaneId, LaneSecret, RxLane, Suite, TxLane};
use zeroize::Zeroizing;

use crate::{ExportFailed, Exporter, Now, Output, Random};

/// Label of the exporter that gives lane secrets.
const LABEL: &[u8] = b"EXPORTER-causeway-data-1";

/// Which way a lane carries records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ClientToServer = 0,
    ServerToClient = 1,
}

/// What the keys of an epoch are bound to, beside the TLS connection itself.
pub(crate) struct Epoch<'a> {
    pub(crate) exporter: &'a dyn Exporter,
    pub(crate) site: &'a str,
    pub(crate) fingerprint: &'a [u8; 32],
    pub(crate) suite: Suite,
}

impl Epoch<'_> {
    pub(crate) fn rx_lanes(&self, direction: Direction, ids: &[LaneId]) -> Result<Vec<RxLane>, ExportFailed> {
        self.secrets(direction, ids)
            .map(|lane| lane.map(|(id, secret)| RxLane::new(id, self.suite, secret)))
            .collect()
    }

    pub(crate) fn tx_lanes(
        &self,
        direction: Direction,
        ids: &[LaneId],
        now: Now,
    ) -> Result<Vec<TxLane>, ExportFailed> {
        let limits = KeyLimits::default();
        self.secrets(direction, ids)
            .map(|lane| lane.map(|(id, secret)| TxLane::new(id, self.suite, secret, limits, now)))
            .collect()
    }

    fn secrets(
        &self,
        direction: Direction,
        ids: &[LaneId],
    ) -> impl Iterator<Item = Result<(LaneId, LaneSecret), ExportFailed>> {
        (0u16..).zip(ids).map(move |(index, id)| {
            let mut context = vec![direction as u8];
            context.extend(index.to_be_bytes());
            context.extend(&id.get().to_be_bytes()[1..]);
            context.push(self.site.len() as u8); // the configuration allows 255 octets
            context.extend(self.site.as_bytes());
            context.extend(self.fingerprint);
            let mut secret = Zeroizing::new([0; 32]);
            self.exporter.export(LABEL, &context, &mut secret[..])?;
            Ok((*id, LaneSecret::new(*secret)))
        })
    }
}

/// Orders to receive on the lanes of an epoch, so many for each path; the first of each path leads.
pub(crate) fn install_rx(
    session: SessionIndex,
    per_path: usize,
    lanes: Vec<RxLane>,
) -> impl Iterator<Item = Output> {
    lanes.into_iter().enumerate().map(move |(index, lane)| {
        let (path, leads) = (index / per_path.max(1), index % per_path.max(1) == 0);
        Output::InstallRx { session, path, leads, lane: Box::new(lane) }
    })
}

/// Orders to send on the lanes of an epoch: for each path one of each worker.
pub(crate) fn install_tx(
    session: SessionIndex,
    workers: usize,
    lanes: Vec<TxLane>,
) -> impl Iterator<Item = Output> {
    lanes.into_iter().enumerate().map(move |(index, lane)| {
        let (path, worker) = (index / workers.max(1), index % workers.max(1));
        Output::InstallTx { session, path, worker, lane: Box::new(lane) }
    })
}

/// The lane IDs that this side has given out and still receives on.
#[derive(Debug)]
pub(crate) struct LaneIds {
    taken: HashSet<LaneId>,
    workers: usize,
}

impl LaneIds {
    /// None yet, for lanes that so many workers own.
    pub(crate) fn new(workers: usize) -> Self {
        Self { taken: HashSet::new(), workers: workers.max(1) }
    }

    /// `count` new IDs, owned by the workers in turn, and beside that at random, so that an old session's records do not fit a
    /// new one's lanes.
    pub(crate) fn allocate(&mut self, count: usize, random: &mut dyn Random) -> Vec<LaneId> {
        let mut ids = Vec::with_capacity(count);
        while ids.len() < count {
            let mut raw = [0; 4];
            random.fill(&mut raw[1..]);
            let workers = self.workers as u32;
            let owner = ids.len() as u32 % workers;
            let raw = u32::from_be_bytes(raw) / workers * workers + owner;
            if let Some(id) = LaneId::new(raw).filter(|id| self.taken.insert(*id)) {
                ids.push(id);
            }
        }
        ids
    }

    pub(crate) fn release(&mut self, id: LaneId) {
        self.taken.remove(&id);
    }
}
