//! The live view of `top`: what crosses, site by site and segment by segment, what the workers do, what is dropped and what is wrong.
//! [`Top`] takes answers to `show top` and draws a screen; who asks, and where it is shown, is not its concern.

mod draw;
mod series;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use self::series::Series;

/// Most rows that are followed of each kind. What comes beyond them is not shown.
const MAX_ROWS: usize = 5000;

/// The live view.
#[derive(Debug, Default)]
pub struct Top {
    at: Option<Duration>,
    mode: String,
    uptime_s: f64,
    sites: BTreeMap<String, Site>,
    segments: BTreeMap<String, Segment>,
    workers: Vec<Worker>,
    drops: BTreeMap<String, Series>,
    alarms: Vec<Alarm>,
}

/// What `show alarms` tells.
#[derive(Debug)]
struct Alarm {
    /// Of all segments with a site, if there is none.
    segment: Option<String>,
    site: Option<String>,
    text: String,
}

#[derive(Debug, Default)]
struct Site {
    state: String,
    failure: Option<String>,
    round_trip_ms: Option<f64>,
    /// Bits a second, from the site and to it.
    rx: Series,
    tx: Series,
}

#[derive(Debug, Default)]
struct Segment {
    tunnel_id: u64,
    enabled: bool,
    /// Bits a second, from the local network and through the tunnel.
    lan: Series,
    tunnel: Series,
    /// Flooded frames a second, both ways.
    bum: Series,
}

#[derive(Debug, Default)]
struct Worker {
    frames: Series,
    polls: Series,
    busy: Series,
}

impl Top {
    /// Takes an answer to `show top`, with its time in `now_s`. Rates are those since the answer before.
    pub fn take(&mut self, answer: &Value) {
        let now = Duration::try_from_secs_f64(number(&answer["now_s"])).unwrap_or_default();
        let (service, segments, counters) = (&answer["service"], &answer["segments"], &answer["counters"]);
        let passed = self.at.map(|at| now.saturating_sub(at).as_secs_f64());
        self.at = Some(now);
        self.mode = service["mode"].as_str().unwrap_or("appliance").into();
        self.uptime_s = service["uptime_s"].as_f64().unwrap_or(0.0);
        follow(&mut self.sites, &service["sites"], "site", |site: &mut Site, shown| {
            site.state = shown["state"].as_str().unwrap_or("-").into();
            site.failure = shown["last_failure"].as_str().map(Into::into);
            site.round_trip_ms = shown["round_trip_ms"].as_f64();
            site.rx.add(8.0 * number(&shown["counters"]["rx_octets"]), passed);
            site.tx.add(8.0 * number(&shown["counters"]["tx_octets"]), passed);
        });
        follow(&mut self.segments, &segments["segments"], "segment", |segment: &mut Segment, shown| {
            let (lan, tunnel) = (&shown["from_lan"], &shown["from_tunnel"]);
            segment.tunnel_id = shown["tunnel_id"].as_u64().unwrap_or(0);
            segment.enabled = shown["enabled"].as_bool().unwrap_or(true);
            segment.lan.add(8.0 * number(&lan["octets"]), passed);
            segment.tunnel.add(8.0 * number(&tunnel["octets"]), passed);
            segment.bum.add(number(&lan["bum"]) + number(&tunnel["bum"]), passed);
        });
        let workers = counters["by_worker"].as_array().map_or(&[][..], Vec::as_slice);
        self.workers.resize_with(workers.len(), Worker::default);
        for (worker, shown) in self.workers.iter_mut().zip(workers) {
            worker.frames.add(number(&shown["frames"]), passed);
            worker.polls.add(number(&shown["polls"]), passed);
            worker.busy.add(number(&shown["busy_polls"]), passed);
        }
        for (reason, count) in counters["drops"].as_object().into_iter().flatten() {
            self.drops.entry(reason.clone()).or_default().add(number(count), passed);
        }
        let alarms = answer["alarms"].as_array().map_or(&[][..], Vec::as_slice);
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(String::from);
        let alarm = |shown: &Value| {
            let (segment, site) = (text(&shown["segment"]), text(&shown["site"]));
            Some(Alarm { segment, site, text: text(&shown["text"])? })
        };
        self.alarms = alarms.iter().take(MAX_ROWS).filter_map(alarm).collect();
    }

    /// The picture, for a terminal of `width` columns and `height` lines: as many lines, joined by CR LF, without what stood there before.
    pub fn frame(&self, width: usize, height: usize) -> String {
        draw::frame(self, width, height)
    }
}

