//! Records over the control connection (protocol 4.7), and the change from one connection to the next without losing any.

use super::{Client, Stage};
use crate::link::{Link, OVERLAP};
use crate::message::{Message, farewell};
use crate::{ConnId, Level, Now, Output};

impl Client {
    /// The connection that carries records that do not go by UDP.
    pub fn carrier(&self) -> Option<ConnId> {
        self.current.filter(|_| self.link.as_ref().is_some_and(Link::takes_tcp))
    }

    /// A newer connection has taken the place of `older`, by which records of the server may still be on their way.
    pub(super) fn leave(&mut self, now: Now, older: ConnId) {
        self.send(older, &Message::Bye { code: farewell::REPLACED, text: "replaced".into() });
        let Some(conn) = self.conns.get_mut(&older) else { return };
        if conn.left {
            self.close(older);
        } else {
            conn.stage = Stage::Replaced(now + OVERLAP);
        }
    }

    /// Tells what carries records now, and gives connections up that are dead or have been replaced for long.
    pub(super) fn look_at_tcp(&mut self, now: Now) {
        if let Some(carrier) = self.link.as_mut().and_then(Link::news) {
            let (level, by) = if carrier.tcp { (Level::Warn, "TCP") } else { (Level::Info, "UDP") };
            self.out.push_back(Output::Log(level, format!("records go by {by}: {}", carrier.why)));
        }
        let old = |stage: &Stage| matches!(stage, Stage::Replaced(until) if now >= *until);
        let over: Vec<ConnId> =
            self.conns.iter().filter(|(_, conn)| old(&conn.stage)).map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.close(id));
        let silent = self.link.as_ref().is_some_and(|link| link.is_tcp_silent(now));
        if let Some(conn) = self.current.filter(|_| silent && self.attempt.is_none()) {
            self.fail(now, conn, "nothing comes by it any more");
        }
    }

    /// When [`Client::look_at_tcp`] is due.
    pub(super) fn replaced_until(&self) -> Option<Now> {
        let until = |stage: &Stage| if let Stage::Replaced(until) = stage { Some(*until) } else { None };
        self.conns.values().filter_map(|conn| until(&conn.stage)).min()
    }
}
