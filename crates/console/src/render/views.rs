//! One view for each kind of answer.

use std::fmt::Write;

use serde_json::Value;

use super::{Column, any, duration, label, lines, table, text};
use crate::tree::View;

/// All of them.
pub const ALL: &[View] = &[
    any,
    super::done,
    lines,
    service,
    bridge,
    conversion_table,
    trunk_table,
    site,
    statistics,
    ports,
    queues,
    segments,
    mac_table,
    sessions,
    counters,
    drops,
    tech_support,
    explained,
    loops,
    neighbours,
    certificates,
    workers,
    log,
    consoles,
    privileges,
    version,
    progress,
];

const SITES: &[Column<'_>] = &[
    Column("INDEX", "index"),
    Column("SITE", "site"),
    Column("STATE", "state"),
    Column("INTERFACE", "interface"),
    Column("ESTABLISHED", "established"),
    Column("CIPHER", "cipher"),
    Column("PEER", "peer"),
    Column("TRANSPORT", "transport"),
    Column("RTT ms", "round_trip_ms"),
    Column("SEGMENTS", "segments"),
];

/// `show service l2vpn`.
pub fn service(answer: &Value) -> String {
    let mut out = format!(
        "L2 VPN service is {}, type {}, up for {}\n\n",
        if answer["running"] == Value::Bool(false) { "not running" } else { "running" },
        text(&answer["mode"]),
        duration(answer["uptime_s"].as_f64().unwrap_or(0.0))
    );
    out += &table(&answer["sites"], SITES);
    for site in rows(&answer["sites"]) {
        out += &failure(site);
    }
    out
}

/// `show service l2vpn site NAME`: all there is.
pub fn site(answer: &Value) -> String {
    any(answer)
}

/// `show service l2vpn bridge`.
pub fn bridge(answer: &Value) -> String {
    let interfaces = table(
        &answer["interfaces"],
        &[
            Column("INTERFACE", "interface"),
            Column("ATTACHMENT", "attachment"),
            Column("TUNNEL ID", "tunnel_id"),
            Column("SEGMENT", "segment"),
        ],
    );
    let macs = table(
        &answer["macs"],
        &[
            Column("PORT", "port"),
            Column("MAC ADDR", "mac"),
            Column("IS LOCAL", "is_local"),
            Column("TUNNEL ID", "tunnel_id"),
            Column("AGEING TIMER", "ageing_s"),
        ],
    );
    format!("{interfaces}\nList of learned MAC addresses\n{macs}{}", cut(answer, "macs"))
}

/// `show service l2vpn conversion-table`.
pub fn conversion_table(answer: &Value) -> String {
    table(
        &answer["rows"],
        &[
            Column("TunnelId", "tunnel_id"),
            Column("VLAN/VNI", "id"),
            Column("Type", "type"),
            Column("Port", "port"),
            Column("Segment", "segment"),
        ],
    )
}

/// `show service l2vpn trunk-table`.
pub fn trunk_table(answer: &Value) -> String {
    table(
        &answer["rows"],
        &[
            Column("TRUNK", "port"),
            Column("SUB-INTERFACE", "segment"),
            Column("TUNNEL ID", "tunnel_id"),
            Column("ATTACHMENT", "attachment"),
            Column("MTU", "mtu"),
            Column("ENABLED", "enabled"),
        ],
    )
}

/// `show service l2vpn statistics`.
pub fn statistics(answer: &Value) -> String {
    any(answer)
}

/// `show ports`.
pub fn ports(answer: &Value) -> String {
    table(
        &answer["ports"],
        &[
            Column("PORT", "port"),
            Column("ROLE", "role"),
            Column("LINK", "link"),
            Column("MBPS", "mbps"),
            Column("MTU", "mtu"),
            Column("MAC ADDR", "mac"),
            Column("RX FRAMES", "rx_frames"),
            Column("RX OCTETS", "rx_octets"),
            Column("TX FRAMES", "tx_frames"),
            Column("TX OCTETS", "tx_octets"),
            Column("MISSED", "missed"),
            Column("NO BUFFER", "no_buffer"),
        ],
    )
}

