//! Drawing the live view.

use unicode_width::UnicodeWidthChar;

use super::series::{KEPT, Series, sparkline};
use super::{Site, Top};
use crate::printable;
use crate::render::duration;

/// Most lines of alarms, and of reasons of drops.
const MAX_ALARMS: usize = 4;
const MAX_DROPS: usize = 4;

#[derive(Clone, Copy, PartialEq)]
enum Style {
    Plain,
    Title,
    Alarm,
}

/// One line before it is cut and styled.
struct Line {
    style: Style,
    text: String,
}

impl Line {
    fn new(style: Style, text: impl Into<String>) -> Self {
        Self { style, text: text.into() }
    }

    /// The line in `width` columns, with the escapes of its style.
    fn in_columns(&self, width: usize) -> String {
        let text = cut(&self.text, width);
        match self.style {
            Style::Plain => text,
            Style::Title => format!("\x1b[1m{text}\x1b[0m"),
            Style::Alarm => format!("\x1b[31m{text}\x1b[0m"),
        }
    }
}

pub(super) fn frame(top: &Top, width: usize, height: usize) -> String {
    let (alarms, drops, workers) = (alarms(top), drops(top), workers(top));
    let around = 1 + alarms.len() + drops.len() + workers.len();
    // Sites and segments share what is left, each with a title.
    let left = height.saturating_sub(around);
    let (sites, segments) = (sites(top, width), segments(top, width));
    let for_sites = (left / 2).max(left.saturating_sub(segments.len())).min(sites.len());
    let mut lines = vec![heading(top)];
    lines.extend(workers);
    lines.extend(fitted(sites, for_sites));
    lines.extend(fitted(segments, left - for_sites));
    lines.extend(drops);
    lines.extend(alarms);
    lines.truncate(height.max(1));
    lines.iter().map(|line| line.in_columns(width)).collect::<Vec<_>>().join("\r\n")
}

fn heading(top: &Top) -> Line {
    let up = top.sites.values().filter(|site| site.state == "up").count();
    let sites = if top.mode == "client" {
        top.sites.values().next().map_or("-".into(), |site| printable(&site.state))
    } else {
        format!("{up} of {} sites up", top.sites.len())
    };
    Line::new(
        Style::Title,
        format!(
            " causeway {}, running {}, {sites}     q: quit",
            printable(&top.mode),
            duration(top.uptime_s)
        ),
    )
}

fn workers(top: &Top) -> Vec<Line> {
    let line = |(number, worker): (usize, &super::Worker)| {
        let filled = (worker.load() * 20.0).round() as usize;
        Line::new(
            Style::Plain,
            format!(
                " worker {number:<3} {}{} {:>3.0} % of polls busy {:>12}",
                "█".repeat(filled),
                "░".repeat(20 - filled),
                worker.load() * 100.0,
                scaled(worker.frames.rate(), "frames/s"),
            ),
        )
    };
    top.workers.iter().enumerate().map(line).collect()
}

fn sites(top: &Top, width: usize) -> Vec<Line> {
    let title = format!(" {:<20} {:<10} {:>9} {:>13} {:>13}", "SITE", "STATE", "RTT", "FROM", "TO");
    let mut rows: Vec<(&String, &Site)> = top.sites.iter().collect();
    rows.sort_by(|(_, a), (_, b)| total(&b.rx, &b.tx).total_cmp(&total(&a.rx, &a.tx)));
    let row = |(name, site): (&String, &Site)| {
        let text = format!(
            " {} {} {:>9} {:>13} {:>13}",
            padded(name, 20),
            padded(&site.state, 10),
            site.round_trip_ms.map_or("-".into(), |time| format!("{time:.1} ms")),
            scaled(site.rx.rate(), "bit/s"),
            scaled(site.tx.rate(), "bit/s"),
        );
        let style =
            if matches!(site.state.as_str(), "up" | "disabled") { Style::Plain } else { Style::Alarm };
        Line::new(style, with_sparkline(text, &site.rx, &site.tx, width))
    };
    std::iter::once(Line::new(Style::Title, title)).chain(rows.into_iter().map(row)).collect()
}

