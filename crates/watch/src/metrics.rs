//! The metrics: names, units and labels, documented in `docs/monitoring.md`. Labels have a bounded number of values: what the
//! configuration names, and fixed words. There is none by MAC address.

use counters::{Group, PortTotals, SessionTotals};

use crate::process::{self, Process};
use crate::snapshot::{Path, Site, Snapshot};
use crate::text::{Kind, Text};

/// Writes all metrics, and those of this process.
pub fn write(snapshot: &Snapshot) -> String {
    exposition(snapshot, process::read().as_ref())
}

fn exposition(snapshot: &Snapshot, process: Option<&Process>) -> String {
    let mut text = Text::default();
    appliance(&mut text, snapshot);
    sites(&mut text, snapshot);
    site_traffic(&mut text, snapshot);
    segments(&mut text, snapshot);
    ports(&mut text, snapshot);
    workers(&mut text, snapshot);
    if let Some(process) = process {
        of_process(&mut text, process);
    }
    text.finish()
}

fn appliance(text: &mut Text, snapshot: &Snapshot) {
    text.family("causeway_build_info", Kind::Gauge, "Version and mode of the appliance; always 1.")
        .sample(&[("version", snapshot.version), ("mode", snapshot.mode)], 1);
    text.family(
        "causeway_start_time_seconds",
        Kind::Gauge,
        "When the appliance started, in seconds since 1970.",
    )
    .sample(&[], snapshot.started);
    let mut drops = text.family(
        "causeway_drops_total",
        Kind::Counter,
        "Dropped packets by reason and side of the appliance.",
    );
    for (reason, count) in &snapshot.drops {
        let group = match reason.group() {
            Group::Lan => "lan",
            Group::Wan => "wan",
            Group::Bridge => "bridge",
            Group::Resource => "resource",
        };
        drops.sample(&[("reason", reason.name()), ("group", group)], count);
    }
    text.family("causeway_fdb_entries", Kind::Gauge, "MAC addresses in the forwarding database.")
        .sample(&[], snapshot.macs.0);
    text.family(
        "causeway_fdb_max_entries",
        Kind::Gauge,
        "MAC addresses that the forwarding database has room for.",
    )
    .sample(&[], snapshot.macs.1);
    let mut refused = text.family(
        "causeway_connections_refused_total",
        Kind::Counter,
        "Connections to the server's TCP port that came to nothing, by why.",
    );
    for (reason, count) in &snapshot.refused {
        refused.sample(&[("reason", reason)], count);
    }
    let mut ends = text.family(
        "causeway_certificate_not_after_timestamp_seconds",
        Kind::Gauge,
        "When a certificate ends, in seconds since 1970.",
    );
    for (of, end) in &snapshot.certificates {
        ends.sample(&[("certificate", of)], end);
    }
    text.family(
        "causeway_reloads_total",
        Kind::Counter,
        "Configurations read anew while running, by what came of it.",
    )
    .sample(&[("result", "done")], snapshot.reloads.0)
    .sample(&[("result", "refused")], snapshot.reloads.1);
}

/// The states of a site.
const STATES: [&str; 4] = ["up", "connecting", "down", "disabled"];