/// `show queues`.
pub fn queues(answer: &Value) -> String {
    let mut out = table(
        &answer["ports"],
        &[
            Column("PORT", "port"),
            Column("KIND", "kind"),
            Column("PAIRS", "pairs"),
            Column("POLLED BY", "polled_by"),
        ],
    );
    for port in rows(&answer["ports"]).filter(|port| port["queues"].is_array()) {
        let columns = [
            Column("QUEUE", "queue"),
            Column("RX FRAMES", "rx_frames"),
            Column("RX OCTETS", "rx_octets"),
            Column("TX FRAMES", "tx_frames"),
            Column("TX OCTETS", "tx_octets"),
            Column("COUNTED BELOW", "device"),
        ];
        let _ = write!(out, "\n{}:\n{}", text(&port["port"]), table(&port["queues"], &columns));
        if !port["note"].is_null() {
            let _ = writeln!(out, "{}", text(&port["note"]));
        }
    }
    let between = [
        Column("BETWEEN THREADS", "queue"),
        Column("FROM", "from"),
        Column("TO", "to"),
        Column("WAITING", "waiting"),
        Column("ROOM", "room"),
    ];
    out + "\n" + &table(&answer["between_threads"], &between)
}

/// `show segments`.
pub fn segments(answer: &Value) -> String {
    let mut out = table(
        &answer["segments"],
        &[
            Column("SEGMENT", "segment"),
            Column("TUNNEL ID", "tunnel_id"),
            Column("MTU", "mtu"),
            Column("ENABLED", "enabled"),
            Column("ATTACHMENTS", "attachments"),
            Column("SITES", "sites"),
            Column("GATEWAY", "gateway.interface"),
            Column("LAN FRAMES", "from_lan.frames"),
            Column("TUNNEL FRAMES", "from_tunnel.frames"),
            Column("BUM LAN", "from_lan.bum"),
            Column("BUM TUNNEL", "from_tunnel.bum"),
        ],
    );
    for segment in rows(&answer["segments"]) {
        for side in rows(&segment["storm_limited"]) {
            let kinds = ["broadcast", "multicast", "unknown_unicast"].into_iter();
            let counts = kinds.filter(|kind| side[*kind].as_u64().is_some_and(|count| count > 0));
            let counts: Vec<String> = counts.map(|kind| format!("{} {kind}", text(&side[kind]))).collect();
            let (name, from) = (text(&segment["segment"]), text(&side["from"]));
            let _ = writeln!(out, "storm control of {name} dropped {} from {from}", counts.join(", "));
        }
    }
    out
}

/// `show mac-table`.
pub fn mac_table(answer: &Value) -> String {
    let mut out = table(
        &answer["entries"],
        &[
            Column("SEGMENT", "segment"),
            Column("MAC ADDR", "mac"),
            Column("WHERE", "where"),
            Column("AGE", "age_s"),
            Column("PINNED", "pinned"),
        ],
    );
    let count = rows(&answer["entries"]).count();
    let found = answer["found"].as_u64().unwrap_or(count as u64);
    let _ = writeln!(out, "{count} of {found} addresses, room for {}", text(&answer["max_macs"]));
    if rows(&answer["duplicates"]).next().is_some() {
        let _ = writeln!(out, "\nused in several places:\n{}", any(&answer["duplicates"]));
    }
    out
}

/// `show sessions`.
pub fn sessions(answer: &Value) -> String {
    let mut out = table(
        &answer["sessions"],
        &[
            Column("SITE", "site"),
            Column("STATE", "state"),
            Column("PEER", "peer"),
            Column("TRANSPORT", "transport"),
            Column("PATH MTU", "path_mtu"),
            Column("RTT ms", "round_trip_ms"),
            Column("LOSS %", "loss_percent"),
            Column("UP", "up_s"),
            Column("KEYS AGE", "keys_age_s"),
            Column("RENEWALS", "renewals"),
            Column("LANES", "lanes"),
            Column("TX FRAMES", "tx_frames"),
            Column("RX FRAMES", "rx_frames"),
        ],
    );
    for session in rows(&answer["sessions"]) {
        out += &failure(session);
    }
    out
}

/// `show counters`: every counter that is not zero, with rates where they are known.
pub fn counters(answer: &Value) -> String {
    let mut out = String::new();
    if let Some(window) = answer["window_s"].as_f64() {
        let _ = writeln!(out, "per second over the last {}\n", duration(window));
    }
    for group in ["ports", "sessions"] {
        for (name, fields) in answer[group].as_object().into_iter().flatten() {
            let rates = &answer["rates"][group][name];
            let field = |(key, value): (&String, &Value)| match rates[key].as_f64() {
                Some(rate) => format!("{} {} ({rate:.1}/s)", label(key), text(value)),
                None => format!("{} {}", label(key), text(value)),
            };
            let shown: Vec<String> = fields.as_object().into_iter().flatten().map(field).collect();
            let _ = writeln!(out, "{} {}: {}", group.trim_end_matches('s'), label(name), shown.join(", "));
        }
    }
    out + "\ndropped:\n" + &dropped(answer)
}

