//! A server and its clients in virtual time: TLS is a pair of byte queues, the WAN a queue of sealed records, and
//! every step is decided by a seed.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bridge::SessionIndex;
use record::{Cipher, LaneId, OVERHEAD, RxLane, TxLane};
use ring::hmac;
use session::scram::Verifier;
use session::*;
use wire::tunnel::TunnelId;
use zeroize::Zeroizing;

pub const STEP: Duration = Duration::from_millis(10);
pub const LATENCY: Duration = Duration::from_millis(20);

/// A seeded generator that all share.
#[derive(Clone)]
pub struct Chance(Rc<RefCell<u64>>);

impl Chance {
    pub fn next(&self) -> u64 {
        let mut state = self.0.borrow_mut();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }
}

impl Random for Chance {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill_with(|| (self.next() >> 20) as u8);
    }
}

/// The exporter of a simulated TLS connection: the same on both ends.
pub struct Tls(u64);

impl Exporter for Tls {
    fn export(&self, label: &[u8], context: &[u8], out: &mut [u8]) -> Result<(), ExportFailed> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0.to_be_bytes());
        let tag = hmac::sign(&key, &[label, &[0], context].concat());
        out.copy_from_slice(&tag.as_ref()[..out.len()]);
        Ok(())
    }
}

/// The data plane of one end.
#[derive(Default)]
pub struct Plane {
    tx: HashMap<u16, Box<TxLane>>,
    rx: HashMap<LaneId, (SessionIndex, Box<RxLane>)>,
    pub got: Vec<u64>,
    pub undelivered: u64,
}

enum Packet {
    /// Sealed record, from the server or to it, with the client's address.
    Record { to_server: bool, client: usize, from: SocketAddr, bytes: Vec<u8> },
}

/// One client and what stands around it.
pub struct Spoke {
    pub client: Client,
    pub plane: Plane,
    pub address: SocketAddr,
    conns: BTreeMap<ConnId, u64>,
}

pub struct World {
    pub now: Duration,
    pub chance: Chance,
    pub server: Server,
    pub hub: Plane,
    pub spokes: Vec<Spoke>,
    /// TLS connections by number: client, its number there, open.
    tls: BTreeMap<u64, (usize, ConnId)>,
    next_tls: u64,
    wan: Vec<(Duration, Packet)>,
    control: Vec<(Duration, bool, u64, Vec<u8>)>,
    /// Of 100 records, so many are lost.
    pub loss: u64,
    /// Whether TCP gets through.
    pub tcp: bool,
    /// Whether UDP gets through.
    pub udp: bool,
    pub log: Vec<String>,
}

pub fn segments(ids: &[u16]) -> SegmentList {
    ids.iter().map(|id| (TunnelId::new(*id).expect("in range"), 1500)).collect()
}

pub fn server_address() -> SocketAddr {
    "192.0.2.1:443".parse().expect("an address")
}

/// A site that may connect with the password `secret`.
pub fn site(name: &str) -> SiteParams {
    SiteParams {
        name: name.into(),
        verifier: cheap_verifier(),
        segments: segments(&[10, 11]),
        enabled: !name.starts_with("disabled"),
    }
}

impl World {
    pub fn new(seed: u64, sites: &[&str]) -> Self {
        let chance = Chance(Rc::new(RefCell::new(seed | 1)));
        let sites = sites.iter().map(|name| site(name));
        let params = ServerParams {
            engine: record::Engine::Ring,
            workers: 1,
            data_port: 443,
            dead_peer: Duration::from_secs(3),
            max_half_open: 8,
            ciphers: vec![Cipher::Aes128Gcm],
            sites: sites.collect(),
        };
        Self {
            now: Duration::from_secs(10),
            server: Server::new(params, Box::new(chance.clone())),
            chance,
            hub: Plane::default(),
            spokes: Vec::new(),
            tls: BTreeMap::new(),
            next_tls: 0,
            wan: Vec::new(),
            control: Vec::new(),
            loss: 0,
            tcp: true,
            udp: true,
            log: Vec::new(),
        }
    }

    /// Starts a client; returns its number.
    pub fn spoke(&mut self, site: &str, password: &str, rekey: Duration) -> usize {
        let address = SocketAddr::from(([198, 51, 100, self.spokes.len() as u8 + 1], 50_000));
        self.spokes.push(Spoke {
            client: self.client(site, password, rekey),
            plane: Plane::default(),
            address,
            conns: BTreeMap::new(),
        });
        self.spokes.len() - 1
    }

    pub fn client(&self, site: &str, password: &str, rekey: Duration) -> Client {
        let params = self.client_params(site, password, rekey);
        Client::new(params, Box::new(self.chance.clone()), self.now)
    }

    pub fn client_params(&self, site: &str, password: &str, rekey: Duration) -> ClientParams {
        ClientParams {
            engine: record::Engine::Ring,
            workers: 1,
            site: site.into(),
            password: Zeroizing::new(password.into()),
            ciphers: vec![Cipher::Aes256Gcm, Cipher::Aes128Gcm],
            segments: segments(&[10]),
            rekey,
            software: "test".into(),
        }
    }