fn sites(text: &mut Text, snapshot: &Snapshot) {
    let mut count = text.family("causeway_sites", Kind::Gauge, "Sites by state of their session.");
    for state in STATES {
        count.sample(&[("state", state)], snapshot.sites.iter().filter(|site| site.state == state).count());
    }
    let mut family = |name, kind, help: &str, value: &dyn Fn(&Site) -> Option<f64>| {
        let mut family = text.family(name, kind, help);
        for site in &snapshot.sites {
            family.sample_if(&[("site", &site.name)], value(site));
        }
    };
    let unix = |at: Option<std::time::Duration>| at.map(|at| snapshot.unix(at));
    let flag = |holds: bool| Some(f64::from(u8::from(holds)));
    family("causeway_site_up", Kind::Gauge, "Whether the site's session is up.", &|site| {
        flag(site.state == "up")
    });
    family("causeway_site_enabled", Kind::Gauge, "Whether the operator lets the site connect.", &|site| {
        flag(site.state != "disabled")
    });
    family(
        "causeway_site_established_timestamp_seconds",
        Kind::Gauge,
        "When the site's session came up, in seconds since 1970.",
        &|site| unix(site.since),
    );
    family(
        "causeway_site_last_heard_timestamp_seconds",
        Kind::Gauge,
        "When an authentic record of the site arrived last, in seconds since 1970.",
        &|site| unix(site.last_heard),
    );
    family(
        "causeway_site_keys_timestamp_seconds",
        Kind::Gauge,
        "When the session's present keys were agreed on, in seconds since 1970.",
        &|site| unix(site.keys_since),
    );
    family(
        "causeway_site_round_trip_seconds",
        Kind::Gauge,
        "The last measured round trip to the site.",
        &|site| site.round_trip.map(|time| time.as_secs_f64()),
    );
    family(
        "causeway_site_path_mtu_bytes",
        Kind::Gauge,
        "The largest IP packet that gets through to the site.",
        &|site| site.path_mtu.map(f64::from),
    );
    family(
        "causeway_site_renewals_total",
        Kind::Counter,
        "Fresh handshakes that renewed the session's keys.",
        &|site| Some(site.renewals as f64),
    );
    paths(text, snapshot);
    let mut transport = text.family(
        "causeway_site_transport",
        Kind::Gauge,
        "What carries the session now: 1 for it, 0 for the other.",
    );
    for site in snapshot.sites.iter().filter(|site| site.transport.is_some()) {
        for name in ["udp", "tcp"] {
            let now = u8::from(site.transport == Some(name));
            transport.sample(&[("site", &site.name), ("transport", name)], now);
        }
    }
}

fn paths(text: &mut Text, snapshot: &Snapshot) {
    type Value = fn(&Path) -> Option<f64>;
    let families: [(&str, &str, Value); 3] = [
        ("causeway_site_path_up", "Whether the path of the session carries frames.", |path| {
            Some(f64::from(u8::from(path.state == "up")))
        }),
        ("causeway_site_path_round_trip_seconds", "The smoothed round trip of the path.", |path| {
            path.round_trip.map(|time| time.as_secs_f64())
        }),
        (
            "causeway_site_path_loss_ratio",
            "The share of the path's last echo requests that was lost.",
            |path| path.loss,
        ),
    ];
    for (name, help, value) in families {
        let mut family = text.family(name, Kind::Gauge, help);
        for site in &snapshot.sites {
            for (at, path) in site.paths.iter().enumerate() {
                family.sample_if(&[("site", &site.name), ("path", &at.to_string())], value(path));
            }
        }
    }
}

fn site_traffic(text: &mut Text, snapshot: &Snapshot) {
    type Both = fn(&SessionTotals) -> (Option<u64>, Option<u64>);
    let families: [(&str, &str, Both); 6] = [
        ("causeway_site_frames_total", "Inner frames through the session.", |c| {
            (Some(c.rx_frames), Some(c.tx_frames))
        }),
        ("causeway_site_bytes_total", "Octets of those frames.", |c| (Some(c.rx_octets), Some(c.tx_octets))),
        (
            "causeway_site_bum_frames_total",
            "Broadcast, unknown unicast and multicast frames among them; received: broadcast and multicast.",
            |c| (Some(c.rx_bum), Some(c.tx_bum)),
        ),
        (
            "causeway_site_storm_limited_frames_total",
            "Frames received from the site that were above a limit of storm control.",
            |c| (Some(c.rx_storm_limited), None),
        ),
        ("causeway_site_records_total", "Records of the session.", |c| {
            (Some(c.rx_records), Some(c.tx_records))
        }),
        ("causeway_site_record_bytes_total", "Octets of the records received.", |c| {
            (Some(c.rx_record_octets), None)
        }),
    ];
    for (name, help, values) in families {
        let mut family = text.family(name, Kind::Counter, help);
        for site in &snapshot.sites {
            let (received, sent) = values(&site.counters);
            for (direction, value) in [("receive", received), ("transmit", sent)] {
                family.sample_if(&[("site", &site.name), ("direction", direction)], value);
            }
        }
    }
}