/// `show drops`: how much for each reason, what it means, and the last frames.
pub fn drops(answer: &Value) -> String {
    let mut out = String::new();
    for reason in rows(&answer["drops"]) {
        let _ = writeln!(out, "{}  {}", text(&reason["reason"]), text(&reason["count"]));
        let _ = writeln!(out, "  {}", text(&reason["help"]));
        if reason["by_segment"].as_object().is_some_and(|segments| !segments.is_empty()) {
            let _ = writeln!(out, "  by segment: {}", text(&reason["by_segment"]));
        }
        for frame in rows(&reason["last"]) {
            let ago = duration(frame["ago_s"].as_f64().unwrap_or(0.0));
            let from = [&frame["from"], &frame["port"]].into_iter().find(|from| !from.is_null());
            let from = from.map_or_else(String::new, |from| format!("from {} ", text(from)));
            let _ = writeln!(out, "  {ago} ago {from}{}", text(&frame["summary"]));
        }
    }
    if out.is_empty() { "nothing was dropped\n".into() } else { out }
}

/// `show tech-support`: each part under its command.
pub fn tech_support(answer: &Value) -> String {
    let parts = answer["parts"].as_object().into_iter().flatten();
    parts.map(|(name, part)| format!("------ show {}\n\n{}\n", crate::printable(name), lines(part))).collect()
}

/// `explain`: step by step.
pub fn explained(answer: &Value) -> String {
    any(answer)
}

/// `show certificate`.
pub fn certificates(answer: &Value) -> String {
    let mut out = table(
        &answer["certificates"],
        &[
            Column("USE", "use"),
            Column("SUBJECT", "subject"),
            Column("ISSUER", "issuer"),
            Column("NOT AFTER", "not_after"),
            Column("DAYS LEFT", "days_left"),
            Column("KEY", "key"),
            Column("FILE", "file"),
        ],
    );
    for certificate in rows(&answer["certificates"]) {
        let name = text(&certificate["use"]);
        let _ = writeln!(out, "\n{name}: fingerprint {}", text(&certificate["fingerprint"]));
        let _ = writeln!(out, "{name}: for {}", text(&certificate["names"]));
        for warning in rows(&certificate["warnings"]) {
            let _ = writeln!(out, "{name}: warning: {}", text(warning));
        }
    }
    for crl in rows(&answer["crls"]) {
        let (name, made, next) = (text(&crl["use"]), text(&crl["made"]), text(&crl["next"]));
        let _ = writeln!(out, "\n{name}: from {}, made {made}, next {next}", text(&crl["issuer"]));
        for warning in rows(&crl["warnings"]) {
            let _ = writeln!(out, "{name}: warning: {}", text(warning));
        }
    }
    for pinned in rows(&answer["pinned"]) {
        let _ = writeln!(out, "\nthe server is known by its fingerprint {}", text(pinned));
    }
    let shown = &answer["shown_by_server"];
    if let Some(end) = shown["not_after"].as_str() {
        let (subject, fingerprint) = (text(&shown["subject"]), text(&shown["fingerprint"]));
        let end = crate::printable(end);
        let _ = writeln!(out, "the server showed {subject}, valid until {end}, fingerprint {fingerprint}");
    }
    out
}

/// `show loops`.
pub fn loops(answer: &Value) -> String {
    let mut out = table(
        &answer["loops"],
        &[
            Column("SEGMENT", "segment"),
            Column("ATTACHMENT", "attachment"),
            Column("STATE", "state"),
            Column("THROUGH", "through"),
            Column("BROKEN BY", "broken_by"),
            Column("MAC ADDR", "mac"),
            Column("SINCE", "since_s"),
            Column("SEEN", "seen_s"),
        ],
    );
    for (key, says) in
        [("reflecting", "our own frames come back on"), ("joined", "two segments are one behind")]
    {
        for found in rows(&answer[key]) {
            let _ = writeln!(out, "\n{says} {}", text(found));
        }
    }
    let count = |key: &str| text(&answer[key]);
    let (forward, listen, blocked) = (count("forwarding"), count("listening"), count("blocked"));
    let _ = writeln!(out, "\n{forward} attachments forward, {listen} listen, {blocked} are blocked");
    out
}

