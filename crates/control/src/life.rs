//! Signs of life of sessions and their paths, read from the workers' counters.

use std::collections::HashMap;

use bridge::SessionIndex;
use counters::{Counters, PATHS};

/// What was counted when it was looked at last.
#[derive(Debug, Default)]
pub(crate) struct Life(HashMap<SessionIndex, Seen>);

#[derive(Debug, Default)]
struct Seen {
    records: [u64; PATHS],
    frames: u64,
}

/// What a session has done since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signs {
    /// Paths by which records came.
    pub(crate) heard: [bool; PATHS],
    /// Whether frames were sent.
    pub(crate) sent: bool,
}

impl Life {
    /// Looks at a session's counters.
    pub(crate) fn look(&mut self, counters: &Counters, session: SessionIndex) -> Signs {
        let at = usize::from(session.0);
        let seen = self.0.entry(session).or_default();
        let mut signs = Signs::default();
        for (path, (seen, heard)) in seen.records.iter_mut().zip(&mut signs.heard).enumerate() {
            let records = counters.path(at, path).rx_records;
            *heard = std::mem::replace(seen, records) != records;
        }
        let frames = counters.session(at).tx_frames;
        signs.sent = std::mem::replace(&mut seen.frames, frames) != frames;
        signs
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use counters::CoreCounters;

    use super::*;

    #[test]
    fn what_is_counted_is_seen_once() {
        let core = Arc::new(CoreCounters::new(1, 1, 2));
        let counters = Counters::new(vec![Arc::clone(&core)]);
        let (mut life, session) = (Life::default(), SessionIndex(1));
        assert_eq!(life.look(&counters, session), Signs::default());
        core.path(1, 2).expect("a path").rx_records.add(1);
        core.sessions[1].tx_frames.add(5);
        let signs = life.look(&counters, session);
        assert_eq!(signs, Signs { heard: [false, false, true, false, false], sent: true });
        assert_eq!(life.look(&counters, session), Signs::default());
    }
}
