//! What stands beside the program speaks of metrics that there are: alert rules, their tests, the dashboard, the documents.
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use counters::DropReason;
use watch::Snapshot;
use watch::snapshot::{Port, Segment, Site};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names of all metrics.
fn metrics() -> BTreeSet<String> {
    let snapshot = Snapshot {
        sites: vec![Site::default()],
        segments: vec![Segment::default()],
        ports: vec![Port::default()],
        ..Snapshot::default()
    };
    let text = watch::metrics::write(&snapshot);
    text.lines()
        .filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split_once(' ')?.0.to_owned()))
        .collect()
}

/// Every word of `text` that looks like a metric.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words
        .filter(|word| word.starts_with("causeway_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn rules_and_dashboard_use_what_there_is() {
    let metrics = metrics();
    for path in [
        "appliance-config/prometheus/causeway.rules.yml",
        "appliance-config/prometheus/causeway.rules.test.yml",
        "appliance-config/grafana/causeway.json",
    ] {
        let named = named(&read(path));
        assert!(named.len() > 10, "{path}: {named:?}");
        assert!(named.is_subset(&metrics), "{path}: {:?}", named.difference(&metrics));
    }
}

#[test]
fn the_document_names_them_all() {
    let (metrics, named) = (metrics(), named(&read("docs/monitoring.md")));
    assert_eq!(metrics, named);
}

#[test]
fn rules_name_reasons_that_there_are() {
    let rules = read("appliance-config/prometheus/causeway.rules.yml");
    let known: BTreeSet<&str> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
    let mut seen = 0;
    for selector in rules.split("reason").skip(1).filter_map(|rest| {
        let rest = rest.trim_start_matches(['!', '=', '~']);
        rest.strip_prefix('"')?.split('"').next()
    }) {
        for reason in selector.split('|') {
            assert!(known.contains(reason), "{reason}");
            seen += 1;
        }
    }
    assert!(seen > 15);
}

#[test]
fn every_alert_has_its_line_in_the_document() {
    let (rules, document) =
        (read("appliance-config/prometheus/causeway.rules.yml"), read("docs/monitoring.md"));
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(document.contains(&format!("`{alert}`")), "{alert}");
    }
}
