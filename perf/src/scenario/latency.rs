//! Scenario *latency*: the delay of every frame through both sites, and through the bare forwarder on the same ports, at
//! parts of the throughput of the slower of both. The difference is what two appliances add, encryption and
//! decryption.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::bench::{Bench, progress};
use crate::cli::Mode;
use crate::ports::generator::{self, Load};
use crate::ports::link::{Link, Setup};
use crate::ports::search;
use crate::schema::{Better, Column, Row, Scenario};
use crate::stats::Quartiles;

const SIZES: [usize; 3] = [64, 512, 1518];

/// Percent of the throughput.
const LOADS: [u32; 3] = [10, 50, 90];

const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999)];

/// The delays of one size and load, a value of each quantile for every turn.
#[derive(Clone, Default)]
struct Delays {
    quantiles: [Vec<f64>; QUANTILES.len()],
    most: Vec<f64>,
}

/// Measures.
pub(crate) fn run(bench: &mut Bench) -> Result<Scenario, String> {
    let sizes = bench.extent.pick(vec![64, 1518], SIZES.to_vec());
    let turns = bench.extent.pick(5, 21);
    let time = Duration::from_millis(bench.extent.pick(60, 150));
    let bar = progress("latency", 2 * sizes.len());
    let mut rows = Vec::new();
    let mut doubts = Vec::new();
    let mut rates = vec![0.0; sizes.len()];
    let mut sites: Vec<[Delays; LOADS.len()]> = Vec::new();
    for mode in [Mode::Causeway, Mode::Forward] {
        let number = bench.next_device();
        let mut link = Link::start(bench, Setup { mode, max_macs: 65_536, number })?;
        generator::teach(&mut link)?;
        for (at, size) in sizes.iter().enumerate() {
            bench.probe();
            if mode == Mode::Causeway {
                let flood = search::flood(&mut link, *size, (time.as_secs_f64() * 1e6) as u64)?.rate();
                rates[at] = search::throughput(&mut link, (*size, flood), 0.001, time)?;
            }
            let delays = each_load(&mut link, *size, rates[at], (turns, time))?;
            for (load, delays) in LOADS.iter().zip(&delays) {
                let name = if mode == Mode::Causeway { "two sites" } else { "forwarder" };
                rows.push(row(name, *size, *load, delays));
            }
            match mode {
                Mode::Causeway => sites.push(delays),
                Mode::Forward => {
                    for (load, (with, without)) in LOADS.iter().zip(sites[at].iter().zip(&delays)) {
                        rows.push(added(*size, *load, with, without));
                    }
                }
            }
            bar.inc(1);
        }
        doubts.extend(link.doubts());
        link.stop(bench)?;
    }
    bar.finish_and_clear();
    rows.sort_by_key(|row| row.label_of("frame").parse::<usize>().unwrap_or(0));
    Ok(scenario(rows, doubts))
}

/// Loads alternate from turn to turn.
fn each_load(
    link: &mut Link,
    size: usize,
    throughput: f64,
    (turns, time): (usize, Duration),
) -> Result<[Delays; LOADS.len()], String> {
    let mut all: [Delays; LOADS.len()] = Default::default();
    for _ in 0..turns {
        for (load, delays) in LOADS.iter().zip(&mut all) {
            let rate = throughput * f64::from(*load) / 100.0;
            let frames = ((rate * time.as_secs_f64()) as u64).max(100);
            let trial = generator::steady_trial(link, Load { size, rate, frames, new_sources: None })?;
            if !trial.disturbed {
                delays.add(&trial.delays);
            }
        }
    }
    Ok(all)
}

impl Delays {
    fn add(&mut self, histogram: &Histogram<u32>) {
        let us = |ns: u64| ns as f64 / 1000.0;
        for (samples, (_, quantile)) in self.quantiles.iter_mut().zip(QUANTILES) {
            samples.push(us(histogram.value_at_quantile(quantile)));
        }
        self.most.push(us(histogram.max()));
    }
}

fn row(case: &str, size: usize, load: u32, delays: &Delays) -> Row {
    let id = format!("{}/{size}/{load}", case.replace(' ', "-"));
    let mut row =
        Row::new(id).label("case", format!("{case} {size}")).label("frame", size).label("load", load);
    for ((key, _), samples) in QUANTILES.iter().zip(&delays.quantiles) {
        row.put(key, samples.clone());
    }
    row.put("max", delays.most.clone());
    row
}

/// What two sites add, quantile by quantile. The turns of both were not at one time, so each is held against the median
/// of the forwarder's.
fn added(size: usize, load: u32, with: &Delays, without: &Delays) -> Row {
    let less = |with: &[f64], without: &[f64]| {
        let base = Quartiles::of(without).map(|quartiles| quartiles.median);
        base.map_or(vec![], |base| with.iter().map(|value| value - base).collect::<Vec<f64>>())
    };
    let mut delays = Delays { most: less(&with.most, &without.most), ..Delays::default() };
    for (at, samples) in delays.quantiles.iter_mut().enumerate() {
        *samples = less(&with.quantiles[at], &without.quantiles[at]);
    }
    row("added", size, load, &delays)
}

fn scenario(rows: Vec<Row>, doubts: Vec<String>) -> Scenario {
    let titles = ["p50", "p90", "p99", "p99.9", "p99.99"];
    let column = |((key, _), title): (&(&str, f64), &str)| Column::new(key, title, "us", Better::Lower);
    let mut columns: Vec<Column> = QUANTILES.iter().zip(titles).map(column).collect();
    columns.push(Column::new("max", "max", "us", Better::None));
    let mut notes = vec![
        "delays count from the moment at which a frame should have been sent, so that a pause of the generator is seen and \
         not left out; load in percent of the throughput of two sites with 0.1 % loss"
            .into(),
    ];
    notes.extend(doubts);
    Scenario {
        name: "latency".into(),
        title: "delay through both sites (one core, memif ports) and through the bare forwarder".into(),
        columns,
        rows,
        notes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_the_difference_to_the_median_of_the_forwarder() {
        let mut with = Delays::default();
        let mut without = Delays::default();
        let add = |delays: &mut Delays, us: u64| {
            let mut histogram = Histogram::new(3).expect("valid");
            histogram.record(us * 1000).expect("in range");
            delays.add(&histogram);
        };
        add(&mut with, 30);
        [10, 12, 11].into_iter().for_each(|us| add(&mut without, us));
        let row = added(64, 10, &with, &without);
        assert_eq!(row.id, "added/64/10");
        assert!((row.values["p99"].median - 19.0).abs() < 0.1);
    }
}
