//! Scenario *scale*: one worker and two, which share nothing but the tables and the FDB; and what sessions cost that are at rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dpdk::{MbufPool, ThreadRegistration};

use crate::bench::{Bench, progress};
use crate::cores::{self, Pinned};
use crate::frames::{Frames, Size};
use crate::schema::{Better, Column, RATIO, Row, Scenario};
use crate::site::{self, Burst, Common, Out, Shape, Site};

const SIZES: [Size; 3] = [Size::Fixed(64), Size::Fixed(1514), Size::Imix];
const SESSIONS: [usize; 3] = [1, 100, 1000];
const BURST: usize = 32;

/// Measures.
pub(crate) fn run(bench: &mut Bench) -> Result<Vec<Scenario>, String> {
    Ok(vec![workers(bench)?, sessions(bench)?])
}

/// Both ends of a site pair on each worker, many flows.
fn workers(bench: &mut Bench) -> Result<Scenario, String> {
    let pool = bench.pool()?;
    let turns = bench.extent.pick(5, 15);
    let time = Duration::from_millis(bench.extent.pick(100, 300));
    let most = cores::count().min(2);
    let bar = progress("scale", SIZES.len() * turns);
    let mut rows = Vec::new();
    for size in SIZES {
        let shape = Shape { macs: 1000, ..Shape::base() };
        let (a, b) = (site::common(1, &shape, 0, true), site::common(2, &shape, 0, true));
        let mut rates: [Vec<f64>; 2] = Default::default();
        for _ in 0..turns {
            for workers in 1..=most {
                bench.probe();
                rates[workers - 1].push(together(workers, (&a, &b), &shape, size, &pool, time)?);
            }
            bar.inc(1);
        }
        let mut row = Row::new(size.name()).label("frame", size.name());
        let ratio = rates[0].iter().zip(&rates[1]).map(|(one, two)| two / one).collect();
        let [one, two] = rates;
        row.put("one", one);
        row.put("two", two);
        row.put("ratio", ratio);
        rows.push(row);
    }
    bar.finish_and_clear();
    let mpps = |key, title| Column::new(key, title, "Mpps", Better::Higher);
    Ok(Scenario {
        name: "workers".into(),
        title: "one site pair, both ends on each worker's core, a lane each, 500 flows".into(),
        columns: vec![
            mpps("one", "1 worker"),
            mpps("two", "2 workers"),
            Column::new("ratio", "2 to 1", RATIO, Better::Higher),
        ],
        rows,
        notes: vec!["on a machine of two cores everything else runs on one of the two workers' cores".into()],
    })
}

/// Frames a microsecond of so many workers at once.
fn together(
    workers: usize,
    (a, b): (&Arc<Common>, &Arc<Common>),
    shape: &Shape,
    size: Size,
    pool: &MbufPool,
    time: Duration,
) -> Result<f64, String> {
    let (go, stop, frames) = (AtomicU64::new(0), AtomicBool::new(false), AtomicU64::new(0));
    let work = |worker: usize| -> Result<(), String> {
        let _pinned = Pinned::to(worker)?;
        let _registered = ThreadRegistration::register().map_err(|error| error.to_string())?;
        let (mut a, mut b) = site::pair(Arc::clone(a), Arc::clone(b), shape, pool, worker as u32);
        let (mut source, mut pool, mut out) = (Frames::new(*shape, size), pool.clone(), Out::new());
        go.fetch_add(1, Ordering::SeqCst);
        while go.load(Ordering::SeqCst) <= workers as u64 {
            std::hint::spin_loop();
        }
        let mut done = 0;
        while !stop.load(Ordering::Relaxed) {
            done += round(&mut a, &mut b, &mut source, &mut pool, &mut out)?;
        }
        frames.fetch_add(done, Ordering::SeqCst);
        Ok(())
    };
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..workers).map(|worker| scope.spawn(move || work(worker))).collect();
        while go.load(Ordering::SeqCst) < workers as u64 && !threads.iter().any(|thread| thread.is_finished())
        {
            std::thread::sleep(Duration::from_micros(100));
        }
        let start = Instant::now();
        go.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        let took = start.elapsed();
        for thread in threads {
            thread.join().map_err(|_| "a worker panicked".to_owned())??;
        }
        Ok(frames.load(Ordering::SeqCst) as f64 / took.as_secs_f64() / 1e6)
    })
}

/// One burst from trunk to trunk.
fn round(
    a: &mut Site,
    b: &mut Site,
    source: &mut Frames,
    pool: &mut MbufPool,
    out: &mut Out,
) -> Result<u64, String> {
    let burst = (0..BURST).map(|_| source.next(pool)).collect::<Option<_>>();
    let mut burst: Burst = burst.ok_or("the buffer pool is empty")?;
    a.trunk(&mut burst, out);
    a.finish(out);
    let mut records = std::mem::take(&mut out.wan);
    while !records.is_empty() {
        let take = records.len().min(site::BURST);
        let mut burst: Burst = records.drain(..take).collect();
        b.uplink(&mut burst, out);
    }
    out.wan = records;
    b.finish(out);
    let arrived = out.lan.len() as u64;
    site::free(&mut out.lan);
    Ok(arrived)
}

/// What sessions cost in which nothing happens: memory, and the housekeeping of a worker, ten times a second.
fn sessions(bench: &mut Bench) -> Result<Scenario, String> {
    let pool = bench.pool()?;
    let mut rows = Vec::new();
    for sessions in SESSIONS {
        let shape = Shape { sites: sessions, ..Shape::base() };
        let before = resident();
        let (mut a, _b) = site::learned_pair(&shape, &pool);
        let memory = resident() - before;
        let mut taken = Vec::new();
        for _ in 0..bench.extent.pick(21, 101) {
            bench.probe();
            taken.push(bench.clock.measure(|| a.housekeeping()).0 / bench.clock.ghz() / 1e3);
        }
        let mut row = Row::new(format!("{sessions} sessions")).label("sessions", sessions);
        row.put("housekeeping", taken);
        row.constant("memory", memory / sessions as f64 / 2.0);
        rows.push(row);
    }
    Ok(Scenario {
        name: "sessions".into(),
        title: "sessions at rest, on one worker".into(),
        columns: vec![
            Column::new("housekeeping", "housekeeping", "us", Better::Lower),
            Column::new("memory", "memory a session and end", "KB", Better::Lower),
        ],
        rows,
        notes: vec!["housekeeping runs ten times a second; memory is the growth of the process, coarse for one session".into()],
    })
}

/// Resident memory of this process in KB.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}
