//! A changed configuration on the running appliance: what did not change goes on undisturbed.

use std::time::Duration;

use bridge::{AttachmentIndex, Part};
use config::{Config, Mode, Port};

use crate::appliance::Appliance;
use crate::snapshot::Remote;

/// After a change a worker may still learn from frames that it took by the old tables; once more after so long all is forgotten.
const ONCE_MORE: Duration = Duration::from_secs(1);

impl Appliance {
    /// Reads the configuration anew and puts it in force. Returns what was done.
    ///
    /// # Errors
    /// The file is not good, or changes what cannot change while the appliance runs; then nothing has changed.
    pub(crate) fn reload(&mut self) -> Result<String, String> {
        self.watched.reloading();
        let done = self.read_anew();
        self.watched.reloaded(done.is_ok());
        done
    }

    fn read_anew(&mut self) -> Result<String, String> {
        let config = (self.parts.load)()?;
        let done = self.put(config)?;
        Ok(done + &self.keep_reloaded())
    }

    /// Puts a configuration that has passed its checks in force. Returns what was done.
    ///
    /// # Errors
    /// It changes what cannot change while the appliance runs; then nothing has changed.
    pub(crate) fn put(&mut self, config: Config) -> Result<String, String> {
        let fixed = fixed_changes(self.layout.config(), &config);
        if !fixed.is_empty() {
            return Err(format!(
                "{} cannot change while the appliance runs: restart it, or put the old value back",
                fixed.join(", ")
            ));
        }
        let now = self.now();
        let trust = self.connections.trust();
        let sites = self.sessions.prepare(&config).map_err(|error| error.to_string())?;
        // Everything that can fail comes before the first thing that changes.
        let connections = self.connections.prepare(&config.mode).map_err(|error| error.to_string())?;
        let consoles = self.consoles.prepare(&config.console, self.connections.registry())?;
        let old = self.layout.config().clone();
        let changes = self.layout.arrange(config, now).map_err(|_| {
            "there are too many segments, attachments or sites; if you have just removed some, try again in a few seconds"
                .to_owned()
        })?;
        self.connections.apply(connections);
        self.consoles.apply(consoles);
        self.sessions.apply(now, &old, &self.layout, sites, &changes);
        if self.connections.trust() != trust {
            self.sessions.verify_again(now, &self.connections);
        }
        self.operator.configured();
        self.adopt();
        self.outputs();
        self.publish();
        self.parts.fdb.flush(|entry| changes.removed(entry.segment, entry.endpoint));
        let count = |arranged: &crate::places::Arranged| {
            format!("+{} -{}", arranged.added.len(), arranged.removed.len())
        };
        let done = format!(
            "the configuration was read anew: segments {}, attachments {}, sites {}",
            count(&changes.segments),
            count(&changes.attachments),
            count(&changes.sites)
        );
        self.removed.push((now + ONCE_MORE, changes));
        Ok(done)
    }

    /// Makes everything that follows from the configuration, beside the sessions, what it says.
    pub(crate) fn adopt(&mut self) {
        self.gateways.arrange(&self.layout);
        let fdb = &self.parts.fdb;
        let gateways = self.gateways.ports();
        for (at, meeting) in (0..).map(AttachmentIndex).zip(self.layout.attachment_places()) {
            let Some(meeting) = meeting else { continue };
            let gateway = gateways.iter().find(|gateway| gateway.segment == meeting.segment);
            let port = meeting.port.map(|port| port as u8).or_else(|| gateway.map(|gateway| gateway.port.0));
            if let Some(port) = port {
                fdb.place(at, port);
            }
        }
        for (at, port) in self.layout.config().ports.iter().enumerate() {
            fdb.limit(Part::Port(at as u8), port.max_macs);
        }
        for (index, segment) in self.layout.segments() {
            fdb.limit(Part::Segment(index), segment.max_macs);
        }
        for (index, site) in self.layout.sites() {
            fdb.limit(Part::Session(index), site.max_macs);
        }
        self.know_remotes();
        (self.dirty, self.guard.stale) = (true, true);
    }

    /// Adds the VTEPs and groups of the configuration to the remotes. None is taken away: its number may stand in the FDB, and
    /// what is not of the configuration any more is not flooded to.
    fn know_remotes(&mut self) {
        for (port, config) in self.layout.config().ports.iter().enumerate() {
            let Some(vtep) = &config.vtep else { continue };
            for address in vtep.remotes.iter().chain(&vtep.group) {
                let known = |remote: &Remote| remote.port == port && remote.address == *address;
                if !self.remotes.iter().any(known) {
                    self.remotes.push(Remote { port, address: *address, learned: false });
                }
            }
        }
    }

    /// Forgets once more what was learned behind parts that are gone.
    pub(crate) fn forget_removed(&mut self, now: session::Now) {
        let due = |(at, _): &mut (session::Now, _)| now >= *at;
        for (_, changes) in self.removed.extract_if(.., due) {
            self.parts.fdb.flush(|entry| changes.removed(entry.segment, entry.endpoint));
        }
    }
}

/// The keys that are different and cannot be while the appliance runs.
fn fixed_changes(old: &Config, new: &Config) -> Vec<String> {
    let (a, b) = (&old.system, &new.system);
    let mut changed: Vec<String> = [
        ("system.workers", a.workers != b.workers),
        ("system.idle", a.idle != b.idle),
        ("system.hugepages", a.hugepages != b.hugepages),
        ("system.memory_mb", a.memory_mb != b.memory_mb),
        ("system.socket", a.socket != b.socket),
        ("system.state", a.state != b.state),
        ("system.log", a.log != b.log),
        ("system.aead", a.aead != b.aead),
        ("system.max_macs", a.max_macs != b.max_macs),
        ("system.path_mtu_raise_s", a.path_mtu_raise != b.path_mtu_raise),
        ("metrics.listen", old.metrics != new.metrics),
        ("system.hardening", a.hardening != b.hardening),
        ("system.user", a.user != b.user),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(key, _)| key.into())
    .collect();
    if old.ports.len() != new.ports.len() {
        changed.push("the number of ports".into());
    }
    for (old, new) in old.ports.iter().zip(&new.ports) {
        if fixed(old) != fixed(new) {
            changed.push(format!("port {:?}", new.name));
        }
    }
    match (&old.mode, &new.mode) {
        (Mode::Server(a), Mode::Server(b)) => {
            changed.extend((a.listen != b.listen).then(|| "server.listen".into()));
            changed.extend((a.data_port != b.data_port).then(|| "server.data_port".into()));
        }
        (Mode::Client(a), Mode::Client(b)) => {
            changed.extend((a.data_port != b.data_port).then(|| "client.data_port".into()));
        }
        _ => changed.push("mode".into()),
    }
    changed
}

/// What of a port cannot change.
fn fixed(port: &Port) -> impl PartialEq + use<> {
    let vtep = port.vtep.as_ref().map(|vtep| (vtep.local, vtep.udp_port, vtep.group));
    (port.name.clone(), port.role, port.device.clone(), port.interface.clone(), port.mtu, vtep)
}
