//! What connections and workers tell goes into the session state machines and the tables.

use std::net::IpAddr;

use pipeline::command::Event;
use session::{ConnId, Now, PeerBlock};

use super::Appliance;
use crate::connections::Happened;
use crate::sessions::Sessions;
use crate::snapshot::Remote;

/// Most VTEPs that are learned, so that a stranger cannot fill the tables.
const MAX_REMOTES: usize = 1024;

impl Appliance {
    pub(super) fn connection(&mut self, conn: ConnId, happened: Happened) {
        let now = self.now();
        let exporter = self.connections.exporter(conn);
        match happened {
            Happened::Accepted(from) => {
                let Sessions::Server(server) = &mut self.sessions else { return };
                if !server.accepted(now, conn, from) {
                    self.connections.refuse(now, conn, from);
                }
            }
            Happened::Connected(server, fingerprint) => {
                self.sessions.connected(now, conn, server, fingerprint, &exporter);
            }
            Happened::Shown(shown) => self.sessions.certificate(conn, shown),
            Happened::Received(bytes) => self.sessions.received(now, conn, &bytes, &exporter),
            Happened::Closed(reason) => self.sessions.closed(now, conn, &reason),
        }
        self.outputs();
    }

    pub(super) fn worker_events(&mut self) {
        let now = self.now();
        let events: Vec<Event> = self.parts.events.try_iter().collect();
        for event in events {
            match event {
                Event::RxInstalled { lane, .. } => self.sessions.rx_ready(now, lane),
                Event::Control { session, path, from, octets, block, at } => {
                    self.insight_block(at, &block);
                    let block = PeerBlock { path, from, octets, body: &block };
                    self.sessions.control_block(now, session, &block);
                }
                Event::NewWay { session, path, from } => {
                    self.hops.challenge(now, from);
                    self.sessions.new_way(now, session, path, from);
                }
                Event::NewVtep { port, address } => self.new_vtep(port.index(), address),
                // Wiped and freed here, not on the worker.
                Event::RetiredRx(_)
                | Event::RetiredTx(_)
                | Event::RetiredPath(_)
                | Event::RetiredFrame(_) => {}
            }
        }
    }

    fn new_vtep(&mut self, port: usize, address: IpAddr) {
        let known = self.remotes.iter().any(|remote| remote.port == port && remote.address == address);
        if known || self.remotes.len() >= MAX_REMOTES {
            return;
        }
        tracing::info!(port = self.parts.ports[port].name, %address, "learned a VTEP");
        self.remotes.push(Remote { port, address, learned: true });
        self.hops.hurry();
        self.dirty = true;
    }

    pub(super) fn look_for_life(&mut self, now: Now) {
        for index in self.layout.session_indices() {
            let signs = self.life.look(&self.parts.counters, index);
            for path in (0..signs.heard.len()).filter(|path| signs.heard[*path]) {
                self.sessions.record_heard(now, index, path);
            }
            if signs.sent {
                self.sessions.frames_sent(now, index);
            }
        }
    }
}
