//! A server and its clients in virtual time: TLS is a pair of byte queues, the WAN a queue of sealed records, and
//! every step is decided by a seed.
#![allow(dead_code, reason = "each file of tests uses a part of it")]

mod chance;
mod outputs;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use bridge::SessionIndex;
use record::{Cipher, LaneId, OVERHEAD, RxLane, TxLane};
use session::question::Answer;
use session::scram::Verifier;
use session::*;
use wire::tunnel::TunnelId;
use wire::way::{MAX_PATHS, Way};
use zeroize::Zeroizing;

use chance::{Chance, Tls};

pub const STEP: Duration = Duration::from_millis(10);
pub const LATENCY: Duration = Duration::from_millis(20);

/// The data plane of one end.
#[derive(Default)]
pub struct Plane {
    tx: HashMap<(u16, usize), Box<TxLane>>,
    rx: HashMap<LaneId, (SessionIndex, usize, Box<RxLane>)>,
    /// Records received, by path.
    pub by_path: [u64; MAX_PATHS + 1],
    pub got: Vec<u64>,
    pub undelivered: u64,
}

enum Packet {
    /// Sealed record, from the server or to it, with the client's uplink and the sender's address.
    Record { to_server: bool, client: usize, uplink: usize, from: SocketAddr, bytes: Vec<u8> },
}

/// One client and what stands around it.
pub struct Spoke {
    pub client: Client,
    pub plane: Plane,
    /// By uplink.
    pub addresses: Vec<SocketAddr>,
    conns: BTreeMap<ConnId, u64>,
}

pub struct World {
    pub now: Duration,
    pub chance: Chance,
    pub server: Server,
    pub hub: Plane,
    pub spokes: Vec<Spoke>,
    /// TLS connections by number: client, its number there, its uplink.
    tls: BTreeMap<u64, (usize, ConnId, usize)>,
    next_tls: u64,
    wan: Vec<(Duration, Packet)>,
    control: Vec<(Duration, bool, u64, Vec<u8>)>,
    /// Of 100 records, so many are lost.
    pub loss: u64,
    /// Whether TCP gets through.
    pub tcp: bool,
    /// Whether UDP gets through.
    pub udp: bool,
    /// Whether nothing of the clients gets through to the server by UDP.
    pub mute: bool,
    /// Whether TLS connections are open, but nothing gets through.
    pub frozen: bool,
    /// Whether anything gets through, by the clients' uplink.
    pub lines: [bool; MAX_PATHS],
    /// Whether nothing of the server gets through to the clients, by their uplink.
    pub deaf: [bool; MAX_PATHS],
    /// Octets of the largest record that gets through, by the clients' uplink.
    pub largest: [usize; MAX_PATHS],
    pub log: Vec<String>,
    /// The names in the certificate that clients show.
    pub certificate: Option<Vec<String>>,
    /// The fingerprint of the server's certificate.
    pub fingerprint: [u8; 32],
    /// Answers to questions; those that the server got with their session.
    pub answers: Vec<(Option<SessionIndex>, Answer)>,
}

pub fn segments(ids: &[u16]) -> SegmentList {
    ids.iter().map(|id| (TunnelId::new(*id).expect("in range"), 1500)).collect()
}

/// After what time a larger record is tried.
pub const RAISE_AFTER: Duration = Duration::from_secs(20);

/// Ports 1 and up, with an MTU of 1500.
pub fn uplinks(count: usize) -> Uplinks {
    Uplinks((1..=count).map(|port| Uplink { port: port as u8, mtu: 1500, up: true }).collect())
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
        admission: Admission::of(true, !name.starts_with("disabled")),
        certificate: None,
    }
}

impl World {
    pub fn new(seed: u64, sites: &[&str]) -> Self {
        Self::with(seed, sites, true)
    }

    /// A world whose server takes no records over TCP.
    pub fn without_tcp(seed: u64, sites: &[&str]) -> Self {
        Self::with(seed, sites, false)
    }

    fn with(seed: u64, sites: &[&str], tcp: bool) -> Self {
        let chance = Chance::new(seed);
        let sites = sites.iter().map(|name| site(name));
        let params = ServerParams {
            engine: record::Engine::Ring,
            workers: 1,
            uplinks: uplinks(1),
            raise_after: RAISE_AFTER,
            tcp,
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
            mute: false,
            frozen: false,
            lines: [true; MAX_PATHS],
            deaf: [false; MAX_PATHS],
            largest: [1472; MAX_PATHS],
            log: Vec::new(),
            certificate: None,
            fingerprint: [7; 32],
            answers: Vec::new(),
        }
    }

    /// Starts a client; returns its number.
    pub fn spoke(&mut self, site: &str, password: &str, rekey: Duration) -> usize {
        self.spoke_with(self.client_params(site, password, rekey))
    }

