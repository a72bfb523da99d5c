//! The hub's sessions: one for each site.

mod certificate;
mod login;
mod parts;
mod sites;
mod tcp;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bridge::SessionIndex;
use record::{Cipher, Engine, LaneId, Suite};
use wire::way::Way;

use self::login::CONFLICT_TIME;
use self::parts::{Agreed, Conn, Preparing, Site, Stage};
use crate::client::{expired, printable};
use crate::epoch::{self, Direction, Epoch, LaneIds};
use crate::framing::{Framer, frame};
use crate::link::{self, Ended, Link, PeerBlock, Shape, Tools};
use crate::message::{Message, Open, SegmentList, farewell, refusal};
use crate::scram::{BINDING_LABEL, BINDING_LEN, Verifier};
use crate::status::{SessionView, SiteStatus, State};
use crate::{ConnId, Exporter, Level, Now, Output, Random, Uplinks, network};

/// Time that a connection has for TLS and SCRAM (protocol 2.3).
const LOGIN_TIME: Duration = Duration::from_secs(5);

/// What a server is made of.
pub struct ServerParams {
    /// Its UDP data port.
    pub data_port: u16,
    /// A session is down when nothing was heard for so long.
    pub dead_peer: Duration,
    /// Connections that may be unauthenticated at one time.
    pub max_half_open: usize,
    /// The data ciphers it takes, best first.
    pub ciphers: Vec<Cipher>,
    /// Who computes them here.
    pub engine: Engine,
    /// Workers, each of which sends on a lane of its own to each client by each path.
    pub workers: usize,
    /// The ports towards the WAN.
    pub uplinks: Uplinks,
    /// After what time a path's MTU is searched for anew.
    pub raise_after: Duration,
    /// Whether records may go over TLS connections.
    pub tcp: bool,
    /// The sites that may connect; their positions are their [`SessionIndex`]es.
    pub sites: Vec<SiteParams>,
}

/// A site that may connect.
pub struct SiteParams {
    /// Its name.
    pub name: String,
    /// Its password, as far as a server knows it.
    pub verifier: Verifier,
    /// The segments that it may join.
    pub segments: SegmentList,
    /// Whether it may connect.
    pub admission: Admission,
    /// The name that its certificate must carry, if it has to show one.
    pub certificate: Option<String>,
}

/// Whether a site may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Open,
    /// The operator has taken this site out of service.
    SiteDisabled,
    /// The operator has taken the whole service down.
    ServiceDisabled,
}

impl Admission {
    /// That of a site, as the service and the site itself are in service or not.
    pub fn of(service: bool, site: bool) -> Self {
        match (service, site) {
            (false, _) => Self::ServiceDisabled,
            (true, false) => Self::SiteDisabled,
            (true, true) => Self::Open,
        }
    }
}

/// All sessions of a hub.
pub struct Server {
    params: ServerParams,
    random: Box<dyn Random>,
    /// Makes the verifiers of names that do not exist.
    secret: [u8; 32],
    sites: Vec<Site>,
    conns: BTreeMap<ConnId, Conn>,
    ids: LaneIds,
    out: VecDeque<Output>,
}

