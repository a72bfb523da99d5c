//! What the counters count per second, over the last few seconds.

use std::collections::VecDeque;
use std::time::Duration;

use counters::{Counters, DropReason, PollTotals, PortTotals, SessionTotals, SideTotals};
use serde_json::{Map, Value, json};
use session::Now;

use crate::show::Shown;

/// How often counters are read, and how many readings are kept: rates are over so many seconds.
const EVERY: Duration = Duration::from_secs(1);
const KEPT: usize = 6;

/// The last readings.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    readings: VecDeque<Reading>,
}

#[derive(Debug)]
struct Reading {
    at: Now,
    drops: Vec<u64>,
    ports: Vec<PortTotals>,
    sessions: Vec<SessionTotals>,
    segments: Vec<(SideTotals, SideTotals)>,
    workers: Vec<PollTotals>,
}

/// Names and numbers of one thing, earlier and now.
type Fields = Vec<(&'static str, u64)>;

impl Rates {
    /// Reads the counters, if it is time: of so many ports, sessions and segments.
    pub(crate) fn keep_time(&mut self, now: Now, counters: &Counters, places: [usize; 3]) {
        if self.readings.back().is_some_and(|last| now < last.at + EVERY) {
            return;
        }
        if self.readings.len() >= KEPT {
            self.readings.pop_front();
        }
        let [ports, sessions, segments] = places;
        self.readings.push_back(Reading {
            at: now,
            drops: DropReason::ALL.iter().map(|reason| counters.drops(*reason)).collect(),
            ports: (0..ports).map(|at| counters.port(at)).collect(),
            sessions: (0..sessions).map(|at| counters.session(at)).collect(),
            segments: (0..segments).map(|at| counters.segment(at)).collect(),
            workers: counters.by_worker(),
        });
    }

    /// Seconds that the rates are over.
    pub(crate) fn window(&self) -> f64 {
        let ends = self.readings.front().zip(self.readings.back());
        ends.map_or(0.0, |(first, last)| last.at.saturating_sub(first.at).as_secs_f64())
    }

    /// Packets dropped per second.
    pub(crate) fn drops(&self, reason: DropReason) -> f64 {
        self.per_second(|reading| reading.drops.get(reason as usize).copied().unwrap_or(0))
    }

    /// Of a port.
    pub(crate) fn port(&self, at: usize) -> Map<String, Value> {
        self.fields(|reading| reading.ports.get(at).map(PortTotals::fields))
    }

    /// Of a session.
    pub(crate) fn session(&self, at: usize) -> Map<String, Value> {
        self.fields(|reading| reading.sessions.get(at).map(SessionTotals::fields))
    }

    /// Of a segment: from the local side, and from sessions.
    pub(crate) fn segment(&self, at: usize) -> [Map<String, Value>; 2] {
        [
            self.fields(|reading| reading.segments.get(at).map(|(lan, _)| lan.fields())),
            self.fields(|reading| reading.segments.get(at).map(|(_, tunnel)| tunnel.fields())),
        ]
    }

    /// What a worker did in the window.
    pub(crate) fn worker(&self, at: usize) -> Value {
        let delta = |field: fn(&PollTotals) -> u64| {
            self.delta(|reading| reading.workers.get(at).map_or(0, field)) as f64
        };
        let (window, frames) = (self.window(), delta(|poll| poll.frames));
        let (bursts, busy_ns) = (delta(|poll| poll.bursts), delta(|poll| poll.busy_ns));
        let share = |a: f64, b: f64| (b > 0.0).then(|| a / b);
        json!({
            "frames_per_s": share(frames, window),
            "idle_percent": share(busy_ns, window * 1e9).map(|busy| 100.0 * (1.0 - busy.min(1.0))),
            "burst": share(frames, bursts),
            "ns_per_frame": share(busy_ns, frames),
        })
    }

    fn delta(&self, of: impl Fn(&Reading) -> u64) -> u64 {
        let ends = self.readings.front().zip(self.readings.back());
        // After counters were cleared the first reading may be larger.
        ends.map_or(0, |(first, last)| of(last).saturating_sub(of(first)))
    }

    fn per_second(&self, of: impl Fn(&Reading) -> u64) -> f64 {
        let window = self.window();
        if window > 0.0 { self.delta(of) as f64 / window } else { 0.0 }
    }

    fn fields(&self, of: impl Fn(&Reading) -> Option<Fields>) -> Map<String, Value> {
        let names: Fields = self.readings.back().and_then(&of).unwrap_or_default();
        let rate = |at: usize| self.per_second(|reading| of(reading).map_or(0, |fields| fields[at].1));
        names.iter().enumerate().map(|(at, (name, _))| ((*name).to_owned(), json!(rate(at)))).collect()
    }
}

impl Shown<'_> {
    /// `show counters`, with what each counts per second.
    pub(crate) fn counters_with_rates(&self, rates: &Rates) -> Value {
        let mut shown = self.counters();
        let drops: Map<String, Value> = DropReason::ALL
            .iter()
            .map(|reason| (reason.name().into(), json!(rates.drops(*reason))))
            .collect();
        let ports = self.tables.ports.iter().enumerate();
        let ports: Map<String, Value> =
            ports.map(|(at, port)| (port.name.clone(), rates.port(at).into())).collect();
        let sessions = self.layout.session_indices().into_iter().map(|index| usize::from(index.0));
        let sessions: Map<String, Value> = sessions
            .filter_map(|at| Some((self.sites.get(at)?.site.clone(), rates.session(at).into())))
            .collect();
        let segments: Map<String, Value> = self
            .layout
            .segments()
            .map(|(index, segment)| {
                let [lan, tunnel] = rates.segment(usize::from(index.0));
                (segment.name.clone(), json!({ "from_lan": lan, "from_tunnel": tunnel }))
            })
            .collect();
        shown["window_s"] = json!(rates.window());
        shown["rates"] =
            json!({ "drops": drops, "ports": ports, "sessions": sessions, "segments": segments });
        shown
    }

    /// `show workers`.
    pub(crate) fn workers(&self, rates: &Rates) -> Value {
        let mhz = cpu_mhz();
        let cores = &self.layout.config().system.workers;
        let worker = |(at, poll): (usize, PollTotals)| {
            let mut worker = rates.worker(at);
            worker["worker"] = at.into();
            worker["core"] = json!(cores.get(at));
            worker["clk_per_frame"] =
                json!(worker["ns_per_frame"].as_f64().zip(mhz).map(|(ns, mhz)| ns * mhz / 1000.0));
            for (name, value) in poll.fields() {
                worker[name] = value.into();
            }
            worker
        };
        let workers: Vec<Value> = self.counters.by_worker().into_iter().enumerate().map(worker).collect();
        json!({ "workers": workers, "window_s": rates.window(), "cpu_mhz": mhz })
    }
}