fn segments(text: &mut Text, snapshot: &Snapshot) {
    let mut info = text.family("causeway_segment_info", Kind::Gauge, "The segment's tunnel ID; always 1.");
    for segment in &snapshot.segments {
        info.sample(&[("segment", &segment.name), ("tunnel_id", &segment.tunnel_id.to_string())], 1);
    }
    let mut enabled =
        text.family("causeway_segment_enabled", Kind::Gauge, "Whether the segment is in service.");
    for segment in &snapshot.segments {
        enabled.sample(&[("segment", &segment.name)], u8::from(segment.enabled));
    }
    let mut sites = text.family("causeway_segment_sites", Kind::Gauge, "Sites that join the segment now.");
    for segment in &snapshot.segments {
        sites.sample(&[("segment", &segment.name)], segment.sites.len());
    }
    let mut attachments =
        text.family("causeway_segment_attachments", Kind::Gauge, "Attachments of the segment by state.");
    for segment in &snapshot.segments {
        for state in ["forwarding", "listening", "blocked"] {
            let count = segment.attachments.iter().filter(|(_, of)| *of == state).count();
            attachments.sample(&[("segment", &segment.name), ("state", state)], count);
        }
    }
    type Side = fn(&counters::SideTotals) -> u64;
    let families: [(&str, &str, Side); 3] = [
        ("causeway_segment_frames_total", "Frames that entered the segment, by side.", |side| side.frames),
        ("causeway_segment_bytes_total", "Octets of those frames.", |side| side.octets),
        ("causeway_segment_bum_frames_total", "Broadcast and multicast frames among them.", |side| side.bum),
    ];
    for (name, help, value) in families {
        let mut family = text.family(name, Kind::Counter, help);
        for segment in &snapshot.segments {
            for (from, side) in [("lan", &segment.from_lan), ("tunnel", &segment.from_tunnel)] {
                family.sample(&[("segment", &segment.name), ("from", from)], value(side));
            }
        }
    }
    let mut mss = text.family(
        "causeway_segment_tcp_handshakes_total",
        Kind::Counter,
        "TCP handshakes that entered the tunnel, by whether their maximum segment size was made to fit.",
    );
    for segment in &snapshot.segments {
        mss.sample(&[("segment", &segment.name), ("mss", "adjusted")], segment.mss.adjusted);
        mss.sample(&[("segment", &segment.name), ("mss", "ignored")], segment.mss.ignored);
    }
    let mut drops = text.family(
        "causeway_segment_drops_total",
        Kind::Counter,
        "Dropped frames of the segment by reason, for reasons that occurred. All of them are in causeway_drops_total too.",
    );
    for segment in &snapshot.segments {
        for (reason, count) in &segment.drops {
            drops.sample(&[("segment", &segment.name), ("reason", reason.name())], count);
        }
    }
}

