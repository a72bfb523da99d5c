//! `causeway show`: asks the running appliance and lays its answer out for people.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use crate::Failure;

pub(crate) fn run(words: &[String], as_json: bool, socket: &Path) -> Result<(), Failure> {
    let words = words.join(" ");
    let answer = ask(socket, &words)?;
    if as_json {
        println!("{answer:#}");
    } else {
        print!("{}", layout(&words, &answer));
    }
    Ok(())
}

/// `causeway reload`.
pub(crate) fn reload(socket: &Path) -> Result<(), Failure> {
    println!("{}", text(&ask(socket, "reload")?["done"]));
    Ok(())
}

/// `causeway clear`.
pub(crate) fn clear(words: &[String], socket: &Path) -> Result<(), Failure> {
    println!("{}", text(&ask(socket, &format!("clear {}", words.join(" ")))?["done"]));
    Ok(())
}

fn ask(socket: &Path, words: &str) -> Result<Value, Failure> {
    let answer = control::ask(socket, words).map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => " (is the appliance running? see --socket)",
            _ => "",
        };
        Failure(format!("cannot ask the appliance at {}: {error}{hint}", socket.display()))
    })?;
    if let Some(error) = answer["error"].as_str() {
        return Err(Failure(error.into()));
    }
    Ok(answer)
}

fn layout(words: &str, answer: &Value) -> String {
    match words {
        "service l2vpn" => service(answer),
        "ports" => table(
            &answer["ports"],
            &[
                "port",
                "role",
                "link",
                "mtu",
                "mac",
                "rx_frames",
                "rx_octets",
                "tx_frames",
                "tx_octets",
                "missed",
            ],
        ),
        "segments" => table(
            &answer["segments"],
            &[
                "segment",
                "tunnel_id",
                "mtu",
                "enabled",
                "attachments",
                "sites",
                "from_lan.frames",
                "from_tunnel.frames",
            ],
        ),
        "mac-table" => {
            let count = answer["entries"].as_array().map_or(0, Vec::len);
            let entries = table(&answer["entries"], &["segment", "mac", "where", "age_s"]);
            format!("{entries}{count} of {} addresses\n", text(&answer["max_macs"]))
        }
        "loops" => loops(answer),
        "certificate" => certificates(answer),
        _ => counters(answer),
    }
}

fn service(answer: &Value) -> String {
    let mut out = format!("mode {}, up for {} s\n\n", text(&answer["mode"]), text(&answer["uptime_s"]));
    let columns = ["site", "state", "peer", "cipher", "round_trip_ms", "up_s", "renewals", "segments"];
    out += &table(&answer["sites"], &columns);
    for site in answer["sites"].as_array().into_iter().flatten() {
        if let Some(reason) = site["last_failure"].as_str() {
            let ago = site["last_failure_s"].as_f64().unwrap_or(0.0);
            out += &format!("\n{}: last failure {ago:.0} s ago: {reason}\n", text(&site["site"]));
        }
    }
    out
}

/// The certificates that are in force.
fn certificates(answer: &Value) -> String {
    let mut out = table(
        &answer["certificates"],
        &["use", "subject", "issuer", "not_after", "days_left", "key", "file"],
    );
    for certificate in answer["certificates"].as_array().into_iter().flatten() {
        let name = text(&certificate["use"]);
        out += &format!("\n{name}: fingerprint {}\n", text(&certificate["fingerprint"]));
        out += &format!("{name}: for {}\n", text(&certificate["names"]));
        for warning in certificate["warnings"].as_array().into_iter().flatten() {
            out += &format!("{name}: warning: {}\n", text(warning));
        }
    }
    for crl in answer["crls"].as_array().into_iter().flatten() {
        let (made, next) = (text(&crl["made"]), text(&crl["next"]));
        out += &format!("\n{}: from {}, made {made}, next {next}\n", text(&crl["use"]), text(&crl["issuer"]));
        for warning in crl["warnings"].as_array().into_iter().flatten() {
            out += &format!("{}: warning: {}\n", text(&crl["use"]), text(warning));
        }
    }
    for pinned in answer["pinned"].as_array().into_iter().flatten() {
        out += &format!("\nthe server is known by its fingerprint {}\n", text(pinned));
    }
    if let Some(end) = answer["shown_by_server"]["not_after"].as_str() {
        let shown = &answer["shown_by_server"];
        out += &format!(
            "the server showed {}, valid until {end}, fingerprint {}\n",
            text(&shown["subject"]),
            text(&shown["fingerprint"])
        );
    }
    out
}

/// What the loop guard found.
fn loops(answer: &Value) -> String {
    let columns = ["segment", "attachment", "state", "through", "broken_by", "mac", "since_s", "seen_s"];
    let mut out = table(&answer["loops"], &columns);
    for (key, says) in
        [("reflecting", "our own frames come back on"), ("joined", "two segments are one behind")]
    {
        for found in answer[key].as_array().into_iter().flatten() {
            out += &format!("\n{says} {}\n", text(found));
        }
    }
    let count = |key: &str| text(&answer[key]);
    out += &format!(
        "\n{} attachments forward, {} listen, {} are blocked\n",
        count("forwarding"),
        count("listening"),
        count("blocked")
    );
    out
}

/// Every counter that is not zero, with what it means.
fn counters(answer: &Value) -> String {
    let mut out = String::new();
    for group in ["ports", "sessions"] {
        for (name, fields) in answer[group].as_object().into_iter().flatten() {
            let fields: Vec<String> = fields
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, value)| format!("{key} {value}"))
                .collect();
            out += &format!("{} {name}: {}\n", group.trim_end_matches('s'), fields.join(", "));
        }
    }
    out += "\ndropped:\n";
    for (name, value) in answer["drops"].as_object().into_iter().flatten() {
        if value.as_u64() != Some(0) {
            out += &format!("  {name:<24} {value:>12}  {}\n", text(&answer["drops_help"][name]));
        }
    }
    out
}

/// Rows under columns; a column is a key, a key of `counters`, or a path with a dot.
fn table(rows: &Value, columns: &[&str]) -> String {
    let mut lines = vec![columns.iter().map(|column| column.replace(['_', '.'], " ")).collect::<Vec<_>>()];
    for row in rows.as_array().into_iter().flatten() {
        lines.push(columns.iter().map(|column| cell(row, column)).collect());
    }
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out += cells.join("  ").trim_end();
        out.push('\n');
    }
    out
}

fn cell(row: &Value, column: &str) -> String {
    let found = column.split('.').fold(row, |value, key| &value[key]);
    match found {
        Value::Null => text(&row["counters"][column]),
        found => text(found),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Number(number) if number.is_f64() => format!("{:.1}", number.as_f64().unwrap_or(0.0)),
        other => other.to_string(),
    }
}
