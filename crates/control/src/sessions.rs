//! The hub's sessions or the spoke's one, behind one face for the event loop.

use std::net::SocketAddr;

use bridge::SessionIndex;
use config::{Cipher, Config, Mode};
use record::{Engine, LaneId};
use session::scram::{NoVerifier, Verifier};
use session::{
    Client, ClientParams, ConnId, Exporter, Now, Output, Random, SegmentList, Server, ServerParams,
    SessionView, SiteParams, SiteStatus,
};

/// Name and version, as the peer sees it.
const SOFTWARE: &str = concat!("causeway ", env!("CARGO_PKG_VERSION"));

/// Server or client.
pub(crate) enum Sessions {
    Client(Box<Client>),
    Server(Box<Server>),
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
            Mode::Client(client) => Self::Client(Box::new(Client::new(
                ClientParams {
                    site: client.user.clone(),
                    password: client.password.0.clone(),
                    ciphers: ciphers(&client.ciphers),
                    engine,
                    segments: segments(config, 0..config.segments.len()),
                    rekey: client.rekey,
                    software: SOFTWARE.into(),
                    workers: config.system.workers.len(),
                },
                random,
                now,
            ))),
            Mode::Server(server) => {
                let sites = server.sites.iter().map(|site| {
                    let verifier = site.verifier.parse::<Verifier>();
                    Ok(SiteParams {
                        name: site.user.clone(),
                        verifier: verifier.map_err(|error| BadVerifier { site: site.user.clone(), error })?,
                        segments: segments(config, site.segments.iter().copied()),
                        enabled: site.enabled,
                    })
                });
                Self::Server(Box::new(Server::new(
                    ServerParams {
                        data_port: server.data_port,
                        dead_peer: server.dead_peer,
                        max_half_open: server.max_half_open,
                        ciphers: ciphers(&server.ciphers),
                        engine,
                        workers: config.system.workers.len(),
                        sites: sites.collect::<Result<_, _>>()?,
                    },
                    random,
                )))
            }
        })
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        match self {
            Self::Client(client) => client.poll_output(),
            Self::Server(server) => server.poll_output(),
        }
    }

    pub(crate) fn connected(
        &mut self,
        now: Now,
        conn: ConnId,
        peer: SocketAddr,
        fingerprint: [u8; 32],
        exporter: &dyn Exporter,
    ) {
        match self {
            Self::Client(client) => client.connected(now, conn, peer.ip(), fingerprint, exporter),
            Self::Server(server) => server.connected(now, conn, fingerprint, exporter),
        }
    }

    pub(crate) fn received(&mut self, now: Now, conn: ConnId, bytes: &[u8], exporter: &dyn Exporter) {
        match self {
            Self::Client(client) => client.received(now, conn, bytes, exporter),
            Self::Server(server) => server.received(now, conn, bytes, exporter),
        }
    }

    pub(crate) fn closed(&mut self, now: Now, conn: ConnId, reason: &str) {
        match self {
            Self::Client(client) => client.closed(now, conn, reason),
            Self::Server(server) => server.closed(now, conn, reason),
        }
    }

    pub(crate) fn rx_ready(&mut self, now: Now, lane: LaneId) {
        match self {
            Self::Client(client) => client.rx_ready(lane),
            Self::Server(server) => server.rx_ready(now, lane),
        }
    }

    pub(crate) fn record_heard(&mut self, now: Now, session: SessionIndex) {
        match self {
            Self::Client(client) => client.record_heard(now),
            Self::Server(server) => server.record_heard(now, session),
        }
    }

    pub(crate) fn control_block(&mut self, now: Now, session: SessionIndex, from: SocketAddr, block: &[u8]) {
        match self {
            Self::Client(client) => client.control_block(now, from, block),
            Self::Server(server) => server.control_block(now, session, from, block),
        }
    }

    /// A client stays with the server's address; a server follows its client after a challenge.
    pub(crate) fn new_address(&mut self, now: Now, session: SessionIndex, from: SocketAddr) {
        if let Self::Server(server) = self {
            server.new_address(now, session, from);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Now) {
        match self {
            Self::Client(client) => client.handle_timeout(now),
            Self::Server(server) => server.handle_timeout(now),
        }
    }

    pub(crate) fn deadline(&self) -> Now {
        match self {
            Self::Client(client) => client.deadline(),
            Self::Server(server) => server.deadline(),
        }
    }

    pub(crate) fn shutdown(&mut self, now: Now) {
        match self {
            Self::Client(client) => client.shutdown(now),
            Self::Server(server) => server.shutdown(now),
        }
    }

    pub(crate) fn view(&self, session: SessionIndex) -> Option<SessionView> {
        match self {
            Self::Client(client) => client.view(),
            Self::Server(server) => server.view(session),
        }
    }

    pub(crate) fn status(&self) -> Vec<SiteStatus> {
        match self {
            Self::Client(client) => vec![client.status()],
            Self::Server(server) => server.status(),
        }
    }
}

/// How many sessions a configuration can have.
pub fn session_count(config: &Config) -> usize {
    match &config.mode {
        Mode::Client(_) => 1,
        Mode::Server(server) => server.sites.len(),
    }
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
