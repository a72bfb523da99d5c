//! The control thread's loop: sockets, timers and workers' events go into the session state machines, and what comes
//! out of them goes to sockets, workers and tables.

mod inputs;
mod outputs;

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bridge::{Fdb, SessionIndex};
use config::{Config, Mode, Role};
use counters::{Counters, DropReason};
use crossbeam::channel::{Receiver, Sender};
use pipeline::command::{Command, Event};
use pipeline::notice::Notice;
use pipeline::tables::Tables;
use record::LaneId;
use session::{Now, SessionView};

use crate::backlog::Backlog;
use crate::clock::Clock;
use crate::configure::{CheckText, Configure};
use crate::connections::{Connections, SetupError};
use crate::consoles::Consoles;
use crate::datasock::{HeldPort, HoldError};
use crate::engine;
use crate::fallback::RecordQueues;
use crate::gateways::{Gateways, HostPorts};
use crate::guard::Guard;
use crate::hops::Hops;
use crate::insight::Insight;
use crate::layout::{Changes, Layout};
use crate::life::Life;
use crate::nexthop::Routes;
use crate::operator::{Log, Operator};
use crate::places::NoPlace;
use crate::random::OsRandom;
use crate::reopen::Reopening;
use crate::requests::socket::RequestSocket;
use crate::sessions::{BadVerifier, Sessions};
use crate::show::{Lines, Shown};
use crate::snapshot::{PortInfo, Remote, Source};
use crate::watched::Watched;

/// How often the workers' events are looked at. They do not wake us, since that would cost them a system call.
const TICK: Duration = Duration::from_millis(5);

/// How often the workers' counters are looked at for signs of life.
const LIFE_INTERVAL: Duration = Duration::from_millis(50);

/// The FDB is aged in so many steps, one a second.
const AGEING_STEPS: usize = 8;

/// The last farewells have so long.
const SHUTDOWN_TIME: Duration = Duration::from_millis(500);

/// What the control thread works with.
pub struct Params {
    /// The configuration that it starts with.
    pub config: Config,
    /// Reads the configuration anew, with all checks.
    pub load: Box<dyn Fn() -> Result<Config, String>>,
    /// The configuration's file.
    pub file: PathBuf,
    /// Checks a text as `load` checks the file.
    pub check: CheckText,
    /// Set when the configuration is to be read anew.
    pub reload: Arc<AtomicBool>,
    /// The ports, in the order of their indices.
    pub ports: Vec<PortInfo>,
    /// Where the workers look.
    pub tables: Arc<ArcSwap<Tables>>,
    /// The forwarding database.
    pub fdb: Arc<Fdb>,
    /// The workers' counters.
    pub counters: Counters,
    /// Orders to each worker.
    pub commands: Vec<Sender<Command>>,
    /// News from the workers.
    pub events: Receiver<Event>,
    /// News of the traffic.
    pub notices: Receiver<Notice>,
    /// Tells the state of each port's line.
    pub lines: Box<dyn Lines>,
    /// Opens the ports of gateways.
    pub host_ports: Box<dyn HostPorts>,
    /// The way of records between workers and TLS connections.
    pub records: Box<dyn RecordQueues>,
    /// The time that the workers share.
    pub clock: Clock,
    /// The log.
    pub log: Log,
}

