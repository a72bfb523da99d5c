//! Traffic of the last hour, kept in memory: one point every ten seconds, for a bounded number of sites and segments.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use crate::snapshot::{Segment, Site, Snapshot};

/// Time between two points.
pub const STEP: Duration = Duration::from_secs(10);

/// Points that are kept: an hour.
pub const POINTS: usize = 360;

/// Sites and segments that are kept, of each: some 4 KB for each.
pub const MAX_SERIES: usize = 256;

/// The history of everything that has one.
#[derive(Debug, Default)]
pub struct History {
    sites: BTreeMap<String, Series>,
    segments: BTreeMap<String, Series>,
    total: Series,
    /// Octets of every site at the last point, also of those without a history.
    before: HashMap<String, (u64, u64)>,
    drops: Series,
    last: Option<Duration>,
}

/// Octets a second into and out of one thing; the newest point is the last.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// From the tunnel, or from the local side of a segment.
    pub into: VecDeque<f32>,
    /// To the tunnel.
    pub out: VecDeque<f32>,
    /// Whether it was up, or not meant to be.
    pub up: VecDeque<bool>,
    before: (u64, u64),
}

impl History {
    /// Notes a point. To be called every [`STEP`]; what comes late stands for the points that were missed.
    pub fn note(&mut self, snapshot: &Snapshot) {
        keep(&mut self.sites, snapshot.sites.iter().map(|site| (site.name.as_str(), of_site(site))));
        keep(
            &mut self.segments,
            snapshot.segments.iter().map(|segment| (segment.name.as_str(), of_segment(segment))),
        );
        let before = std::mem::take(&mut self.before);
        self.before = snapshot.sites.iter().map(|site| (site.name.clone(), of_site(site))).collect();
        let lost = snapshot.drops.iter().filter(|(reason, _)| reason.is_loss());
        let dropped = lost.map(|(_, count)| *count).sum();
        let Some(last) = self.last.replace(snapshot.now) else {
            self.drops.before = (dropped, 0);
            return;
        };
        let elapsed = snapshot.now.saturating_sub(last).as_secs_f32().max(0.001);
        let points = ((elapsed / STEP.as_secs_f32()).round() as usize).clamp(1, POINTS);
        let mut total = self.total.before;
        for site in &snapshot.sites {
            let now = of_site(site);
            let then = before.get(&site.name).unwrap_or(&now);
            total.0 += now.0.saturating_sub(then.0);
            total.1 += now.1.saturating_sub(then.1);
            if let Some(series) = self.sites.get_mut(&site.name) {
                series.add(now, elapsed, points, matches!(site.state, "up" | "disabled"));
            }
        }
        for segment in &snapshot.segments {
            if let Some(series) = self.segments.get_mut(&segment.name) {
                series.add(of_segment(segment), elapsed, points, true);
            }
        }
        let up = snapshot.sites.iter().any(|site| site.state == "up") || snapshot.sites.is_empty();
        self.total.add(total, elapsed, points, up);
        self.drops.add((dropped, 0), elapsed, points, true);
    }

    /// A site's history, if it has one.
    pub fn site(&self, name: &str) -> Option<&Series> {
        self.sites.get(name)
    }

    /// A segment's.
    pub fn segment(&self, name: &str) -> Option<&Series> {
        self.segments.get(name)
    }

    /// All sites together.
    pub fn total(&self) -> &Series {
        &self.total
    }

    /// Dropped packets a second, as `into`.
    pub fn drops(&self) -> &Series {
        &self.drops
    }
}

fn of_site(site: &Site) -> (u64, u64) {
    (site.counters.rx_octets, site.counters.tx_octets)
}

fn of_segment(segment: &Segment) -> (u64, u64) {
    (segment.from_tunnel.octets, segment.from_lan.octets)
}

/// Makes room for what is new and forgets what is gone.
fn keep<'a>(
    kept: &mut BTreeMap<String, Series>,
    present: impl Iterator<Item = (&'a str, (u64, u64))> + Clone,
) {
    let names: HashSet<&str> = present.clone().map(|(name, _)| name).collect();
    kept.retain(|name, _| names.contains(name.as_str()));
    for (name, before) in present {
        if kept.len() >= MAX_SERIES {
            break;
        }
        if !kept.contains_key(name) {
            kept.insert(name.to_owned(), Series { before, ..Series::default() });
        }
    }
}

impl Series {
    fn add(&mut self, now: (u64, u64), elapsed: f32, points: usize, up: bool) {
        // A counter that went back belongs to something else now.
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f32 / elapsed;
        let rates = (rate(now.0, self.before.0), rate(now.1, self.before.1));
        self.before = now;
        for _ in 0..points {
            push(&mut self.into, rates.0);
            push(&mut self.out, rates.1);
            push(&mut self.up, up);
        }
    }

    /// The newest rates, zero without any.
    pub fn newest(&self) -> (f32, f32) {
        (self.into.back().copied().unwrap_or(0.0), self.out.back().copied().unwrap_or(0.0))
    }
}

fn push<T>(points: &mut VecDeque<T>, point: T) {
    if points.len() >= POINTS {
        points.pop_front();
    }
    points.push_back(point);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, octets: &[(&str, u64)]) -> Snapshot {
        let site = |(name, octets): &(&str, u64)| {
            let mut site = Site { name: (*name).into(), state: "up", ..Site::default() };
            site.counters.rx_octets = *octets;
            site
        };
        Snapshot {
            now: Duration::from_secs(seconds),
            sites: octets.iter().map(site).collect(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn points_are_rates() {
        let mut history = History::default();
        history.note(&at(0, &[("a", 1000)]));
        assert!(history.site("a").expect("known").into.is_empty(), "no rate of one moment");
        history.note(&at(10, &[("a", 3000)]));
        history.note(&at(40, &[("a", 6000)]));
        let series = history.site("a").expect("known");
        assert_eq!(Vec::from(series.into.clone()), [200.0, 100.0, 100.0, 100.0]);
        assert_eq!(history.total().newest().0, 100.0);
        history.note(&at(50, &[("a", 10)]));
        assert_eq!(history.site("a").expect("known").newest().0, 0.0, "a counter that began anew");
    }

    #[test]
    fn it_stays_within_its_bounds() {
        let mut history = History::default();
        let names: Vec<String> = (0..MAX_SERIES + 50).map(|at| format!("site{at}")).collect();
        let many: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 0)).collect();
        for round in 0..(POINTS as u64 + 20) {
            history.note(&at(round * 10, &many));
        }
        assert_eq!(history.sites.len(), MAX_SERIES);
        assert!(history.sites.values().all(|series| series.into.len() == POINTS));
        history.note(&at(100_000, &[("site7", 0)]));
        assert_eq!(history.sites.keys().collect::<Vec<_>>(), ["site7"], "what is gone is forgotten");
    }
}
