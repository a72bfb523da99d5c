//! Scenario *stages*: where the ticks of a frame go. Frames that end early, and the record layer alone, are taken from the
//! whole; so a stage's figure holds as far as it costs the same in both. For orientation when something became slower.

use crate::bench::{Bench, progress};
use crate::frames::Size;
use crate::scenario::aead::Alone;
use crate::scenario::section::Section;
use crate::schema::{Better, Column, Row, Scenario};
use crate::site::{self, Shape, Site};
use crate::stats;

const BURST: usize = 32;

/// Sections in a turn.
const SECTIONS: usize = 60;

const SIZES: [Size; 2] = [Size::Fixed(64), Size::Fixed(1514)];

/// The stages in the order of the data path.
const STAGES: [&str; 8] = ["classify", "bridge", "pack", "seal", "parse", "open", "unpack", "total"];

/// Sections of every kind.
struct Kinds {
    /// Ordinary ones.
    whole: Section,
    /// Frames of a VLAN that no segment has: dropped when it is looked up.
    unknown: Section,
    /// Frames to their own side: dropped when the destination has been found.
    hairpin: Section,
    alone: Alone,
}

/// Measures.
pub(crate) fn run(bench: &mut Bench) -> Result<Scenario, String> {
    let pool = bench.pool()?;
    let shape = Shape::base();
    let (mut a, mut b) = site::learned_pair(&shape, &pool);
    let section = |size| Section::new(shape, size, BURST, &pool);
    let kinds = SIZES.map(|size| {
        let mut kinds = Kinds {
            whole: section(size),
            unknown: section(size),
            hairpin: section(size),
            alone: Alone::new(&shape),
        };
        kinds.unknown.frames.segment = Some(shape.segments as u16);
        kinds.hairpin.frames.hairpin = true;
        kinds
    });
    let mut measured: Vec<(Size, Kinds, Vec<[f64; STAGES.len()]>)> =
        SIZES.into_iter().zip(kinds).map(|(size, kinds)| (size, kinds, Vec::new())).collect();
    let turns = bench.extent.pick(31, 101);
    let bar = progress("stages", turns);
    for turn in 0..=turns {
        for (_, kinds, samples) in &mut measured {
            let sample = kinds.turn(bench, &mut a, &mut b)?;
            // The first turn fills caches.
            if turn > 0 {
                samples.push(sample);
            }
            bench.probe();
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let rows = measured.into_iter().map(|(size, _, samples)| {
        let mut row = Row::new(format!("stages/{}", size.name())).label("frame", size.name());
        for (at, stage) in STAGES.iter().enumerate() {
            row.put(stage, samples.iter().map(|sample| sample[at]).collect());
        }
        row
    });
    Ok(Scenario {
        name: "stages".into(),
        title: "where the ticks of a frame go; the base case of scenario pipeline, clk a frame".into(),
        columns: STAGES.map(|stage| Column::new(stage, stage, "clk", Better::Lower)).into(),
        rows: rows.collect(),
        notes: vec![
            "classify: to the VLAN, with the buffer freed; bridge: learn and look up; pack: blocks, copy, outer headers; \
             seal and open: the record layer alone; parse: outer headers, lane, window; unpack: blocks, copy, learn, look \
             up, egress"
                .into(),
        ],
    })
}

impl Kinds {
    /// The median section of each kind, and the stages as differences.
    fn turn(&mut self, bench: &Bench, a: &mut Site, b: &mut Site) -> Result<[f64; STAGES.len()], String> {
        let clock = &bench.clock;
        let mut ticks: [Vec<f64>; 7] = std::array::from_fn(|_| Vec::with_capacity(SECTIONS));
        for _ in 0..SECTIONS {
            let (encrypt, _) = self.whole.encrypt(clock, a)?;
            self.alone.learn(&mut self.whole.packets());
            let copy = self.whole.copy_records().ok_or("the buffer pool is empty")?;
            let (decrypt, _) = self.whole.decrypt(clock, b);
            if self.whole.arrived() != self.whole.len() {
                return Err("frames were lost".into());
            }
            // Received once more: dropped as replayed, before they are opened.
            self.whole.set_records(copy);
            let (replayed, _) = self.whole.decrypt(clock, b);
            let (unknown, _) = self.unknown.encrypt(clock, a)?;
            let (hairpin, _) = self.hairpin.encrypt(clock, a)?;
            let (seal, open) = self.alone.turn(clock);
            if self.whole.arrived() + self.hairpin.arrived() + self.unknown.arrived() > 0 {
                return Err("frames arrived that were to be dropped".into());
            }
            let all = [encrypt, decrypt, replayed, unknown, hairpin, seal, open];
            ticks.iter_mut().zip(all).for_each(|(samples, sample)| samples.push(sample));
        }
        let frames = self.whole.len() as f64;
        let [encrypt, decrypt, replayed, unknown, hairpin, seal, open] =
            ticks.map(|ticks| stats::median(&ticks) / frames);
        Ok([
            unknown,
            hairpin - unknown,
            encrypt - hairpin - seal,
            seal,
            replayed,
            open,
            decrypt - replayed - open,
            encrypt + decrypt,
        ])
    }
}
