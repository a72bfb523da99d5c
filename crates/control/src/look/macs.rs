//! The MAC table, all of it or a part.

use bridge::{AttachmentIndex, Endpoint, Entry, SegmentIndex, SessionIndex};
use serde_json::{Value, json};
use wire::mac::MacAddr;

use crate::show::Shown;

/// Entries that are shown unless `limit` says otherwise, and most that it can say: an answer is made at once, in memory.
pub(crate) const MAX_ENTRIES: usize = 1000;
const MOST_ENTRIES: usize = 100_000;

/// Which entries.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    segment: Option<SegmentIndex>,
    session: Option<SessionIndex>,
    /// Attachments of a port.
    attachments: Option<Vec<AttachmentIndex>>,
    mac: Option<MacAddr>,
    limit: usize,
}

impl Default for Filter {
    fn default() -> Self {
        Self { segment: None, session: None, attachments: None, mac: None, limit: MAX_ENTRIES }
    }
}

/// What a filter found.
pub(crate) struct Macs {
    /// The first of them, in order.
    pub(crate) entries: Vec<Entry>,
    /// How many there are in all.
    pub(crate) found: usize,
}

impl Filter {
    /// Reads `segment NAME`, `site NAME`, `port NAME`, `mac MAC` and `limit N`, in any order.
    pub(crate) fn parse(words: &[&str], shown: &Shown<'_>) -> Result<Self, String> {
        let mut filter = Self::default();
        for pair in words.chunks(2) {
            match *pair {
                ["segment", name] => {
                    let found = shown.layout.segments().find(|(_, segment)| segment.name == name);
                    filter.segment = Some(found.ok_or_else(|| format!("there is no segment {name:?}"))?.0);
                }
                ["site", name] => {
                    let mut indices = shown.layout.session_indices().into_iter();
                    let found = indices
                        .find(|at| shown.sites.get(usize::from(at.0)).is_some_and(|site| site.site == name));
                    filter.session = Some(found.ok_or_else(|| format!("there is no site {name:?}"))?);
                }
                ["port", name] => {
                    let port = shown.tables.ports.iter().position(|port| port.name == name);
                    let port = port.ok_or_else(|| format!("there is no port {name:?}"))?;
                    let all =
                        (0..=u16::MAX).map(AttachmentIndex).take(shown.layout.attachment_places().len());
                    let of_port = all.filter(|at| {
                        shown.tables.attachment(*at).is_some_and(|entry| entry.port.index() == port)
                    });
                    filter.attachments = Some(of_port.collect());
                }
                ["mac", mac] => filter.mac = Some(parse_mac(mac)?),
                ["limit", limit] => {
                    let limit = limit.parse().ok().filter(|limit| (1..=MOST_ENTRIES).contains(limit));
                    filter.limit = limit.ok_or_else(|| format!("limit takes 1 to {MOST_ENTRIES}"))?;
                }
                _ => {
                    return Err(
                        "after mac-table: segment NAME, site NAME, port NAME, mac MAC, limit N".into()
                    );
                }
            }
        }
        Ok(filter)
    }

    /// Whether an entry is meant.
    pub(crate) fn matches(&self, entry: &Entry) -> bool {
        let at = match entry.endpoint {
            Endpoint::Attachment(at) | Endpoint::Vtep(at, _) => Some(at),
            Endpoint::Session(_) => None,
        };
        self.segment.is_none_or(|segment| entry.segment == segment)
            && self.session.is_none_or(|session| entry.endpoint == Endpoint::Session(session))
            && self.attachments.as_ref().is_none_or(|all| at.is_some_and(|at| all.contains(&at)))
            && self.mac.is_none_or(|mac| entry.mac == mac)
    }
}

impl Shown<'_> {
    /// The entries that a filter means.
    pub(crate) fn macs(&self, filter: &Filter) -> Macs {
        let key = |entry: &Entry| (entry.segment, entry.mac.to_u64());
        let mut entries: Vec<Entry> = self.fdb.entries().filter(|entry| filter.matches(entry)).collect();
        let found = entries.len();
        if found > filter.limit {
            entries.select_nth_unstable_by_key(filter.limit, key);
            entries.truncate(filter.limit);
        }
        entries.sort_by_key(key);
        Macs { entries, found }
    }

    /// `show mac-table`.
    pub(crate) fn mac_table(&self, words: &[&str]) -> Result<Value, String> {
        let now = u32::try_from(self.now.as_secs()).unwrap_or(u32::MAX);
        let macs = self.macs(&Filter::parse(words, self)?);
        let entry = |entry: &Entry| {
            json!({
                "segment": self.layout.segment(entry.segment).map(|segment| &segment.name),
                "mac": entry.mac.to_string(),
                "where": self.place(entry.endpoint),
                "age_s": now.saturating_sub(entry.seen),
                "pinned": entry.pinned,
            })
        };
        let entries: Vec<Value> = macs.entries.iter().map(entry).collect();
        Ok(json!({
            "entries": entries,
            "found": macs.found,
            "max_macs": self.fdb.max_entries(),
            "duplicates": self.duplicates(),
        }))
    }
}

/// Reads an address with `:`, `-`, `.` or nothing between its digits.
fn parse_mac(text: &str) -> Result<MacAddr, String> {
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-' | '.')).collect();
    let octets = (0..12).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok());
    let octets: Option<Vec<u8>> = octets.collect();
    let octets = octets.filter(|_| digits.len() == 12).and_then(|octets| octets.try_into().ok());
    octets.map(MacAddr).ok_or_else(|| format!("{text:?} is no MAC address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_every_notation() {
        let mac = MacAddr([2, 0, 0, 0xaa, 0xbb, 0xcc]);
        for text in ["02:00:00:aa:bb:cc", "02-00-00-AA-BB-CC", "0200.00aa.bbcc", "020000aabbcc"] {
            assert_eq!(parse_mac(text), Ok(mac));
        }
        for text in ["", "02:00", "02:00:00:aa:bb:cg", "0200000aabbccé"] {
            assert!(parse_mac(text).is_err());
        }
    }
}
