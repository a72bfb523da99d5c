//! Scenario *stages*: what each stage of the send direction takes, from frames that end after it: of a VLAN that no segment
//! attaches, and to a station on their own side. What whole frames take beyond that and beyond AES-GCM alone is packing, headers and the
//! way out.

use dpdk::MbufPool;

use crate::bench::{Bench, progress};
use crate::frames::{Frames, Size};
use crate::scenario::aead::Alone;
use crate::schema::{Better, Column, Row, Scenario};
use crate::site::{self, Burst, Out, Shape, Site};
use crate::stats;

const SIZES: [Size; 2] = [Size::Fixed(64), Size::Fixed(1514)];

/// Frames in a burst, and bursts in a turn.
const BURST: usize = 32;
const BURSTS: usize = 400;

/// Measures.
pub(crate) fn run(bench: &mut Bench) -> Result<Scenario, String> {
    let mut pool = bench.pool()?;
    let turns = bench.extent.pick(9, 31);
    let bar = progress("stages", SIZES.len());
    let mut rows = Vec::new();
    for size in SIZES {
        let shape = Shape::base();
        let (mut a, _) = site::learned_pair(&shape, &pool);
        let frames = || Frames::new(shape, size);
        let mut kinds = [frames(), frames(), frames()];
        kinds[0].segment = Some(4000);
        kinds[1].hairpin = true;
        let mut alone = Alone::new(&shape);
        let mut taken: [Vec<f64>; 4] = Default::default();
        for turn in 0..=turns {
            for at in 0..kinds.len() {
                let (ticks, sealing) = section(bench, &mut pool, &mut a, &mut kinds[at], &mut alone)?;
                // The first turn fills caches.
                if turn > 0 {
                    taken[at].push(ticks);
                    taken[3].extend((at == 2).then_some(sealing));
                }
            }
            bench.probe();
        }
        rows.push(row(size, taken));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let clk = |key, title| Column::new(key, title, "clk", Better::Lower);
    Ok(Scenario {
        name: "stages".into(),
        title: format!("the send direction by stages, bursts of {BURST}, clk a frame"),
        columns: vec![
            clk("classify", "parse, classify, free"),
            clk("forward", "learn, look up"),
            clk("aead", "AES-GCM alone"),
            clk("pack", "pack, headers, out"),
            clk("whole", "whole"),
        ],
        rows,
        notes: vec![],
    })
}

/// Median ticks a frame, and for whole frames those of AES-GCM alone.
fn section(
    bench: &Bench,
    pool: &mut MbufPool,
    site: &mut Site,
    frames: &mut Frames,
    alone: &mut Alone,
) -> Result<(f64, f64), String> {
    let mut out = Out::new();
    let (mut taken, mut sealing) = (Vec::with_capacity(BURSTS), Vec::with_capacity(BURSTS));
    for _ in 0..BURSTS {
        let burst = (0..BURST).map(|_| frames.next(pool)).collect::<Option<_>>();
        let mut burst: Burst = burst.ok_or("the buffer pool is empty")?;
        let (ticks, ()) = bench.clock.measure(|| {
            site.trunk(&mut burst, &mut out);
            site.finish(&mut out);
        });
        taken.push(ticks);
        if !out.wan.is_empty() {
            alone.learn(out.wan.iter().map(wire::buf::PacketBuf::len));
            sealing.push(alone.turn(&bench.clock).0);
        }
        site::free(&mut out.wan);
    }
    let a_frame = |ticks: &[f64]| stats::median(ticks) / BURST as f64;
    Ok((a_frame(&taken), a_frame(&sealing)))
}

fn row(size: Size, [classify, hairpin, whole, aead]: [Vec<f64>; 4]) -> Row {
    let mut row = Row::new(size.name()).label("frame", size.name());
    let turns = 0..whole.len();
    let forward = turns.clone().map(|at| hairpin[at] - classify[at]).collect();
    let pack = turns.map(|at| whole[at] - hairpin[at] - aead[at]).collect();
    for (key, samples) in
        [("classify", classify), ("forward", forward), ("aead", aead), ("pack", pack), ("whole", whole)]
    {
        row.put(key, samples);
    }
    row
}