    /// Starts a client with several uplinks; returns its number.
    pub fn spoke_with_uplinks(&mut self, site: &str, count: usize) -> usize {
        let params = self.client_params(site, "secret", Duration::from_secs(600));
        self.spoke_with(ClientParams { uplinks: uplinks(count), ..params })
    }

    pub fn spoke_with(&mut self, params: ClientParams) -> usize {
        let number = self.spokes.len() as u8 + 1;
        let count = params.uplinks.0.len() as u8;
        let address = |uplink: u8| SocketAddr::from(([198, 51, 100 + uplink, number], 50_000));
        self.spokes.push(Spoke {
            client: Client::new(params, Box::new(self.chance.clone()), self.now),
            plane: Plane::default(),
            addresses: (0..count).map(address).collect(),
            conns: BTreeMap::new(),
        });
        self.spokes.len() - 1
    }

    pub fn client_params(&self, site: &str, password: &str, rekey: Duration) -> ClientParams {
        ClientParams {
            engine: record::Engine::Ring,
            workers: 1,
            uplinks: uplinks(1),
            raise_after: RAISE_AFTER,
            udp: true,
            tcp: false,
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
        let params = self.client_params(site, "secret", Duration::from_secs(600));
        let client = Client::new(params, Box::new(self.chance.clone()), self.now);
        let spoke = &mut self.spokes[at];
        spoke.client = client;
        spoke.plane = Plane::default();
        for (_, tls) in std::mem::take(&mut spoke.conns) {
            self.drop_at_server(tls);
        }
    }

    /// Whether anything gets through by the uplink of a TLS connection.
    fn has_line(&self, tls: u64) -> bool {
        self.tls.get(&tls).is_none_or(|(_, _, uplink)| self.lines[*uplink])
    }

    fn drop_at_server(&mut self, tls: u64) {
        if self.tls.remove(&tls).is_some() {
            self.server.closed(self.now, ConnId(tls), "reset");
        }
    }

    /// Every TCP connection is reset.
    pub fn reset_tcp(&mut self) {
        for (tls, (at, conn, _)) in std::mem::take(&mut self.tls) {
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
        // One by one: a connection that one of them closes takes what is still on its way along.
        let due = |world: &Self| {
            world.control.iter().position(|m| m.0 <= world.now && !world.frozen && world.has_line(m.2))
        };
        while let Some(at) = due(self) {
            let (_, to_server, tls, bytes) = self.control.remove(at);
            let Some((at, conn, _)) = self.tls.get(&tls).copied() else { continue };
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
        for (_, Packet::Record { to_server, client, uplink, from, bytes }) in due {
            self.arrive(to_server, (client, uplink), Some(from), bytes);
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

    /// Sends a numbered frame from client `at` to the server, or back, by the path that its number's flow takes.
    pub fn send(&mut self, at: usize, to_server: bool, number: u64) {
        let mut frame = vec![2];
        frame.extend(number.to_be_bytes());
        let session = if to_server { SessionIndex(0) } else { self.session_of(at) };
        let view =
            if to_server { self.spokes[at].client.view() } else { self.server.view(self.session_of(at)) };
        let Some(view) = view else { return };
        let usable: Vec<usize> = (0..view.paths.len()).filter(|path| view.paths[*path].usable).collect();
        let Some(path) = usable.get(number as usize % usable.len().max(1)).copied() else { return };
        // As large as may be.
        let record = view.paths[path].max_record;
        let uplink = match view.paths[path].tcp {
            true => Some(0),
            false => view.paths[path].way.and_then(|way| self.uplink_of(at, to_server, way)),
        };
        if let Some(uplink) = uplink {
            self.seal(to_server, (at, uplink), (session, path), &frame, record);
        }
        let now = self.now;
        if to_server {
            self.spokes[at].client.frames_sent(now);
        } else {
            self.server.frames_sent(now, session);
        }
    }

    /// The client's uplink at one end of a way.
    fn uplink_of(&self, at: usize, to_server: bool, way: Way) -> Option<usize> {
        if to_server {
            return Some(usize::from(way.port) - 1);
        }
        self.spokes[at].addresses.iter().position(|address| *address == way.peer)
    }

    fn session_of(&self, at: usize) -> SessionIndex {
        let name = self.spokes[at].client.status().site;
        let found = self.server.status().iter().position(|status| status.site == name);
        SessionIndex(found.unwrap_or(0) as u16)
    }

    fn seal(
        &mut self,
        to_server: bool,
        (at, uplink): (usize, usize),
        (session, path): (SessionIndex, usize),
        block: &[u8],
        record: u16,
    ) {
        let plane = if to_server { &mut self.spokes[at].plane } else { &mut self.hub };
        let Some(lane) = plane.tx.get_mut(&(session.0, path)) else {
            plane.undelivered += 1;
            return;
        };
        let mut bytes = vec![0; (OVERHEAD + block.len()).max(record.into())];
        bytes[8..8 + block.len()].copy_from_slice(block);
        lane.seal(&mut bytes, self.now).expect("sealed");
        if self.is_tcp(to_server, at, session, path) {
            return self.send_by_tcp(to_server, at, session, &bytes);
        }
        let lost = !self.udp
            || to_server && self.mute
            || !self.lines[uplink]
            || !to_server && self.deaf[uplink]
            || bytes.len() > self.largest[uplink]
            || self.chance.next() % 100 < self.loss;
        let from = if to_server { self.spokes[at].addresses[uplink] } else { server_address() };
        // Records overtake each other.
        let delay = LATENCY + Duration::from_millis(self.chance.next() % 30);
        if !lost {
            self.wan.push((self.now + delay, Packet::Record { to_server, client: at, uplink, from, bytes }));
        }
    }

    fn is_tcp(&self, to_server: bool, at: usize, session: SessionIndex, path: usize) -> bool {
        let view = if to_server { self.spokes[at].client.view() } else { self.server.view(session) };
        view.and_then(|view| Some(view.paths.get(path)?.tcp)).unwrap_or(false)
    }

    /// Sends a record over the control connection, if there is one.
    fn send_by_tcp(&mut self, to_server: bool, at: usize, session: SessionIndex, record: &[u8]) {
        let carrier = match to_server {
            true => {
                self.spokes[at].client.carrier().and_then(|conn| self.spokes[at].conns.get(&conn).copied())
            }
            false => self.server.carrier(session).map(|ConnId(tls)| tls),
        };
        let Some(tls) = carrier else { return };
        let mut batch = Batch::default();
        assert!(batch.push(record));
        self.control.push((self.now + LATENCY, to_server, tls, batch.take()));
    }

    fn arrive_by_tcp(&mut self, to_server: bool, client: usize, records: &Records) {
        for record in records.iter() {
            self.arrive(to_server, (client, 0), None, record.to_vec());
        }
    }

    fn arrive(
        &mut self,
        to_server: bool,
        (client, uplink): (usize, usize),
        from: Option<SocketAddr>,
        mut bytes: Vec<u8>,
    ) {
        let Ok(lane) = record::header::lane_of(&bytes) else { return };
        let octets = bytes.len() as u16;
        let local = if to_server { server_address() } else { self.spokes[client].addresses[uplink] };
        let port = if to_server { 1 } else { uplink as u8 + 1 };
        let from = from.map(|peer| Way { port, local: Some(local.ip()), peer });
        let plane = if to_server { &mut self.hub } else { &mut self.spokes[client].plane };
        let Some((session, path, rx)) = plane.rx.get_mut(&lane) else {
            plane.undelivered += 1;
            return;
        };
        let (session, path) = (*session, *path);
        let Ok(opened) = rx.open(&mut bytes) else { return };
        plane.by_path[path] += 1;
        let (newest, block) = (opened.newest, opened.plaintext.to_vec());
        match block.split_first() {
            Some((2, number)) => {
                let number = number.first_chunk().expect("8 octets");
                plane.got.push(u64::from_be_bytes(*number));
            }
            Some((_, body)) => {
                let block = PeerBlock { path, from, octets, body };
                if to_server {
                    self.server.control_block(self.now, session, &block);
                } else {
                    self.spokes[client].client.control_block(self.now, &block);
                }
            }
            None => {}
        }
        if to_server {
            self.server.record_heard(self.now, session, path);
            let way = self.server.view(session).and_then(|view| view.paths.get(path)?.way);
            if newest
                && self.server.view(session).is_some()
                && way.zip(from).is_none_or(|(way, from)| !way.is_way_of(&from))
            {
                if let Some(from) = from {
                    self.server.new_way(self.now, session, path, from);
                }
            }
        } else {
            self.spokes[client].client.record_heard(self.now, path);
        }
        self.outputs();
    }

    /// Whether both ends of client `at` know where the other is, on all paths.
    pub fn is_up(&self, at: usize) -> bool {
        let spoke = &self.spokes[at];
        let Some(server) = self.server.view(self.session_of(at)) else { return false };
        let here = server.paths.iter().map(|path| path.way.map(|way| way.peer));
        spoke.client.view().is_some_and(|view| view.paths.iter().all(|path| path.way.is_some()))
            && here.eq(spoke.addresses.iter().copied().map(Some))
    }

    /// Of which paths each end of client `at` makes use.
    pub fn used(&self, at: usize) -> [Vec<usize>; 2] {
        [self.spokes[at].client.view(), self.server.view(self.session_of(at))].map(|view| {
            let paths = view.map(|view| view.paths).unwrap_or_default();
            (0..paths.len()).filter(|path| paths[*path].usable).collect()
        })
    }

    /// The largest record that each end of client `at` sends on a path.
    pub fn record_size(&self, at: usize, path: usize) -> [u16; 2] {
        [self.spokes[at].client.view(), self.server.view(self.session_of(at))]
            .map(|view| view.and_then(|view| Some(view.paths.get(path)?.max_record)).unwrap_or(0))
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
