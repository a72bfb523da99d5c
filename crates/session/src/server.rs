//! The hub's sessions: one for each site.

mod parts;
mod sites;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bridge::SessionIndex;
use record::{Cipher, Engine, LaneId, Suite};

use self::parts::{Conn, Preparing, Site, Stage};
use crate::client::printable;
use crate::epoch::{Direction, Epoch, LaneIds};
use crate::framing::{Framer, frame};
use crate::link::{self, Link};
use crate::message::{Login, MECHANISM, Message, Open, SegmentList, VERSION, Welcome, farewell, refusal};
use crate::scram::{self, BINDING_LABEL, BINDING_LEN, ServerScram, Verifier};
use crate::status::{SessionView, SiteStatus, State};
use crate::{ConnId, Exporter, Level, Now, Output, Random};

/// Time that a connection has for TLS and SCRAM (protocol 2.3).
const LOGIN_TIME: Duration = Duration::from_secs(5);

/// How long the present peer of a site has to give a sign of life when another wants its place (protocol 2.4).
const CONFLICT_TIME: Duration = Duration::from_secs(1);

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
    /// Workers, each of which sends on a lane of its own to each client.
    pub workers: usize,
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
    pub enabled: bool,
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
        let of_source = half_open.filter(|conn| conn.from.ip() == from.ip()).count();
        let most_of_source = (self.params.max_half_open / 4).max(1);
        if all >= self.params.max_half_open || of_source >= most_of_source {
            return false;
        }
        let (framer, stage) = (Framer::default(), Stage::Handshake);
        self.conns.insert(conn, Conn { framer, from, started: now, fingerprint: [0; 32], stage });
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
        while let Some(entry) = self.conns.get_mut(&conn) {
            let message = match entry.framer.next() {
                Ok(Some(bytes)) => Message::decode(&bytes).map_err(|error| error.to_string()),
                Ok(None) => return,
                Err(error) => Err(error.to_string()),
            };
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

    /// Authentic records arrived in a session.
    pub fn record_heard(&mut self, now: Now, session: SessionIndex) {
        if let Some(link) = self.link(session) {
            link.heard(now);
        }
    }

    /// A block with tunnel ID 0 arrived in an authentic record of a session.
    pub fn control_block(&mut self, now: Now, session: SessionIndex, from: SocketAddr, block: &[u8]) {
        if let Some(link) = self.sites.get_mut(usize::from(session.0)).and_then(|site| site.link.as_mut()) {
            link.control_block(now, from, block, &mut self.out);
        }
    }

    /// The newest record of a session came from an address that is not the session's.
    pub fn new_address(&mut self, now: Now, session: SessionIndex, from: SocketAddr) {
        if let Some(link) = self.sites.get_mut(usize::from(session.0)).and_then(|site| site.link.as_mut()) {
            link.new_address(now, from, &mut *self.random, &mut self.out);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        for at in 0..self.sites.len() {
            let site = &mut self.sites[at];
            let Some(link) = &mut site.link else { continue };
            if !link.handle_timeout(now, &mut *self.random, &mut self.ids, &mut self.out) {
                if let Some(conn) = site.current {
                    self.send(conn, &Message::Bye { code: farewell::DEAD_PEER, text: "dead peer".into() });
                }
                self.down(now, at, "nothing was heard from the site for the dead-peer time");
            }
        }
        let ids: Vec<ConnId> = self.conns.keys().copied().collect();
        for id in ids {
            let Some(conn) = self.conns.get_mut(&id) else { continue };
            match &conn.stage {
                Stage::Open { .. } => {}
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
        Some(SessionView { peer: link.peer, segments })
    }

    fn link(&mut self, session: SessionIndex) -> Option<&mut Link> {
        self.sites.get_mut(usize::from(session.0))?.link.as_mut()
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
            (Message::Login(login), Stage::Connected { binding }) => {
                let binding = *binding;
                self.login(now, id, login, binding)
            }
            (Message::Response(response), Stage::Challenged { .. }) => self.response(now, id, &response),
            (Message::Open(open), Stage::Welcomed { .. }) => self.open(now, id, open, exporter),
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

    fn login(
        &mut self,
        now: Now,
        id: ConnId,
        login: Login,
        binding: [u8; BINDING_LEN],
    ) -> Result<(), String> {
        if login.versions.0 < VERSION || login.versions.1 > VERSION {
            let (highest, lowest) = login.versions;
            self.refuse(id, refusal::VERSION, "this server speaks version 1");
            self.fail(now, id, &format!("the client speaks versions {lowest} to {highest}, not {VERSION}"));
            return Ok(());
        }
        if login.mechanism != MECHANISM {
            return Err(format!("the client wants SASL mechanism {:?}", printable(&login.mechanism)));
        }
        let (name, bare) = scram::parse_first(&login.first).map_err(|error| error.to_string())?;
        let mut known = self.params.sites.iter().zip(&self.sites);
        let site = known.position(|(params, site)| params.name == name && !site.vacant);
        let verifier = match site {
            Some(site) => self.params.sites[site].verifier.clone(),
            None => {
                let like = self.params.sites.first().map(|site| &site.verifier);
                Verifier::for_nobody(&name, &self.secret, like)
            }
        };
        let scram = ServerScram::new(&bare, verifier, binding, &mut *self.random)
            .map_err(|error| error.to_string())?;
        let challenge = Message::Challenge(scram.challenge());
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.stage = Stage::Challenged { scram: Box::new(scram), site, login };
        }
        self.send(id, &challenge);
        Ok(())
    }

    fn response(&mut self, now: Now, id: ConnId, response: &[u8]) -> Result<(), String> {
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        let Stage::Challenged { scram, site, login } = std::mem::replace(&mut conn.stage, Stage::Handshake)
        else {
            return Ok(());
        };
        let from = conn.from;
        // The same work and the same answer whether or not the name exists.
        let proof = scram.verify(response);
        let (site, last) = match (site, proof) {
            (Some(site), Ok(last)) => (site, last),
            (site, proof) => {
                let error = proof.err().map_or_else(String::new, |error| error.to_string());
                let name = scram::parse_first(&login.first)
                    .map_or_else(|_| "?".into(), |(name, _)| printable(&name));
                let reason = match site {
                    Some(site) => {
                        let reason = format!("login of site {name:?} from {from} failed: {error}");
                        self.sites[site].last_failure = Some((now, reason.clone()));
                        reason
                    }
                    None => format!("login from {from} failed: there is no site {name:?}"),
                };
                self.refuse(id, refusal::AUTHENTICATION, "authentication failed");
                self.fail(now, id, &reason);
                return Ok(());
            }
        };
        conn.framer.authenticated();
        let name = self.params.sites[site].name.clone();
        if !self.params.sites[site].enabled {
            self.refuse(id, refusal::DISABLED, "the site is disabled");
            self.fail(now, id, &format!("site {name:?} is disabled; its login from {from} was refused"));
            return Ok(());
        }
        let taken = self.sites[site].link.is_some() && self.sites[site].instance != login.instance;
        if !taken {
            return self.welcome(now, id, site, login, last);
        }
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.stage = Stage::Conflict { site, login, last, asked: now };
        }
        if let Some(link) = &mut self.sites[site].link {
            link.ask(now, &mut *self.random, &mut self.out);
        }
        self.settle(now, id);
        Ok(())
    }

    /// Decides between the present peer of a site and a newcomer (protocol 2.4).
    fn settle(&mut self, now: Now, id: ConnId) {
        let Some(Conn { stage: Stage::Conflict { site, asked, .. }, from, .. }) = self.conns.get(&id) else {
            return;
        };
        let (at, asked, from) = (*site, *asked, *from);
        let site = &self.sites[at];
        let alive = site.link.as_ref().is_some_and(|link| {
            let connected = site.current.is_some() && link.heard_within(CONFLICT_TIME, now);
            connected || link.last_heard() > asked
        });
        let name = self.params.sites[at].name.clone();
        if alive {
            let reason =
                format!("site {name:?} is connected already; a second login from {from} was refused");
            self.sites[at].last_failure = Some((now, reason.clone()));
            self.refuse(id, refusal::ELSEWHERE, "the site is connected from elsewhere");
            self.fail(now, id, &reason);
        } else if now >= asked + CONFLICT_TIME || site.link.is_none() {
            self.down(now, at, &format!("the site logged in anew from {from}"));
            let Some(conn) = self.conns.get_mut(&id) else { return };
            if let Stage::Conflict { login, last, .. } = std::mem::replace(&mut conn.stage, Stage::Handshake)
            {
                // Welcoming fails only for want of a common cipher, which it has told the client.
                let _ = self.welcome(now, id, at, login, last);
            }
        }
    }

    fn welcome(
        &mut self,
        now: Now,
        id: ConnId,
        site: usize,
        login: Login,
        last: Vec<u8>,
    ) -> Result<(), String> {
        let offered = |cipher: &&Cipher| login.ciphers.contains(&cipher.code());
        let Some(cipher) = self.params.ciphers.iter().find(offered).copied() else {
            let name = self.params.sites[site].name.clone();
            self.refuse(id, refusal::CIPHER, "no common data cipher");
            self.fail(now, id, &format!("site {name:?} offers no data cipher that is allowed here"));
            return Ok(());
        };
        let welcome = Message::Welcome(Welcome {
            last,
            version: VERSION,
            lanes: self.params.workers,
            data_port: self.params.data_port,
            segments: self.params.sites[site].segments.clone(),
            dead_peer_ms: self.params.dead_peer.as_millis() as u64,
            cipher: cipher.code(),
        });
        if let Some(conn) = self.conns.get_mut(&id) {
            let software = printable(&login.software);
            conn.stage = Stage::Welcomed { site, instance: login.instance, cipher, software };
            // A conflict may have taken its time.
            conn.started = now;
        }
        self.send(id, &welcome);
        Ok(())
    }

    /// Makes the lanes of a new epoch.
    fn open(&mut self, now: Now, id: ConnId, open: Open, exporter: &dyn Exporter) -> Result<(), String> {
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        let Stage::Welcomed { site, instance, cipher, software } =
            std::mem::replace(&mut conn.stage, Stage::Handshake)
        else {
            return Ok(());
        };
        let workers = self.params.workers;
        if open.lanes.len() != workers {
            return Err(format!("the client opened {} lanes instead of {workers}", open.lanes.len()));
        }
        let rx = self.ids.allocate(open.count, &mut *self.random);
        let name = &self.params.sites[site].name;
        let suite = Suite { cipher, engine: self.params.engine };
        let epoch = Epoch { exporter, site: name, fingerprint: &conn.fingerprint, suite };
        let made = epoch.rx_lanes(Direction::ClientToServer, &rx).map_err(|error| error.to_string())?;
        let tx =
            epoch.tx_lanes(Direction::ServerToClient, &open.lanes, now).map_err(|error| error.to_string())?;
        let missing = rx.iter().copied().collect();
        let segments = open.segments;
        conn.stage = Stage::Preparing(Box::new(Preparing {
            site,
            instance,
            cipher,
            software,
            rx,
            missing,
            tx,
            segments,
        }));
        let made = made.into_iter().enumerate();
        self.out.extend(
            made.map(|(lane_index, lane)| Output::InstallRx(index(site), lane_index, Box::new(lane))),
        );
        Ok(())
    }

    /// All lanes are ready: the session comes up, or goes over to a new epoch.
    fn open_session(&mut self, now: Now, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let (from, stage) = (conn.from, std::mem::replace(&mut conn.stage, Stage::Handshake));
        let Stage::Preparing(preparing) = stage else {
            conn.stage = stage;
            return;
        };
        let Preparing { site: at, instance, cipher, software, rx, tx, segments, .. } = *preparing;
        conn.stage = Stage::Open { site: at };
        self.send(id, &Message::Opened(rx.clone()));
        let lanes = tx.into_iter().enumerate();
        self.out.extend(lanes.map(|(worker, lane)| Output::InstallTx(index(at), worker, Box::new(lane))));
        let name = self.params.sites[at].name.clone();
        let site = &mut self.sites[at];
        match &mut site.link {
            Some(link) => {
                link.renew(rx, now);
                site.renewals += 1;
                self.out.push_back(Output::Log(Level::Info, format!("site {name:?} has new keys")));
            }
            None => {
                site.link = Some(Link::new(index(at), self.params.dead_peer, rx, now));
                let text = format!("site {name:?} is up: from {from}, {}, {software}", cipher.name());
                self.out.push_back(Output::Log(Level::Info, text));
            }
        }
        site.instance = instance;
        site.cipher = Some(cipher);
        site.software = software;
        site.peer_segments = segments;
        if let Some(older) = site.current.replace(id) {
            self.send(older, &Message::Bye { code: farewell::REPLACED, text: "replaced".into() });
            self.close(older);
        }
        self.out.push_back(Output::Changed(index(at)));
    }

    /// A connection has come to its end: `reason` says why.
    fn fail(&mut self, now: Now, id: ConnId, reason: &str) {
        let Some(conn) = self.conns.get(&id) else { return };
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
            Stage::Challenged { site: Some(site), .. } | Stage::Welcomed { site, .. } => {
                self.sites[*site].last_failure = Some((now, reason.into()));
                format!("connection from {from}: {reason}")
            }
            _ => format!("connection from {from}: {reason}"),
        };
        self.out.push_back(Output::Log(Level::Warn, line));
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
            site.current.take_if(|current| *current == conn);
        }
    }
}

fn index(site: usize) -> SessionIndex {
    SessionIndex(site as u16)
}

fn status(params: &SiteParams, site: &Site) -> SiteStatus {
    let state = match (&site.link, params.enabled) {
        (Some(_), _) => State::Up,
        (None, false) => State::Disabled,
        (None, true) => State::Down,
    };
    SiteStatus {
        site: params.name.clone(),
        state,
        up_since: site.link.as_ref().map(|link| link.since),
        peer: site.link.as_ref().and_then(|link| link.peer),
        cipher: site.cipher.filter(|_| site.link.is_some()),
        round_trip: site.link.as_ref().and_then(|link| link.round_trip),
        last_heard: site.link.as_ref().map(Link::last_heard),
        renewals: site.renewals,
        software: site.software.clone(),
        last_failure: site.last_failure.clone(),
    }
}
