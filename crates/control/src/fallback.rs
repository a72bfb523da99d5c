//! Records that go over TLS because UDP does not get through: from the workers' queue into the connection of their session,
//! and from connections to the workers that own their lanes. Nothing waits here for long: a connection that does not take
//! what it is given loses it, since inner TCP flows live better with loss than with delay.

use bridge::SessionIndex;
use counters::DropReason;
use record::header::lane_of;
use session::Records;

use crate::appliance::Appliance;

/// Records taken from the workers in one round.
const RECORDS_PER_ROUND: usize = 1024;

/// The queues between the workers and the control thread; see the crate `worker`.
pub trait RecordQueues {
    /// From now on the control thread is woken by this when there is a record to send.
    fn wakes(&mut self, wake: Box<dyn Fn() + Send + Sync>);

    /// The control thread is about to wait. False: there is something to send, and it does not.
    fn sleep(&mut self) -> bool;

    /// The control thread is awake.
    fn awake(&mut self);

    /// Gives the next record that is to be sent to `send`. False: there is none.
    fn take(&mut self, send: &mut dyn FnMut(SessionIndex, &[u8])) -> bool;

    /// Gives a record to the worker that owns its lane.
    fn give(&mut self, worker: usize, record: &[u8]);

    /// How many records for workers were dropped since this was asked last.
    fn take_lost(&mut self) -> u64;
}

impl Appliance {
    /// Sends what the workers want sent over TLS.
    pub(crate) fn send_records(&mut self) {
        let (sessions, connections, drops) =
            (&self.sessions, &mut self.connections, self.parts.counters.control());
        let mut send = |session: SessionIndex, record: &[u8]| {
            let reason = match sessions.carrier(session) {
                None => DropReason::NoPeerAddress,
                Some(conn) if connections.add_record(conn, record) => return,
                Some(_) => DropReason::FallbackFull,
            };
            drops.add(reason, 1);
        };
        for _ in 0..RECORDS_PER_ROUND {
            if !self.records.take(&mut send) {
                break;
            }
        }
        self.connections.send_batches();
        let lost = self.records.take_lost();
        if lost > 0 {
            self.parts.counters.control().add(DropReason::FallbackFull, lost);
        }
    }

    /// Gives records that came over TLS to the workers.
    pub(crate) fn receive_records(&mut self, records: &Records) {
        for record in records.iter() {
            match lane_of(record) {
                Ok(lane) => {
                    let owner = self.owner(lane);
                    self.records.give(owner, record);
                }
                Err(_) => self.parts.counters.control().add(DropReason::RecordShort, 1),
            }
        }
    }
}
