//! Watches all segments in the background, and tells once when something is wrong and when it is right again: `show alarms`, and the log.

use std::collections::BTreeMap;
use std::time::Duration;

use bridge::SegmentIndex;
use serde_json::{Value, json};
use session::Now;

use super::findings::{self, Finding, History, Severity, Then};
use crate::appliance::Appliance;
use crate::show::Shown;

/// How often segments are looked at.
const INTERVAL: Duration = Duration::from_secs(10);

/// What happened so long ago is not told any more: so many intervals.
const MEMORY: usize = 6;

/// Most alarms at one time.
const MAX_ALARMS: usize = 1000;

/// What is wrong, and what was counted before.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    due: Now,
    /// The newest last.
    history: Vec<History>,
    raised: BTreeMap<Key, (Now, Finding)>,
}

/// Segment, site and code.
type Key = (String, Option<String>, &'static str);

impl Alarms {
    /// The counters of a segment some time ago: what has grown since is news.
    pub(super) fn then(&self, segment: SegmentIndex) -> Then {
        self.history.first().and_then(|history| history.get(&segment)).cloned().unwrap_or_default()
    }

    /// Whether everything is to be looked at again. Not at the start, when nothing has had time to happen.
    pub(super) fn is_due(&mut self, now: Now) -> bool {
        if self.due == Now::ZERO {
            self.due = now + INTERVAL;
        }
        now >= self.due
    }

    /// Looks at everything.
    pub(super) fn watch(&mut self, shown: &Shown<'_>) {
        self.due = shown.now + INTERVAL;
        let mut found = BTreeMap::new();
        let attached = findings::attached(shown);
        for (index, segment) in shown.layout.segments().filter(|(_, segment)| segment.enabled) {
            let then = self.then(index);
            let attachments = attached.get(&index).map_or(&[][..], Vec::as_slice);
            let local = findings::local(shown, index, attachments, &then);
            let sessions = shown.layout.session_indices().into_iter();
            let sites = sessions.flat_map(|session| findings::session(shown, index, session));
            for finding in local.into_iter().chain(sites).filter(|finding| finding.severity > Severity::Info)
            {
                // What is wrong with a site is so for all its segments.
                let of = if finding.site.is_some() { String::new() } else { segment.name.clone() };
                if found.len() < MAX_ALARMS {
                    found.insert((of, finding.site.clone(), finding.code), finding);
                }
            }
        }
        self.settle(found, shown.now);
        let segments = shown.layout.segments().map(|(index, _)| (index, Then::now(shown, index)));
        self.history.push(segments.collect());
        if self.history.len() > MEMORY {
            self.history.remove(0);
        }
    }

    fn settle(&mut self, found: BTreeMap<Key, Finding>, now: Now) {
        self.raised.retain(|key, _| {
            let still = found.contains_key(key);
            if !still {
                tracing::info!(segment = key.0, site = key.1, "right again: {}", key.2);
            }
            still
        });
        for (key, finding) in found {
            let since = self.raised.get(&key).map(|(since, _)| *since);
            if since.is_none() {
                let Finding { code, text, advice, .. } = &finding;
                tracing::warn!(segment = key.0, site = key.1, code, "{text}; {advice}");
            }
            self.raised.insert(key, (since.unwrap_or(now), finding));
        }
    }

    fn to_json(&self, now: Now) -> Value {
        let alarm = |((segment, ..), (since, finding)): (&Key, &(Now, Finding))| {
            let mut alarm = finding.to_json();
            alarm["segment"] = segment.as_str().into();
            alarm["since_s"] = now.saturating_sub(*since).as_secs().into();
            alarm
        };
        json!({ "alarms": self.raised.iter().map(alarm).collect::<Vec<_>>() })
    }
}

impl Appliance {
    /// `show alarms`.
    pub(crate) fn alarms(&self) -> Value {
        self.insight.alarms.to_json(self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_raised_once_and_cleared_when_it_is_gone() {
        let mut alarms = Alarms::default();
        let finding = Finding::new("port_down", Severity::Error, "down", "look");
        let found = || BTreeMap::from([(("servers".to_owned(), None, "port_down"), finding.clone())]);
        alarms.settle(found(), Duration::from_secs(10));
        alarms.settle(found(), Duration::from_secs(30));
        let shown = alarms.to_json(Duration::from_secs(40));
        assert_eq!(
            (&shown["alarms"][0]["since_s"], &shown["alarms"][0]["segment"]),
            (&json!(30), &json!("servers"))
        );
        alarms.settle(BTreeMap::new(), Duration::from_secs(50));
        assert_eq!(alarms.to_json(Duration::from_secs(60)), json!({ "alarms": [] }));
    }
}
