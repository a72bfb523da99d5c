//! What the FDB said last, within one burst: frames of one flow follow each other, and need not ask again.

use bridge::{Endpoint, Key, Learned, Packed};
use counters::DropReason;

use crate::View;

/// The last address learned and the last looked up.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    learned: Option<(Key, Packed)>,
    known: Option<(Key, Option<Endpoint>)>,
}

impl Recent {
    /// Forgets: other threads may have changed the FDB meanwhile.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Notes that `source` was seen at `from`.
    #[inline]
    pub(crate) fn learn(&mut self, view: View<'_>, source: Key, from: Packed) {
        if self.learned == Some((source, from)) {
            return;
        }
        match view.fdb.learn_key(source, from, view.now.seconds()) {
            Learned::Known => self.learned = Some((source, from)),
            Learned::New | Learned::Moved(_) => {
                self.learned = Some((source, from));
                self.known = None;
            }
            // The frame itself is forwarded: a full table makes for flooding, not for loss.
            Learned::Full => view.dropped(DropReason::MacLimit),
            Learned::Busy => {}
        }
    }

    /// Where `destination` is.
    #[inline]
    pub(crate) fn lookup(&mut self, view: View<'_>, destination: Key) -> Option<Endpoint> {
        if let Some((key, known)) = self.known {
            if key == destination {
                return known;
            }
        }
        let known = view.fdb.lookup_key(destination);
        self.known = Some((destination, known));
        known
    }
}
