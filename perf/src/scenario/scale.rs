//! Scenario *scale*: what a session costs that does nothing, and what a second worker brings.

use std::sync::Arc;

use dpdk::{MbufPool, ThreadRegistration};

use crate::bench::{Bench, Extent, progress};
use crate::clock::Clock;
use crate::cores::{self, Pinned};
use crate::frames::Size;
use crate::scenario::section::Section;
use crate::schema::{Better, Column, RATIO, Row, Scenario};
use crate::site::{self, Common, Shape, Site};
use crate::stats;

const SESSIONS: [usize; 4] = [1, 10, 100, 1000];

/// Rounds of housekeeping in one sample.
const ROUNDS: usize = 50;

/// Sections that a worker runs in one turn.
const SECTIONS: usize = 2000;

/// Pairs of stations of the run with several workers: many flows of one site.
const MACS: usize = 1000;

/// Measures.
pub(crate) fn run(bench: &mut Bench) -> Result<Vec<Scenario>, String> {
    let pool = bench.pool()?;
    Ok(vec![sessions(bench, &pool), workers(bench, &pool)?])
}

fn sessions(bench: &mut Bench, pool: &MbufPool) -> Scenario {
    let turns = bench.extent.pick(21, 101);
    let rows = SESSIONS.iter().map(|sites| {
        let shape = Shape { sites: *sites, ..Shape::base() };
        let heap = crate::alloc::live();
        // Tables and forwarding database are there anyhow: what is between the two readings is workers and lanes.
        let common = |id| site::common(id, &shape, 4096, false);
        let (common_a, common_b) = (common(1), common(2));
        let heap_tables = crate::alloc::live();
        let (mut a, _b) = site::pair(common_a, common_b, &shape, pool, 0);
        let heap_lanes = crate::alloc::live();
        // Both sites have so many sessions.
        let each =
            |after: u64, before: u64| after.saturating_sub(before) as f64 / (2 * sites) as f64 / 1024.0;
        let samples: Vec<f64> = (0..turns)
            .map(|_| {
                bench.probe();
                let (ticks, ()) = bench.clock.measure(|| (0..ROUNDS).for_each(|_| a.housekeeping()));
                ticks / ROUNDS as f64
            })
            .collect();
        let mut row =
            Row::new(format!("sessions/{sites}")).label("case", "sessions").label("sessions", sites);
        row.put("session", samples.iter().map(|ticks| ticks / *sites as f64).collect());
        // Ten times a second: in millionths of a core.
        let share = |ticks: &f64| 10.0 * ticks / (bench.clock.ghz() * 1e3);
        row.put("core", samples.iter().map(share).collect());
        row.put("housekeeping", samples);
        row.constant("tables", each(heap_tables, heap));
        row.constant("lanes", each(heap_lanes, heap_tables));
        // Of few sessions the pages say nothing.
        if let Some(rss) = rss_of_fresh_process(*sites).filter(|_| *sites >= 100) {
            row.constant("rss", rss / (2 * sites) as f64 / 1024.0);
        }
        row
    });
    let rows = rows.collect();
    Scenario {
        name: "scale-sessions".into(),
        title: "sessions at rest: the worker's housekeeping, due ten times a second, and memory of one worker with \
                one lane each way"
            .into(),
        columns: vec![
            Column::new("housekeeping", "housekeeping", "clk", Better::Lower),
            Column::new("session", "a session", "clk", Better::Lower),
            Column::new("core", "share of a core", "ppm", Better::Lower),
            Column::new("tables", "tables a session", "KiB", Better::None),
            Column::new("lanes", "lanes a session", "KiB", Better::None),
            Column::new("rss", "RSS a session", "KiB", Better::None),
        ],
        rows,
        notes: vec![
            "tables of a few sessions are the VLAN and tunnel maps, which are there once; RSS is of a fresh process \
             and includes tables and what AEAD engines in C allocate"
                .into(),
        ],
    }
}

