//! The drawing of what is joined with what: segments, this appliance, sites. Once for wide windows and once for narrow ones; the
//! style sheet shows the one that fits.

use std::fmt::Write;

use super::html::{short, text};
use crate::snapshot::{Segment, Site, Snapshot};

/// Boxes in a column; the tables have all.
const MOST: usize = 12;

const ROW: usize = 58;
const BOX: usize = 46;

pub(super) fn draw(out: &mut String, snapshot: &Snapshot) {
    let sites = super::tables::by_need(snapshot);
    wide(out, snapshot, &sites);
    narrow(out, snapshot, &sites);
}

fn wide(out: &mut String, snapshot: &Snapshot, sites: &[usize]) {
    let rows = |count: usize| count.min(MOST) + usize::from(count > MOST);
    let (left, right) = (rows(snapshot.segments.len()), rows(sites.len()));
    let height = left.max(right).max(2) * ROW + 8;
    let middle = height / 2;
    let top = |rows: usize, at: usize| (height - rows * ROW) / 2 + at * ROW + (ROW - BOX) / 2;
    begin(out, "wide", 960, height);
    // Lines first, so that boxes lie over their ends.
    for at in 0..left {
        let y = top(left, at) + BOX / 2;
        let class = match snapshot.segments.get(at).filter(|_| at < MOST) {
            Some(segment) if segment.enabled => "link lan",
            _ => "link off",
        };
        let _ = write!(out, "<path class=\"{class}\" d=\"M300 {y}C345 {y} 330 {middle} 375 {middle}\"/>");
    }
    for at in 0..right {
        let y = top(right, at) + BOX / 2;
        let state = sites.get(at).filter(|_| at < MOST).map_or("off", |site| class(&snapshot.sites[*site]));
        let _ =
            write!(out, "<path class=\"link {state}\" d=\"M585 {middle}C630 {middle} 615 {y} 660 {y}\"/>");
    }
    appliance(out, snapshot, 375, middle - 34, 210);
    for (at, segment) in snapshot.segments.iter().take(MOST).enumerate() {
        segment_box(out, segment, 10, top(left, at), 290);
    }
    for (at, site) in sites.iter().take(MOST).enumerate() {
        site_box(out, snapshot, *site, 660, top(right, at), 290);
    }
    for (count, x, y) in
        [(snapshot.segments.len(), 10, top(left, MOST)), (sites.len(), 660, top(right, MOST))]
    {
        more(out, count, x, y);
    }
    out.push_str("</svg>");
}

/// A tree: the appliance above, its segments and sites below.
fn narrow(out: &mut String, snapshot: &Snapshot, sites: &[usize]) {
    let rows = |count: usize| count.min(MOST) + usize::from(count > MOST);
    let total = rows(snapshot.segments.len()) + rows(sites.len());
    let start = 84;
    begin(out, "narrow", 360, start + total * ROW + 4);
    let mut y = start;
    let mut stem = start;
    let mut branch = |out: &mut String, class: &str, y: usize| {
        stem = y + BOX / 2;
        let _ = write!(out, "<path class=\"link {class}\" d=\"M18 {stem}H40\"/>");
    };
    for segment in snapshot.segments.iter().take(MOST) {
        branch(out, if segment.enabled { "lan" } else { "off" }, y);
        segment_box(out, segment, 40, y, 310);
        y += ROW;
    }
    if snapshot.segments.len() > MOST {
        more(out, snapshot.segments.len(), 40, y);
        y += ROW;
    }
    for site in sites.iter().take(MOST) {
        branch(out, class(&snapshot.sites[*site]), y);
        site_box(out, snapshot, *site, 40, y, 310);
        y += ROW;
    }
    more(out, sites.len(), 40, y);
    let _ = write!(out, "<path class=\"link lan\" d=\"M18 70V{stem}\"/>");
    appliance(out, snapshot, 10, 6, 340);
    out.push_str("</svg>");
}