/// The appliance cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The control channel.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A verifier.
    #[error(transparent)]
    Verifier(#[from] BadVerifier),
    /// A UDP port.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// The socket that requests come to.
    #[error("cannot listen on {0}: {1}")]
    Socket(std::path::PathBuf, io::Error),
    /// The consoles.
    #[error("{0}")]
    Consoles(String),
    /// The configuration has more of something than there can be.
    #[error("the configuration has too many segments, attachments or sites")]
    NoPlace,
    /// The metrics.
    #[error(transparent)]
    Serve(#[from] watch::ServeError),
    /// Anything else that the system refuses.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
}

/// The control thread's state.
pub struct Appliance {
    pub(crate) parts: Parts,
    pub(crate) layout: Layout,
    pub(crate) sessions: Sessions,
    pub(crate) connections: Connections,
    pub(crate) records: Box<dyn RecordQueues>,
    pub(crate) requests: RequestSocket,
    pub(crate) consoles: Consoles,
    pub(crate) watched: Watched,
    pub(crate) gateways: Gateways,
    pub(crate) guard: Guard,
    pub(crate) insight: Insight,
    data_port: HeldPort,
    /// Of each port with a VTEP, in the order of the configuration.
    pub(crate) vtep_ports: Vec<HeldPort>,
    pub(crate) remotes: Vec<Remote>,
    pub(crate) hops: Hops,
    life_due: Now,
    ageing_due: Now,
    ageing_cursor: usize,
    life: Life,
    /// What was removed from the configuration, and when its addresses are to be forgotten once more.
    pub(crate) removed: Vec<(Now, Changes)>,
    generation: u64,
    /// Snapshots that a worker may still hold.
    graveyard: Vec<Arc<Tables>>,
    /// Commands that a worker's queue had no room for.
    backlog: Backlog,
    pub(crate) dirty: bool,
    pub(crate) reopening: Reopening,
    /// Sessions that have ended, and whose addresses are still in the FDB.
    gone: HashSet<SessionIndex>,
    pub(crate) configure: Configure,
    pub(crate) operator: Operator,
}

/// What stays as it is while the appliance runs.
pub(crate) struct Parts {
    pub(crate) load: Box<dyn Fn() -> Result<Config, String>>,
    reload: Arc<AtomicBool>,
    pub(crate) ports: Vec<PortInfo>,
    tables: Arc<ArcSwap<Tables>>,
    pub(crate) fdb: Arc<Fdb>,
    pub(crate) counters: Counters,
    pub(crate) commands: Vec<Sender<Command>>,
    pub(crate) events: Receiver<Event>,
    pub(crate) notices: Receiver<Notice>,
    pub(crate) lines: Box<dyn Lines>,
    clock: Clock,
}

impl Appliance {
    /// Opens sockets and reads files; nothing is sent yet.
    ///
    /// # Errors
    /// What of it the system or a file refuses.
    pub fn new(params: Params) -> Result<Self, ControlError> {
        let Params { file, check, config, load, reload, ports, tables, fdb, counters, .. } = params;
        let Params { commands, events, notices, lines, host_ports, mut records, clock, log, .. } = params;
        let configure = Configure::new(file, check, &config);
        let operator = Operator::new(counters.clone(), log);
        let now = clock.now();
        let engine = engine::choose(config.system.aead);
        let sessions = Sessions::new(&config, engine, Box::new(OsRandom::new()), now)?;
        let connections = Connections::new(&config.mode)?;
        records.wakes(connections.wakes());
        let data_port = HeldPort::everywhere(match &config.mode {
            Mode::Server(server) => server.data_port,
            Mode::Client(client) => client.data_port,
        })?;
        let vtep_ports = vtep_ports(&config)?;
        let socket = &config.system.socket;
        let requests = RequestSocket::bind(socket, connections.registry())
            .map_err(|error| ControlError::Socket(socket.clone(), error))?;
        let watched = Watched::new(&config, now)?;
        let consoles =
            Consoles::new(&config.console, connections.registry()).map_err(ControlError::Consoles)?;
        let no_netlink = |error| ControlError::System("cannot ask the kernel for routes", error);
        let hops = Hops::new(&config).map_err(no_netlink)?;
        let uplink = config.ports.iter().position(|port| port.role == Role::Uplink);
        let uplink = uplink.and_then(|at| ports.get(at)).map_or_else(Default::default, |info| info.mac);
        let gateways = Gateways::new(Routes::new().map_err(no_netlink)?, host_ports, ports.len(), uplink);
        let guard = Guard::new(&config);
        let insight = Insight::new(guard.mac());
        let layout = Layout::new(config, now).map_err(|NoPlace| ControlError::NoPlace)?;
        let backlog = Backlog::new(commands.len());
        let mut appliance = Self {
            parts: Parts {
                load,
                reload,
                ports,
                tables,
                fdb,
                counters,
                commands,
                events,
                notices,
                lines,
                clock,
            },
            layout,
            sessions,
            connections,
            records,
            requests,
            watched,
            consoles,
            gateways,
            guard,
            insight,
            data_port,
            vtep_ports,
            remotes: Vec::new(),
            hops,
            life_due: now,
            ageing_due: now,
            ageing_cursor: 0,
            life: Life::default(),
            removed: Vec::new(),
            generation: 0,
            graveyard: Vec::new(),
            backlog,
            dirty: true,
            reopening: Reopening::default(),
            gone: HashSet::new(),
            configure,
            operator,
        };
        appliance.adopt();
        Ok(appliance)
    }

    /// Runs until `stop` is set, then says goodbye.
    ///
    /// # Errors
    /// The system's event queue fails.
    pub fn run(mut self, stop: &AtomicBool) -> Result<(), ControlError> {
        self.watched.ready();
        while !stop.load(Ordering::Relaxed) {
            self.round()?;
        }
        self.watched.stopping();
        tracing::info!("ends in order");
        let now = self.now();
        self.gateways.close_all();
        self.sessions.shutdown(now);
        self.outputs();
        while self.connections.is_closing() && self.now() < now + SHUTDOWN_TIME {
            self.connections
                .wait(TICK, || now)
                .map_err(|error| ControlError::System("cannot wait for events", error))?;
        }
        Ok(())
    }

    pub(crate) fn now(&self) -> Now {
        self.parts.clock.now()
    }

    fn round(&mut self) -> Result<(), ControlError> {
        let clock = self.parts.clock;
        let pause = if self.records.sleep() { TICK } else { Duration::ZERO };
        let happened = self
            .connections
            .wait(pause, || clock.now())
            .map_err(|error| ControlError::System("cannot wait for events", error))?;
        self.records.awake();
        for (conn, happened) in happened {
            self.connection(conn, happened);
        }
        self.worker_events();
        self.worker_notices();
        let now = self.now();
        self.guard_round(now);
        if now >= self.life_due {
            self.life_due = now + LIFE_INTERVAL;
            self.look_for_life(now);
        }
        if now >= self.sessions.deadline() {
            self.sessions.handle_timeout(now);
        }
        let due = self.hops.is_due(now);
        if let Some(uplinks) = self.hops.uplinks() {
            self.sessions.set_uplinks(now, uplinks);
        }
        if due {
            self.resolve(now);
        }
        if now >= self.ageing_due {
            self.ageing_due = now + Duration::from_secs(1);
            self.age(now);
            self.forget_removed(now);
            self.go_back_when_due();
            self.reopen_ports();
        }
        self.watch(now);
        self.connections.warn_daily(now);
        if self.parts.reload.swap(false, Ordering::Relaxed) {
            match self.reload() {
                Ok(done) => tracing::info!("{done}"),
                Err(error) => tracing::error!("the configuration was not changed: {error}"),
            }
        }
        self.insight_work(now);
        self.outputs();
        if self.dirty {
            self.publish();
        }
        self.backlog.flush(&self.parts.commands);
        self.send_records();
        self.operator_time();
        self.serve_requests();
        Ok(())
    }

    fn resolve(&mut self, now: Now) {
        let views = self.layout.session_indices().into_iter().filter_map(|index| self.sessions.view(index));
        let ways = views.flat_map(|view| view.paths).filter_map(|path| path.way);
        let remotes =
            self.remotes.iter().map(|remote| remote.address).filter(|address| !address.is_multicast());
        self.dirty |= self.hops.resolve(now, ways, remotes);
    }

    fn age(&mut self, now: Now) {
        let fdb = &self.parts.fdb;
        let max_age = self.layout.config().system.mac_age.as_secs() as u32;
        fdb.age(&mut self.ageing_cursor, fdb.buckets().div_ceil(AGEING_STEPS), now.as_secs() as u32, max_age);
    }

    /// The worker that owns a receive lane.
    pub(crate) fn owner(&self, lane: LaneId) -> usize {
        lane.owner(self.parts.commands.len())
    }

    pub(crate) fn command(&mut self, worker: usize, command: Command) {
        if !self.backlog.give(&self.parts.commands, worker, command) {
            self.parts.counters.control().add(DropReason::OwnFrameQueueFull, 1);
        }
    }

    fn source<'a>(&'a self, old: &'a Tables) -> Source<'a> {
        Source {
            layout: &self.layout,
            ports: &self.parts.ports,
            gateways: self.gateways.ports(),
            guard: &self.guard,
            remotes: &self.remotes,
            hops: &self.hops,
            sessions: self.views(),
            data_port: self.data_port.port(),
            watch: self.insight.watch(),
            old,
        }
    }

    /// The sessions that are up, by number.
    fn views(&self) -> Vec<Option<SessionView>> {
        let mut views: Vec<Option<SessionView>> = (0..self.layout.session_places()).map(|_| None).collect();
        for index in self.layout.session_indices() {
            views[usize::from(index.0)] = self.sessions.view(index);
        }
        views
    }

    /// Publishes new tables. The old ones are kept until no worker holds them, so that they are freed here.
    pub(crate) fn publish(&mut self) {
        self.generation += 1;
        if std::mem::take(&mut self.guard.stale) {
            let (now, views) = (self.now(), self.views());
            self.guard.arrange(now, &self.layout, &views);
        }
        let tables = Arc::new(self.source(&self.parts.tables.load()).build(self.generation));
        self.graveyard.push(self.parts.tables.swap(tables));
        self.graveyard.retain(|old| Arc::strong_count(old) > 1);
        self.dirty = false;
    }

    /// The tables in force.
    pub(crate) fn tables(&self) -> Arc<Tables> {
        self.parts.tables.load_full()
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.parts.counters
    }

    /// All that can be shown.
    pub(crate) fn shown<'a>(&'a self, tables: &'a Tables) -> Shown<'a> {
        Shown {
            layout: &self.layout,
            gateways: self.gateways.ports(),
            tables,
            counters: &self.parts.counters,
            fdb: &self.parts.fdb,
            guard: &self.guard,
            sites: self.sessions.status(),
            ports: self.parts.lines.states(),
            shares: self.connections.shares(),
            refused: self.connections.refused(),
            runs: self.service_runs(),
            now: self.now(),
            clock: self.parts.clock,
        }
    }
}

/// Holds the UDP port of every VTEP, and joins its group.
fn vtep_ports(config: &Config) -> Result<Vec<HeldPort>, HoldError> {
    let held = |vtep: &config::Vtep| {
        let port = HeldPort::new(&[vtep.local], vtep.udp_port)?;
        if let Some(group) = vtep.group {
            port.join(group, vtep.local)?;
        }
        Ok(port)
    };
    config.ports.iter().filter_map(|port| port.vtep.as_ref()).map(held).collect()
}
