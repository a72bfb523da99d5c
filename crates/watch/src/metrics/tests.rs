//! What is written has the form that Prometheus reads.

use std::collections::HashSet;
use std::time::Duration;

use counters::DropReason;

use super::*;
use crate::snapshot::{Port, Segment, Worker};

fn snapshot() -> Snapshot {
    let site = |name: &str, state| Site {
        name: name.into(),
        state,
        since: (state == "up").then_some(Duration::from_secs(2)),
        transport: (state == "up").then_some("udp"),
        round_trip: (state == "up").then_some(Duration::from_micros(1500)),
        path_mtu: (state == "up").then_some(1500),
        ..Site::default()
    };
    let segment = Segment {
        name: "servers".into(),
        tunnel_id: 10,
        enabled: true,
        attachments: vec![("trunk0 VLAN 10".into(), "blocked")],
        drops: vec![(DropReason::Oversize, 3)],
        ..Segment::default()
    };
    Snapshot {
        now: Duration::from_secs(60),
        started: 1_700_000_000.5,
        zero: 1_700_000_000.5,
        version: "1.2.3",
        mode: "server",
        sites: vec![site("branch", "up"), site("evil\"\n\\", "down")],
        segments: vec![segment],
        ports: vec![Port { name: "wan".into(), role: "uplink", up: true, mbps: 1000, ..Port::default() }],
        workers: vec![Worker::default(); 2],
        drops: DropReason::ALL.iter().map(|reason| (*reason, 7)).collect(),
        macs: (5, 65_536),
        refused: vec![("half_open_refused", 3)],
        certificates: vec![("server", 1_800_000_000)],
        reloads: (1, 2),
        ..Snapshot::default()
    }
}

fn written() -> String {
    exposition(&snapshot(), Some(&Process::default()))
}

#[test]
fn values_have_base_units() {
    let text = written();
    for line in [
        "causeway_build_info{version=\"1.2.3\",mode=\"server\"} 1",
        "causeway_sites{state=\"up\"} 1",
        "causeway_sites{state=\"disabled\"} 0",
        "causeway_site_up{site=\"branch\"} 1",
        "causeway_site_up{site=\"evil\\\"\\n\\\\\"} 0",
        "causeway_site_round_trip_seconds{site=\"branch\"} 0.0015",
        "causeway_site_established_timestamp_seconds{site=\"branch\"} 1700000002.5",
        "causeway_site_transport{site=\"branch\",transport=\"tcp\"} 0",
        "causeway_segment_attachments{segment=\"servers\",state=\"blocked\"} 1",
        "causeway_segment_drops_total{segment=\"servers\",reason=\"oversize\"} 3",
        "causeway_port_speed_bytes{port=\"wan\"} 125000000",
        "causeway_drops_total{reason=\"replayed\",group=\"wan\"} 7",
        "causeway_certificate_not_after_timestamp_seconds{certificate=\"server\"} 1800000000",
        "causeway_reloads_total{result=\"refused\"} 2",
        "causeway_connections_refused_total{reason=\"half_open_refused\"} 3",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

/// Each family stands once, with its samples behind it; counters end with `_total` and gauges do not; no sample stands twice.
#[test]
fn families_are_in_order() {
    let (text, mut family, mut families, mut samples) =
        (written(), String::new(), HashSet::new(), HashSet::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a help");
            assert!(families.insert(name.to_owned()), "{name} stands twice");
            assert!(help.len() > 10 && help.ends_with('.') || help.ends_with("1970"), "{line}");
            family = name.into();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert_eq!(name, family);
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
        } else {
            let name = line.split(['{', ' ']).next().expect("a name");
            assert_eq!(name, family, "{line}");
            let (sample, value) = line.rsplit_once(' ').expect("a value");
            assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
            assert!(samples.insert(sample.to_owned()), "{sample} stands twice");
        }
    }
    assert!(families.len() > 40);
}

#[test]
fn there_is_no_mac_address_in_it() {
    assert!(!written().to_lowercase().contains("mac="));
}