/// `show neighbours`.
pub fn neighbours(answer: &Value) -> String {
    let mut out = table(
        &answer["entries"],
        &[
            Column("SEGMENT", "segment"),
            Column("ADDRESS", "address"),
            Column("MAC ADDR", "mac"),
            Column("WHERE", "where"),
            Column("AGE", "age_s"),
        ],
    );
    let [answered, passed_on] = ["answered", "passed_on"].map(|key| text(&answer[key]));
    let _ = writeln!(out, "{answered} questions answered, {passed_on} passed on");
    out
}

/// `show workers`.
pub fn workers(answer: &Value) -> String {
    table(
        &answer["workers"],
        &[
            Column("WORKER", "worker"),
            Column("CORE", "core"),
            Column("FRAMES/s", "frames_per_s"),
            Column("IDLE %", "idle_percent"),
            Column("BURST", "burst"),
            Column("CLK/FRAME", "clk_per_frame"),
            Column("FRAMES", "frames"),
            Column("POLLS", "polls"),
            Column("BUSY POLLS", "busy_polls"),
            Column("SLEEPS", "sleeps"),
        ],
    )
}

/// `show log`.
pub fn log(answer: &Value) -> String {
    rows(&answer["lines"]).map(|line| log_line(line) + "\n").collect()
}

/// `show consoles`.
pub fn consoles(answer: &Value) -> String {
    table(
        &answer["consoles"],
        &[
            Column("USER", "user"),
            Column("FROM", "from"),
            Column("ROLE", "role"),
            Column("CONNECTED", "connected_s"),
            Column("IDLE", "idle_s"),
            Column("CONFIGURES SINCE", "configures_since"),
            Column("LAST COMMAND", "last"),
        ],
    ) + &format!("\n{} captures and {} tests go on\n", text(&answer["captures"]), text(&answer["tests"]))
}

/// `show privileges`.
pub fn privileges(answer: &Value) -> String {
    let mut out = String::new();
    for key in ["hardening", "uid", "gid", "dumpable", "core_dump_octets", "locked_octets"] {
        let _ = writeln!(out, "{:<18} {}", label(key), text(&answer[key]));
    }
    out.push('\n');
    out + &table(
        &answer["threads"],
        &[
            Column("THREAD", "thread"),
            Column("SYSTEM CALLS", "system_calls"),
            Column("NO NEW PRIVILEGES", "no_new_privileges"),
            Column("CAPABILITIES", "capabilities"),
        ],
    )
}

/// `show version`.
pub fn version(answer: &Value) -> String {
    any(answer)
}

/// A line of a command that reports as it goes.
pub fn progress(line: &Value) -> String {
    match line {
        Value::String(text) => crate::printable(text) + "\n",
        Value::Object(fields) if fields.contains_key("text") => lines(line),
        Value::Object(fields) if fields.contains_key("message") => log_line(line) + "\n",
        other => any(other),
    }
}

fn rows(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn failure(site: &Value) -> String {
    let Some(reason) = site["last_failure"].as_str() else { return String::new() };
    let ago = duration(site["last_failure_s"].as_f64().unwrap_or(0.0));
    format!("\n{}: last failure {ago} ago: {}\n", text(&site["site"]), crate::printable(reason))
}

fn cut(answer: &Value, list: &str) -> String {
    let (count, found) = (rows(&answer[list]).count() as u64, answer["found"].as_u64());
    found.filter(|found| *found > count).map_or_else(String::new, |found| format!("{count} of {found}\n"))
}

/// Every reason that has dropped something, with its rate and what it means.
fn dropped(answer: &Value) -> String {
    let mut out = String::new();
    for (name, value) in answer["drops"].as_object().into_iter().flatten() {
        if value.as_u64() != Some(0) {
            let rate = answer["rates"]["drops"][name].as_f64();
            let rate = rate.map_or_else(String::new, |rate| format!("{rate:>10.1}/s"));
            let help = text(&answer["drops_help"][name]);
            let _ = writeln!(out, "  {:<24} {:>12}{rate}  {help}", label_of_reason(name), text(value));
        }
    }
    if out.is_empty() { "  nothing\n".into() } else { out }
}

fn label_of_reason(name: &str) -> String {
    crate::printable(name)
}

fn log_line(line: &Value) -> String {
    format!(
        "{} {:>5} {}",
        text(&line["time"]),
        text(&line["level"]),
        crate::printable(line["message"].as_str().unwrap_or(""))
    )
}
