//! Orders that the workers' queues have no room for.

use std::collections::VecDeque;

use crossbeam::channel::{Sender, TrySendError};
use pipeline::command::Command;

/// What waits for each worker: a busy one keeps nothing from the others. Lanes and blocks of sessions wait, of which there are only so
/// many; frames do not, of which a network can want any number.
#[derive(Debug)]
pub(crate) struct Backlog(Vec<VecDeque<Command>>);

impl Backlog {
    /// Nothing waits.
    pub(crate) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| VecDeque::new()).collect())
    }

    /// Gives a worker an order. False: it was a frame, and is dropped.
    #[must_use]
    pub(crate) fn give(&mut self, queues: &[Sender<Command>], worker: usize, command: Command) -> bool {
        let Some((queue, waiting)) = queues.get(worker).zip(self.0.get_mut(worker)) else { return true };
        drain(queue, waiting);
        let left = match waiting.is_empty() {
            true => queue.try_send(command).err().map(TrySendError::into_inner),
            false => Some(command),
        };
        match left {
            None => true,
            Some(Command::SendFrame(_)) => false,
            Some(command) => {
                waiting.push_back(command);
                true
            }
        }
    }

    /// Gives the workers what they have room for by now.
    pub(crate) fn flush(&mut self, queues: &[Sender<Command>]) {
        queues.iter().zip(&mut self.0).for_each(|(queue, waiting)| drain(queue, waiting));
    }
}

fn drain(queue: &Sender<Command>, waiting: &mut VecDeque<Command>) {
    while let Some(command) = waiting.pop_front() {
        if let Err(TrySendError::Full(command) | TrySendError::Disconnected(command)) =
            queue.try_send(command)
        {
            return waiting.push_front(command);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bridge::{AttachmentIndex, Endpoint, SegmentIndex, SessionIndex};
    use crossbeam::channel::bounded;
    use pipeline::notice::{OwnFrame, Target};
    use wire::mac::MacAddr;

    fn frame() -> Command {
        let to = Target::Endpoint(Endpoint::Attachment(AttachmentIndex(0)));
        let (dst, src) = (MacAddr::BROADCAST, MacAddr::default());
        Command::SendFrame(Box::new(OwnFrame { segment: SegmentIndex(0), to, dst, src, rest: Vec::new() }))
    }

    fn order(session: u16) -> Command {
        Command::RemoveTx(SessionIndex(session))
    }

    #[test]
    fn orders_wait_in_turn_for_their_worker_and_frames_do_not() {
        let ((busy, taken), (free, others)) = (bounded(1), bounded(10));
        let queues = [busy, free];
        let mut backlog = Backlog::new(2);
        assert!(backlog.give(&queues, 0, frame()));
        assert!(!backlog.give(&queues, 0, frame()), "the queue is full");
        assert!(backlog.give(&queues, 0, order(1)) && backlog.give(&queues, 0, order(2)));
        assert!(backlog.give(&queues, 1, order(3)));
        assert!(matches!(others.try_recv(), Ok(Command::RemoveTx(SessionIndex(3)))), "at once");
        assert!(matches!(taken.try_recv(), Ok(Command::SendFrame(_))));
        assert!(!backlog.give(&queues, 0, frame()), "orders have waited for longer");
        assert!(matches!(taken.try_recv(), Ok(Command::RemoveTx(SessionIndex(1)))));
        backlog.flush(&queues);
        assert!(matches!(taken.try_recv(), Ok(Command::RemoveTx(SessionIndex(2)))));
        assert!(taken.is_empty());
    }
}
