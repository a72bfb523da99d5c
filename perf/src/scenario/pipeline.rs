//! Scenario *pipeline*: the worker's own code over real mbufs, one core, no ports. Site A packs and seals what its
//! trunk receives, site B opens and unpacks it.
//!
//! A row is measured in short turns. Each turn has the pipeline's two halves, the same records sealed and opened by the
//! lanes alone, and the noise probe; turns of different frame sizes alternate. So a ratio holds on a machine whose
//! speed changes.

use std::time::{Duration, Instant};

use dpdk::MbufPool;

use crate::bench::{Bench, Extent, progress};
use crate::frames::Size;
use crate::scenario::aead::Alone;
use crate::scenario::section::{Section, Taken};
use crate::schema::{Better, Column, RATIO, Row, Scenario};
use crate::site::{self, Aead, Attachment, BURST, Feature, Shape, Site};
use crate::stats;

/// What one turn takes, with all that is around the measured sections.
const TURN: Duration = Duration::from_millis(15);

/// The sites and how many frames come at a time.
#[derive(Clone, Copy, PartialEq)]
struct Case {
    shape: Shape,
    burst: usize,
}

impl Case {
    /// What the axes are varied from.
    fn base() -> Self {
        Self { shape: Shape::base(), burst: 32 }
    }
}

const BURSTS: [usize; 4] = [1, 4, 32, 64];
const MACS: [usize; 3] = [10, 10_000, 1_000_000];
const SITES: [usize; 3] = [1, 64, 1000];
const SEGMENTS: [usize; 2] = [1, 4000];

/// One frame size of a case while it is measured.
struct Running {
    size: Size,
    section: Section,
    alone: Alone,
    encrypt: Vec<f64>,
    decrypt: Vec<f64>,
    seal: Vec<f64>,
    open: Vec<f64>,
    allocations: u64,
    measured: u64,
    /// Sections of a turn, so that it takes [`TURN`].
    sections: usize,
}

