//! `causeway run` and `causeway check`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use config::Config;
use control::certificates::unix_now;
use control::clock::Clock;
use control::{Appliance, Params, Unconfirmed, check_files, check_verifiers};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::{Failure, logging, start};

/// Checks all that can be checked without starting.
pub(crate) fn check(path: &Path) -> Result<(), Failure> {
    let (_, warnings) = load(path)?;
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    let root = machine::Root::new("/");
    for file in machine::service::unreadable(&root, &crate::doctor::of_service(&root, path)) {
        eprintln!("warning: the service cannot read {}: {}", file.display(), machine::service::remedy(&file));
    }
    println!("{} is good", path.display());
    Ok(())
}

/// Reads a configuration with all that it names, and returns it with what is to be warned of.
fn load(path: &Path) -> Result<(Config, Vec<String>), Failure> {
    all_of(path, Config::load(path)?)
}

/// Checks what the configuration of a file names.
fn all_of(path: &Path, config: Config) -> Result<(Config, Vec<String>), Failure> {
    let in_file = |error: &dyn std::error::Error| Failure(format!("{}: {error}", path.display()));
    check_verifiers(&config).map_err(|error| in_file(&error))?;
    let warnings = check_files(&config).map_err(|error| in_file(&error))?;
    Ok((config, warnings))
}

/// Runs the appliance until it is told to end.
pub(crate) fn run(path: &Path) -> Result<(), Failure> {
    let config = load_confirmed(path)?;
    let log = logging::start(config.system.log);
    if config.system.hardening {
        confine::begin()?;
        config.system.user.as_deref().map_or(Ok(()), confine::check_user)?;
    }
    let hardening = config.system.hardening.then(|| confinement(&config));
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // A second signal ends the process at once.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    let reload = Arc::new(AtomicBool::new(false));
    flag::register(SIGHUP, Arc::clone(&reload))?;
    let (file, checked) = (path.to_owned(), path.to_owned());
    let check = move |text: &str| {
        let config = Config::parse(&checked, text).map_err(|errors| errors.to_string())?;
        all_of(&checked, config).map(|(config, _)| config).map_err(|Failure(reason)| reason)
    };
    if let Some(directory) = config.system.socket.parent() {
        std::fs::create_dir_all(directory).map_err(|error| {
            Failure(format!("cannot make {} for the socket: {error}", directory.display()))
        })?;
    }
    let clock = Clock::start();
    let (data_plane, controls) = start::start(&config, clock)?;
    let appliance = Appliance::new(Params {
        config,
        file: path.to_owned(),
        check: Box::new(check),
        load: Box::new(move || load(&file).map(|(config, _)| config).map_err(|Failure(reason)| reason)),
        reload,
        ports: controls.ports,
        tables: controls.tables,
        fdb: controls.fdb,
        counters: controls.counters,
        commands: controls.commands,
        events: controls.events,
        notices: controls.notices,
        lines: controls.lines,
        host_ports: controls.host_ports,
        records: controls.records,
        clock,
        log,
    });
    let ended = appliance.map_err(Failure::from).and_then(|appliance| {
        // All is open now, and no table lets a packet in yet.
        hardening.map_or(Ok(()), |hardening| confine::confine(&hardening))?;
        Ok(appliance.run(&stop)?)
    });
    let stopped = data_plane.stop();
    ended?;
    stopped
}

/// Reads the configuration. One that waits for being confirmed goes back if its time is over, or if it is not good.
fn load_confirmed(path: &Path) -> Result<Config, Failure> {
    let Some(waits) = Unconfirmed::read(path) else { return Ok(Config::load(path)?) };
    let reason = match Config::load(path) {
        Ok(config) if unix_now() < waits.until => return Ok(config),
        Ok(_) => "nobody confirmed it in time".into(),
        Err(errors) => format!("it is not good:\n{errors}"),
    };
    let before = Config::parse(path, &waits.before)?;
    match waits.go_back(path) {
        Ok(()) => eprintln!("the configuration of {} went back to the one before: {reason}", waits.who),
        // The note stays: the appliance tries again.
        Err(error) => eprintln!(
            "the one before the configuration of {} is in force, but cannot be written to {} yet: {error}; {reason}",
            waits.who,
            path.display()
        ),
    }
    Ok(before)
}

/// What this configuration needs beside the usual.
fn confinement(config: &Config) -> confine::Confinement {
    let xdp = |port: &config::Port| matches!(&port.device, config::Device::Vdev(device) if device.starts_with("net_af_xdp"));
    confine::Confinement { user: config.system.user.clone(), xdp: config.ports.iter().any(xdp) }
}
