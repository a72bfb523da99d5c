//! Who sends more than storm control lets through.

use bridge::{Endpoint, Flooded, Limited, SegmentIndex};
use pipeline::tables::Tables;
use serde_json::{Map, Value};

use crate::show::Shown;

/// Most sides that are named in a sentence.
const MOST: usize = 5;

/// The sides of a segment that were above a limit, and by how many frames of each kind.
pub(crate) fn limited(tables: &Tables, segment: SegmentIndex) -> Vec<(Endpoint, Limited)> {
    let storm = tables.segments.get(segment).and_then(|segment| segment.policy.storm.as_ref());
    storm.map_or_else(Vec::new, |storm| storm.limited())
}

/// What was counted after `then`.
pub(crate) fn since(now: &[(Endpoint, Limited)], then: &[(Endpoint, Limited)]) -> Vec<(Endpoint, Limited)> {
    let news = |(side, counts): &(Endpoint, Limited)| {
        let before = then.iter().find(|(other, _)| other == side).map_or([0; 3], |(_, counts)| *counts);
        // An operator may have cleared them.
        let more = |kind: Flooded| counts[kind as usize].checked_sub(before[kind as usize]);
        (*side, Flooded::ALL.map(|kind| more(kind).unwrap_or(counts[kind as usize])))
    };
    now.iter().map(news).filter(|(_, counts)| counts.iter().any(|count| *count > 0)).collect()
}

/// In a sentence, who sent most first.
pub(crate) fn words(shown: &Shown<'_>, sides: &[(Endpoint, Limited)]) -> String {
    sentence(sides, |side| shown.place(side))
}

fn sentence(sides: &[(Endpoint, Limited)], place: impl Fn(Endpoint) -> String) -> String {
    let mut parts: Vec<(u64, Endpoint, Flooded)> = Vec::new();
    for (side, counts) in sides {
        parts.extend(Flooded::ALL.map(|kind| (counts[kind as usize], *side, kind)));
    }
    parts.retain(|(count, ..)| *count > 0);
    parts.sort_by_key(|(count, ..)| std::cmp::Reverse(*count));
    let words = |(count, side, kind): &(u64, Endpoint, Flooded)| {
        format!("{count} {} from {}", kind.name(), place(*side))
    };
    let mut text = parts.iter().take(MOST).map(words).collect::<Vec<_>>().join(", ");
    if parts.len() > MOST {
        text += ", and more (show segments)";
    }
    text
}

impl Shown<'_> {
    /// The sides of a segment that were above a limit since the counters were cleared.
    pub(crate) fn storm_limited(&self, segment: SegmentIndex) -> Vec<Value> {
        let side = |(side, counts): (Endpoint, Limited)| {
            let mut shown = Map::new();
            shown.insert("from".into(), self.place(side).into());
            let kinds = Flooded::ALL.map(|kind| (kind.name().into(), counts[kind as usize].into()));
            shown.extend(kinds);
            Value::Object(shown)
        };
        limited(self.tables, segment).into_iter().map(side).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bridge::{AttachmentIndex, SessionIndex};

    const LAN: Endpoint = Endpoint::Attachment(AttachmentIndex(0));
    const SITE: Endpoint = Endpoint::Session(SessionIndex(1));

    #[test]
    fn what_was_counted_before_is_no_news() {
        let then = [(SITE, [5, 0, 0]), (LAN, [9, 0, 0])];
        let now = [(LAN, [9, 0, 0]), (SITE, [7, 1, 0])];
        assert_eq!(since(&now, &then), [(SITE, [2, 1, 0])]);
        assert_eq!(since(&now, &[]), now);
        assert_eq!(since(&[(SITE, [3, 0, 0])], &then), [(SITE, [3, 0, 0])], "cleared meanwhile");
    }

    #[test]
    fn who_floods_most_is_named_first() {
        let place = |side| if side == LAN { "trunk0 VLAN 10".to_owned() } else { "site branch".to_owned() };
        let told = sentence(&[(LAN, [0, 3, 0]), (SITE, [200, 0, 4])], place);
        assert_eq!(
            told,
            "200 broadcast from site branch, 4 unknown_unicast from site branch, 3 multicast from trunk0 VLAN 10"
        );
        let all = sentence(&[(LAN, [1, 1, 1]), (SITE, [1, 1, 1])], place);
        assert!(all.ends_with(", and more (show segments)"), "{all}");
        assert_eq!(sentence(&[], place), "");
    }
}
