//! The data channel of one session as the control side sees it: is the peer alive, by which paths, which
//! lanes are open (protocol 2.4, 4.3 to 4.6). The same for client and server.

mod echo;
mod path;
mod pmtu;
mod tcp;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bridge::SessionIndex;
use record::LaneId;
use wire::way::Way;

use self::path::{Around, Path, Wanted, Watch};
use self::tcp::TcpPath;
use crate::epoch::LaneIds;
use crate::message::{MAX_RECORD, Message, farewell};
use crate::status::{Carrier, PathState, PathStatus, PathView};
use crate::{Now, Output, OwnBlock, Random, Uplinks};

/// How long the lanes of the epoch before are received on.
pub(crate) const OVERLAP: Duration = Duration::from_secs(5);

/// How long the keys of one TLS handshake are used at most, whatever keeps a session from its renewal (protocol 2.4).
const KEYS_MOST: Duration = Duration::from_secs(15 * 60);

const ECHO_REQUEST: u8 = 1;
const ECHO_REPLY: u8 = 2;
const PROBE: u8 = 3;
const ACK: u8 = 4;

/// One session's data channel.
#[derive(Debug)]
pub(crate) struct Link {
    session: SessionIndex,
    dead_peer: Duration,
    /// After what time a path's MTU is searched for anew.
    raise_after: Duration,
    /// The lanes of the present epoch that we receive on.
    rx: Vec<LaneId>,
    /// Those of epochs before, and until when.
    retiring: Vec<(Vec<LaneId>, Now)>,
    pub(crate) since: Now,
    /// When its present keys were agreed on.
    pub(crate) keys_since: Now,
    heard: Now,
    paths: Vec<Path>,
    /// The path over the control connection, behind the others.
    tcp: Option<TcpPath>,
    carrier: Carrier,
    /// Whether what carries records has changed since this was asked last.
    news: bool,
}

/// What a session is made of.
pub(crate) struct Shape {
    /// The lanes that we receive on.
    pub(crate) rx: Vec<LaneId>,
    /// How many paths it has by UDP.
    pub(crate) paths: usize,
    /// Whether its records may go over the control connection.
    pub(crate) tcp: bool,
    /// After what time without anything from the peer it is down.
    pub(crate) dead_peer: Duration,
}

/// What a link works with.
pub(crate) struct Tools<'a> {
    pub(crate) now: Now,
    pub(crate) uplinks: &'a Uplinks,
    pub(crate) random: &'a mut dyn Random,
    pub(crate) out: &'a mut VecDeque<Output>,
}

/// Why a session cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nothing was heard for the dead-peer time.
    Silent,
    /// Its keys are too old: no renewal has succeeded.
    Expired,
}

impl Ended {
    /// What the peer is told.
    pub(crate) fn bye(self) -> Message {
        let (code, text) = match self {
            Self::Silent => (farewell::DEAD_PEER, "no record arrived for the dead-peer time"),
            Self::Expired => (farewell::EXPIRED, "the keys were not renewed within 15 minutes"),
        };
        Message::Bye { code, text: text.into() }
    }
}

/// A block with tunnel ID 0 that arrived in an authentic record.
#[derive(Clone, Copy, Debug)]
pub struct PeerBlock<'a> {
    /// The path that its lane belongs to.
    pub path: usize,
    /// The way that the record came by, with our address; `None`: over the control connection.
    pub from: Option<Way>,
    /// Octets of the record.
    pub octets: u16,
    /// The block.
    pub body: &'a [u8],
}

