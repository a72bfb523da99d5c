//! The hub's sessions or the spoke's one, behind one face for the event loop.

use std::net::IpAddr;

use bridge::SessionIndex;
use config::{Cipher, Config, Mode, Role};
use record::{Engine, LaneId};
use session::message::Message;
use session::scram::{NoVerifier, Verifier};
use session::{
    Admission, Client, ClientParams, ConnId, Exporter, Now, Output, PeerBlock, Random, SegmentList, Server,
    ServerParams, SessionView, Shown, SiteParams, SiteStatus, State, Uplink, Uplinks,
};
use wire::way::Way;

use crate::connections::Connections;
use crate::layout::{Changes, Layout};

/// Name and version, as the peer sees it.
const SOFTWARE: &str = concat!("causeway ", env!("CARGO_PKG_VERSION"));

/// Server or client.
pub(crate) enum Sessions {
    Client(Box<Client>, Engine),
    Server(Box<Server>),
}

/// Settings of a changed configuration that have passed their checks.
pub(crate) enum Prepared {
    Client(ClientParams),
    Server(Vec<SiteParams>),
}

/// A verifier in the configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("server.site {site:?}: verifier: {error}")]
pub struct BadVerifier {
    site: String,
    error: NoVerifier,
}

impl Sessions {
    pub(crate) fn new(
        config: &Config,
        engine: Engine,
        random: Box<dyn Random>,
        now: Now,
    ) -> Result<Self, BadVerifier> {
        Ok(match &config.mode {
            Mode::Client(client) => {
                let mut running = Client::new(client_params(config, client, engine), random, now);
                if !client.enabled {
                    running.stop(now);
                }
                Self::Client(Box::new(running), engine)
            }
            Mode::Server(server) => Self::Server(Box::new(Server::new(
                ServerParams {
                    data_port: server.data_port,
                    dead_peer: server.dead_peer,
                    max_half_open: server.max_half_open,
                    ciphers: ciphers(&server.ciphers),
                    engine,
                    workers: config.system.workers.len(),
                    uplinks: uplinks(config),
                    raise_after: config.system.path_mtu_raise,
                    tcp: server.transport != config::Transport::Udp,
                    sites: site_params(config, server)?,
                },
                random,
            ))),
        })
    }

    /// Checks what a changed configuration wants of the sessions.
    pub(crate) fn prepare(&self, config: &Config) -> Result<Prepared, BadVerifier> {
        Ok(match &config.mode {
            Mode::Client(client) => {
                let engine = if let Self::Client(_, engine) = self { *engine } else { Engine::Ring };
                Prepared::Client(client_params(config, client, engine))
            }
            Mode::Server(server) => Prepared::Server(site_params(config, server)?),
        })
    }

    /// Changes what has changed since `old`. Sessions go on where they can.
    pub(crate) fn apply(
        &mut self,
        now: Now,
        old: &Config,
        layout: &Layout,
        prepared: Prepared,
        changes: &Changes,
    ) {
        match (self, prepared, &old.mode, &layout.config().mode) {
            (
                Self::Client(client, _),
                Prepared::Client(params),
                Mode::Client(before),
                Mode::Client(after),
            ) => {
                // What was switched by hand is as the configuration says again.
                let stopped = client.status().state == State::Disabled;
                if before.goes_on_with(after) && stopped != after.enabled {
                    client.set_segments(params.segments);
                } else {
                    if !after.enabled {
                        // The server hears the true reason.
                        client.stop(now);
                    }
                    client.restart(now, params);
                }
                if !after.enabled {
                    client.stop(now);
                }
            }
            (Self::Server(server), Prepared::Server(params), _, Mode::Server(config)) => {
                server.set_limits(config.dead_peer, config.max_half_open, ciphers(&config.ciphers));
                server.set_tcp(config.transport != config::Transport::Udp);
                for index in &changes.sites.removed {
                    server.remove_site(now, SessionIndex(*index));
                }
                // The same order as in the configuration; places are filled from the lowest on.
                let mut sites: Vec<_> = layout.sites().map(|(index, _)| index).zip(params).collect();
                sites.sort_by_key(|(index, _)| *index);
                for (index, params) in sites {
                    server.set_site(now, index, params);
                }
            }
            // The mode of a running appliance does not change.
            _ => {}
        }
    }

    /// The connection that carries a session's records that do not go by UDP.
    pub(crate) fn carrier(&self, session: SessionIndex) -> Option<ConnId> {
        match self {
            Self::Client(client, _) => client.carrier(),
            Self::Server(server) => server.carrier(session),
        }
    }

