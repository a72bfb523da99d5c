//! The spoke's one session.

mod login;
mod reconnect;
mod settings;
mod tcp;
mod trust;
mod uplinks;
mod words;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use bridge::SessionIndex;
use record::{Cipher, Engine, LaneId};
use zeroize::Zeroizing;

use self::trust::Doubt;
use self::words::refused_text;
pub(crate) use self::words::{expired, printable};
use crate::epoch::LaneIds;
use crate::framing::{Framer, frame};
use crate::link::{self, Ended, Link, PeerBlock, Tools};
use crate::message::{Login, MECHANISM, Message, Open, SegmentList, VERSION, Welcome, farewell};
use crate::scram::{BINDING_LABEL, BINDING_LEN, ClientScram, SaltedCache};
use crate::status::{SessionView, SiteStatus, State};
use crate::{ConnId, Dial, Exporter, Level, Now, Output, Random, Uplinks};

/// The session of a client.
const SESSION: SessionIndex = SessionIndex(0);

/// Time until TLS is up. Whoever connects has limits of his own for each address; this is the one for all of them.
const CONNECT_TIME: Duration = Duration::from_secs(120);

/// Time from there to `opened`.
const LOGIN_TIME: Duration = Duration::from_secs(10);

/// What a client is made of.
pub struct ClientParams {
    /// The site's name.
    pub site: String,
    /// Its password.
    pub password: Zeroizing<String>,
    /// The data ciphers it offers, best first.
    pub ciphers: Vec<Cipher>,
    /// Who computes them here.
    pub engine: Engine,
    /// The segments it attaches.
    pub segments: SegmentList,
    /// How long the keys of one TLS handshake are used.
    pub rekey: Duration,
    /// Name and version of the software.
    pub software: String,
    /// Workers, each of which sends on a lane of its own by each path.
    pub workers: usize,
    /// The ports towards the WAN, each of which is a path.
    pub uplinks: Uplinks,
    /// After what time a path's MTU is searched for anew.
    pub raise_after: Duration,
    /// Whether records may go by UDP.
    pub udp: bool,
    /// Whether records may go over the TLS connection.
    pub tcp: bool,
}

/// The spoke's session with its hub: connects, logs in, keeps alive, renews, reconnects.
pub struct Client {
    params: ClientParams,
    random: Box<dyn Random>,
    instance: [u8; 16],
    cache: SaltedCache,
    next_conn: u64,
    conns: BTreeMap<ConnId, Conn>,
    /// The connection that logs in.
    attempt: Option<ConnId>,
    /// The connection that the present epoch came from, while it is open.
    current: Option<ConnId>,
    link: Option<Link>,
    ids: LaneIds,
    cipher: Option<Cipher>,
    peer_segments: SegmentList,
    /// When to connect next; `None` while there is no need to.
    connect_at: Option<Now>,
    /// The operator has ended it, and nobody tries.
    stopped: bool,
    redirect: Option<String>,
    /// How many redirects it has followed one after the other.
    redirects: u32,
    /// The uplink that the next connection leaves by.
    next_uplink: usize,
    /// A connection by another uplink is wanted, since that of the present one is dead.
    moving: bool,
    /// The session's server has to show that it is still to be believed.
    doubt: Option<Doubt>,
    failures: u32,
    /// Until when the server may be restarting.
    restarting: Now,
    renewals: u64,
    last_failure: Option<(Now, String)>,
    out: VecDeque<Output>,
}

struct Conn {
    framer: Framer,
    /// When its present step has taken too long.
    until: Now,
    /// The uplink that it leaves by.
    uplink: usize,
    /// The server's address, if it is known, and the certificate it showed, once TLS is up.
    server: Option<(Option<IpAddr>, [u8; 32])>,
    stage: Stage,
    /// Whether the server has said its last word, since a newer connection takes this one's place.
    left: bool,
}

enum Stage {
    /// TCP and TLS.
    Connecting,
    /// `login` is sent.
    LoggingIn(ClientScram),
    /// The password's proof is sent.
    Proving(ClientScram),
    /// Authenticated; the workers get their receive lanes.
    Preparing { welcome: Welcome, lanes: Vec<LaneId>, missing: HashSet<LaneId> },
    /// `open` is sent.
    Opening { welcome: Welcome, lanes: Vec<LaneId> },
    /// The session's control connection.
    Open,
    /// It was, and is left open until the server's last records have come, or so long.
    Replaced(Now),
}