/// What a core's clock does, as the kernel tells.
fn cpu_mhz() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("cpu MHz"))?;
    line.split(':').nth(1)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use counters::CoreCounters;

    use super::*;

    #[test]
    fn rates_are_over_the_last_seconds() {
        let core = Arc::new(CoreCounters::new(1, 1, 1));
        let counters = Counters::new(vec![Arc::clone(&core)]);
        let mut rates = Rates::default();
        for second in 0..20 {
            core.ports[0].rx_frames.add(if second < 10 { 1000 } else { 50 });
            core.poll.frames.add(50);
            core.poll.bursts.add(10);
            core.poll.busy_ns.add(250_000_000);
            core.drops.add(DropReason::Replayed, 2);
            rates.keep_time(Now::from_millis(1000 * second), &counters, [1, 1, 1]);
            rates.keep_time(Now::from_millis(1000 * second + 1), &counters, [1, 1, 1]);
        }
        assert_eq!(rates.window(), 5.0);
        assert_eq!(rates.port(0)["rx_frames"], 50.0);
        assert_eq!(rates.drops(DropReason::Replayed), 2.0);
        let worker = rates.worker(0);
        assert_eq!((&worker["idle_percent"], &worker["burst"]), (&json!(75.0), &json!(5.0)));
        assert!(rates.port(7).is_empty(), "there is no such port");
    }
}
