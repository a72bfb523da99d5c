//! What the session state machines want done goes to connections, workers and tables.

use bridge::{Endpoint, SessionIndex};
use pipeline::command::Command;
use session::{Level, Output, OwnBlock};

use super::Appliance;

/// Octets of the largest record of a session's own blocks by another way than the session's.
const CONTROL_RECORD: u16 = 512;

impl Appliance {
    pub(crate) fn outputs(&mut self) {
        while let Some(output) = self.sessions.poll_output() {
            match output {
                Output::Connect(dial) => {
                    let interface = dial.port.and_then(|port| self.hops.interface(port)).map(str::to_owned);
                    let now = self.now();
                    self.connections.connect(dial, interface, now);
                }
                Output::Records(records) => self.receive_records(&records),
                Output::LoggedIn(conn) => self.connections.logged_in(conn),
                Output::Send(conn, bytes) => self.connections.send(conn, &bytes),
                Output::Close(conn) => {
                    let now = self.now();
                    self.connections.close(conn, now);
                }
                Output::InstallRx { session, path, leads, lane } => {
                    let owner = self.owner(lane.id());
                    self.command(owner, Command::InstallRx { session, path, leads, lane });
                }
                Output::InstallTx { session, path, worker, lane } => {
                    self.operator.keyed(session, self.parts.clock.now());
                    self.command(worker, Command::InstallTx { session, path, lane });
                }
                Output::RemoveRx(lane) => self.command(self.owner(lane), Command::RemoveRx(lane)),
                Output::RemoveTx(session) => {
                    for worker in 0..self.parts.commands.len() {
                        self.command(worker, Command::RemoveTx(session));
                    }
                }
                Output::SendBlock(block) => self.send_block(&block),
                Output::Changed(session) => self.changed(session),
                Output::Asked(session, question) => self.asked(session, &question),
                Output::Answered(session, answer) => self.answered(session, answer),
                Output::Log(Level::Info, text) => tracing::info!("{text}"),
                Output::Log(Level::Warn, text) => tracing::warn!("{text}"),
                Output::Stranger(text) => self.connections.not_logged_in(self.now(), &text),
            }
        }
        self.forget_gone();
    }

    fn changed(&mut self, session: SessionIndex) {
        (self.dirty, self.guard.stale) = (true, true);
        match self.sessions.view(session) {
            Some(view) => {
                for way in view.paths.iter().filter_map(|path| path.way) {
                    self.hops.meet(&way);
                }
            }
            None => {
                self.gone.insert(session);
            }
        }
    }

    /// What was learned behind sessions that are gone would be sent into the void. All of them at once: it is a walk through the whole
    /// FDB, and when the WAN fails, every session of a hub ends in one moment.
    fn forget_gone(&mut self) {
        let gone = std::mem::take(&mut self.gone);
        if !gone.is_empty() {
            let is_gone = |at| matches!(at, Endpoint::Session(session) if gone.contains(&session));
            self.parts.fdb.flush(|entry| is_gone(entry.endpoint));
        }
    }

    fn send_block(&mut self, block: &OwnBlock) {
        let OwnBlock { session, path, record, .. } = *block;
        let known = self
            .parts
            .tables
            .load()
            .session(session)
            .is_some_and(|entry| entry.path(path).is_some_and(|path| path.path.is_some()));
        if self.dirty && block.to.is_none() && !known {
            // The session, or the way to its peer, is too new for the workers' tables.
            self.publish();
        }
        let to = match block.to {
            Some(way) => match self.source(&self.parts.tables.load()).path(&way, CONTROL_RECORD) {
                Some(path) => Some(Box::new(path)),
                None => return, // its next hop is being resolved; whoever waits for the block asks again
            },
            None => None,
        };
        let block = block.body.iter().copied().take(pipeline::command::MAX_CONTROL_BLOCK).collect();
        self.command(0, Command::SendControl { session, path, to, block, record });
    }
}