    /// Ends one session, or all, so that they log in anew: those that are in service. Returns how many.
    ///
    /// # Errors
    /// There is no such site in service.
    pub(crate) fn restart(
        &mut self,
        now: Now,
        layout: &Layout,
        site: Option<&str>,
        switched: impl Fn(&str) -> Option<bool>,
    ) -> Result<usize, String> {
        let wanted = |name: &str| site.is_none_or(|site| site == name);
        let mut restarted = 0;
        match (self, &layout.config().mode) {
            (Self::Client(client, _), Mode::Client(settings)) if wanted(&settings.user) => {
                client.begin_anew(now);
                restarted = 1;
            }
            (Self::Server(server), Mode::Server(_)) => {
                for (index, site) in layout.sites() {
                    if wanted(&site.user) && switched(&site.user).unwrap_or(site.enabled) {
                        server.begin_anew(now, index);
                        restarted += 1;
                    }
                }
            }
            _ => {}
        }
        match site {
            Some(site) if restarted == 0 => Err(format!("there is no site {site:?} in service")),
            _ => Ok(restarted),
        }
    }

    /// Takes a site of a server into service, or out of it.
    ///
    /// # Errors
    /// There is no such site.
    pub(crate) fn switch_site(
        &mut self,
        now: Now,
        layout: &Layout,
        name: &str,
        admission: Admission,
    ) -> Result<(), String> {
        let (Self::Server(server), Mode::Server(settings)) = (self, &layout.config().mode) else {
            return Err("only a server has sites".into());
        };
        let params = site_params(layout.config(), settings).map_err(|error| error.to_string())?;
        let mut sites = layout.sites().zip(params);
        let found = sites.find(|(_, params)| params.name == name);
        let ((index, _), params) = found.ok_or_else(|| format!("there is no site {name:?}"))?;
        server.set_site(now, index, SiteParams { admission, ..params });
        Ok(())
    }

    /// Begins the service or ends it: with all sessions, and no login more. Sites that are out of service stay so.
    ///
    /// # Errors
    /// A site's verifier is not good.
    pub(crate) fn switch_service(
        &mut self,
        now: Now,
        layout: &Layout,
        runs: bool,
        in_service: impl Fn(&config::Site) -> bool,
    ) -> Result<(), String> {
        let config = layout.config();
        match (self, &config.mode) {
            (Self::Client(client, engine), Mode::Client(settings)) if runs => {
                client.restart(now, client_params(config, settings, *engine));
            }
            (Self::Client(client, _), _) => client.stop(now),
            (Self::Server(server), Mode::Server(settings)) => {
                let params = site_params(config, settings).map_err(|error| error.to_string())?;
                for ((index, site), params) in layout.sites().zip(params) {
                    let admission = Admission::of(runs, in_service(site));
                    server.set_site(now, index, SiteParams { admission, ..params });
                }
            }
            (Self::Server(_), Mode::Client(_)) => {}
        }
        Ok(())
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        match self {
            Self::Client(client, _) => client.poll_output(),
            Self::Server(server) => server.poll_output(),
        }
    }

    pub(crate) fn connected(
        &mut self,
        now: Now,
        conn: ConnId,
        server: Option<IpAddr>,
        fingerprint: [u8; 32],
        exporter: &dyn Exporter,
    ) {
        match self {
            Self::Client(client, _) => client.connected(now, conn, server, fingerprint, exporter),
            Self::Server(hub) => hub.connected(now, conn, fingerprint, exporter),
        }
    }

    /// The peer showed a certificate.
    pub(crate) fn certificate(&mut self, conn: ConnId, shown: Shown) {
        if let Self::Server(server) = self {
            server.certificate(conn, shown);
        }
    }

    /// The other ends' certificates are believed by other rules from now on: those of `connections`.
    pub(crate) fn verify_again(&mut self, now: Now, connections: &Connections) {
        match self {
            Self::Client(client, _) => client.believe_anew(now, connections.verify_server().err()),
            Self::Server(server) => server.verify_again(now, |chain| connections.verify_client(chain)),
        }
    }

    pub(crate) fn received(&mut self, now: Now, conn: ConnId, bytes: &[u8], exporter: &dyn Exporter) {
        match self {
            Self::Client(client, _) => client.received(now, conn, bytes, exporter),
            Self::Server(server) => server.received(now, conn, bytes, exporter),
        }
    }

    pub(crate) fn closed(&mut self, now: Now, conn: ConnId, reason: &str) {
        match self {
            Self::Client(client, _) => client.closed(now, conn, reason),
            Self::Server(server) => server.closed(now, conn, reason),
        }
    }

    pub(crate) fn rx_ready(&mut self, now: Now, lane: LaneId) {
        match self {
            Self::Client(client, _) => client.rx_ready(lane),
            Self::Server(server) => server.rx_ready(now, lane),
        }
    }

    pub(crate) fn record_heard(&mut self, now: Now, session: SessionIndex, path: usize) {
        match self {
            Self::Client(client, _) => client.record_heard(now, path),
            Self::Server(server) => server.record_heard(now, session, path),
        }
    }

