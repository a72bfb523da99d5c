//! Scenario *ports*: two sites behind memif ports in a process of their own, on one core. RFC 2544: throughput, bursts,
//! loss by load. RFC 2889: learning rate and address capacity. The bare forwarder on the same ports is the ceiling.

use std::time::Duration;

use crate::bench::{Bench, progress};
use crate::cli::Mode;
use crate::ports::generator::{self, Load};
use crate::ports::link::{Link, Setup};
use crate::ports::search;
use crate::schema::{Better, Column, Row, Scenario};

/// The sizes of RFC 2544 9.1, with FCS.
const SIZES: [usize; 7] = [64, 128, 256, 512, 1024, 1280, 1518];

/// Of the throughput, in percent: the points of the loss curve.
const LOADS: [u32; 6] = [50, 80, 90, 100, 110, 130];

/// Addresses that each site takes.
const MAX_MACS: usize = 65_536;

/// Addresses of the learning rate.
const NEW_MACS: u64 = 20_000;

/// What a size was found to do.
#[derive(Default)]
struct Found {
    flood: Vec<f64>,
    zero: Vec<f64>,
    most: Vec<f64>,
    burst: Vec<f64>,
    forwarder: Vec<f64>,
}

/// Measures.
pub(crate) fn run(bench: &mut Bench) -> Result<Vec<Scenario>, String> {
    let turns = bench.extent.pick(2, 5);
    let time = Duration::from_millis(bench.extent.pick(60, 250));
    let sizes = bench.extent.pick(vec![64, 512, 1518], SIZES.to_vec());
    let bar = progress("ports", 1 + turns * sizes.len());
    let mut found: Vec<Found> = sizes.iter().map(|_| Found::default()).collect();

    let number = bench.next_device();
    let mut link = Link::start(bench, Setup { mode: Mode::Forward, max_macs: 0, number })?;
    for (size, found) in sizes.iter().zip(&mut found) {
        for _ in 0..turns {
            found.forwarder.push(search::flood(&mut link, *size, frames(time, 4e6))?.rate() / 1e6);
        }
    }
    link.stop(bench)?;
    bar.inc(1);

    let number = bench.next_device();
    let mut link = Link::start(bench, Setup { mode: Mode::Causeway, max_macs: MAX_MACS, number })?;
    generator::teach(&mut link)?;
    for _ in 0..turns {
        for (size, found) in sizes.iter().zip(&mut found) {
            bench.probe();
            bar.set_message(format!("{size} octets"));
            let flood = search::flood(&mut link, *size, frames(time, 1e6))?.rate();
            let most = search::throughput(&mut link, (*size, flood), 0.001, time)?;
            let zero = search::throughput(&mut link, (*size, flood), 0.0, time)?;
            let burst = search::back_to_back(&mut link, *size, 1.5 * flood, 32_768)?;
            found.flood.push(flood / 1e6);
            found.zero.push(zero / 1e6);
            found.most.push(most / 1e6);
            found.burst.push(burst);
            bar.inc(1);
        }
    }
    let loss = loss(bench, &mut link, &sizes, &found, time)?;
    let learning =
        learning(bench, &mut link, turns, found.first().map_or(1e6, |found| found.flood[0] * 1e6))?;
    let stats = link.stats()?;
    let doubts = link.doubts();
    link.stop(bench)?;
    bar.finish_and_clear();
    let mut throughput = throughput(&sizes, found);
    throughput.notes.push(format!(
        "drops of the device in all trials: {:?}, by its ports {}",
        stats.drops, stats.not_taken
    ));
    throughput.notes.extend(doubts);
    Ok(vec![throughput, loss, learning])
}

fn frames(time: Duration, rate: f64) -> u64 {
    (time.as_secs_f64() * rate) as u64
}

fn throughput(sizes: &[usize], found: Vec<Found>) -> Scenario {
    let rows = sizes.iter().zip(found).map(|(size, found)| {
        let mut row = Row::new(format!("ports/{size}")).label("case", "two sites").label("frame", size);
        let gbit = found.most.iter().map(|mpps| mpps * *size as f64 * 8.0 / 1000.0).collect();
        row.put("gbit", gbit);
        row.put("zero", found.zero);
        row.put("most", found.most);
        row.put("flood", found.flood);
        row.put("burst", found.burst);
        row.put("forwarder", found.forwarder);
        row
    });
    Scenario {
        name: "ports".into(),
        title: "RFC 2544 through both sites on one core, memif ports, one direction, one pair of stations; octets with \
                FCS, untagged"
            .into(),
        columns: vec![
            Column::new("zero", "no loss", "Mpps", Better::Higher),
            Column::new("most", "0.1 % loss", "Mpps", Better::Higher),
            Column::new("gbit", "0.1 % loss", "Gbit/s", Better::Higher),
            Column::new("flood", "flooded", "Mpps", Better::Higher),
            Column::new("burst", "back to back", "frames", Better::None),
            Column::new("forwarder", "bare forwarder", "Mpps", Better::None),
        ],
        rows: rows.collect(),
        notes: vec![
            "no loss is sensitive to every pause that the kernel makes; trials with a pause of more than 0.7 ms are \
             repeated up to five times"
                .into(),
        ],
    }
}

/// RFC 2544 26.3.
fn loss(
    bench: &mut Bench,
    link: &mut Link,
    sizes: &[usize],
    found: &[Found],
    time: Duration,
) -> Result<Scenario, String> {
    let mut rows = Vec::new();
    for (size, found) in sizes.iter().zip(found) {
        let base = crate::stats::median(&found.most) * 1e6;
        for load in LOADS {
            let rate = base * f64::from(load) / 100.0;
            let mut samples = Vec::new();
            for _ in 0..bench.extent.pick(2, 5) {
                let offer =
                    Load { size: *size, rate, frames: frames(time, rate).max(100), new_sources: None };
                samples.push(100.0 * generator::steady_trial(link, offer)?.loss());
            }
            let mut row = Row::new(format!("loss/{size}/{load}"))
                .label("case", format!("{size} octets"))
                .label("load", load);
            row.constant("rate", rate / 1e6);
            row.put("loss", samples);
            rows.push(row);
            bench.probe();
        }
    }
    Ok(Scenario {
        name: "ports-loss".into(),
        title: "RFC 2544 frame loss; load in percent of the throughput with 0.1 % loss".into(),
        columns: vec![
            Column::new("rate", "offered", "Mpps", Better::None),
            Column::new("loss", "loss", "%", Better::Lower),
        ],
        rows,
        notes: vec![],
    })
}

fn learning(bench: &mut Bench, link: &mut Link, turns: usize, flood: f64) -> Result<Scenario, String> {
    let (mut rates, mut capacity) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        rates.push(search::learning_rate(link, flood, NEW_MACS)? / 1e6);
        capacity.push(search::learned(link, flood / 4.0, MAX_MACS as u64 + 10_000)? as f64);
        bench.probe();
    }
    let mut row = Row::new("learning").label("case", "two sites");
    row.put("rate", rates);
    row.put("capacity", capacity);
    Ok(Scenario {
        name: "ports-learning".into(),
        title: format!("RFC 2889: {NEW_MACS} new addresses; a forwarding database of {MAX_MACS}"),
        columns: vec![
            Column::new("rate", "learning rate", "M/s", Better::Higher),
            Column::new("capacity", "capacity", "addresses", Better::Higher),
        ],
        rows: vec![row],
        notes: vec![
            "read from the device's own forwarding database at site A, less the station that it was told of before".into(),
        ],
    })
}