fn segments(top: &Top, width: usize) -> Vec<Line> {
    let title = format!(
        " {:<20} {:<10} {:>9} {:>13} {:>13}",
        "SEGMENT", "TUNNEL ID", "BUM", "FROM LAN", "FROM TUNNEL"
    );
    let mut rows: Vec<_> = top.segments.iter().collect();
    rows.sort_by(|(_, a), (_, b)| total(&b.lan, &b.tunnel).total_cmp(&total(&a.lan, &a.tunnel)));
    let row = |(name, segment): (&String, &super::Segment)| {
        let state = if segment.enabled { segment.tunnel_id.to_string() } else { "disabled".into() };
        let text = format!(
            " {} {:<10} {:>9} {:>13} {:>13}",
            padded(name, 20),
            state,
            scaled(segment.bum.rate(), "/s"),
            scaled(segment.lan.rate(), "bit/s"),
            scaled(segment.tunnel.rate(), "bit/s"),
        );
        Line::new(Style::Plain, with_sparkline(text, &segment.lan, &segment.tunnel, width))
    };
    std::iter::once(Line::new(Style::Title, title)).chain(rows.into_iter().map(row)).collect()
}

/// What is dropped at this moment, most first.
fn drops(top: &Top) -> Vec<Line> {
    let mut rates: Vec<(&String, f64)> = top
        .drops
        .iter()
        .map(|(reason, series)| (reason, series.rate()))
        .filter(|(_, rate)| *rate > 0.0)
        .collect();
    if rates.is_empty() {
        return Vec::new();
    }
    rates.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let row = |(reason, rate): &(&String, f64)| format!("   {} {}", printable(reason), scaled(*rate, "/s"));
    let rows = rates.iter().take(MAX_DROPS).map(|rate| Line::new(Style::Plain, row(rate)));
    std::iter::once(Line::new(Style::Title, " DROPPED")).chain(rows).collect()
}

/// What is wrong at this moment.
fn alarms(top: &Top) -> Vec<Line> {
    let down = top.sites.iter().filter(|(_, site)| !matches!(site.state.as_str(), "up" | "disabled"));
    let told = down.map(|(name, site)| {
        let why =
            site.failure.as_deref().map(|reason| format!(": {}", printable(reason))).unwrap_or_default();
        Line::new(Style::Alarm, format!("   site {} is {}{why}", printable(name), printable(&site.state)))
    });
    // A site that is down is told already.
    let is_down = |name: &String| {
        top.sites.get(name).is_some_and(|site| !matches!(site.state.as_str(), "up" | "disabled"))
    };
    let others = top.alarms.iter().filter(|alarm| !alarm.site.as_ref().is_some_and(is_down)).map(|alarm| {
        let (segment, site) = (&alarm.segment, &alarm.site);
        let of = segment.iter().map(|name| format!("segment {name}: "));
        let of: String = of.chain(site.iter().map(|name| format!("site {name}: "))).collect();
        Line::new(Style::Alarm, format!("   {}{}", printable(&of), printable(&alarm.text)))
    });
    let told: Vec<Line> = told.chain(others).collect();
    if told.is_empty() {
        return told;
    }
    std::iter::once(Line::new(Style::Title, " ALARMS")).chain(fitted(told, MAX_ALARMS)).collect()
}

/// The first lines, and how many more there are.
fn fitted(mut lines: Vec<Line>, room: usize) -> Vec<Line> {
    if lines.len() > room {
        let hidden = lines.len() + 1 - room.max(1);
        lines.truncate(room.saturating_sub(1));
        if room > 0 {
            lines.push(Line::new(Style::Plain, format!("   ... and {hidden} more")));
        }
    }
    lines
}

fn with_sparkline(text: String, one: &Series, other: &Series, width: usize) -> String {
    let room = width.saturating_sub(columns(&text) + 3);
    format!("{text}  {}", sparkline(one, other, room.min(KEPT)))
}

fn total(one: &Series, other: &Series) -> f64 {
    one.rate() + other.rate()
}

/// A rate with three digits and the unit's prefix.
fn scaled(rate: f64, unit: &str) -> String {
    let (value, prefix) = match rate {
        rate if rate >= 1e9 => (rate / 1e9, " G"),
        rate if rate >= 1e6 => (rate / 1e6, " M"),
        rate if rate >= 1e3 => (rate / 1e3, " k"),
        rate => (rate, if unit.starts_with('/') { "" } else { " " }),
    };
    let digits = match value {
        value if value >= 99.95 || value == value.trunc() && prefix.trim().is_empty() => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$}{prefix}{unit}")
}

/// A name in so many columns.
fn padded(name: &str, width: usize) -> String {
    let text = cut(&printable(name), width);
    let pad = width - columns(&text);
    text + &" ".repeat(pad)
}

fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

fn cut(text: &str, width: usize) -> String {
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= width
    };
    text.chars().take_while(fits).collect()
}
