//! `perf run`: the scenarios one after the other, then the verdict on the machine, then the tables.

use crate::bench::{Bench, Extent};
use crate::cli::{Name, RunArgs};
use crate::report::{file, html, table};
use crate::schema::{Report, SCHEMA, Scenario};
use crate::{goals, host, scenario};

/// All that run when none is named. End to end takes the whole machine and root, so it is asked for by name.
const DEFAULT: &[Name] = &[Name::Pipeline, Name::Stages, Name::Ports, Name::Latency, Name::Scale];

/// Measures, prints and writes.
pub(crate) fn run(args: &RunArgs) -> Result<(), String> {
    if cfg!(debug_assertions) {
        eprintln!("perf: this is a debug build, whose figures mean nothing");
    }
    let extent = match (args.quick, args.full) {
        (true, _) => Extent::Quick,
        (_, true) => Extent::Full,
        _ => Extent::Usual,
    };
    let mut bench = Bench::new(extent);
    let names = if args.scenarios.is_empty() { DEFAULT } else { &args.scenarios };
    let mut scenarios = Vec::new();
    for name in names {
        scenarios.extend(measure(&mut bench, *name, args)?);
    }
    let noise = bench.noise();
    for scenario in &mut scenarios {
        goals::annotate(scenario, &noise);
    }
    let report = Report { schema: SCHEMA, host: host::describe(), noise, scenarios };
    let dirty = if report.host.dirty { " with changes" } else { "" };
    println!(
        "{}{dirty}, {}, {} GHz TSC, {}; the reference (AES-128-GCM of 1440 octets, ring) took {:.0} clk",
        report.host.revision,
        report.host.cpu,
        bench.clock.ghz(),
        report.host.aead,
        bench.probe.median()
    );
    report.scenarios.iter().for_each(|scenario| table::print(scenario, &report.noise));
    table::print_noise(&report.noise);
    if let Some(path) = &args.json {
        file::write(path, &report)?;
    }
    if let Some(path) = &args.html {
        file::write_text(path, &html::page(&report))?;
    }
    Ok(())
}

fn measure(bench: &mut Bench, name: Name, args: &RunArgs) -> Result<Vec<Scenario>, String> {
    match name {
        Name::Pipeline => scenario::pipeline::run(bench).map(|scenario| vec![scenario]),
        Name::Ports => scenario::ports::run(bench),
        Name::Latency => scenario::latency::run(bench).map(|scenario| vec![scenario]),
        Name::Stages => scenario::stages::run(bench).map(|scenario| vec![scenario]),
        Name::Scale => scenario::scale::run(bench),
        Name::EndToEnd => {
            scenario::e2e::run(bench.extent, args.peers.as_deref()).map(|scenario| vec![scenario])
        }
    }
}
