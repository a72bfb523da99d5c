//! Segments with `arp_suppression`: questions are answered here where they can be, and silent hosts are asked.

use std::time::Duration;

use bridge::{Endpoint, Learned, SegmentIndex};
use guard::{Frame, Neighbour, Verdict};
use pipeline::notice::{OwnFrame, Seen, Target};
use serde_json::{Value, json};
use session::Now;

use crate::appliance::Appliance;
use crate::show::Shown;

impl Appliance {
    /// A frame that a worker shows, or leaves to us.
    pub(super) fn neighbour(&mut self, now: Now, seen: Seen) {
        let Seen { segment, from, dst, src, rest, forwarded } = seen;
        if !self.layout.segment(segment).is_some_and(|segment| segment.arp_suppression) {
            return;
        }
        let ours = dst == self.guard.mac;
        let held = !forwarded && !ours;
        let life = self.life();
        let frame = Frame { segment, from, src, rest: &rest, held };
        let fdb = &self.parts.fdb;
        let verdict = self.guard.neighbours.take(now, life, frame, |mac| fdb.lookup(segment, mac));
        if !forwarded {
            // Workers have not learned from it.
            match fdb.learn(segment, src, from, u32::try_from(now.as_secs()).unwrap_or(u32::MAX)) {
                Learned::Moved(old) => self.moved(now, (segment, src), old, from, verdict == Verdict::PassOn),
                Learned::Pinned(_) => return,
                Learned::Known | Learned::New | Learned::Full | Learned::Busy => {}
            }
        }
        if !held {
            return;
        }
        match verdict {
            Verdict::PassOn => {
                let rest = rest.to_vec();
                self.send_frame(OwnFrame { segment, to: Target::From(from), dst, src, rest });
            }
            Verdict::Answer { src: answers, rest } => {
                self.send_frame(OwnFrame {
                    segment,
                    to: Target::Endpoint(from),
                    dst: src,
                    src: answers,
                    rest,
                });
            }
            Verdict::Stays => {}
        }
    }

    /// Asks hosts that have been silent whether they are still there, and forgets what belongs to no segment that suppresses.
    pub(super) fn ask_silent(&mut self, now: Now) {
        let layout = &self.layout;
        let suppresses = |segment: SegmentIndex| {
            layout.segment(segment).is_some_and(|segment| segment.enabled && segment.arp_suppression)
        };
        let live = |at: Endpoint| match at {
            Endpoint::Session(session) => self.sessions.view(session).is_some(),
            Endpoint::Attachment(at) | Endpoint::Vtep(at, _) => {
                layout.attachment_places().get(usize::from(at.0)).is_some_and(Option::is_some)
            }
        };
        let gone = |segment: SegmentIndex, known: &Neighbour| !suppresses(segment) || !live(known.at);
        self.guard.neighbours.forget(gone);
        for question in self.guard.neighbours.due(now, self.life(), self.guard.mac) {
            let (segment, dst, src, rest) = (question.segment, question.dst, self.guard.mac, question.rest);
            self.send_frame(OwnFrame { segment, to: Target::Endpoint(question.at), dst, src, rest });
        }
    }

    /// Forgets all neighbours, and returns how many that were.
    pub(crate) fn clear_neighbours(&mut self) -> usize {
        self.guard.neighbours.forget(|_, _| true)
    }

    /// As long as the FDB remembers addresses, so that who answers stays in both.
    fn life(&self) -> Duration {
        self.layout.config().system.mac_age
    }
}

impl Shown<'_> {
    /// `show neighbours`.
    pub(crate) fn neighbours(&self) -> Value {
        let neighbours = &self.guard.neighbours;
        let tally = neighbours.tally();
        let entry = |(segment, address, known): (SegmentIndex, std::net::IpAddr, Neighbour)| {
            json!({
                "segment": self.layout.segment(segment).map(|segment| &segment.name),
                "address": address.to_string(),
                "mac": known.mac.to_string(),
                "where": self.place(known.at),
                "age_s": self.now.saturating_sub(known.seen).as_secs_f64(),
                "router": known.router,
                "contested": known.contested.is_some_and(|until| self.now < until),
            })
        };
        json!({
            "entries": neighbours.all().into_iter().map(entry).collect::<Vec<_>>(),
            "max": neighbours.most(),
            "answered": tally.answered,
            "passed_on": tally.passed_on,
            "stayed": tally.stayed,
            "asked": tally.asked,
            "refused": tally.refused,
        })
    }
}