impl Client {
    /// A client that connects as soon as it is asked what to do.
    pub fn new(params: ClientParams, mut random: Box<dyn Random>, now: Now) -> Self {
        let mut instance = [0; 16];
        random.fill(&mut instance);
        Self {
            ids: LaneIds::new(params.workers),
            params,
            random,
            instance,
            cache: SaltedCache::default(),
            next_conn: 0,
            conns: BTreeMap::new(),
            attempt: None,
            current: None,
            link: None,
            cipher: None,
            peer_segments: Vec::new(),
            connect_at: Some(now),
            stopped: false,
            redirect: None,
            redirects: 0,
            next_uplink: 0,
            moving: false,
            doubt: None,
            failures: 0,
            restarting: Now::ZERO,
            renewals: 0,
            last_failure: None,
            out: VecDeque::new(),
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// A connection's TLS handshake is done, with the server at `server` (`None` if only a proxy knows where it is), which showed a
    /// certificate with this fingerprint.
    pub fn connected(
        &mut self,
        now: Now,
        conn: ConnId,
        server: Option<IpAddr>,
        fingerprint: [u8; 32],
        exporter: &dyn Exporter,
    ) {
        let (paths, tcp, patience) = (self.paths(), self.offers_tcp(), self.login_time());
        let Some(entry) = self.conns.get_mut(&conn) else { return };
        let mut binding = [0; BINDING_LEN];
        if exporter.export(BINDING_LABEL, b"", &mut binding).is_err() {
            return self.fail(now, conn, "the TLS connection gives no channel binding");
        }
        let scram = ClientScram::new(&self.params.site, binding, &mut *self.random);
        let login = Message::Login(Login {
            versions: (VERSION, VERSION),
            instance: self.instance,
            mechanism: MECHANISM.into(),
            first: scram.first(),
            software: self.params.software.clone(),
            ciphers: self.params.ciphers.iter().map(|cipher| cipher.code()).collect(),
            paths,
            tcp,
        });
        entry.server = Some((server, fingerprint));
        entry.until = now + patience;
        // Its certificate says who it is, and its welcome lists all its segments.
        entry.framer.authenticated();
        entry.stage = Stage::LoggingIn(scram);
        self.send(conn, &login);
    }

    /// Bytes arrived on a connection.
    pub fn received(&mut self, now: Now, conn: ConnId, bytes: &[u8], exporter: &dyn Exporter) {
        if let Some(entry) = self.conns.get_mut(&conn) {
            entry.framer.add(bytes);
        }
        while let Some(message) = self.conns.get_mut(&conn).and_then(|entry| entry.framer.message()) {
            let done = message.and_then(|message| self.message(now, conn, message, exporter));
            if let Err(reason) = done {
                self.fail(now, conn, &reason);
            }
        }
    }

    /// A connection is over, or never came to be.
    pub fn closed(&mut self, now: Now, conn: ConnId, reason: &str) {
        if self.conns.contains_key(&conn) {
            self.fail(now, conn, reason);
        }
    }

    /// The workers receive on a lane.
    pub fn rx_ready(&mut self, lane: LaneId) {
        let Some((conn, entry)) = self.attempt.and_then(|id| Some((id, self.conns.get_mut(&id)?))) else {
            return;
        };
        let Stage::Preparing { missing, .. } = &mut entry.stage else { return };
        if !missing.remove(&lane) || !missing.is_empty() {
            return;
        }
        if let Stage::Preparing { welcome, lanes, .. } =
            std::mem::replace(&mut entry.stage, Stage::Connecting)
        {
            let segments = self.params.segments.clone();
            let count = self.params.workers * (welcome.paths + usize::from(welcome.tcp));
            let open = Message::Open(Open { lanes: lanes.clone(), count, segments });
            entry.stage = Stage::Opening { welcome, lanes };
            self.send(conn, &open);
        }
    }

    /// Authentic records arrived by a path.
    pub fn record_heard(&mut self, now: Now, path: usize) {
        if let Some(link) = &mut self.link {
            link.heard(path, now);
        }
    }

    /// Frames were sent.
    pub fn frames_sent(&mut self, now: Now) {
        if let Some(link) = &mut self.link {
            link.sent(now);
        }
    }

    /// A block with tunnel ID 0 arrived in an authentic record.
    pub fn control_block(&mut self, now: Now, block: &PeerBlock<'_>) {
        self.with_link(now, |link, tools| link.control_block(block, tools));
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        let late = |conn: &Conn| !matches!(conn.stage, Stage::Open) && now >= conn.until;
        if let Some(id) = self.attempt.filter(|id| self.conns.get(id).is_some_and(late)) {
            self.fail(now, id, "the server did not answer in time");
        }
        let Self { link, ids, params, random, out, .. } = self;
        let tools = &mut Tools { now, uplinks: &params.uplinks, random: &mut **random, out };
        if let Some(ended) = link.as_mut().and_then(|link| link.handle_timeout(ids, tools)) {
            self.ended(now, ended);
        }
        self.look_at_doubt(now);
        self.look_at_tcp(now);
        self.leave_dead_uplink(now);
        if self.attempt.is_none() && self.connect_at.is_some_and(|at| now >= at) {
            self.connect(now);
        }
    }

    /// When `handle_timeout` is due.
    pub fn deadline(&self) -> Now {
        let attempt = self.attempt.and_then(|id| self.conns.get(&id)).map(|conn| conn.until);
        let connect = self.connect_at.filter(|_| self.attempt.is_none());
        let link = self.link.as_ref().map(Link::deadline);
        let doubt = self.doubt.as_ref().map(|doubt| doubt.until);
        [attempt, connect, link, self.replaced_until(), doubt].into_iter().flatten().min().unwrap_or(Now::MAX)
    }

    /// Says goodbye and ends.
    pub fn shutdown(&mut self, now: Now) {
        self.end(now, farewell::SHUTDOWN, "shutting down", "shut down");
    }

    /// What the console shows.
    pub fn status(&self) -> SiteStatus {
        let state = match (&self.link, self.attempt) {
            (Some(_), _) => State::Up,
            (None, Some(_)) => State::Connecting,
            (None, None) if self.stopped => State::Disabled,
            (None, None) => State::Down,
        };
        SiteStatus {
            site: self.params.site.clone(),
            state,
            up_since: self.link.as_ref().map(|link| link.since),
            keys_since: self.link.as_ref().map(|link| link.keys_since),
            peer: self.link.as_ref().and_then(Link::peer),
            cipher: self.cipher.filter(|_| self.link.is_some()),
            round_trip: self.link.as_ref().and_then(Link::round_trip),
            transport: self.link.as_ref().map(Link::carrier),
            paths: self.link.as_ref().map_or_else(Vec::new, Link::status),
            last_heard: self.link.as_ref().map(Link::last_heard),
            renewals: self.renewals,
            software: String::new(),
            last_failure: self.last_failure.clone(),
        }
    }

    /// What the workers need to know; `None` while the session is down.
    pub fn view(&self) -> Option<SessionView> {
        let link = self.link.as_ref()?;
        let segments = SessionView::joined(&self.params.segments, &self.peer_segments);
        Some(SessionView { paths: link.views(), segments })
    }

    fn connect(&mut self, now: Now) {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        let (uplink, port) = self.choose_uplink(now);
        if self.redirect.is_none() {
            self.redirects = 0;
        }
        let (framer, stage) = (Framer::default(), Stage::Connecting);
        let until = now + self.connect_time();
        self.conns.insert(conn, Conn { framer, until, uplink, server: None, stage, left: false });
        self.attempt = Some(conn);
        self.connect_at = None;
        self.out.push_back(Output::Connect(Dial { conn, redirect: self.redirect.take(), port }));
    }

    fn message(
        &mut self,
        now: Now,
        id: ConnId,
        message: Message,
        exporter: &dyn Exporter,
    ) -> Result<(), String> {
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        match (message, &mut conn.stage) {
            (Message::Unknown(_), _) => {}
            (Message::Records(records), Stage::Open | Stage::Replaced(_)) => {
                self.out.push_back(Output::Records(records));
            }
            (Message::Refused { code, text, retry_ms }, stage) if !matches!(stage, Stage::Open) => {
                if let Some(ms) = retry_ms {
                    self.connect_at = Some(now + Duration::from_millis(ms.min(3_600_000)));
                }
                return Err(refused_text(code, &text));
            }
            (Message::Redirect(address), Stage::LoggingIn(_) | Stage::Proving(_)) => {
                return self.redirected(now, id, address);
            }
            (Message::Bye { code: farewell::REPLACED, .. }, Stage::Open) if self.attempt.is_some() => {
                // Our own records go by it until the newer connection is open here, too.
                conn.left = true;
            }
            (Message::Bye { .. }, Stage::Replaced(_)) => self.close(id),
            (_, Stage::Replaced(_)) => {}
            (Message::Bye { code, text }, Stage::Open) => {
                self.close(id);
                if code != farewell::REPLACED && self.current.is_none() {
                    if code == farewell::SHUTDOWN {
                        self.restarting = now + reconnect::RESTART_TIME;
                    }
                    self.down(now, &format!("the server ended the session: {}", printable(&text)));
                }
            }
            (Message::Bye { text, .. }, _) => {
                return Err(format!("the server ended the login: {}", printable(&text)));
            }
            (Message::Question(question), Stage::Open) => {
                self.out.push_back(Output::Asked(SESSION, question));
            }
            (Message::Answer(answer), Stage::Open) => self.out.push_back(Output::Answered(SESSION, answer)),
            (Message::Segments(segments), Stage::Open) => {
                self.peer_segments = segments;
                self.out.push_back(Output::Changed(SESSION));
            }
            (Message::Challenge(challenge), Stage::LoggingIn(scram)) => {
                let response = scram
                    .respond(&challenge, &self.params.password, &mut self.cache)
                    .map_err(|error| error.to_string())?;
                if let Stage::LoggingIn(scram) = std::mem::replace(&mut conn.stage, Stage::Connecting) {
                    conn.stage = Stage::Proving(scram);
                }
                self.send(id, &Message::Response(response));
            }
            (Message::Welcome(welcome), Stage::Proving(scram)) => {
                scram.verify(&welcome.last).map_err(|error| error.to_string())?;
                self.prepare(id, welcome, exporter)?;
            }
            (Message::Opened(lanes), Stage::Opening { .. }) => {
                if let Stage::Opening { welcome, lanes: rx } = std::mem::replace(&mut conn.stage, Stage::Open)
                {
                    self.opened(now, id, &welcome, rx, &lanes, exporter)?;
                }
            }
            (message, _) => return Err(format!("the server sent {} at a wrong time", message.name())),
        }
        Ok(())
    }

    /// A connection has come to its end: `reason` says why.
    fn fail(&mut self, now: Now, id: ConnId, reason: &str) {
        let Some(conn) = self.conns.get(&id) else { return };
        if matches!(conn.stage, Stage::Replaced(_)) {
            return self.close(id);
        }
        let logged_in = matches!(conn.stage, Stage::Open);
        self.next_uplink = conn.uplink + 1;
        self.abandon(id);
        if logged_in && self.link.is_some() {
            // The session lives on while records arrive. A new connection renews it.
            self.out.push_back(Output::Log(Level::Warn, format!("lost the control connection: {reason}")));
            self.connect_at = Some(now + self.jitter(reconnect::FIRST));
            return;
        }
        self.out.push_back(Output::Log(Level::Warn, format!("cannot connect to the server: {reason}")));
        self.last_failure = Some((now, reason.into()));
        if self.doubt.is_some() {
            return self.disbelieve(now);
        }
        self.retry(now);
    }

    /// Closes a connection, and takes back what a login has got so far.
    fn abandon(&mut self, id: ConnId) {
        let stage = self.conns.get(&id).map(|conn| &conn.stage);
        if let Some(Stage::Preparing { lanes, .. } | Stage::Opening { lanes, .. }) = stage {
            link::remove(lanes, &mut self.ids, &mut self.out);
        }
        self.close(id);
    }

    /// The session cannot go on.
    fn ended(&mut self, now: Now, ended: Ended) {
        let reason = match ended {
            Ended::Silent => {
                // Whatever else is wrong, this uplink did not get it through.
                self.next_uplink = self.current_uplink().map_or(self.next_uplink, |uplink| uplink + 1);
                "nothing was heard from the server for the dead-peer time (is UDP to its data port let through?)"
                    .into()
            }
            Ended::Expired => expired(self.last_failure.as_ref(), self.link.as_ref()),
        };
        if let Some(conn) = self.current {
            self.send(conn, &ended.bye());
        }
        self.down(now, &reason);
    }

    fn down(&mut self, now: Now, reason: &str) {
        self.doubt = None;
        let Some(link) = self.link.take() else { return };
        link.end(&mut self.ids, &mut self.out);
        if let Some(conn) = self.current.take() {
            self.close(conn);
        }
        self.out.push_back(Output::Log(Level::Warn, format!("the session is down: {reason}")));
        self.last_failure = Some((now, reason.into()));
        self.connect_at = None;
        self.retry(now);
    }

    fn say_bye(&mut self, code: u64, text: &str) {
        if let Some(conn) = self.current {
            self.send(conn, &Message::Bye { code, text: text.into() });
        }
    }

    fn send(&mut self, conn: ConnId, message: &Message) {
        self.out.push_back(Output::Send(conn, frame(&message.encode())));
    }

    fn close(&mut self, conn: ConnId) {
        if self.conns.remove(&conn).is_some() {
            self.out.push_back(Output::Close(conn));
        }
        self.attempt.take_if(|attempt| *attempt == conn);
        if self.current.take_if(|current| *current == conn).is_some() {
            self.link.iter_mut().for_each(|link| link.disconnected(&mut self.out));
        }
    }
}
