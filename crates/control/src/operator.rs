//! What operators do to the running appliance: clear, take sites out of service, look closer at the log.

use std::collections::{BTreeMap, HashMap};

use bridge::SessionIndex;
use config::Mode;
use counters::Counters;
use serde_json::{Value, json};
use session::{Admission, Now};

use crate::appliance::Appliance;
use crate::logbook::{Debug, LogBook, SetFilter};
use crate::look::{Filter, Rates};

/// The log, as the control thread sees it.
pub struct Log {
    /// Its last lines.
    pub book: LogBook,
    /// What is in it normally: a filter as `RUST_LOG` has them.
    pub normal: String,
    /// Changes that.
    pub set: SetFilter,
}

/// What is kept for operators.
pub(crate) struct Operator {
    /// The counters since they were cleared.
    pub(crate) counters: Counters,
    pub(crate) cleared: Now,
    pub(crate) rates: Rates,
    pub(crate) book: LogBook,
    pub(crate) debug: Debug,
    /// Whether the service runs, whatever the configuration says.
    service: Option<bool>,
    /// Sites that are enabled or not, whatever the configuration says.
    switched: BTreeMap<String, bool>,
    /// When each session got the keys that it sends with, and for how many lanes.
    keyed: HashMap<SessionIndex, (Now, usize)>,
}

impl Operator {
    pub(crate) fn new(counters: Counters, log: Log) -> Self {
        Self {
            counters,
            cleared: Now::ZERO,
            rates: Rates::default(),
            book: log.book,
            debug: Debug::new(log.normal, log.set),
            service: None,
            switched: BTreeMap::new(),
            keyed: HashMap::new(),
        }
    }

    /// A session sends on another lane from now on.
    pub(crate) fn keyed(&mut self, session: SessionIndex, now: Now) {
        let entry = self.keyed.entry(session).or_insert((now, 0));
        // All lanes of one handshake come together.
        *entry = if entry.0 == now { (now, entry.1 + 1) } else { (now, 1) };
    }

    /// When a session got its keys, and for how many lanes.
    pub(crate) fn keys(&self, session: SessionIndex) -> Option<(Now, usize)> {
        self.keyed.get(&session).copied()
    }

    /// The configuration was put in force anew, and with it what it says of sites.
    pub(crate) fn configured(&mut self) {
        self.service = None;
        self.switched.clear();
    }

    /// Whether a site was switched by hand, and how.
    pub(crate) fn switched(&self, site: &str) -> Option<bool> {
        self.switched.get(site).copied()
    }
}

impl Appliance {
    /// Once a round.
    pub(crate) fn operator_time(&mut self) {
        let now = self.now();
        let places =
            [self.tables().ports.len(), self.layout.session_places(), self.layout.segment_places().count()];
        self.operator.rates.keep_time(now, &self.parts.counters, places);
        self.operator.debug.keep_time(now);
    }

    /// `clear counters`: what is shown counts from now on. Metrics go on.
    pub(crate) fn clear_counters(&mut self) -> String {
        self.operator.counters = self.parts.counters.cleared();
        let tables = self.tables();
        tables
            .segments
            .iter()
            .filter_map(|(_, segment)| segment.policy.storm.as_ref())
            .for_each(|storm| storm.clear());
        self.operator.cleared = self.now();
        "counters are shown from now on; metrics go on counting".into()
    }

    /// `clear mac-table [filters]`.
    pub(crate) fn clear_macs(&mut self, words: &[&str]) -> Result<String, String> {
        let tables = self.tables();
        let filter = Filter::parse(words, &self.shown(&tables))?;
        let removed = self.parts.fdb.flush(|entry| !entry.pinned && filter.matches(entry));
        Ok(format!("{removed} addresses are forgotten"))
    }

    /// `clear sessions [SITE]`: they end, and log in anew.
    pub(crate) fn clear_sessions(&mut self, site: Option<&str>) -> Result<String, String> {
        if !self.service_runs() {
            return Err("the service is not running: service l2vpn enable".into());
        }
        let now = self.now();
        let ended = self.sessions.restart(now, &self.layout, site, |site| self.operator.switched(site))?;
        self.outputs();
        Ok(format!("{ended} sessions begin anew"))
    }

