//! The tables of the page. In narrow windows each row becomes a card, and each cell says what it is.

use std::fmt::{Display, Write};

use counters::PollTotals;

use super::html::{bits, count, duration, octets, text};
use super::plot;
use crate::history::History;
use crate::snapshot::{Site, Snapshot};

/// Most rows of a table; `/metrics` has all.
const MOST: usize = 256;

/// Sites in the order in which somebody wants to see them: first those that are down and should not be. As positions.
pub(super) fn by_need(snapshot: &Snapshot) -> Vec<usize> {
    let need = |site: &Site| match site.state {
        "down" => 0,
        "connecting" => 1,
        "up" => 2,
        _ => 3,
    };
    let mut order: Vec<usize> = (0..snapshot.sites.len()).collect();
    order.sort_by_key(|at| need(&snapshot.sites[*at]));
    order
}

pub(super) fn sites(out: &mut String, snapshot: &Snapshot, history: &History) {
    plot::legend(out, "received", "sent", true);
    begin(out, &["Site", "State", "Peer", "Round trip", "Path MTU", "Last hour", "Received", "Sent"]);
    for site in by_need(snapshot).into_iter().take(MOST).map(|at| &snapshot.sites[at]) {
        out.push_str("<tr>");
        cell(out, "Site", format_args!("<b>{}</b>", text(&site.name)));
        cell(out, "State", format_args!("{}", State(site, snapshot)));
        let transport = site.transport.map(|name| format!(" by {}", name.to_uppercase())).unwrap_or_default();
        let cipher = site.cipher.unwrap_or_default();
        let peer = site.peer.as_ref().map(|peer| format!("{}<small>{cipher}{transport}</small>", text(peer)));
        cell_or_none(out, "Peer", peer);
        let trip = site.round_trip.map(|time| format!("{:.1} ms", time.as_secs_f64() * 1e3));
        cell_or_none(out, "Round trip", trip);
        cell_or_none(out, "Path MTU", site.path_mtu.map(|mtu| mtu.to_string()));
        let series = history.site(&site.name);
        spark(out, series);
        let (into, from) = series.map_or((0.0, 0.0), |series| series.newest());
        rate(out, "Received", into, site.counters.rx_octets);
        rate(out, "Sent", from, site.counters.tx_octets);
        out.push_str("</tr>");
    }
    end(out, snapshot.sites.len(), "no site is configured");
}

/// The state with how long it lasts, and why.
struct State<'a>(&'a Site, &'a Snapshot);

impl Display for State<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(site, snapshot) = self;
        let class = match site.state {
            "up" => "good",
            "connecting" => "warn",
            "down" => "bad",
            _ => "off",
        };
        write!(f, "<span class=\"pill {class}\">{}</span>", site.state)?;
        match (&site.since, &site.last_failure) {
            (Some(since), _) => write!(f, "<small>for {}</small>", duration(snapshot.ago(*since))),
            (None, Some((at, reason))) if site.state != "disabled" => {
                let ago = duration(snapshot.ago(*at));
                write!(f, "<small class=\"why\">{}<br>{ago} ago</small>", text(reason))
            }
            (None, None) if site.state == "down" => write!(f, "<small>never seen since the start</small>"),
            _ => Ok(()),
        }
    }
}

pub(super) fn segments(out: &mut String, snapshot: &Snapshot, history: &History) {
    plot::legend(out, "from the tunnel", "from the local side", false);
    begin(
        out,
        &["Segment", "Tunnel ID", "Attachments", "Sites", "Last hour", "From tunnel", "From LAN", "Dropped"],
    );
    for segment in snapshot.segments.iter().take(MOST) {
        out.push_str("<tr>");
        let disabled = if segment.enabled { "" } else { " <span class=\"pill off\">disabled</span>" };
        cell(out, "Segment", format_args!("<b>{}</b>{disabled}", text(&segment.name)));
        cell(out, "Tunnel ID", segment.tunnel_id);
        let mut places = String::new();
        for (place, state) in &segment.attachments {
            let state = match *state {
                "forwarding" => "",
                "listening" => " <span class=\"pill warn\">listening</span>",
                _ => " <span class=\"pill bad\">blocked</span>",
            };
            let _ = write!(places, "<span class=\"place\">{}{state}</span>", text(place));
        }
        cell(out, "Attachments", if places.is_empty() { "–".into() } else { places });
        let names: Vec<&str> =
            segment.sites.iter().filter_map(|at| Some(snapshot.sites.get(*at)?.name.as_str())).collect();
        match names.len() {
            0 => cell(out, "Sites", "none"),
            1..=3 => cell(out, "Sites", text(&names.join(", "))),
            more => {
                cell(out, "Sites", format_args!("<span title=\"{}\">{more}</span>", text(&names.join(", "))))
            }
        }
        let series = history.segment(&segment.name);
        spark(out, series);
        let (into, from) = series.map_or((0.0, 0.0), |series| series.newest());
        rate(out, "From tunnel", into, segment.from_tunnel.octets);
        rate(out, "From LAN", from, segment.from_lan.octets);
        let dropped: u64 = segment.drops.iter().map(|(_, dropped)| dropped).sum();
        let reasons: Vec<String> =
            segment.drops.iter().map(|(reason, dropped)| format!("{} {dropped}", reason.name())).collect();
        cell(
            out,
            "Dropped",
            format_args!("<span title=\"{}\">{}</span>", text(&reasons.join(", ")), count(dropped)),
        );
        out.push_str("</tr>");
    }
    end(out, snapshot.segments.len(), "no segment is configured");
}