    pub(crate) fn frames_sent(&mut self, now: Now, session: SessionIndex) {
        match self {
            Self::Client(client, _) => client.frames_sent(now),
            Self::Server(server) => server.frames_sent(now, session),
        }
    }

    pub(crate) fn control_block(&mut self, now: Now, session: SessionIndex, block: &PeerBlock<'_>) {
        match self {
            Self::Client(client, _) => client.control_block(now, block),
            Self::Server(server) => server.control_block(now, session, block),
        }
    }

    /// A client stays with the server's address; a server follows its client after a challenge.
    pub(crate) fn new_way(&mut self, now: Now, session: SessionIndex, path: usize, from: Way) {
        if let Self::Server(server) = self {
            server.new_way(now, session, path, from);
        }
    }

    pub(crate) fn set_uplinks(&mut self, now: Now, uplinks: Uplinks) {
        match self {
            Self::Client(client, _) => client.set_uplinks(now, uplinks),
            Self::Server(server) => server.set_uplinks(now, uplinks),
        }
    }

    /// Asks the other end of a session something, or answers it. False: there is no control connection now.
    pub(crate) fn tell(&mut self, session: SessionIndex, message: &Message) -> bool {
        match self {
            Self::Client(client, _) => client.tell(message),
            Self::Server(server) => server.tell(session, message),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Now) {
        match self {
            Self::Client(client, _) => client.handle_timeout(now),
            Self::Server(server) => server.handle_timeout(now),
        }
    }

    pub(crate) fn deadline(&self) -> Now {
        match self {
            Self::Client(client, _) => client.deadline(),
            Self::Server(server) => server.deadline(),
        }
    }

    pub(crate) fn shutdown(&mut self, now: Now) {
        match self {
            Self::Client(client, _) => client.shutdown(now),
            Self::Server(server) => server.shutdown(now),
        }
    }

    pub(crate) fn view(&self, session: SessionIndex) -> Option<SessionView> {
        match self {
            Self::Client(client, _) => client.view(),
            Self::Server(server) => server.view(session),
        }
    }

    pub(crate) fn status(&self) -> Vec<SiteStatus> {
        match self {
            Self::Client(client, _) => vec![client.status()],
            Self::Server(server) => server.status(),
        }
    }
}

fn client_params(config: &Config, client: &config::Client, engine: Engine) -> ClientParams {
    ClientParams {
        site: client.user.clone(),
        password: client.password.0.clone(),
        ciphers: ciphers(&client.ciphers),
        engine,
        segments: segments(config, 0..config.segments.len()),
        rekey: client.rekey,
        software: SOFTWARE.into(),
        workers: config.system.workers.len(),
        uplinks: uplinks(config),
        raise_after: config.system.path_mtu_raise,
        udp: client.transport != config::Transport::Tcp,
        tcp: client.transport != config::Transport::Udp,
    }
}

/// The uplinks as the configuration has them.
fn uplinks(config: &Config) -> Uplinks {
    let ports = (0..).zip(&config.ports).filter(|(_, port)| port.role == Role::Uplink);
    Uplinks(ports.map(|(at, port)| Uplink { port: at, mtu: port.mtu, up: true }).collect())
}

fn site_params(config: &Config, server: &config::Server) -> Result<Vec<SiteParams>, BadVerifier> {
    let params = |site: &config::Site| {
        let verifier = site.verifier.parse::<Verifier>();
        Ok(SiteParams {
            name: site.user.clone(),
            verifier: verifier.map_err(|error| BadVerifier { site: site.user.clone(), error })?,
            segments: segments(config, site.segments.iter().copied()),
            admission: Admission::of(server.enabled, site.enabled),
            certificate: site.certificate_name.clone(),
        })
    };
    server.sites.iter().map(params).collect()
}

/// Checks what the configuration crate cannot: that verifiers parse.
///
/// # Errors
/// The first that does not.
pub fn check_verifiers(config: &Config) -> Result<(), BadVerifier> {
    struct Zero;
    impl Random for Zero {
        fn fill(&mut self, out: &mut [u8]) {
            out.fill(0);
        }
    }
    Sessions::new(config, Engine::Ring, Box::new(Zero), Now::ZERO).map(drop)
}

fn ciphers(names: &[Cipher]) -> Vec<record::Cipher> {
    let cipher = |name: &Cipher| match name {
        Cipher::Aes128Gcm => record::Cipher::Aes128Gcm,
        Cipher::Aes256Gcm => record::Cipher::Aes256Gcm,
    };
    names.iter().map(cipher).collect()
}

fn segments(config: &Config, positions: impl Iterator<Item = usize>) -> SegmentList {
    let enabled = positions.map(|at| &config.segments[at]).filter(|segment| segment.enabled);
    enabled.map(|segment| (segment.tunnel_id, segment.mtu)).collect()
}
