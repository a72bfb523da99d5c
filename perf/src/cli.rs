//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The benchmark harness of Causeway: perf/README.md.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Measure (the default).
    Run(RunArgs),
    /// Say what changed from one run to another.
    Compare {
        /// The run before, as `run --json` wrote it.
        before: PathBuf,
        /// The run after.
        after: PathBuf,
    },
    /// Join runs of one revision into one, with all their samples.
    Merge {
        /// The file to write.
        out: PathBuf,
        /// The runs.
        #[arg(required = true)]
        runs: Vec<PathBuf>,
    },
    /// Write the HTML report of a run.
    Html {
        /// The run, as `run --json` wrote it.
        run: PathBuf,
        /// The file to write.
        out: PathBuf,
    },
    /// The device under test of the scenarios on ports; they start it.
    #[command(hide = true)]
    Dut(DutArgs),
    /// What the sessions of scenario scale take in a fresh process; it starts this.
    #[command(hide = true)]
    Rss {
        /// Sessions.
        sessions: usize,
    },
}

#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    /// Fewer rows and fewer turns.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Every combination of the pipeline's axes: takes most of an hour.
    #[arg(long, conflicts_with = "quick")]
    pub(crate) full: bool,
    /// Write the run as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the run as an HTML page.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Scenario end-to-end: only these peers, separated by commas.
    #[arg(long, value_name = "LIST")]
    pub(crate) peers: Option<String>,
    /// What to measure; without any, all but end-to-end.
    #[arg(value_name = "SCENARIO")]
    pub(crate) scenarios: Vec<Name>,
}

/// The scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// The data path over real mbufs, no ports: ticks a frame.
    Pipeline,
    /// What each stage of the data path takes.
    Stages,
    /// Two sites behind memif ports: RFC 2544 and RFC 2889.
    Ports,
    /// Two sites behind memif ports: the delay of every frame.
    Latency,
    /// Sessions by number, and two workers.
    Scale,
    /// Two appliances in network namespaces, beside others of their kind.
    EndToEnd,
}

/// What the device under test is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Two sites.
    Causeway,
    /// Nothing but a forwarder between the two ports.
    Forward,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct DutArgs {
    /// What to be.
    #[arg(long, value_enum)]
    pub(crate) mode: Mode,
    /// Directory of the two sockets.
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// Core to run on.
    #[arg(long)]
    pub(crate) core: usize,
    /// Addresses that the forwarding database of each site takes.
    #[arg(long, default_value_t = 65_536)]
    pub(crate) max_macs: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_is_the_default() {
        let cli = Cli::try_parse_from(["perf", "--quick", "pipeline", "end-to-end"]).expect("valid");
        assert!(cli.command.is_none() && cli.run.quick);
        assert_eq!(cli.run.scenarios, [Name::Pipeline, Name::EndToEnd]);
        let cli = Cli::try_parse_from(["perf", "run", "scale"]).expect("valid");
        assert!(matches!(cli.command, Some(Command::Run(args)) if args.scenarios == [Name::Scale]));
        assert!(Cli::try_parse_from(["perf", "no-such-scenario"]).is_err());
        let compare = Cli::try_parse_from(["perf", "compare", "a", "b"]).expect("valid");
        assert!(matches!(compare.command, Some(Command::Compare { .. })));
    }
}