    /// `site enable|disable NAME`: until the configuration is put in force anew.
    pub(crate) fn switch_site(&mut self, name: &str, enabled: bool) -> Result<String, String> {
        let Mode::Server(server) = &self.layout.config().mode else {
            return Err("a client has one site, its server: disable this client's site there".into());
        };
        let site = server.sites.iter().find(|site| site.user == name);
        let configured = site.ok_or_else(|| format!("there is no site {name:?}"))?.enabled;
        let now = self.now();
        let runs = self.service_runs();
        self.sessions.switch_site(now, &self.layout, name, Admission::of(runs, enabled))?;
        if configured == enabled {
            self.operator.switched.remove(name);
        } else {
            self.operator.switched.insert(name.into(), enabled);
        }
        self.outputs();
        let state = if enabled { "in service" } else { "out of service" };
        let hint = if configured == enabled {
            "as the configuration says".to_owned()
        } else {
            format!(
                "until the configuration is put in force anew; to keep it: set server site {name} enabled {enabled}"
            )
        };
        Ok(format!("site {name} is {state}, {hint}"))
    }

    /// Whether the service runs: as the configuration says, or as it was switched since.
    pub(crate) fn service_runs(&self) -> bool {
        self.operator.service.unwrap_or(self.layout.config().mode.enabled())
    }

    /// `service l2vpn enable|disable`: until the configuration is put in force anew.
    pub(crate) fn switch_service(&mut self, runs: bool) -> Result<String, String> {
        let (now, mode) = (self.now(), &self.layout.config().mode);
        let as_configured = mode.enabled() == runs;
        let table = if matches!(mode, Mode::Server(_)) { "server" } else { "client" };
        if self.service_runs() != runs {
            let switched = &self.operator.switched;
            let in_service = |site: &config::Site| switched.get(&site.user).copied().unwrap_or(site.enabled);
            self.sessions.switch_service(now, &self.layout, runs, in_service)?;
            self.operator.service = (!as_configured).then_some(runs);
            self.outputs();
        }
        let state = if runs { "running" } else { "not running: all sessions have ended" };
        let hint = if as_configured {
            "as the configuration says".to_owned()
        } else {
            format!("until the configuration is put in force anew; to keep it: set {table} enabled {runs}")
        };
        Ok(format!("the L2 VPN service is {state}, {hint}"))
    }

    /// `show sessions [NAME]`.
    pub(crate) fn sessions_shown(&self, service: &Value, name: Option<&str>) -> Result<Value, String> {
        let now = self.now();
        let mut shown = Vec::new();
        let indices = self.layout.session_indices();
        for (site, index) in service["sites"].as_array().into_iter().flatten().zip(indices) {
            if name.is_some_and(|name| site["site"] != name) {
                continue;
            }
            let mut site = site.clone();
            let is_up = site["state"] == "up";
            let keys = self.operator.keys(index).filter(|_| is_up);
            site["keys_age_s"] = json!(keys.map(|(then, _)| now.saturating_sub(then).as_secs()));
            site["lanes"] = json!(keys.map(|(_, lanes)| lanes));
            if site["transport"].is_null() && is_up {
                site["transport"] = "udp".into();
            }
            let paths = site["paths"].as_array().into_iter().flatten();
            let losses = paths.filter_map(|path| path["loss"].as_f64());
            site["loss_percent"] = json!(losses.reduce(f64::max));
            shown.push(site);
        }
        match name {
            Some(name) if shown.is_empty() => Err(format!("there is no site {name:?}")),
            _ => Ok(json!({ "sessions": shown })),
        }
    }

    /// What waits in the queues between the threads: commands for each worker, events, and notices.
    pub(crate) fn waiting(&self) -> (Vec<Queue>, Queue, Queue) {
        let parts = &self.parts;
        let commands = parts.commands.iter().map(|queue| (queue.len(), queue.capacity())).collect();
        let events = (parts.events.len(), parts.events.capacity());
        (commands, events, (parts.notices.len(), parts.notices.capacity()))
    }
}

/// How much is in a queue, and how much can be.
pub(crate) type Queue = (usize, Option<usize>);