    /// The client's machine loses power: no farewell, all its state is gone, and it starts anew.
    pub fn restart_spoke(&mut self, at: usize, site: &str) {
        let client = self.client(site, "secret", Duration::from_secs(600));
        let spoke = &mut self.spokes[at];
        spoke.client = client;
        spoke.plane = Plane::default();
        for (_, tls) in std::mem::take(&mut spoke.conns) {
            self.drop_at_server(tls);
        }
    }

    fn drop_at_server(&mut self, tls: u64) {
        if self.tls.remove(&tls).is_some() {
            self.server.closed(self.now, ConnId(tls), "reset");
        }
    }

    /// Every TCP connection is reset.
    pub fn reset_tcp(&mut self) {
        for (tls, (at, conn)) in std::mem::take(&mut self.tls) {
            self.spokes[at].conns.remove(&conn);
            self.spokes[at].client.closed(self.now, conn, "reset");
            self.server.closed(self.now, ConnId(tls), "reset");
        }
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    /// Runs until `until` holds; false when it does not within a minute.
    pub fn run_until(&mut self, mut until: impl FnMut(&Self) -> bool) -> bool {
        for _ in 0..6000 {
            if until(self) {
                return true;
            }
            self.step();
        }
        false
    }

    pub fn step(&mut self) {
        self.now += STEP;
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.control).into_iter().partition(|m| m.0 <= self.now);
        self.control = later;
        for (_, to_server, tls, bytes) in due {
            let Some((at, conn)) = self.tls.get(&tls).copied() else { continue };
            if to_server {
                self.server.received(self.now, ConnId(tls), &bytes, &Tls(tls));
            } else {
                self.spokes[at].client.received(self.now, conn, &bytes, &Tls(tls));
            }
            self.outputs();
        }
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.wan).into_iter().partition(|p| p.0 <= self.now);
        self.wan = later;
        for (_, Packet::Record { to_server, client, from, bytes }) in due {
            self.arrive(to_server, client, from, bytes);
        }
        if self.now >= self.server.deadline() {
            self.server.handle_timeout(self.now);
        }
        for at in 0..self.spokes.len() {
            if self.now >= self.spokes[at].client.deadline() {
                self.spokes[at].client.handle_timeout(self.now);
            }
        }
        self.outputs();
    }

    /// Sends a numbered frame from client `at` to the server, or back.
    pub fn send(&mut self, at: usize, to_server: bool, number: u64) {
        let mut block = vec![2];
        block.extend(number.to_be_bytes());
        let session = if to_server { SessionIndex(0) } else { self.session_of(at) };
        self.seal(to_server, at, session, &block);
    }

    fn session_of(&self, at: usize) -> SessionIndex {
        let name = self.spokes[at].client.status().site;
        let found = self.server.status().iter().position(|status| status.site == name);
        SessionIndex(found.unwrap_or(0) as u16)
    }

    fn seal(&mut self, to_server: bool, at: usize, session: SessionIndex, block: &[u8]) {
        let plane = if to_server { &mut self.spokes[at].plane } else { &mut self.hub };
        let Some(lane) = plane.tx.get_mut(&session.0) else {
            plane.undelivered += 1;
            return;
        };
        let mut bytes = vec![0; OVERHEAD + block.len()];
        bytes[8..8 + block.len()].copy_from_slice(block);
        lane.seal(&mut bytes, self.now).expect("sealed");
        let lost = !self.udp || self.chance.next() % 100 < self.loss;
        let from = if to_server { self.spokes[at].address } else { server_address() };
        // Records overtake each other.
        let delay = LATENCY + Duration::from_millis(self.chance.next() % 30);
        if !lost {
            self.wan.push((self.now + delay, Packet::Record { to_server, client: at, from, bytes }));
        }
    }

    fn arrive(&mut self, to_server: bool, client: usize, from: SocketAddr, mut bytes: Vec<u8>) {
        let Ok(lane) = record::header::lane_of(&bytes) else { return };
        let plane = if to_server { &mut self.hub } else { &mut self.spokes[client].plane };
        let Some((session, rx)) = plane.rx.get_mut(&lane) else {
            plane.undelivered += 1;
            return;
        };
        let session = *session;
        let Ok(opened) = rx.open(&mut bytes) else { return };
        let (newest, block) = (opened.newest, opened.plaintext.to_vec());
        match block.split_first() {
            Some((2, number)) => plane.got.push(u64::from_be_bytes(number.try_into().expect("8 octets"))),
            Some((_, block)) if to_server => self.server.control_block(self.now, session, from, block),
            Some((_, block)) => self.spokes[client].client.control_block(self.now, from, block),
            None => {}
        }
        if to_server {
            self.server.record_heard(self.now, session);
            if newest && self.server.view(session).is_some_and(|view| view.peer != Some(from)) {
                self.server.new_address(self.now, session, from);
            }
        } else {
            self.spokes[client].client.record_heard(self.now);
        }
        self.outputs();
    }

    /// Carries out what the state machines want.
    fn outputs(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Send(ConnId(tls), bytes) => {
                    self.control.push((self.now + LATENCY, false, tls, bytes))
                }
                Output::Close(ConnId(tls)) => {
                    if let Some((at, conn)) = self.tls.get(&tls).copied() {
                        // The last words arrive first.
                        let words: Vec<_> = self.control.extract_if(.., |m| !m.1 && m.2 == tls).collect();
                        for (_, _, _, bytes) in words {
                            self.spokes[at].client.received(self.now, conn, &bytes, &Tls(tls));
                        }
                        self.tls.remove(&tls);
                        self.spokes[at].conns.remove(&conn);
                        self.spokes[at].client.closed(self.now, conn, "closed by the server");
                    }
                }
                Output::InstallRx(session, _, lane) => {
                    let id = lane.id();
                    self.hub.rx.insert(id, (session, lane));
                    self.server.rx_ready(self.now, id);
                }
                Output::InstallTx(session, _, lane) => drop(self.hub.tx.insert(session.0, lane)),
                Output::RemoveRx(lane) => drop(self.hub.rx.remove(&lane)),
                Output::RemoveTx(session) => drop(self.hub.tx.remove(&session.0)),
                Output::SendBlock(session, to, block) => {
                    let to = to.or_else(|| self.server.view(session).and_then(|view| view.peer));
                    if let Some(at) = self.spokes.iter().position(|spoke| Some(spoke.address) == to) {
                        self.seal(false, at, session, &[&[1], &block[..]].concat());
                    }
                }
                Output::Log(_, text) => self.log.push(format!("server: {text}")),
                Output::Connect(..) | Output::Changed(_) | Output::LoggedIn(_) => {}
            }
        }
        for at in 0..self.spokes.len() {
            while let Some(output) = self.spokes[at].client.poll_output() {
                self.client_output(at, output);
            }
        }
    }

    fn client_output(&mut self, at: usize, output: Output) {
        let now = self.now;
        match output {
            Output::Connect(conn, _) => {
                let tls = self.next_tls;
                self.next_tls += 1;
                if !self.tcp || !self.server.accepted(now, ConnId(tls), self.spokes[at].address) {
                    return self.spokes[at].client.closed(now, conn, "connection refused");
                }
                self.tls.insert(tls, (at, conn));
                self.spokes[at].conns.insert(conn, tls);
                self.server.connected(now, ConnId(tls), [7; 32], &Tls(tls));
                self.spokes[at].client.connected(now, conn, Some(server_address().ip()), [7; 32], &Tls(tls));
            }
            Output::Send(conn, bytes) => {
                if let Some(tls) = self.spokes[at].conns.get(&conn) {
                    self.control.push((now + LATENCY, true, *tls, bytes));
                }
            }
            Output::Close(conn) => {
                if let Some(tls) = self.spokes[at].conns.remove(&conn) {
                    let words: Vec<_> = self.control.extract_if(.., |m| m.1 && m.2 == tls).collect();
                    for (_, _, _, bytes) in words {
                        self.server.received(now, ConnId(tls), &bytes, &Tls(tls));
                    }
                    self.drop_at_server(tls);
                }
            }
            Output::InstallRx(session, _, lane) => {
                let id = lane.id();
                self.spokes[at].plane.rx.insert(id, (session, lane));
                self.spokes[at].client.rx_ready(id);
            }
            Output::InstallTx(session, _, lane) => drop(self.spokes[at].plane.tx.insert(session.0, lane)),
            Output::RemoveRx(lane) => drop(self.spokes[at].plane.rx.remove(&lane)),
            Output::RemoveTx(session) => drop(self.spokes[at].plane.tx.remove(&session.0)),
            Output::SendBlock(session, _, block) => {
                self.seal(true, at, session, &[&[1], &block[..]].concat())
            }
            Output::Log(_, text) => self.log.push(format!("client {at}: {text}")),
            Output::Changed(_) | Output::LoggedIn(_) => {}
        }
    }

    pub fn is_up(&self, at: usize) -> bool {
        self.spokes[at].client.view().is_some_and(|view| view.peer.is_some())
            && self
                .server
                .view(self.session_of(at))
                .is_some_and(|view| view.peer == Some(self.spokes[at].address))
    }

    pub fn logged(&self, text: &str) -> bool {
        self.log.iter().any(|line| line.contains(text))
    }
}

/// A verifier of the password "secret" with few iterations, so that tests are fast.
fn cheap_verifier() -> Verifier {
    VERIFIER.parse().expect("a verifier")
}

const VERIFIER: &str = "SCRAM-SHA-256$4096:AAECAwQFBgcICQoLDA0ODw==$THoPhoTAuqyoQsK4dUHncUzgfD8fdmhsgKZhWVqNP5U=:7YiHMMi2OcXGRogub03Ek06JRZ9bkhTOdCzHa5iPLiQ=";