fn ports(text: &mut Text, snapshot: &Snapshot) {
    let mut up = text.family("causeway_port_up", Kind::Gauge, "Whether the port's line is up.");
    for port in &snapshot.ports {
        up.sample(&[("port", &port.name), ("role", port.role)], u8::from(port.up));
    }
    let mut speed = text.family(
        "causeway_port_speed_bytes",
        Kind::Gauge,
        "Octets a second of the port's line, where it is known.",
    );
    for port in snapshot.ports.iter().filter(|port| port.mbps != 0) {
        speed.sample(&[("port", &port.name)], u64::from(port.mbps) * 125_000);
    }
    type Both = fn(&PortTotals) -> (u64, u64);
    let families: [(&str, &str, Both); 2] = [
        ("causeway_port_frames_total", "Packets through the port.", |c| (c.rx_frames, c.tx_frames)),
        ("causeway_port_bytes_total", "Octets of those packets, without FCS.", |c| {
            (c.rx_octets, c.tx_octets)
        }),
    ];
    for (name, help, values) in families {
        let mut family = text.family(name, Kind::Counter, help);
        for port in &snapshot.ports {
            let (received, sent) = values(&port.counters);
            family.sample(&[("port", &port.name), ("direction", "receive")], received);
            family.sample(&[("port", &port.name), ("direction", "transmit")], sent);
        }
    }
    let mut kernel = text.family(
        "causeway_port_to_kernel_frames_total",
        Kind::Counter,
        "Packets left to the kernel's side.",
    );
    for port in &snapshot.ports {
        kernel.sample(&[("port", &port.name)], port.counters.to_kernel);
    }
    let mut missed = text.family(
        "causeway_port_missed_frames_total",
        Kind::Counter,
        "Packets that the device dropped, by what it lacked.",
    );
    for port in &snapshot.ports {
        missed.sample(&[("port", &port.name), ("lack", "descriptors")], port.missed.0);
        missed.sample(&[("port", &port.name), ("lack", "buffers")], port.missed.1);
    }
}

fn workers(text: &mut Text, snapshot: &Snapshot) {
    type Value = fn(&counters::PollTotals) -> u64;
    let families: [(&str, &str, Value); 4] = [
        ("causeway_worker_polls_total", "Rounds of the worker over all its queues.", |poll| poll.polls),
        ("causeway_worker_busy_polls_total", "Rounds in which there was something to do.", |poll| {
            poll.busy_polls
        }),
        ("causeway_worker_sleeps_total", "Sleeps of the adaptive idle policy.", |poll| poll.sleeps),
        ("causeway_worker_frames_total", "Packets that the worker received.", |poll| poll.frames),
    ];
    let name = |at: usize| at.to_string();
    for (family, help, value) in families {
        let mut family = text.family(family, Kind::Counter, help);
        for (at, worker) in snapshot.workers.iter().enumerate() {
            family.sample(&[("worker", &name(at))], value(&worker.poll));
        }
    }
    let mut stalled =
        text.family("causeway_worker_stalled", Kind::Gauge, "Whether the worker makes no progress any more.");
    for (at, worker) in snapshot.workers.iter().enumerate() {
        stalled.sample(&[("worker", &name(at))], u8::from(worker.stalled));
    }
}

/// The names that all Prometheus clients use.
fn of_process(text: &mut Text, process: &Process) {
    text.family(
        "process_cpu_seconds_total",
        Kind::Counter,
        "Total user and system CPU time spent in seconds.",
    )
    .sample(&[], process.cpu_seconds);
    text.family("process_open_fds", Kind::Gauge, "Number of open file descriptors.")
        .sample(&[], process.open_fds);
    text.family("process_max_fds", Kind::Gauge, "Maximum number of open file descriptors.")
        .sample_if(&[], process.max_fds);
    text.family("process_virtual_memory_bytes", Kind::Gauge, "Virtual memory size in bytes.")
        .sample(&[], process.virtual_bytes);
    text.family("process_resident_memory_bytes", Kind::Gauge, "Resident memory size in bytes.")
        .sample(&[], process.resident_bytes);
    text.family("process_threads", Kind::Gauge, "Number of OS threads in the process.")
        .sample(&[], process.threads);
    let mut threads = text.family(
        "causeway_thread_cpu_seconds_total",
        Kind::Counter,
        "CPU time of the appliance's long-lived threads.",
    );
    for (name, seconds) in &process.by_thread {
        threads.sample(&[("thread", name)], seconds);
    }
}

#[cfg(test)]
mod tests;
