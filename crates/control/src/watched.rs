//! What others watch the appliance by: snapshots for the thread that serves HTTP, and word to systemd.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use config::{Config, Mode, Role};
use counters::DropReason;
use nix::time::{ClockId, clock_gettime};
use pipeline::tables::AttachmentState;
use session::{Now, PathStatus, SiteStatus};
use watch::notify::Notifier;
use watch::progress::{Change, Progress};
use watch::snapshot::{Path, Port, Segment, Site, Worker};
use watch::{ServeError, Served, Snapshot};

use crate::appliance::Appliance;
use crate::clock::utc_text;
use crate::show::Shown;

/// How often the workers' progress is looked at, at least.
const LOOK: Duration = Duration::from_millis(500);

/// Who watches, and what they have been told.
pub(crate) struct Watched {
    served: Option<Served>,
    notifier: Notifier,
    progress: Progress,
    due: Now,
    /// Seconds since 1970.
    started: f64,
    /// Configurations read anew: taken, and refused.
    reloads: (u64, u64),
    told: String,
}

impl Watched {
    /// Opens what the configuration asks for.
    pub(crate) fn new(config: &Config, now: Now) -> Result<Self, ServeError> {
        Ok(Self {
            served: config.metrics.map(|metrics| watch::serve(metrics.listen)).transpose()?,
            notifier: Notifier::from_env(),
            progress: Progress::default(),
            due: now,
            started: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs() as f64),
            reloads: (0, 0),
            told: String::new(),
        })
    }

    /// All ports are open and the loop begins.
    pub(crate) fn ready(&self) {
        self.notifier.ready();
    }

    /// The appliance ends.
    pub(crate) fn stopping(&self) {
        self.notifier.stopping();
    }

    /// The configuration is about to be read anew.
    pub(crate) fn reloading(&self) {
        if let Ok(time) = clock_gettime(ClockId::CLOCK_MONOTONIC) {
            self.notifier.reloading(time.into());
        }
    }

    /// It was read anew, or refused.
    pub(crate) fn reloaded(&mut self, taken: bool) {
        *(if taken { &mut self.reloads.0 } else { &mut self.reloads.1 }) += 1;
        self.notifier.ready();
    }

    /// Looks at the workers' progress; the watchdog hears of us only while all of them make some.
    fn look(&mut self, now: Now, rounds: impl Iterator<Item = u64>) {
        for change in self.progress.look(now, rounds) {
            match change {
                Change::Stalled(worker) => tracing::error!(worker, "the worker makes no progress"),
                Change::GoesOn(worker) => tracing::info!(worker, "the worker makes progress again"),
            }
        }
        let interval =
            self.notifier.watchdog().filter(|interval| self.progress.all_within(*interval / 2, now));
        if interval.is_some() {
            self.notifier.alive();
        }
        let most = self.notifier.watchdog().unwrap_or(LOOK);
        self.due = now + LOOK.min(most / 4);
    }

    fn tell(&mut self, status: String) {
        if status != self.told {
            self.notifier.status(&status);
            self.told = status;
        }
    }
}

impl Appliance {
    /// Does what those who watch wait for.
    pub(crate) fn watch(&mut self, now: Now) {
        if now >= self.watched.due {
            let rounds: Vec<u64> = self.counters().by_worker().iter().map(|poll| poll.polls).collect();
            self.watched.look(now, rounds.into_iter());
            let sites = self.layout.session_indices();
            let up = sites.iter().filter(|site| self.sessions.view(**site).is_some()).count();
            self.watched.tell(match &self.layout.config().mode {
                Mode::Server(_) => format!("{up} of {} sites are up", sites.len()),
                Mode::Client(_) if up == 1 => "the session is up".into(),
                Mode::Client(_) => "the session is down".into(),
            });
        }
        let Some(asked) = self.watched.served.as_ref().and_then(Served::asked) else { return };
        let mut snapshot = self.shown(&self.tables()).snapshot();
        let today = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        snapshot.date = utc_text(today as u64);
        snapshot.started = self.watched.started;
        snapshot.zero = today - now.as_secs_f64();
        snapshot.reloads = self.watched.reloads;
        snapshot.certificates =
            self.connections.certificate_end().map(|end| ("server", end)).into_iter().collect();
        for (at, worker) in snapshot.workers.iter_mut().enumerate() {
            worker.stalled = self.watched.progress.is_stalled(at);
        }
        asked.answer(snapshot);
    }
}

