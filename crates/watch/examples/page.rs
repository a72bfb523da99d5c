//! Writes the page of an appliance that does not exist into a directory, to look at while changing it:
//! `cargo run -p watch --example page -- DIRECTORY`.

use std::time::Duration;

use counters::DropReason;
use watch::history::History;
use watch::snapshot::{Port, Segment, Site, Worker};
use watch::{Snapshot, page};

fn main() -> std::io::Result<()> {
    let directory = std::path::PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| ".".into()));
    let mut history = History::default();
    let mut octets = [0_u64; 6];
    for point in 0..=300_u64 {
        let wave = (point as f64 / 30.0).sin() + 1.3;
        for (at, octets) in octets.iter_mut().enumerate() {
            let noise = (point * 7919 * (at as u64 + 3)) % 97;
            *octets += (wave * 2e7 * (at as f64 + 1.0) * (1.0 + noise as f64 / 150.0)) as u64;
        }
        history.note(&snapshot(point, octets));
    }
    std::fs::write(
        directory.join("page.html"),
        page::write(&snapshot(300, octets), &history).replace("/style.css", "style.css"),
    )?;
    std::fs::write(directory.join("style.css"), page::STYLE)
}

fn snapshot(point: u64, octets: [u64; 6]) -> Snapshot {
    let site = |name: &str, state: &'static str, at: usize, failure: Option<&str>| {
        let up = state == "up";
        let mut site = Site {
            name: name.into(),
            state,
            since: up.then_some(Duration::from_secs(90)),
            peer: up.then(|| format!("198.51.100.{}:40{at}11", at + 7)),
            transport: up.then_some(if at == 1 { "tcp" } else { "udp" }),
            cipher: up.then_some("aes-128-gcm"),
            round_trip: up.then(|| Duration::from_micros(8_300 * (at as u64 + 1))),
            path_mtu: up.then_some(1500),
            last_failure: failure.map(|text| (Duration::from_secs(point * 5), text.into())),
            ..Site::default()
        };
        if up || at == 0 {
            (site.counters.rx_octets, site.counters.tx_octets) = (octets[at], octets[at + 1]);
        }
        site
    };
    let down = if (120..160).contains(&point) { "down" } else { "up" };
    let segment =
        |name: &str, tunnel_id, attachments: &[(&str, &'static str)], sites: &[usize], at: usize| {
            let mut segment = Segment {
                name: name.into(),
                tunnel_id,
                enabled: name != "archive",
                attachments: attachments.iter().map(|(place, state)| ((*place).into(), *state)).collect(),
                sites: sites.to_vec(),
                drops: vec![(DropReason::Oversize, 12)],
                ..Segment::default()
            };
            segment.from_lan.octets = octets[at];
            segment.from_tunnel.octets = octets[at + 1] / 2;
            segment
        };
    let port = |name: &str, role, up, at: usize| {
        let mut port = Port { name: name.into(), role, up, mbps: 10_000, ..Port::default() };
        (port.counters.rx_frames, port.counters.rx_octets) = (octets[at] / 800, octets[at]);
        (port.counters.tx_frames, port.counters.tx_octets) = (octets[at + 1] / 700, octets[at + 1]);
        port
    };
    let mut workers = [Worker::default(); 2];
    for (at, worker) in workers.iter_mut().enumerate() {
        worker.poll.polls = 1_000_000 * (point + 1);
        worker.poll.busy_polls = (370_000 + 200_000 * at as u64) * (point + 1);
        worker.poll.frames = 2_900_000 * (point + 1);
        worker.poll.sleeps = 420 * point;
    }
    Snapshot {
        now: Duration::from_secs(10 * point + 100_000),
        started: 1_700_000_000.0,
        zero: 1_700_000_000.0,
        date: "2026-05-04T12:30:00Z".into(),
        version: env!("CARGO_PKG_VERSION"),
        mode: "server",
        sites: vec![
            site("branch-lyon", down, 0, None),
            site("branch-oslo", "up", 1, None),
            site(
                "warehouse",
                "down",
                2,
                Some("nothing was heard from the client for the dead-peer time (3 s)"),
            ),
            site("lab", "disabled", 3, None),
        ],
        segments: vec![
            segment(
                "servers",
                10,
                &[("trunk0 VLAN 10", "forwarding"), ("underlay VNI 5010", "forwarding")],
                &[0, 1],
                0,
            ),
            segment("voice", 11, &[("trunk0 VLAN 11", "forwarding")], &[0], 2),
            segment("storage", 12, &[("trunk1 VLAN 12", "blocked")], &[0, 1], 1),
            segment("archive", 13, &[("trunk1 VLAN 13", "forwarding")], &[], 3),
        ],
        ports: vec![
            port("trunk0", "trunk", true, 0),
            port("trunk1", "trunk", true, 1),
            port("underlay", "trunk", false, 2),
            port("wan", "uplink", true, 3),
        ],
        workers: workers.to_vec(),
        drops: vec![
            (DropReason::UnknownVlan, 60 * point),
            (DropReason::LoopBlocked, 33_000),
            (DropReason::Oversize, 12),
            (DropReason::Replayed, 3),
        ],
        macs: (1_482, 65_536),
        certificates: vec![("server", 1_700_000_000 + 86_400 * 57)],
        ..Snapshot::default()
    }
}