impl Top {
    /// The picture over what stood there before.
    pub fn screen(&self, width: usize, height: usize) -> String {
        format!("\x1b[H{}\x1b[J", self.frame(width, height).replace("\r\n", "\x1b[K\r\n"))
    }
}

impl Worker {
    /// The share of polls that found something.
    fn load(&self) -> f64 {
        if self.polls.rate() > 0.0 { (self.busy.rate() / self.polls.rate()).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// Follows the things of a list by name: new ones come in, those that are gone go.
fn follow<T: Default>(
    known: &mut BTreeMap<String, T>,
    shown: &Value,
    name: &str,
    mut update: impl FnMut(&mut T, &Value),
) {
    let shown = shown.as_array().map_or(&[][..], Vec::as_slice);
    let mut before = std::mem::take(known);
    for one in shown.iter().take(MAX_ROWS) {
        let Some(name) = one[name].as_str() else { continue };
        let mut row = before.remove(name).unwrap_or_default();
        update(&mut row, one);
        known.insert(name.into(), row);
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn site(name: &str, state: &str, octets: u64) -> Value {
        json!({ "site": name, "state": state, "last_failure": "nobody answers", "round_trip_ms": 0.4,
                "counters": { "rx_octets": octets, "tx_octets": octets / 2 } })
    }

    fn fed() -> Top {
        let mut top = Top::default();
        for second in 0..5 {
            let octets = second * 1_250_000;
            let service = json!({ "mode": "server", "uptime_s": 3661, "sites": [
                site("oslo", "up", octets), site("li\x1b[2Jma", "down", 0)] });
            let segments = json!({ "segments": [{ "segment": "servers", "tunnel_id": 10, "enabled": true,
                "from_lan": { "octets": octets, "bum": second * 5 }, "from_tunnel": { "octets": 0, "bum": 0 } }] });
            let counters = json!({ "drops": { "unknown_vlan": second * 3, "runt": 0 },
                "by_worker": [{ "frames": second * 1000, "polls": second * 100, "busy_polls": second * 25 }] });
            let alarms = json!([
                { "segment": "servers", "text": "interface lan0 is \x1b[2Jdown" },
                { "site": "li\x1b[2Jma", "text": "told by the site's state" }]);
            top.take(&json!({ "now_s": second, "service": service, "segments": segments, "counters": counters, "alarms": alarms }));
        }
        top
    }

    fn plain(frame: &str) -> String {
        let mut out = String::new();
        let mut escape = false;
        for c in frame.chars() {
            match c {
                '\x1b' => escape = true,
                _ if escape => escape = !c.is_ascii_alphabetic(),
                c => out.push(c),
            }
        }
        out
    }

    #[test]
    fn rates_states_and_alarms_are_in_the_picture() {
        let frame = plain(&fed().frame(100, 24));
        for text in [
            "server",
            "1h 1m",
            "1 of 2 sites up",
            "10.0 Mbit/s",
            "5.00 Mbit/s",
            "25 %",
            "unknown_vlan 3/s",
            "nobody answers",
            "segment servers: interface lan0 is",
        ] {
            assert!(frame.contains(text), "{text:?} is missing in\n{frame}");
        }
        assert!(!frame.contains("runt"), "what does not happen is not shown");
        assert!(!frame.contains("told by"), "a site that is down is told once");
    }

    #[test]
    fn nothing_of_a_peer_reaches_the_terminal_raw() {
        assert!(!fed().frame(100, 24).contains("\x1b[2J"));
    }

    #[test]
    fn it_fits_any_terminal() {
        let mut top = fed();
        let many: Vec<Value> = (0..300).map(|at| site(&format!("site-{at}"), "up", at * 77)).collect();
        let service = json!({ "mode": "server", "uptime_s": 1, "sites": many });
        top.take(&json!({ "now_s": 9, "service": service }));
        for (width, height) in [(0, 0), (1, 1), (10, 3), (40, 8), (80, 24), (300, 100)] {
            let frame = plain(&top.frame(width, height));
            let lines: Vec<&str> = frame.split("\r\n").collect();
            assert!(lines.len() <= height.max(1), "{} lines of {height}", lines.len());
            for line in lines {
                assert!(
                    unicode_width::UnicodeWidthStr::width(line) <= width,
                    "{line:?} is wider than {width}"
                );
            }
        }
        assert!(plain(&top.frame(80, 24)).contains("more"), "what has no room is told");
    }
}
