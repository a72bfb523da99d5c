//! The benchmark harness: `./dev bench`. What each scenario measures and how to read it: perf/README.md.
#![allow(clippy::print_stdout)]

mod alloc;
mod bench;
mod cli;
mod clock;
mod cores;
mod frames;
mod goals;
mod host;
mod noise;

mod ports;
mod report;
mod run;
mod scenario;
mod schema;
mod site;
mod stats;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::report::{compare, file, html, merge};

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli.command.unwrap_or(Command::Run(cli.run))) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("perf: {error}");
            ExitCode::from(2)
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode, String> {
    match command {
        Command::Run(args) => run::run(&args)?,
        Command::Compare { before, after } => {
            if !compare::print(&file::read(&before)?, &file::read(&after)?) {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Merge { out, runs } => {
            let mut reports = runs.iter().map(|path| file::read(path));
            let mut all = reports.next().ok_or("nothing to merge")??;
            for more in reports {
                merge::merge(&mut all, more?);
            }
            file::write(&out, &all)?;
        }
        Command::Html { run, out } => file::write_text(&out, &html::page(&file::read(&run)?))?,
        Command::Rss { sessions } => println!("{}", scenario::scale::rss(sessions)?),
        Command::Dut(args) => ports::dut::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}