impl Link {
    /// The session in `place` goes over to a new epoch; if there is none, it comes up now.
    pub(crate) fn open<'a>(
        place: &'a mut Option<Self>,
        session: SessionIndex,
        raise_after: Duration,
        shape: Shape,
        tools: &mut Tools<'_>,
    ) -> &'a mut Self {
        match place {
            Some(link) => {
                link.renew(shape, tools);
                link
            }
            None => place.insert(Self::new(session, raise_after, shape, tools.now)),
        }
    }

    fn new(
        session: SessionIndex,
        raise_after: Duration,
        Shape { rx, paths, tcp, dead_peer }: Shape,
        now: Now,
    ) -> Self {
        let path = |_| Path::new(Watch::of(paths, tcp, dead_peer), raise_after, now);
        Self {
            session,
            dead_peer,
            raise_after,
            rx,
            retiring: Vec::new(),
            since: now,
            keys_since: now,
            heard: now,
            paths: (0..paths).map(path).collect(),
            tcp: tcp.then(|| TcpPath::new(now, dead_peer)),
            carrier: Carrier { tcp, since: now, why: "the session has just begun" },
            news: false,
        }
    }

    /// A new epoch takes the place of the present one.
    fn renew(&mut self, Shape { rx, paths, tcp, dead_peer }: Shape, tools: &mut Tools<'_>) {
        let old = std::mem::replace(&mut self.rx, rx);
        self.retiring.push((old, tools.now + OVERLAP));
        self.keys_since = tools.now;
        // The handshake is a sign of life. The time may be shorter from now on than what has passed since the last record.
        self.heard = tools.now;
        self.dead_peer = dead_peer;
        let watch = Watch::of(paths, tcp, dead_peer);
        if self.paths.len() == paths {
            self.paths.iter_mut().for_each(|path| path.watch(watch));
        } else {
            // Another peer, or the same with other uplinks.
            self.paths = (0..paths).map(|_| Path::new(watch, self.raise_after, tools.now)).collect();
            self.tcp = None;
        }
        if tcp {
            self.tcp = Some(self.tcp.take().unwrap_or_default().connected(tools.now, dead_peer));
        } else {
            self.tcp = None;
            if self.carrier.tcp {
                self.carry(false, "records may not go over the control connection any more", tools.now);
            }
        }
        self.ask(tools);
    }

    /// The peer of a path is there.
    pub(crate) fn set_way(&mut self, path: usize, way: Way, tools: &mut Tools<'_>) {
        if self.paths.get_mut(path).is_some_and(|path| path.set_way(way, tools.uplinks)) {
            tools.out.push_back(Output::Changed(self.session));
        }
    }

    /// The uplinks' MTUs have changed.
    pub(crate) fn uplinks_changed(&mut self, tools: &mut Tools<'_>) {
        let changed = self.paths.iter_mut().map(|path| path.look_at(tools.uplinks)).fold(false, |a, b| a | b);
        if changed {
            tools.out.push_back(Output::Changed(self.session));
        }
    }

    /// An authentic record arrived by a path.
    pub(crate) fn heard(&mut self, path: usize, now: Now) {
        self.heard = self.heard.max(now);
        match self.paths.get_mut(path) {
            Some(path) => path.heard(now),
            None => self.tcp.iter_mut().for_each(|tcp| tcp.heard(now)),
        }
    }

    /// The control connection is gone.
    pub(crate) fn disconnected(&mut self, out: &mut VecDeque<Output>) {
        if self.tcp.as_mut().is_some_and(TcpPath::disconnect) {
            out.push_back(Output::Changed(self.session));
        }
    }

    /// Whether nothing comes by the control connection although nobody has closed it.
    pub(crate) fn is_tcp_silent(&self, now: Now) -> bool {
        self.tcp.as_ref().is_some_and(|tcp| tcp.is_silent(now))
    }

    /// Whether so little comes by the control connection that it may be dead soon.
    pub(crate) fn is_tcp_stalled(&self, now: Now) -> bool {
        self.tcp.as_ref().is_some_and(|tcp| tcp.is_stalled(self.carrier.since, now))
    }

    /// Whether records may go over the control connection.
    pub(crate) fn takes_tcp(&self) -> bool {
        self.tcp.is_some()
    }

    /// What carries records, if that has changed since this was asked last.
    pub(crate) fn news(&mut self) -> Option<Carrier> {
        std::mem::replace(&mut self.news, false).then_some(self.carrier)
    }

    /// What carries records.
    pub(crate) fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// Frames were sent in the session.
    pub(crate) fn sent(&mut self, now: Now) {
        self.paths.iter_mut().for_each(|path| path.sent(now));
    }

    /// Whether an authentic record arrived within `time`.
    pub(crate) fn heard_within(&self, time: Duration, now: Now) -> bool {
        now.saturating_sub(self.heard) <= time
    }

    /// When an authentic record arrived last.
    pub(crate) fn last_heard(&self) -> Now {
        self.heard
    }

    /// A block with tunnel ID 0 arrived in an authentic record.
    pub(crate) fn control_block(&mut self, block: &PeerBlock<'_>, tools: &mut Tools<'_>) {
        self.heard(block.path, tools.now);
        let Some((kind, rest)) = block.body.split_first() else { return };
        if block.path == self.paths.len() {
            let answer = self.tcp.as_mut().and_then(|tcp| tcp.block(*kind, rest, tools.now));
            self.send_by_tcp(answer, tools);
        } else if let Some(from) = block.from {
            self.with(block.path, tools, |path, around| path.block(*kind, rest, from, block.octets, around));
        }
    }

    /// The newest record of a path came by `from`, which is not the path's way: it has to prove itself.
    pub(crate) fn new_way(&mut self, path: usize, from: Way, tools: &mut Tools<'_>) {
        self.with(path, tools, |path, around| {
            path.new_way(from, around);
            false
        });
    }

    /// Asks for a sign of life now, not only when the next is due.
    pub(crate) fn ask(&mut self, tools: &mut Tools<'_>) {
        for at in 0..self.paths.len() {
            self.with(at, tools, |path, around| {
                path.ask(around);
                false
            });
        }
        let carries = self.carrier.tcp;
        let question = self.tcp.as_mut().and_then(|tcp| tcp.ask(tools.now, carries, tools.random));
        self.send_by_tcp(question, tools);
    }

    /// What is due. Returns why the session cannot go on, if so.
    pub(crate) fn handle_timeout(&mut self, ids: &mut LaneIds, tools: &mut Tools<'_>) -> Option<Ended> {
        let now = tools.now;
        self.retiring.retain(|(lanes, until)| {
            if now >= *until {
                remove(lanes, ids, tools.out);
            }
            now < *until
        });
        if now >= self.heard + self.dead_peer {
            return Some(Ended::Silent);
        }
        if now >= self.keys_since + KEYS_MOST {
            return Some(Ended::Expired);
        }
        for at in 0..self.paths.len() {
            self.with(at, tools, |path, around| path.handle_timeout(around));
        }
        self.choose_carrier(tools);
        let carries = self.carrier.tcp;
        let question = self.tcp.as_mut().and_then(|tcp| tcp.handle_timeout(now, carries, tools.random));
        self.send_by_tcp(question, tools);
        None
    }

    pub(crate) fn deadline(&self) -> Now {
        let retiring = self.retiring.iter().map(|(_, until)| *until);
        let paths = self.paths.iter().map(|path| path.deadline());
        let tcp = self.tcp.iter().map(TcpPath::deadline);
        let end = (self.heard + self.dead_peer).min(self.keys_since + KEYS_MOST);
        paths.chain(retiring).chain(tcp).fold(end, Now::min)
    }

    /// The peer's address on the first path that carries frames.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        let views = self.views();
        let usable = views.iter().filter(|view| view.usable);
        usable.chain(&views).find_map(|view| view.way).map(|way| way.peer)
    }

    /// The round trip of the first path that carries frames.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        let status = self.status();
        let usable = status.iter().find(|path| path.state == PathState::Up);
        usable.or(status.first()).and_then(|path| path.round_trip)
    }

    /// Whether a path may carry frames.
    pub(crate) fn is_usable(&self, path: usize, now: Now) -> bool {
        self.paths.get(path).is_some_and(|path| path.is_usable(now))
    }

    /// What the workers need to know of each path. When none is alive, the one that was last is to be used.
    pub(crate) fn views(&self) -> Vec<PathView> {
        let mut views: Vec<PathView> = self.paths.iter().map(Path::view).collect();
        let alive = views.iter().any(|view| view.usable);
        let tcp = self.tcp.as_ref().map(|tcp| tcp.is_connected() && !alive);
        if !alive && tcp != Some(true) {
            let known = (0..views.len()).filter(|at| views[*at].way.is_some());
            if let Some(last) = known.max_by_key(|at| self.paths[*at].last_heard()) {
                views[last].usable = true;
            }
        }
        let over_tcp = |usable| PathView { tcp: true, way: None, max_record: MAX_RECORD as u16, usable };
        views.extend(tcp.map(over_tcp));
        views
    }

    /// What the console shows of each path.
    pub(crate) fn status(&self) -> Vec<PathStatus> {
        let tcp = self.tcp.iter().map(|tcp| tcp.status(self.carrier.tcp));
        self.paths.iter().map(Path::status).chain(tcp).collect()
    }

    /// Decides whether UDP or the control connection carries records.
    fn choose_carrier(&mut self, tools: &Tools<'_>) {
        let Some(tcp) = &mut self.tcp else { return };
        let alive = self.paths.iter().any(|path| path.is_usable(tools.now));
        let over_tcp = tcp.is_connected() && !alive;
        if over_tcp == self.carrier.tcp {
            return;
        }
        let why = match (over_tcp, alive) {
            (false, true) => "UDP gets through",
            (false, false) => "the control connection is gone",
            (true, _) => {
                self.paths.iter().map(|path| path.fault(tools.now, tools.uplinks)).next().unwrap_or("")
            }
        };
        tcp.hurry(tools.now);
        self.carry(over_tcp, why, tools.now);
    }

    fn carry(&mut self, tcp: bool, why: &'static str, now: Now) {
        self.carrier = Carrier { tcp, since: now, why };
        self.news = true;
    }

    fn send_by_tcp(&self, body: Option<Vec<u8>>, tools: &mut Tools<'_>) {
        let (session, path) = (self.session, self.paths.len());
        let block = |body| Output::SendBlock(OwnBlock { session, path, to: None, body, record: 0 });
        tools.out.extend(body.map(block));
    }

    /// The session is over: forgets all its lanes.
    pub(crate) fn end(self, ids: &mut LaneIds, out: &mut VecDeque<Output>) {
        out.push_back(Output::RemoveTx(self.session));
        remove(&self.rx, ids, out);
        for (lanes, _) in &self.retiring {
            remove(lanes, ids, out);
        }
        out.push_back(Output::Changed(self.session));
    }

    /// Calls `act` for a path, and passes on what comes of it.
    fn with(
        &mut self,
        at: usize,
        tools: &mut Tools<'_>,
        act: impl FnOnce(&mut Path, &mut Around<'_>) -> bool,
    ) {
        let Some(path) = self.paths.get_mut(at) else { return };
        let mut wanted = VecDeque::new();
        let mut around = Around {
            now: tools.now,
            dead_peer: self.dead_peer,
            uplinks: tools.uplinks,
            random: tools.random,
            out: &mut wanted,
        };
        if act(path, &mut around) {
            tools.out.push_back(Output::Changed(self.session));
        }
        let session = self.session;
        tools.out.extend(wanted.into_iter().map(|Wanted { to, body, record }| {
            Output::SendBlock(OwnBlock { session, path: at, to, body, record })
        }));
    }
}

/// Receives no more on `lanes`.
pub(crate) fn remove(lanes: &[LaneId], ids: &mut LaneIds, out: &mut VecDeque<Output>) {
    for lane in lanes {
        ids.release(*lane);
        out.push_back(Output::RemoveRx(*lane));
    }
}
