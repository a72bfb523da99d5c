//! `show loops`, and what the MAC table says of addresses that moved too often.

use bridge::{AttachmentIndex, Endpoint, SegmentIndex};
use counters::DropReason;
use guard::{BrokenBy, Loop, Through};
use pipeline::tables::AttachmentState;
use serde_json::{Value, json};
use session::Now;

use crate::show::Shown;

impl Shown<'_> {
    /// Loops, and what else probes found.
    pub(crate) fn loops(&self) -> Value {
        let guard = &self.guard.loops;
        let attachments = (0..).map(AttachmentIndex).zip(self.layout.attachment_places());
        let count = |wanted: AttachmentState| {
            let present = attachments.clone().filter(|(_, meeting)| meeting.is_some());
            present.filter(|(at, _)| self.guard.state(*at) == wanted).count()
        };
        let reflecting = attachments.clone().map(|(at, _)| at).filter(|at| guard.reflects(*at));
        let joined =
            |(a, b): (AttachmentIndex, AttachmentIndex)| json!([self.attachment(a), self.attachment(b)]);
        let passing = |passing: &guard::Passing| {
            json!({
                "segment": self.segment_name(passing.segment),
                "origin": passing.origin,
                "from": self.place(passing.from),
                "seen_at": passing.place,
                "broken": passing.broken,
                "since_s": self.ago(passing.since),
            })
        };
        json!({
            "loops": guard.loops().map(|found| self.one_loop(found)).collect::<Vec<_>>(),
            "forwarding": count(AttachmentState::Forwarding),
            "listening": count(AttachmentState::Listening),
            "blocked": count(AttachmentState::Blocked),
            "reflecting": reflecting.map(|at| self.attachment(at)).collect::<Vec<_>>(),
            "joined": guard.joined().map(joined).collect::<Vec<_>>(),
            "passing": guard.passing().map(passing).collect::<Vec<_>>(),
            "dropped": {
                "loop_blocked": self.counters.drops(DropReason::LoopBlocked),
                "loop_listening": self.counters.drops(DropReason::LoopListening),
                "reflected": self.counters.drops(DropReason::Reflected),
                "own_source": self.counters.drops(DropReason::OwnSource),
            },
        })
    }

    /// Addresses that moved too often.
    pub(crate) fn duplicates(&self) -> Vec<Value> {
        let duplicates = self.guard.moves.duplicates();
        let duplicate = |duplicate: guard::Duplicate| {
            json!({
                "segment": self.segment_name(duplicate.segment),
                "mac": duplicate.mac.to_string(),
                "at": self.place(duplicate.places.0),
                "also": self.place(duplicate.places.1),
                "moves": duplicate.moves,
                "since_s": self.ago(duplicate.since),
                "for_s": duplicate.until.saturating_sub(self.now).as_secs_f64(),
            })
        };
        duplicates.into_iter().map(duplicate).collect()
    }

    /// The addresses of a segment that count only where they were last, in words: some of them, if there are many.
    pub(crate) fn duplicates_of(&self, segment: SegmentIndex) -> String {
        const MOST: usize = 3;
        let duplicates = self.guard.moves.duplicates();
        let of_segment: Vec<_> = duplicates.iter().filter(|duplicate| duplicate.segment == segment).collect();
        let words = |duplicate: &&guard::Duplicate| {
            let guard::Duplicate { mac, places: (at, also), until, .. } = duplicate;
            let left = until.saturating_sub(self.now).as_secs();
            format!("{mac} is at {}, not at {}, for {left} s more", self.place(*at), self.place(*also))
        };
        let mut text = of_segment.iter().take(MOST).map(words).collect::<Vec<_>>().join("; ");
        if of_segment.len() > MOST {
            text += &format!("; and {} more (show mac-table)", of_segment.len() - MOST);
        }
        text
    }

    fn one_loop(&self, found: &Loop) -> Value {
        let (kind, through) = match &found.through {
            Through::Attachment(at) => ("attachment", self.attachment(*at)),
            Through::Site(place) => ("site", place.clone()),
            Through::Itself => ("local", "the local network itself".into()),
        };
        json!({
            "segment": self.segment_name(found.segment),
            "attachment": self.attachment(found.at),
            "state": match self.guard.state(found.at) {
                AttachmentState::Forwarding => "forwarding",
                AttachmentState::Listening => "listening",
                AttachmentState::Blocked => "blocked",
            },
            "kind": kind,
            "through": through,
            "broken_by": match found.broken_by {
                BrokenBy::Us => "us",
                BrokenBy::Others => "other end",
                BrokenBy::Nobody => "nobody",
            },
            "mac": self.guard.moved.get(&found.at).map(ToString::to_string),
            "since_s": self.ago(found.since),
            "seen_s": self.ago(found.seen),
        })
    }

    fn ago(&self, then: Now) -> f64 {
        self.now.saturating_sub(then).as_secs_f64()
    }

    fn segment_name(&self, segment: SegmentIndex) -> Option<&str> {
        self.layout.segment(segment).map(|segment| segment.name.as_str())
    }

    fn attachment(&self, at: AttachmentIndex) -> String {
        self.place(Endpoint::Attachment(at))
    }
}
