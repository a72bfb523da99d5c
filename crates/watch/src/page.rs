//! The read-only page: what runs, what is down and why, and the traffic of the last hour. It needs nothing but itself and its style
//! sheet: no script, nothing from elsewhere.

mod html;
mod plot;
mod tables;
mod topology;

use std::fmt::Write;

use crate::history::{History, Series};
use crate::snapshot::Snapshot;
use html::{bits, count, duration, text};

/// The style sheet.
pub const STYLE: &str = include_str!("page/style.css");

/// The icon of its tab.
pub const ICON: &str = include_str!("page/icon.svg");

/// The page as HTML.
pub fn write(snapshot: &Snapshot, history: &History) -> String {
    let mut out = String::with_capacity(64 << 10);
    let summary = Summary::of(snapshot);
    // Writing to a string does not fail, here and below.
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><meta http-equiv=\"refresh\" content=\"10\">\
         <title>{} – Causeway {}</title><link rel=\"icon\" href=\"/icon.svg\">\
         <link rel=\"stylesheet\" href=\"/style.css\"></head><body>",
        text(&summary.words),
        snapshot.mode
    );
    header(&mut out, snapshot, &summary);
    out.push_str("<main>");
    tiles(&mut out, snapshot, history);
    section(&mut out, "Topology", "", |out| topology::draw(out, snapshot));
    traffic(&mut out, history);
    let sites = if snapshot.mode == "server" { "Sites" } else { "Session" };
    section(&mut out, sites, "", |out| tables::sites(out, snapshot, history));
    section(&mut out, "Segments", "", |out| tables::segments(out, snapshot, history));
    section(&mut out, "Dropped packets", "since the start, by reason", |out| {
        tables::drops(out, snapshot, history)
    });
    section(&mut out, "Ports", "", |out| tables::ports(out, snapshot));
    section(&mut out, "Workers", "since the start", |out| tables::workers(out, snapshot));
    out.push_str("</main><footer>For machines: <a href=\"/metrics\">/metrics</a>. Nothing can be changed here.</footer></body></html>\n");
    out
}

/// How the appliance does, in a word.
struct Summary {
    class: &'static str,
    words: String,
}

impl Summary {
    fn of(snapshot: &Snapshot) -> Self {
        let enabled = snapshot.sites.iter().filter(|site| site.state != "disabled").count();
        let up = snapshot.sites.iter().filter(|site| site.state == "up").count();
        let words = match (snapshot.mode, up) {
            ("server", _) => format!("{up} of {enabled} sites up"),
            (_, 0) => "session down".into(),
            _ => "session up".into(),
        };
        let stalled = snapshot.workers.iter().any(|worker| worker.stalled);
        let class = match up {
            _ if stalled => "bad",
            _ if up == enabled => "good",
            0 => "bad",
            _ => "warn",
        };
        Self { class, words: if stalled { format!("{words}, a worker is stuck") } else { words } }
    }
}

fn header(out: &mut String, snapshot: &Snapshot, summary: &Summary) {
    let _ = write!(
        out,
        "<header><h1>Causeway <small>{}</small></h1><p class=\"pill {}\">{}</p>\
         <p class=\"meta\">{}, version {}, running for {}; renews itself every 10 s</p></header>",
        snapshot.mode,
        summary.class,
        text(&summary.words),
        text(&snapshot.date),
        snapshot.version,
        duration(snapshot.now),
    );
}

fn tiles(out: &mut String, snapshot: &Snapshot, history: &History) {
    let (into, from) = history.total().newest();
    let (drops, _) = history.drops().newest();
    let busiest = snapshot.workers.iter().map(|worker| tables::busy(&worker.poll)).fold(0.0, f64::max);
    out.push_str("<div class=\"tiles\">");
    let mut tile = |label: &str, value: String, more: &str| {
        let _ = write!(
            out,
            "<div class=\"tile\"><b>{}</b><span>{label}</span><small>{}</small></div>",
            text(&value),
            text(more)
        );
    };
    tile("received from sites", bits(into), "mean of 10 s");
    tile("sent to sites", bits(from), "mean of 10 s");
    tile("dropped a second", count_f(drops), "mean of 10 s");
    tile("MAC addresses", count(snapshot.macs.0 as u64), &format!("of {}", count(snapshot.macs.1 as u64)));
    tile("busiest worker", format!("{busiest:.0} %"), "rounds with work");
    let end = snapshot.certificates.iter().map(|(_, end)| *end).min();
    if let Some(end) = end {
        let days = (end as f64 - snapshot.unix(snapshot.now)) / 86_400.0;
        let more = if days < 0.0 { "it has ended" } else { "until it ends" };
        tile("certificate", format!("{days:.0} days"), more);
    }
    out.push_str("</div>");
}

fn count_f(rate: f32) -> String {
    if rate == 0.0 || rate >= 10.0 { count(rate as u64) } else { format!("{rate:.1}") }
}

fn traffic(out: &mut String, history: &History) {
    let series = history.total();
    section(out, "Traffic of all sites", "the last hour, inner frames", |out| {
        plot::legend(out, "received from sites", "sent to sites", true);
        plot::large(out, series);
        peaks(out, series);
    });
}

fn peaks(out: &mut String, series: &Series) {
    let peak = |points: &std::collections::VecDeque<f32>| bits(points.iter().copied().fold(0.0, f32::max));
    let _ = write!(
        out,
        "<p class=\"note\">Peaks: {} received, {} sent. A point is the mean of 10 s.</p>",
        peak(&series.into),
        peak(&series.out)
    );
}

fn section(out: &mut String, title: &str, note: &str, content: impl FnOnce(&mut String)) {
    let _ = write!(out, "<section><h2>{title} <small>{note}</small></h2>");
    content(out);
    out.push_str("</section>");
}

#[cfg(test)]
mod tests;