impl Shown<'_> {
    /// All that is watched and that can be shown too.
    fn snapshot(&self) -> Snapshot {
        let config = self.layout.config();
        let indices = self.layout.session_indices();
        let sites = indices.iter().filter_map(|index| {
            let at = usize::from(index.0);
            Some(self.watched_site(at, self.sites.get(at)?))
        });
        let position = |session: &bridge::SessionIndex| indices.iter().position(|index| index == session);
        let positions: std::collections::HashMap<_, _> =
            indices.iter().filter_map(|index| Some((*index, position(index)?))).collect();
        Snapshot {
            now: self.now,
            version: env!("CARGO_PKG_VERSION"),
            mode: match &config.mode {
                Mode::Server(_) => "server",
                Mode::Client(_) => "client",
            },
            sites: sites.collect(),
            segments: self
                .layout
                .segments()
                .map(|(index, segment)| self.watched_segment(index, segment, &positions))
                .collect(),
            ports: (0..self.tables.ports.len()).map(|at| self.watched_port(at)).collect(),
            workers: self
                .counters
                .by_worker()
                .into_iter()
                .map(|poll| Worker { poll, stalled: false })
                .collect(),
            drops: DropReason::ALL.iter().map(|reason| (*reason, self.counters.drops(*reason))).collect(),
            macs: (self.fdb.len(), self.fdb.max_entries()),
            refused: self.refused.clone(),
            ..Snapshot::default()
        }
    }

    fn watched_site(&self, at: usize, site: &SiteStatus) -> Site {
        Site {
            name: site.site.clone(),
            state: site.state.name(),
            since: site.up_since,
            peer: site.peer.map(|peer| peer.to_string()),
            transport: site.transport.map(|carrier| if carrier.tcp { "tcp" } else { "udp" }),
            cipher: site.cipher.map(record::Cipher::name),
            round_trip: site.round_trip,
            path_mtu: site.path_mtu().map(u32::from),
            paths: site.paths.iter().map(watched_path).collect(),
            last_heard: site.last_heard,
            keys_since: site.keys_since,
            renewals: site.renewals,
            last_failure: site.last_failure.clone(),
            counters: self.counters.session(at),
        }
    }

    fn watched_segment(
        &self,
        index: bridge::SegmentIndex,
        segment: &config::Segment,
        positions: &std::collections::HashMap<bridge::SessionIndex, usize>,
    ) -> Segment {
        let at = usize::from(index.0);
        let joined = self.tables.segments.get(index).map_or(&[][..], |entry| &entry.sessions);
        let attachments = self.layout.attachment_places().iter().zip(&self.tables.attachments);
        let attachments = attachments.filter_map(|(meeting, entry)| {
            let meeting = meeting.as_ref().filter(|meeting| meeting.segment == index)?;
            let port = match meeting.port {
                Some(port) => &self.layout.config().ports[port].name,
                None => &segment.gateway.as_ref()?.interface,
            };
            let state = match entry.state {
                AttachmentState::Forwarding => "forwarding",
                AttachmentState::Listening => "listening",
                AttachmentState::Blocked => "blocked",
            };
            Some((format!("{port} {}", meeting.encap), state))
        });
        let (from_lan, from_tunnel) = self.counters.segment(at);
        let drops = DropReason::ALL.iter().map(|reason| (*reason, self.counters.segment_drops(at, *reason)));
        Segment {
            name: segment.name.clone(),
            tunnel_id: segment.tunnel_id.get(),
            enabled: segment.enabled,
            attachments: attachments.collect(),
            sites: joined.iter().filter_map(|session| positions.get(session).copied()).collect(),
            from_lan,
            from_tunnel,
            mss: self.counters.mss(at),
            drops: drops.filter(|(_, count)| *count != 0).collect(),
        }
    }

    fn watched_port(&self, at: usize) -> Port {
        let state = self.ports.get(at).copied().unwrap_or_default();
        let config = self.layout.config().ports.get(at);
        Port {
            name: self.tables.ports[at].name.clone(),
            role: config.map_or("host", |port| match port.role {
                Role::Trunk => "trunk",
                Role::Uplink => "uplink",
            }),
            up: state.up,
            mbps: state.mbps,
            counters: self.counters.port(at),
            missed: state.missed,
        }
    }
}

fn watched_path(path: &PathStatus) -> Path {
    Path {
        state: path.state.name(),
        round_trip: path.round_trip,
        loss: path.loss.map(|percent| percent / 100.0),
    }
}