fn begin(out: &mut String, class: &str, width: usize, height: usize) {
    let _ = write!(
        out,
        "<svg class=\"topology {class}\" viewBox=\"0 0 {width} {height}\" role=\"img\"><title>Segments, this appliance and its \
         sites</title>"
    );
}

fn appliance(out: &mut String, snapshot: &Snapshot, x: usize, y: usize, width: usize) {
    let ports = |role: &str| {
        let names: Vec<&str> =
            snapshot.ports.iter().filter(|port| port.role == role).map(|port| port.name.as_str()).collect();
        names.join(", ")
    };
    let letters = width / 8;
    let _ = write!(
        out,
        "<rect class=\"box own\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"68\" rx=\"8\"/>\
         <text class=\"name\" x=\"{mid}\" y=\"{}\" text-anchor=\"middle\">this {}</text>\
         <text class=\"sub\" x=\"{mid}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
         <text class=\"sub\" x=\"{mid}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        y + 23,
        snapshot.mode,
        y + 42,
        short(&format!("trunk: {}", ports("trunk")), letters),
        y + 58,
        short(&format!("uplink: {}", ports("uplink")), letters),
        mid = x + width / 2,
    );
}

fn segment_box(out: &mut String, segment: &Segment, x: usize, y: usize, width: usize) {
    let places: Vec<String> = segment
        .attachments
        .iter()
        .map(
            |(place, state)| {
                if *state == "forwarding" { place.clone() } else { format!("{place} ({state})") }
            },
        )
        .collect();
    let places = match (segment.enabled, places.is_empty()) {
        (false, _) => "disabled".into(),
        (true, true) => "no attachment".into(),
        (true, false) => places.join(", "),
    };
    let blocked = segment.attachments.iter().any(|(_, state)| *state == "blocked");
    let class = if !segment.enabled {
        "off"
    } else if blocked {
        "connecting"
    } else {
        "lan"
    };
    boxed(out, class, (x, y, width), &segment.name, &format!("tunnel ID {}", segment.tunnel_id), &places);
}

fn site_box(out: &mut String, snapshot: &Snapshot, at: usize, x: usize, y: usize, width: usize) {
    let site = &snapshot.sites[at];
    let joined: Vec<&str> = snapshot
        .segments
        .iter()
        .filter(|segment| segment.sites.contains(&at))
        .map(|segment| segment.name.as_str())
        .collect();
    let below = match (site.state, &site.peer) {
        ("up", _) if joined.is_empty() => "up, but no segment is joined".into(),
        ("up", _) => joined.join(", "),
        ("disabled", _) => "disabled by the operator".into(),
        _ => site.last_failure.as_ref().map_or("not seen yet".into(), |(_, reason)| reason.clone()),
    };
    boxed(out, class(site), (x, y, width), &site.name, site.state, &below);
}

fn boxed(
    out: &mut String,
    class: &str,
    (x, y, width): (usize, usize, usize),
    name: &str,
    right: &str,
    below: &str,
) {
    let _ = write!(
        out,
        "<g><title>{}: {}</title><rect class=\"box {class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{BOX}\" rx=\"6\"/>\
         <rect class=\"bar {class}\" x=\"{x}\" y=\"{y}\" width=\"5\" height=\"{BOX}\" rx=\"2\"/>\
         <text class=\"name\" x=\"{left}\" y=\"{}\">{}</text>\
         <text class=\"tag\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{right}</text>\
         <text class=\"sub\" x=\"{left}\" y=\"{}\">{}</text></g>",
        text(name),
        text(below),
        y + 20,
        short(name, width / 13),
        x + width - 10,
        y + 20,
        y + 37,
        short(below, width / 7),
        left = x + 16,
    );
}

fn more(out: &mut String, count: usize, x: usize, y: usize) {
    if count > MOST {
        let _ = write!(
            out,
            "<text class=\"sub\" x=\"{}\" y=\"{}\">and {} more, see the table below</text>",
            x + 16,
            y + 28,
            count - MOST
        );
    }
}

fn class(site: &Site) -> &'static str {
    match site.state {
        "up" => "up",
        "connecting" => "connecting",
        "disabled" => "off",
        _ => "bad",
    }
}