fn workers(bench: &mut Bench, pool: &MbufPool) -> Result<Scenario, String> {
    let turns = bench.extent.pick(7, 21);
    let sizes = [Size::Fixed(64), Size::Fixed(1514)];
    let bar = progress("scale", turns * sizes.len());
    let mut rows = Vec::new();
    for size in sizes {
        let shape = Shape { macs: MACS, ..Shape::base() };
        let (a, b) = (site::common(1, &shape, 4096, true), site::common(2, &shape, 4096, true));
        let (mut one, mut two) = (Vec::new(), Vec::new());
        for _ in 0..turns {
            bench.probe();
            for (count, mpps) in [(1, &mut one), (2, &mut two)] {
                mpps.push(together(&bench.clock, count, pool, (&a, &b), shape, size)?);
            }
            bar.inc(1);
        }
        let mut row = Row::new(format!("workers/{}", size.name())).label("frame", size.name());
        row.put("ratio", two.iter().zip(&one).map(|(two, one)| two / one).collect());
        row.put("one", one);
        row.put("two", two);
        rows.push(row);
    }
    bar.finish_and_clear();
    let mut notes = vec![
        "workers share tables and forwarding databases; each has its own lanes, engine and buffers' cache"
            .into(),
    ];
    if cores::count() < 2 {
        notes.push("there is only one core: two workers share it".into());
    }
    Ok(Scenario {
        name: "scale-workers".into(),
        title: format!(
            "both ends of one site, {} pairs of stations, one worker and two on a core each",
            MACS / 2
        ),
        columns: vec![
            Column::new("one", "one worker", "Mpps", Better::Higher),
            Column::new("two", "two workers", "Mpps", Better::Higher),
            Column::new("ratio", "two/one", RATIO, Better::Higher),
        ],
        rows,
        notes,
    })
}

/// So many workers at the same time: the sum of what they do, in Mpps.
fn together(
    clock: &Clock,
    count: usize,
    pool: &MbufPool,
    (a, b): (&Arc<Common>, &Arc<Common>),
    shape: Shape,
    size: Size,
) -> Result<f64, String> {
    let barrier = std::sync::Barrier::new(count);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..count)
            .map(|index| {
                let (a, b, barrier) = (Arc::clone(a), Arc::clone(b), &barrier);
                scope.spawn(move || {
                    // An error before the barrier would keep the others waiting for ever.
                    let pinned = Pinned::to(index % cores::count().max(1));
                    let registered = ThreadRegistration::register();
                    let mut sites = site::pair(a, b, &shape, pool, index as u32);
                    let mut section = Section::new(shape, size, 32, pool);
                    let warm = work(clock, &mut section, &mut sites, SECTIONS / 10);
                    barrier.wait();
                    let ticks = warm.and_then(|_| work(clock, &mut section, &mut sites, SECTIONS))?;
                    let _ends = (pinned?, registered.map_err(|error| error.to_string())?);
                    Ok(1000.0 * clock.ghz() * section.len() as f64 / ticks)
                })
            })
            .collect();
        let ended = workers
            .into_iter()
            .map(|worker| worker.join().map_err(|_| "a worker has panicked".to_owned())?);
        ended.sum::<Result<f64, String>>()
    })
}

/// The ticks of the median section.
fn work(clock: &Clock, section: &mut Section, sites: &mut (Site, Site), count: usize) -> Result<f64, String> {
    let mut ticks = Vec::with_capacity(count);
    for _ in 0..count {
        let taken = section.run(clock, &mut sites.0, &mut sites.1, |_| {})?;
        ticks.push(taken.encrypt + taken.decrypt);
    }
    Ok(stats::median(&ticks))
}

/// What two appliances with so many sessions between them take of a process that has done nothing else: one that has,
/// has memory left over, and takes less.
fn rss_of_fresh_process(sessions: usize) -> Option<f64> {
    let program = std::env::current_exe().ok()?;
    let output = std::process::Command::new(program).args(["rss", &sessions.to_string()]).output().ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

/// `perf rss`: octets.
pub(crate) fn rss(sessions: usize) -> Result<u64, String> {
    let mut bench = Bench::new(Extent::Quick);
    let pool = bench.pool()?;
    let shape = Shape { sites: sessions, ..Shape::base() };
    let before = resident();
    let common = |id| site::common(id, &shape, 4096, false);
    let sites = site::pair(common(1), common(2), &shape, &pool, 0);
    let after = resident();
    drop(sites);
    Ok(after.saturating_sub(before))
}

/// Octets of this process that are in memory.
fn resident() -> u64 {
    const PAGE: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_is_in_memory() {
        assert!(super::resident() > 100_000);
    }
}
