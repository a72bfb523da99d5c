//! What the guards find, in the log: each once.

use bridge::{AttachmentIndex, Endpoint, SegmentIndex};
use guard::{BrokenBy, Finding, Loop, Suspect, Through};
use session::Now;
use wire::mac::MacAddr;

use crate::appliance::Appliance;

impl Appliance {
    pub(super) fn found(&mut self, now: Now, finding: &Finding) {
        match finding {
            Finding::Loop(found) => {
                let moved = self.guard.moves.last(now, found.segment);
                if let Some(mac) = moved {
                    self.guard.moved.insert(found.at, mac);
                }
                let (segment, attachment) =
                    (self.segment_name(found.segment), self.attachment_name(found.at));
                let through = self.through(found);
                let mac = moved.map(|mac| mac.to_string());
                match found.broken_by {
                    BrokenBy::Us => {
                        tracing::warn!(
                            segment,
                            attachment,
                            through,
                            mac,
                            "a loop: the attachment is blocked"
                        );
                    }
                    BrokenBy::Others => {
                        tracing::warn!(
                            segment,
                            attachment,
                            through,
                            mac,
                            "a loop: it is broken at the other end"
                        );
                    }
                    BrokenBy::Nobody => tracing::warn!(segment, attachment, through, mac, "a loop was found"),
                }
            }
            Finding::Gone(found) => {
                self.guard.moved.remove(&found.at);
                let (segment, attachment) =
                    (self.segment_name(found.segment), self.attachment_name(found.at));
                tracing::info!(segment, attachment, "the loop is gone");
            }
            Finding::Reflects(at, true) => tracing::warn!(
                attachment = self.attachment_name(*at),
                "our own frames come back on this attachment (promiscuous port group, two uplinks): they are dropped"
            ),
            Finding::Reflects(at, false) => {
                tracing::info!(attachment = self.attachment_name(*at), "our own frames come back no more");
            }
            Finding::Joined(a, b) => tracing::warn!(
                attachment = self.attachment_name(*a),
                other = self.attachment_name(*b),
                "two segments are one behind these attachments"
            ),
        }
    }

    pub(super) fn pinned(&self, segment: SegmentIndex, mac: MacAddr, from: Endpoint, to: Endpoint) {
        tracing::warn!(
            segment = self.segment_name(segment),
            %mac,
            at = self.place_name(to),
            also = self.place_name(from),
            "an address moves to and fro: two hosts have it, or there is a loop; it counts only where it is now"
        );
    }

    pub(super) fn released(&self, segment: SegmentIndex, mac: MacAddr) {
        tracing::info!(segment = self.segment_name(segment), %mac, "an address may move again");
    }

    pub(super) fn suspected(&self, suspect: &Suspect) {
        tracing::warn!(
            segment = self.segment_name(suspect.segment),
            mac = %suspect.mac,
            at = self.place_name(suspect.places.0),
            also = self.place_name(suspect.places.1),
            "many addresses move to and fro: perhaps a loop that lets no probes through"
        );
    }

    fn through(&self, found: &Loop) -> String {
        match &found.through {
            Through::Attachment(at) => self.attachment_name(*at),
            Through::Site(place) => place.clone(),
            Through::Itself => "the local network has a loop in itself".into(),
        }
    }

    fn segment_name(&self, segment: SegmentIndex) -> &str {
        self.layout.segment(segment).map_or("gone", |segment| &segment.name)
    }

    fn attachment_name(&self, at: AttachmentIndex) -> String {
        self.place_name(Endpoint::Attachment(at))
    }

    fn place_name(&self, endpoint: Endpoint) -> String {
        self.shown(&self.tables()).place(endpoint)
    }
}