pub(super) fn drops(out: &mut String, snapshot: &Snapshot, history: &History) {
    let mut drops: Vec<_> = snapshot.drops.iter().filter(|(_, dropped)| *dropped > 0).collect();
    drops.sort_by_key(|(_, dropped)| std::cmp::Reverse(*dropped));
    let (now, _) = history.drops().newest();
    let _ = write!(out, "<p class=\"note\">{now:.1} packets a second were dropped in the last 10 s.</p>");
    begin(out, &["Reason", "Packets", "What it means"]);
    for (reason, dropped) in &drops {
        out.push_str("<tr>");
        cell(out, "Reason", format_args!("<code>{}</code>", reason.name()));
        number(out, "Packets", *dropped);
        let _ = write!(out, "<td data-label=\"What it means\" class=\"text\">{}</td>", text(reason.help()));
        out.push_str("</tr>");
    }
    end(out, drops.len(), "no packet was dropped");
}

pub(super) fn ports(out: &mut String, snapshot: &Snapshot) {
    begin(out, &["Port", "Role", "Line", "Received", "Sent", "To the kernel", "Missed"]);
    for port in &snapshot.ports {
        out.push_str("<tr>");
        cell(out, "Port", format_args!("<b>{}</b>", text(&port.name)));
        cell(out, "Role", if port.role == "host" { "host interface" } else { port.role });
        let (class, state) = if port.up { ("good", "up") } else { ("bad", "down") };
        let speed = if port.mbps > 0 { bits(port.mbps as f32 * 125_000.0) } else { String::new() };
        cell(out, "Line", format_args!("<span class=\"pill {class}\">{state}</span> <small>{speed}</small>"));
        volume(out, "Received", port.counters.rx_frames, port.counters.rx_octets);
        volume(out, "Sent", port.counters.tx_frames, port.counters.tx_octets);
        number(out, "To the kernel", port.counters.to_kernel);
        number(out, "Missed", port.missed.0 + port.missed.1);
        out.push_str("</tr>");
    }
    end(out, snapshot.ports.len(), "there is no port");
}

pub(super) fn workers(out: &mut String, snapshot: &Snapshot) {
    begin(out, &["Worker", "State", "Rounds with work", "Packets", "Packets a busy round", "Sleeps"]);
    for (at, worker) in snapshot.workers.iter().enumerate() {
        let poll = &worker.poll;
        out.push_str("<tr>");
        cell(out, "Worker", format_args!("<b>{at}</b>"));
        let (class, state) = if worker.stalled { ("bad", "stuck") } else { ("good", "runs") };
        cell(out, "State", format_args!("<span class=\"pill {class}\">{state}</span>"));
        cell(out, "Rounds with work", format_args!("{:.1} %", busy(poll)));
        number(out, "Packets", poll.frames);
        let burst = poll.frames as f64 / poll.busy_polls.max(1) as f64;
        cell(out, "Packets a busy round", format_args!("{burst:.1}"));
        number(out, "Sleeps", poll.sleeps);
        out.push_str("</tr>");
    }
    end(out, snapshot.workers.len(), "there is no worker");
}

/// How many of a hundred rounds had something to do.
pub(super) fn busy(poll: &PollTotals) -> f64 {
    100.0 * poll.busy_polls as f64 / poll.polls.max(1) as f64
}

fn begin(out: &mut String, columns: &[&str]) {
    out.push_str("<table><thead><tr>");
    for column in columns {
        let _ = write!(out, "<th>{column}</th>");
    }
    out.push_str("</tr></thead><tbody>");
}

fn end(out: &mut String, rows: usize, none: &str) {
    out.push_str("</tbody></table>");
    if rows == 0 {
        let _ = write!(out, "<p class=\"note\">{none}</p>");
    } else if rows > MOST {
        let _ = write!(out, "<p class=\"note\">and {} more: /metrics has all</p>", rows - MOST);
    }
}

fn cell(out: &mut String, label: &str, value: impl Display) {
    let _ = write!(out, "<td data-label=\"{label}\">{value}</td>");
}

/// A cell that a card leaves out when there is nothing in it.
fn cell_or_none(out: &mut String, label: &str, value: Option<String>) {
    match value {
        Some(value) => cell(out, label, value),
        None => {
            let _ = write!(out, "<td data-label=\"{label}\" class=\"none\">–</td>");
        }
    }
}

fn number(out: &mut String, label: &str, value: u64) {
    cell(out, label, count(value));
}

fn rate(out: &mut String, label: &str, rate: f32, total: u64) {
    cell(out, label, format_args!("{}<small>{} in all</small>", bits(rate), octets(total)));
}

fn volume(out: &mut String, label: &str, frames: u64, total: u64) {
    cell(out, label, format_args!("{}<small>{} packets</small>", octets(total), count(frames)));
}

fn spark(out: &mut String, series: Option<&crate::history::Series>) {
    out.push_str("<td data-label=\"Last hour\" class=\"plots\">");
    match series {
        Some(series) => plot::small(out, series),
        None => out.push('–'),
    }
    out.push_str("</td>");
}
