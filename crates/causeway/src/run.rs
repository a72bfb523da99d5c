//! `causeway run` and `causeway check`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use config::Config;
use control::clock::Clock;
use control::{Appliance, Params, check_files, check_verifiers};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::{Failure, logging, start};

/// Checks all that can be checked without starting.
pub(crate) fn check(path: &Path) -> Result<(), Failure> {
    let (_, warnings) = load(path)?;
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    println!("{} is good", path.display());
    Ok(())
}

/// Reads a configuration with all that it names, and returns it with what is to be warned of.
fn load(path: &Path) -> Result<(Config, Vec<String>), Failure> {
    let config = Config::load(path)?;
    let in_file = |error: &dyn std::error::Error| Failure(format!("{}: {error}", path.display()));
    check_verifiers(&config).map_err(|error| in_file(&error))?;
    let warnings = check_files(&config).map_err(|error| in_file(&error))?;
    Ok((config, warnings))
}

/// Runs the appliance until it is told to end.
pub(crate) fn run(path: &Path) -> Result<(), Failure> {
    let config = Config::load(path)?;
    logging::start(config.system.log);
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // A second signal ends the process at once.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    let reload = Arc::new(AtomicBool::new(false));
    flag::register(SIGHUP, Arc::clone(&reload))?;
    let file = path.to_owned();
    let clock = Clock::start();
    let (data_plane, controls) = start::start(&config, clock)?;
    let appliance = Appliance::new(Params {
        config,
        load: Box::new(move || load(&file).map(|(config, _)| config).map_err(|Failure(reason)| reason)),
        reload,
        ports: controls.ports,
        tables: controls.tables,
        fdb: controls.fdb,
        counters: controls.counters,
        commands: controls.commands,
        events: controls.events,
        notices: controls.notices,
        port_states: controls.port_states,
        host_ports: controls.host_ports,
        clock,
    });
    let ended = match appliance {
        Ok(appliance) => appliance.run(&stop),
        Err(error) => Err(error),
    };
    let stopped = data_plane.stop();
    ended?;
    stopped
}