impl Server {
    /// A server without sessions.
    pub fn new(params: ServerParams, mut random: Box<dyn Random>) -> Self {
        let mut secret = [0; 32];
        random.fill(&mut secret);
        let sites = params.sites.iter().map(|_| Site::default()).collect();
        Self {
            ids: LaneIds::new(params.workers),
            params,
            random,
            secret,
            sites,
            conns: BTreeMap::new(),
            out: VecDeque::new(),
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// A TCP connection was accepted. False: too many have not logged in, of all or of this address; drop it.
    #[must_use]
    pub fn accepted(&mut self, now: Now, conn: ConnId, from: SocketAddr) -> bool {
        let half_open = self.conns.values().filter(|conn| !conn.stage.is_authenticated());
        let all = half_open.clone().count();
        // One source cannot take all the places. Sites behind one address of a NAT share a quarter.
        let source = network(from.ip());
        let of_source = half_open.filter(|conn| network(conn.from.ip()) == source).count();
        let most_of_source = (self.params.max_half_open / 4).max(1);
        if all >= self.params.max_half_open || of_source >= most_of_source {
            return false;
        }
        let (framer, stage) = (Framer::default(), Stage::Handshake);
        self.conns
            .insert(conn, Conn { framer, from, started: now, fingerprint: [0; 32], shown: None, stage });
        true
    }

    /// A connection's TLS handshake is done; our certificate has this fingerprint.
    pub fn connected(&mut self, now: Now, conn: ConnId, fingerprint: [u8; 32], exporter: &dyn Exporter) {
        let Some(entry) = self.conns.get_mut(&conn) else { return };
        let mut binding = [0; BINDING_LEN];
        if exporter.export(BINDING_LABEL, b"", &mut binding).is_err() {
            return self.fail(now, conn, "the TLS connection gives no channel binding");
        }
        entry.fingerprint = fingerprint;
        entry.stage = Stage::Connected { binding };
    }

    /// Bytes arrived on a connection.
    pub fn received(&mut self, now: Now, conn: ConnId, bytes: &[u8], exporter: &dyn Exporter) {
        if let Some(entry) = self.conns.get_mut(&conn) {
            entry.framer.add(bytes);
        }
        while let Some(message) = self.conns.get_mut(&conn).and_then(|entry| entry.framer.message()) {
            let done = message.and_then(|message| self.message(now, conn, message, exporter));
            if let Err(reason) = done {
                self.refuse(conn, refusal::PROTOCOL, "protocol error");
                self.fail(now, conn, &reason);
            }
        }
    }

    /// A connection is over.
    pub fn closed(&mut self, now: Now, conn: ConnId, reason: &str) {
        if self.conns.contains_key(&conn) {
            self.fail(now, conn, reason);
        }
    }

    /// The workers receive on a lane.
    pub fn rx_ready(&mut self, now: Now, lane: LaneId) {
        let ready = self.conns.iter_mut().find_map(|(id, conn)| match &mut conn.stage {
            Stage::Preparing(preparing) => {
                (preparing.missing.remove(&lane) && preparing.missing.is_empty()).then_some(*id)
            }
            _ => None,
        });
        if let Some(id) = ready {
            self.open_session(now, id);
        }
    }

    /// Authentic records arrived in a session by a path.
    pub fn record_heard(&mut self, now: Now, session: SessionIndex, path: usize) {
        self.with_link(now, session, |link, _| link.heard(path, now));
    }

    /// Frames were sent in a session.
    pub fn frames_sent(&mut self, now: Now, session: SessionIndex) {
        self.with_link(now, session, |link, _| link.sent(now));
    }

    /// A block with tunnel ID 0 arrived in an authentic record of a session.
    pub fn control_block(&mut self, now: Now, session: SessionIndex, block: &PeerBlock<'_>) {
        self.with_link(now, session, |link, tools| link.control_block(block, tools));
    }

    /// The newest record of a session's path came by another way than the path's.
    pub fn new_way(&mut self, now: Now, session: SessionIndex, path: usize, from: Way) {
        self.with_link(now, session, |link, tools| link.new_way(path, from, tools));
    }

    /// The uplinks' MTUs have changed.
    pub fn set_uplinks(&mut self, now: Now, uplinks: Uplinks) {
        if self.params.uplinks != uplinks {
            self.params.uplinks = uplinks;
            (0..self.sites.len()).for_each(|at| self.with_link(now, index(at), Link::uplinks_changed));
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        for at in 0..self.sites.len() {
            let Self { sites, ids, params, random, out, .. } = self;
            let site = &mut sites[at];
            let Some(link) = &mut site.link else { continue };
            let tools = &mut Tools { now, uplinks: &params.uplinks, random: &mut **random, out };
            if let Some(ended) = link.handle_timeout(ids, tools) {
                let reason = match ended {
                    Ended::Silent => "nothing was heard from the site for the dead-peer time".into(),
                    Ended::Expired => expired(site.last_failure.as_ref(), site.link.as_ref()),
                };
                if let Some(conn) = site.current {
                    self.send(conn, &ended.bye());
                }
                self.down(now, at, &reason);
            }
            self.tell_carrier(at);
        }
        let ids: Vec<ConnId> = self.conns.keys().copied().collect();
        for id in ids {
            let Some(conn) = self.conns.get_mut(&id) else { continue };
            match &conn.stage {
                Stage::Open { .. } => {}
                Stage::Replaced { until, .. } if now >= *until => self.close(id),
                Stage::Replaced { .. } => {}
                Stage::Conflict { .. } => self.settle(now, id),
                _ if now >= conn.started + LOGIN_TIME => self.fail(now, id, "the login took too long"),
                _ => {}
            }
        }
    }

    /// When `handle_timeout` is due.
    pub fn deadline(&self) -> Now {
        let links = self.sites.iter().filter_map(|site| Some(site.link.as_ref()?.deadline()));
        let conns = self.conns.values().filter_map(|conn| match &conn.stage {
            Stage::Open { .. } => None,
            Stage::Replaced { until, .. } => Some(*until),
            Stage::Conflict { asked, .. } => Some(*asked + CONFLICT_TIME),
            _ => Some(conn.started + LOGIN_TIME),
        });
        links.chain(conns).min().unwrap_or(Now::MAX)
    }

    /// Says goodbye to everybody and ends.
    pub fn shutdown(&mut self, now: Now) {
        let bye = Message::Bye { code: farewell::SHUTDOWN, text: "shutting down".into() };
        let open: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in open {
            if matches!(self.conns.get(&conn), Some(Conn { stage: Stage::Open { .. }, .. })) {
                self.send(conn, &bye);
            }
            self.close(conn);
        }
        for site in 0..self.sites.len() {
            self.down(now, site, "shut down");
        }
    }

    /// What the console shows, by [`SessionIndex`].
    pub fn status(&self) -> Vec<SiteStatus> {
        self.params.sites.iter().zip(&self.sites).map(|(params, site)| status(params, site)).collect()
    }

    /// What the workers need to know of a session; `None` while it is down.
    pub fn view(&self, session: SessionIndex) -> Option<SessionView> {
        let at = usize::from(session.0);
        let site = self.sites.get(at)?;
        let link = site.link.as_ref()?;
        let segments = SessionView::joined(&self.params.sites[at].segments, &site.peer_segments);
        Some(SessionView { paths: link.views(), segments })
    }

    fn with_link(&mut self, now: Now, session: SessionIndex, act: impl FnOnce(&mut Link, &mut Tools<'_>)) {
        let Self { sites, params, random, out, .. } = self;
        if let Some(link) = sites.get_mut(usize::from(session.0)).and_then(|site| site.link.as_mut()) {
            act(link, &mut Tools { now, uplinks: &params.uplinks, random: &mut **random, out });
        }
    }

    fn message(
        &mut self,
        now: Now,
        id: ConnId,
        message: Message,
        exporter: &dyn Exporter,
    ) -> Result<(), String> {
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        match (message, &conn.stage) {
            (Message::Unknown(_), _) => Ok(()),
            (Message::Records(records), Stage::Open { .. } | Stage::Replaced { .. }) => {
                self.out.push_back(Output::Records(records));
                Ok(())
            }
            (Message::Bye { .. }, Stage::Replaced { .. }) => {
                self.close(id);
                Ok(())
            }
            (_, Stage::Replaced { .. }) => Ok(()),
            (Message::Login(login), Stage::Connected { binding }) => {
                let binding = *binding;
                self.login(now, id, login, binding)
            }
            (Message::Response(response), Stage::Challenged { .. }) => self.response(now, id, &response),
            (Message::Open(open), Stage::Welcomed(_)) => self.open(now, id, open, exporter),
            (Message::Question(question), Stage::Open { site }) => {
                self.out.push_back(Output::Asked(index(*site), question));
                Ok(())
            }
            (Message::Answer(answer), Stage::Open { site }) => {
                self.out.push_back(Output::Answered(index(*site), answer));
                Ok(())
            }
            (Message::Segments(segments), Stage::Open { site }) => {
                let site = *site;
                self.sites[site].peer_segments = segments;
                self.out.push_back(Output::Changed(index(site)));
                Ok(())
            }
            (Message::Bye { code, text }, Stage::Open { site }) => {
                let site = *site;
                let was_current = self.sites[site].current == Some(id);
                self.close(id);
                if was_current && code != farewell::REPLACED {
                    self.down(now, site, &format!("the site ended the session: {}", printable(&text)));
                }
                Ok(())
            }
            (Message::Bye { text, .. }, _) => Err(format!("the client went away: {}", printable(&text))),
            (message, _) => Err(format!("the client sent {} at a wrong time", message.name())),
        }
    }

    /// Makes the lanes of a new epoch.
    fn open(&mut self, now: Now, id: ConnId, open: Open, exporter: &dyn Exporter) -> Result<(), String> {
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        let Stage::Welcomed(agreed) = std::mem::replace(&mut conn.stage, Stage::Handshake) else {
            return Ok(());
        };
        let (site, all) = (agreed.site, agreed.paths + usize::from(agreed.tcp));
        let lanes = self.params.workers * all;
        if open.lanes.len() != lanes || !open.count.is_multiple_of(all) {
            let (theirs, ours) = (open.lanes.len(), open.count);
            return Err(format!(
                "the client opened {theirs} lanes instead of {lanes}, and wants {ours} for {all} paths"
            ));
        }
        let rx = self.ids.allocate(open.count, &mut *self.random);
        let name = &self.params.sites[site].name;
        let suite = Suite { cipher: agreed.cipher, engine: self.params.engine };
        let epoch = Epoch { exporter, site: name, fingerprint: &conn.fingerprint, suite };
        let made = epoch.rx_lanes(Direction::ClientToServer, &rx).map_err(|error| error.to_string())?;
        let tx =
            epoch.tx_lanes(Direction::ServerToClient, &open.lanes, now).map_err(|error| error.to_string())?;
        let missing = rx.iter().copied().collect();
        let segments = open.segments;
        conn.stage = Stage::Preparing(Box::new(Preparing { agreed, rx, missing, tx, segments }));
        self.out.extend(epoch::install_rx(index(site), open.count / all, made));
        Ok(())
    }

    /// All lanes are ready: the session comes up, or goes over to a new epoch.
    fn open_session(&mut self, now: Now, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if let Stage::Preparing(preparing) = &conn.stage {
            // Two may have logged in while there was no session: the first that gets here has the place.
            let (at, instance) = (preparing.agreed.site, preparing.agreed.instance);
            if self.sites[at].link.is_some() && self.sites[at].instance != instance {
                return self.refuse_second(now, id, at);
            }
        }
        let (from, stage) = (conn.from, std::mem::replace(&mut conn.stage, Stage::Handshake));
        let Stage::Preparing(preparing) = stage else {
            conn.stage = stage;
            return;
        };
        let shown = conn.shown.clone();
        let Preparing { agreed, rx, tx, segments, .. } = *preparing;
        let Agreed { site: at, instance, cipher, software, paths, tcp, dead_peer } = agreed;
        conn.stage = Stage::Open { site: at };
        self.send(id, &Message::Opened(rx.clone()));
        self.out.extend(epoch::install_tx(index(at), self.params.workers, tx));
        let name = self.params.sites[at].name.clone();
        let Self { sites, params, random, out, .. } = self;
        let site = &mut sites[at];
        let line = match site.link {
            Some(_) => {
                site.renewals += 1;
                format!("site {name:?} has new keys")
            }
            None => {
                format!("site {name:?} is up: from {from}, {}, {software}, paths: {paths}", cipher.name())
            }
        };
        out.push_back(Output::Log(Level::Info, line));
        let tools = &mut Tools { now, uplinks: &params.uplinks, random: &mut **random, out };
        let shape = Shape { rx, paths, tcp, dead_peer };
        Link::open(&mut site.link, index(at), params.raise_after, shape, tools);
        site.instance = instance;
        site.shown = shown;
        site.cipher = Some(cipher);
        site.software = software;
        site.peer_segments = segments;
        if let Some(older) = site.current.replace(id) {
            self.leave(now, older, at);
        }
        self.out.push_back(Output::Changed(index(at)));
    }

    /// A connection has come to its end: `reason` says why.
    fn fail(&mut self, now: Now, id: ConnId, reason: &str) {
        let Some(conn) = self.conns.get(&id) else { return };
        if matches!(conn.stage, Stage::Replaced { .. }) {
            return self.close(id);
        }
        if let Stage::Preparing(preparing) = &conn.stage {
            link::remove(&preparing.rx, &mut self.ids, &mut self.out);
        }
        let from = conn.from;
        let line = match &conn.stage {
            Stage::Open { site } => {
                let name = &self.params.sites[*site].name;
                // The session lives on while records arrive, and the client comes back.
                format!("lost the control connection of site {name:?}: {reason}")
            }
            Stage::Challenged { site: Some(site), .. } | Stage::Welcomed(Agreed { site, .. }) => {
                self.sites[*site].last_failure = Some((now, reason.into()));
                format!("connection from {from}: {reason}")
            }
            _ => format!("connection from {from}: {reason}"),
        };
        let known = conn.framer.is_authenticated();
        self.out.push_back(if known { Output::Log(Level::Warn, line) } else { Output::Stranger(line) });
        self.close(id);
    }

    fn down(&mut self, now: Now, at: usize, reason: &str) {
        let site = &mut self.sites[at];
        let Some(link) = site.link.take() else { return };
        link.end(&mut self.ids, &mut self.out);
        site.last_failure = Some((now, reason.into()));
        let conn = site.current.take();
        let name = &self.params.sites[at].name;
        self.out.push_back(Output::Log(Level::Warn, format!("site {name:?} is down: {reason}")));
        if let Some(conn) = conn {
            self.close(conn);
        }
    }

    fn refuse(&mut self, conn: ConnId, code: u64, text: &str) {
        self.send(conn, &Message::Refused { code, text: text.into(), retry_ms: None });
    }

    fn send(&mut self, conn: ConnId, message: &Message) {
        self.out.push_back(Output::Send(conn, frame(&message.encode())));
    }

    fn close(&mut self, conn: ConnId) {
        if self.conns.remove(&conn).is_some() {
            self.out.push_back(Output::Close(conn));
        }
        for site in &mut self.sites {
            if site.current.take_if(|current| *current == conn).is_some() {
                site.link.iter_mut().for_each(|link| link.disconnected(&mut self.out));
            }
        }
    }
}

fn index(site: usize) -> SessionIndex {
    SessionIndex(site as u16)
}

fn status(params: &SiteParams, site: &Site) -> SiteStatus {
    let state = match (&site.link, params.admission) {
        (Some(_), _) => State::Up,
        (None, Admission::Open) => State::Down,
        (None, Admission::SiteDisabled | Admission::ServiceDisabled) => State::Disabled,
    };
    SiteStatus {
        site: params.name.clone(),
        state,
        up_since: site.link.as_ref().map(|link| link.since),
        keys_since: site.link.as_ref().map(|link| link.keys_since),
        peer: site.link.as_ref().and_then(Link::peer),
        cipher: site.cipher.filter(|_| site.link.is_some()),
        round_trip: site.link.as_ref().and_then(Link::round_trip),
        transport: site.link.as_ref().map(Link::carrier),
        paths: site.link.as_ref().map_or_else(Vec::new, Link::status),
        last_heard: site.link.as_ref().map(Link::last_heard),
        renewals: site.renewals,
        software: site.software.clone(),
        last_failure: site.last_failure.clone(),
    }
}
