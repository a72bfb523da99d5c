//! A run as one HTML page that needs nothing else: to be attached to a change or kept beside a release.

use std::fmt::Write;

use crate::report::number::show;
use crate::report::plot;
use crate::schema::{Better, Column, Report, Row, Scenario};

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1500px;padding:0 1em;color:#222}\
h2{margin-top:2.2em;border-bottom:2px solid #0072b2}h3{margin:1.4em 0 .3em;font-size:1em}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:13px}\
th,td{padding:.2em .6em;text-align:right;border-bottom:1px solid #e4e4e4;white-space:nowrap}\
th{background:#f3f6f9;vertical-align:bottom;position:sticky;top:0}td.text,th.text{text-align:left}\
tr:hover td{background:#fbf7e8}.scroll{overflow-x:auto}.spread{color:#777;font-size:11px}\
.noisy{background:#fde4d8;padding:.7em 1em;border-left:5px solid #d55e00}\
.quiet{background:#e4f4ec;padding:.7em 1em;border-left:5px solid #009e73}\
svg{display:block;max-width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:#333}\
details{margin:.6em 0}dt{float:left;clear:left;width:6em;color:#666}dd{margin-left:6.5em}";

/// The page.
pub(crate) fn page(report: &Report) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    let _ = write!(
        out,
        "<title>Causeway benchmark {}</title><style>{STYLE}</style></head><body>",
        escape(&report.host.revision)
    );
    head(&mut out, report);
    for scenario in &report.scenarios {
        section(&mut out, scenario, report.noise.quiet);
    }
    out.push_str("</body></html>\n");
    out
}

fn head(out: &mut String, report: &Report) {
    let host = &report.host;
    let dirty = if host.dirty { " with uncommitted changes" } else { "" };
    let _ = write!(out, "<h1>Causeway benchmark</h1><dl>");
    for (name, text) in [
        ("revision", format!("{}{dirty}", host.revision)),
        ("date", host.date.clone()),
        ("processor", format!("{}, {} cores", host.cpu, host.cores)),
        ("system", format!("{}, DPDK {}", host.kernel, host.dpdk)),
        ("AEAD", host.aead.clone()),
        ("build", format!("{}, {}", host.rustc, host.flags)),
    ] {
        let _ = write!(out, "<dt>{name}</dt><dd>{}</dd>", escape(&text));
    }
    let noise = &report.noise;
    let (class, text) = match noise.quiet {
        true => ("quiet", "quiet enough to compare"),
        false => ("noisy", "too noisy: ratios and goals are withheld"),
    };
    let _ = write!(
        out,
        "</dl><p class=\"{class}\">Noise: {:.1} % (limit {:.0} %): {text}. A cell shows \
         the median and, in grey, half the distance between the quartiles.</p>",
        noise.spread_percent, noise.limit_percent
    );
}

fn section(out: &mut String, scenario: &Scenario, quiet: bool) {
    let _ = write!(out, "<h2>{}</h2><p>{}</p>", escape(&scenario.name), escape(&scenario.title));
    table(out, scenario, quiet);
    if !scenario.notes.is_empty() {
        out.push_str("<ul>");
        for note in &scenario.notes {
            let _ = write!(out, "<li>{}</li>", escape(note));
        }
        out.push_str("</ul>");
    }
    let plotted = scenario.columns.iter().filter(|column| column.better != Better::None);
    for column in plotted.filter(|column| quiet || !column.is_ratio()) {
        if let Some(svg) = plot::plot(scenario, column) {
            let open = if column.detail { "" } else { " open" };
            let _ = write!(
                out,
                "<details{open}><summary>{} {} ({})</summary>{svg}</details>",
                escape(&column.title),
                escape(&column.unit),
                match column.better {
                    Better::Higher => "higher is better",
                    _ => "lower is better",
                }
            );
        }
    }
}

fn table(out: &mut String, scenario: &Scenario, quiet: bool) {
    let mut labels: Vec<&str> = Vec::new();
    for label in scenario.rows.iter().flat_map(|row| row.labels.keys()) {
        if !labels.contains(&label.as_str()) {
            labels.push(label);
        }
    }
    out.push_str("<div class=\"scroll\"><table><thead><tr>");
    if labels.is_empty() {
        out.push_str("<th class=\"text\"></th>");
    }
    for label in &labels {
        let _ = write!(out, "<th class=\"text\">{}</th>", escape(label));
    }
    for column in &scenario.columns {
        let _ = write!(out, "<th>{}<br>{}</th>", escape(&column.title), escape(&column.unit));
    }
    out.push_str("</tr></thead><tbody>");
    for row in &scenario.rows {
        out.push_str("<tr>");
        if labels.is_empty() {
            let _ = write!(out, "<td class=\"text\">{}</td>", escape(&row.id));
        }
        for label in &labels {
            let _ = write!(out, "<td class=\"text\">{}</td>", escape(row.label_of(label)));
        }
        scenario.columns.iter().for_each(|column| cell(out, row, column, quiet));
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
}

fn cell(out: &mut String, row: &Row, column: &Column, quiet: bool) {
    let _ = match row.values.get(&column.key) {
        None => write!(out, "<td></td>"),
        Some(_) if column.is_ratio() && !quiet => write!(out, "<td class=\"spread\">withheld</td>"),
        Some(value) if value.n > 1 => write!(
            out,
            "<td>{} <span class=\"spread\">±{:.0}%</span></td>",
            show(value.median),
            value.quartiles().spread_percent() / 2.0
        ),
        Some(value) => write!(out, "<td>{}</td>", show(value.median)),
    };
}

/// Text as HTML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Host, Noise, RATIO, SCHEMA};

    fn report(quiet: bool) -> Report {
        let mut row = Row::new("a/1").label("case", "<&>");
        row.put("r", vec![1.25, 1.25]);
        Report {
            schema: SCHEMA,
            host: Host::default(),
            noise: Noise { spread_percent: 3.0, limit_percent: 10.0, quiet },
            scenarios: vec![Scenario {
                name: "s".into(),
                columns: vec![Column::new("r", "R", RATIO, Better::Lower)],
                rows: vec![row.clone(), row],
                notes: vec!["a < b".into()],
                ..Scenario::default()
            }],
        }
    }

    #[test]
    fn text_is_escaped_and_ratios_are_withheld_when_noisy() {
        let quiet = page(&report(true));
        assert!(quiet.contains("&lt;&amp;&gt;") && quiet.contains("a &lt; b") && quiet.contains("1.25"));
        assert!(quiet.contains("<svg"));
        let noisy = page(&report(false));
        assert!(noisy.contains("withheld") && !noisy.contains("1.25") && !noisy.contains("<svg"));
    }

    #[test]
    fn the_page_loads_nothing() {
        let page = page(&report(true));
        assert!(!page.contains("http") && !page.contains("src=") && !page.contains("<link"));
    }
}
