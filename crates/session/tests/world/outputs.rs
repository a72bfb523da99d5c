//! What the state machines want done, done in the simulated world.

use session::message::Message;
use session::question::{Answer, Question};
use session::{ConnId, Dial, Output, OwnBlock, Shown};

use super::chance::Tls;
use super::{LATENCY, World, server_address};

impl World {
    /// Carries out what the state machines want.
    pub(super) fn outputs(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Send(ConnId(tls), bytes) => {
                    self.control.push((self.now + LATENCY, false, tls, bytes))
                }
                Output::Close(ConnId(tls)) => {
                    if !self.has_line(tls) {
                        // The client does not learn of it.
                        self.tls.remove(&tls);
                        continue;
                    }
                    if let Some((at, conn, _)) = self.tls.get(&tls).copied() {
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
                Output::InstallRx { session, path, lane, .. } => {
                    let id = lane.id();
                    self.hub.rx.insert(id, (session, path, lane));
                    self.server.rx_ready(self.now, id);
                }
                Output::InstallTx { session, path, lane, .. } => {
                    self.hub.tx.insert((session.0, path), lane);
                }
                Output::RemoveRx(lane) => drop(self.hub.rx.remove(&lane)),
                Output::RemoveTx(session) => self.hub.tx.retain(|(of, _), _| *of != session.0),
                Output::Records(records) => self.arrive_by_tcp(true, 0, &records),
                Output::SendBlock(OwnBlock { session, path, to, body, record }) => {
                    if self.is_tcp(false, 0, session, path) {
                        self.seal(false, (0, 0), (session, path), &[&[1], &body[..]].concat(), record);
                        continue;
                    }
                    let own = || self.server.view(session)?.paths.get(path)?.way;
                    let Some(way) = to.or_else(own) else { continue };
                    let found = (0..self.spokes.len())
                        .find_map(|at| self.uplink_of(at, false, way).map(|uplink| (at, uplink)));
                    if let Some(to) = found {
                        self.seal(false, to, (session, path), &[&[1], &body[..]].concat(), record);
                    }
                }
                Output::Log(_, text) => self.log.push(format!("server: {text}")),
                Output::Stranger(text) => self.log.push(format!("server, of a stranger: {text}")),
                Output::Asked(session, question) => {
                    let answer = Answer { number: question.number, details: Some(question.details) };
                    self.server.tell(session, &Message::Answer(answer));
                }
                Output::Answered(session, answer) => {
                    self.answers.push((Some(session), answer));
                }
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
            Output::Connect(Dial { conn, port, .. }) => {
                let tls = self.next_tls;
                self.next_tls += 1;
                let uplink = port.map_or(0, |port| usize::from(port) - 1);
                if !self.lines[uplink] {
                    // Nothing comes back; the client's patience ends.
                    return;
                }
                if !self.tcp || !self.server.accepted(now, ConnId(tls), self.spokes[at].addresses[uplink]) {
                    return self.spokes[at].client.closed(now, conn, "connection refused");
                }
                self.tls.insert(tls, (at, conn, uplink));
                self.spokes[at].conns.insert(conn, tls);
                if let Some(names) = &self.certificate {
                    let (names, chain) =
                        (names.clone(), names.iter().map(|name| name.clone().into()).collect());
                    self.server.certificate(ConnId(tls), Shown { names, chain });
                }
                self.server.connected(now, ConnId(tls), self.fingerprint, &Tls(tls));
                self.spokes[at].client.connected(
                    now,
                    conn,
                    Some(server_address().ip()),
                    self.fingerprint,
                    &Tls(tls),
                );
            }
            Output::Send(conn, bytes) => {
                if let Some(tls) = self.spokes[at].conns.get(&conn) {
                    self.control.push((now + LATENCY, true, *tls, bytes));
                }
            }
            Output::Close(conn) => {
                if let Some(tls) = self.spokes[at].conns.remove(&conn).filter(|tls| self.has_line(*tls)) {
                    let words: Vec<_> = self.control.extract_if(.., |m| m.1 && m.2 == tls).collect();
                    for (_, _, _, bytes) in words {
                        self.server.received(now, ConnId(tls), &bytes, &Tls(tls));
                    }
                    self.drop_at_server(tls);
                }
            }
            Output::InstallRx { session, path, lane, .. } => {
                let id = lane.id();
                self.spokes[at].plane.rx.insert(id, (session, path, lane));
                self.spokes[at].client.rx_ready(id);
            }
            Output::InstallTx { session, path, lane, .. } => {
                self.spokes[at].plane.tx.insert((session.0, path), lane);
            }
            Output::RemoveRx(lane) => drop(self.spokes[at].plane.rx.remove(&lane)),
            Output::RemoveTx(session) => self.spokes[at].plane.tx.retain(|(of, _), _| *of != session.0),
            Output::Records(records) => self.arrive_by_tcp(false, at, &records),
            Output::SendBlock(OwnBlock { session, path, to, body, record }) => {
                if self.is_tcp(true, at, session, path) {
                    return self.seal(true, (at, 0), (session, path), &[&[1], &body[..]].concat(), record);
                }
                let own = || self.spokes[at].client.view()?.paths.get(path)?.way;
                let Some(way) = to.or_else(own) else { return };
                let uplink = usize::from(way.port) - 1;
                self.seal(true, (at, uplink), (session, path), &[&[1], &body[..]].concat(), record);
            }
            Output::Log(_, text) => self.log.push(format!("client {at}: {text}")),
            Output::Asked(_, Question { number, .. }) => {
                let answer = Message::Answer(Answer { number, details: None });
                self.spokes[at].client.tell(&answer);
            }
            Output::Answered(_, answer) => self.answers.push((None, answer)),
            Output::Changed(_) | Output::LoggedIn(_) | Output::Stranger(_) => {}
        }
    }
}
