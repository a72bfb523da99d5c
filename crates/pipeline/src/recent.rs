//! What the FDB said last, within one burst: frames of one flow follow each other, and need not ask again.

use bridge::{Endpoint, Key, Learned, Packed};
use counters::DropReason;
use crossbeam::channel::Sender;

use crate::View;
use crate::frame::Meta;
use crate::notice::Notice;

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

    /// Notes that a frame's source was seen where it came from. An error says why the frame goes no further.
    #[inline]
    pub(crate) fn learn(
        &mut self,
        view: View<'_>,
        meta: &Meta,
        source: Key,
        notices: &Sender<Notice>,
    ) -> Result<(), DropReason> {
        if self.learned == Some((source, meta.from)) {
            return Ok(());
        }
        match view.fdb.learn_key(source, meta.from, view.now.seconds()) {
            Learned::Known => self.learned = Some((source, meta.from)),
            Learned::New => {
                self.learned = Some((source, meta.from));
                self.known = None;
            }
            Learned::Moved(old) => {
                self.learned = Some((source, meta.from));
                self.known = None;
                tell_move(view, meta, old, notices);
            }
            // The frame itself is forwarded: a full table makes for flooding, not for loss.
            Learned::Full => {
                view.dropped_of(meta.segment, DropReason::MacLimit);
            }
            Learned::Pinned(_) => return Err(DropReason::DuplicateMac),
            Learned::Busy => {}
        }
        Ok(())
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

#[cold]
fn tell_move(view: View<'_>, meta: &Meta, from: Endpoint, notices: &Sender<Notice>) {
    let moved = Notice::Moved {
        segment: meta.segment,
        mac: meta.src.into(),
        from,
        to: meta.from.get(),
        announced: meta.dst.is_multicast(),
    };
    if notices.try_send(moved).is_err() {
        view.dropped(DropReason::NoticeQueueFull);
    }
}