/// Measures.
pub(crate) fn run(bench: &mut Bench) -> Result<Scenario, String> {
    let pool = bench.pool()?;
    let cases = cases(bench.extent);
    let bar = progress("pipeline", cases.len());
    let mut rows = Vec::new();
    for case in cases {
        bar.set_message(name(&case));
        rows.extend(measure(bench, &pool, case, &sizes(bench.extent, &case))?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(Scenario {
        name: "pipeline".into(),
        title: format!(
            "the data path over DPDK mbufs, one core, known unicast, no ports; base: VLAN, WAN MTU 1500, AES-128-GCM \
             ({}), bursts of 32, 10 MAC addresses, 1 site, 1 segment, MSS clamping on; clk are TSC ticks a frame",
            site::aead().name()
        ),
        columns: columns(),
        rows,
        notes: vec![],
    })
}

/// What is different from the base.
fn name(case: &Case) -> String {
    let Case { shape, burst } = case;
    let Case { shape: base, burst: base_burst } = Case::base();
    let differences = [
        (shape.attachment != base.attachment, "vxlan".into()),
        (shape.wan_mtu != base.wan_mtu, format!("wan-{}", shape.wan_mtu)),
        (shape.aes != base.aes, format!("aes-{}", shape.aes)),
        (shape.aead != base.aead, shape.aead.name().into()),
        (*burst != base_burst, format!("burst-{burst}")),
        (shape.macs != base.macs, format!("macs-{}", shape.macs)),
        (shape.sites != base.sites, format!("sites-{}", shape.sites)),
        (shape.segments != base.segments, format!("segments-{}", shape.segments)),
        (shape.feature != base.feature, format!("feature-{}", shape.feature.name())),
    ];
    let names: Vec<String> = differences.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect();
    if names.is_empty() { "base".into() } else { names.join("+") }
}

/// One axis at a time, or all combinations. Bursts that the data path does not take are left out.
fn cases(extent: Extent) -> Vec<Case> {
    let base = Shape::base();
    let mut cases = vec![Case::base()];
    let mut add = |case: Case| {
        if case.burst <= BURST && !cases.contains(&case) {
            cases.push(case);
        }
    };
    let shaped = |shape| Case { shape, ..Case::base() };
    BURSTS.iter().for_each(|burst| add(Case { burst: *burst, ..Case::base() }));
    add(shaped(Shape { attachment: Attachment::Vxlan, ..base }));
    add(shaped(Shape { wan_mtu: 9000, ..base }));
    add(shaped(Shape { aes: 256, ..base }));
    add(shaped(Shape { aead: Aead::Ring, ..base }));
    MACS.iter().for_each(|macs| add(shaped(Shape { macs: *macs, ..base })));
    SITES.iter().for_each(|sites| add(shaped(Shape { sites: *sites, ..base })));
    SEGMENTS.iter().for_each(|segments| add(shaped(Shape { segments: *segments, ..base })));
    Feature::ALL.iter().for_each(|feature| add(shaped(Shape { feature: *feature, ..base })));
    if extent == Extent::Full {
        for at in 0..2 * 2 * 2 * BURSTS.len() * MACS.len() * SITES.len() * SEGMENTS.len() {
            let mut rest = at;
            let mut pick = |choices: usize| {
                let picked = rest % choices;
                rest /= choices;
                picked
            };
            let shape = Shape {
                attachment: [Attachment::Vlan, Attachment::Vxlan][pick(2)],
                wan_mtu: [1500, 9000][pick(2)],
                aes: [128, 256][pick(2)],
                aead: base.aead,
                macs: MACS[pick(3)],
                sites: SITES[pick(3)],
                segments: SEGMENTS[pick(2)],
                feature: base.feature,
            };
            add(Case { shape, burst: BURSTS[pick(4)] });
        }
    }
    cases
}

/// A quick run has all sizes for the base only.
fn sizes(extent: Extent, case: &Case) -> Vec<Size> {
    if extent == Extent::Quick && *case != Case::base() {
        return vec![Size::Fixed(64), Size::Fixed(1514)];
    }
    Size::ALL.to_vec()
}

fn measure(bench: &mut Bench, pool: &MbufPool, case: Case, sizes: &[Size]) -> Result<Vec<Row>, String> {
    let (mut a, mut b) = site::learned_pair(&case.shape, pool);
    let mut running: Vec<Running> = sizes.iter().map(|size| Running::new(*size, &case, pool)).collect();
    let turns = bench.extent.pick(31, 61);
    for turn in 0..turns + 2 {
        for running in &mut running {
            // The first two turns fill caches and find out how many sections a turn has.
            running.turn(bench, &mut a, &mut b, turn > 1)?;
            bench.probe();
        }
    }
    Ok(running.into_iter().map(|running| running.row(bench, &case)).collect())
}

impl Running {
    fn new(size: Size, case: &Case, pool: &MbufPool) -> Self {
        Self {
            size,
            section: Section::new(case.shape, size, case.burst, pool),
            alone: Alone::new(&case.shape),
            encrypt: vec![],
            decrypt: vec![],
            seal: vec![],
            open: vec![],
            allocations: 0,
            measured: 0,
            sections: 4,
        }
    }

    fn turn(&mut self, bench: &Bench, a: &mut Site, b: &mut Site, count: bool) -> Result<(), String> {
        let (sections, frames) = (self.sections, self.section.len());
        let mut taken: [Vec<f64>; 4] = std::array::from_fn(|_| Vec::with_capacity(sections));
        let start = Instant::now();
        for _ in 0..sections {
            let Taken { encrypt, decrypt, allocations } =
                self.section.run(&bench.clock, a, b, |packets| self.alone.learn(packets))?;
            let (seal, open) = self.alone.turn(&bench.clock);
            taken.iter_mut().zip([encrypt, decrypt, seal, open]).for_each(|(all, ticks)| all.push(ticks));
            if count {
                self.allocations += allocations;
                self.measured += frames as u64;
            }
        }
        if !count {
            let share = TURN.as_secs_f64() / start.elapsed().as_secs_f64();
            self.sections = ((sections as f64 * share) as usize).clamp(4, 2000);
        } else {
            // The median section: one during which the kernel gave the core to somebody else does not count.
            let [encrypt, decrypt, seal, open] = taken.map(|ticks| stats::median(&ticks) / frames as f64);
            self.encrypt.push(encrypt);
            self.decrypt.push(decrypt);
            self.seal.push(seal);
            self.open.push(open);
        }
        Ok(())
    }

    fn row(self, bench: &Bench, case: &Case) -> Row {
        let Case { shape, burst } = case;
        let case_name = name(case);
        let mut row = Row::new(format!("{case_name}/{}", self.size.name()))
            .label("case", &case_name)
            .label("frame", self.size.name())
            .label("attachment", format!("{:?}", shape.attachment).to_lowercase())
            .label("wan", shape.wan_mtu)
            .label("aes", shape.aes)
            .label("aead", shape.aead.name())
            .label("burst", burst)
            .label("macs", shape.macs)
            .label("sites", shape.sites)
            .label("segments", shape.segments)
            .label("feature", shape.feature.name());
        let both: Vec<f64> = self.encrypt.iter().zip(&self.decrypt).map(|(a, b)| a + b).collect();
        let ratio = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a / b).collect();
        row.put("ratio_encrypt", ratio(&self.encrypt, &self.seal));
        row.put("ratio_decrypt", ratio(&self.decrypt, &self.open));
        let mpps = |ticks: &[f64]| -> Vec<f64> {
            ticks.iter().map(|ticks| 1000.0 * bench.clock.ghz() / ticks).collect()
        };
        let gbit = |mpps: &[f64]| mpps.iter().map(|mpps| mpps * self.size.mean() * 8.0 / 1000.0).collect();
        for (key, ticks) in [("encrypt", self.encrypt), ("decrypt", self.decrypt), ("both", both)] {
            let mpps = mpps(&ticks);
            row.put(&format!("gbit_{key}"), gbit(&mpps));
            row.put(&format!("mpps_{key}"), mpps);
            row.put(key, ticks);
        }
        row.put("seal", self.seal);
        row.put("open", self.open);
        row.constant("records", self.alone.records() as f64 / self.section.len() as f64);
        row.constant("allocations", self.allocations as f64 / self.measured.max(1) as f64);
        row
    }
}

fn columns() -> Vec<Column> {
    use Better::{Higher, Lower, None};
    let mut columns = vec![
        Column::new("encrypt", "encrypt", "clk", Lower),
        Column::new("decrypt", "decrypt", "clk", Lower),
        Column::new("both", "both", "clk", Lower),
        Column::new("seal", "seal alone", "clk", None),
        Column::new("open", "open alone", "clk", None),
        Column::new("ratio_encrypt", "enc/seal", RATIO, Lower),
        Column::new("ratio_decrypt", "dec/open", RATIO, Lower),
    ];
    for (key, shown) in [("encrypt", "enc"), ("decrypt", "dec"), ("both", "both")] {
        let mpps = Column::new(&format!("mpps_{key}"), shown, "Mpps", Higher);
        columns.push(mpps.detail());
        let gbit = Column::new(&format!("gbit_{key}"), shown, "Gbit/s", Higher);
        columns.push(if key == "both" { gbit.detail() } else { gbit });
    }
    columns.push(Column::new("records", "records", "a frame", None).detail());
    columns.push(Column::new("allocations", "allocs", "a frame", None));
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_matrix_varies_one_axis_at_a_time() {
        let names: Vec<String> = cases(Extent::Usual).iter().map(name).collect();
        assert!(names.iter().all(|name| !name.contains('+')), "{names:?}");
        for wanted in
            ["base", "burst-1", "vxlan", "wan-9000", "aes-256", "macs-1000000", "sites-1000", "segments-4000"]
        {
            assert_eq!(names.iter().filter(|name| *name == wanted).count(), 1, "{wanted}");
        }
    }

    #[test]
    fn the_full_matrix_has_every_combination_once() {
        let all = cases(Extent::Full);
        let bursts = BURSTS.iter().filter(|burst| **burst <= BURST).count();
        // `ring` is one case beside the engine that is taken by itself, where that is another.
        let engines = usize::from(site::aead() != Aead::Ring);
        assert_eq!(all.len(), 2 * 2 * 2 * 3 * 3 * 2 * bursts + engines + Feature::ALL.len() - 1);
    }
}
