//! Records over control connections (protocol 4.7), and the change from one connection to the next without losing any.

use bridge::SessionIndex;

use super::Server;
use super::parts::Stage;
use crate::link::{Link, OVERLAP};
use crate::message::{Message, farewell};
use crate::{ConnId, Level, Now, Output};

impl Server {
    /// The connection that carries a session's records that do not go by UDP.
    pub fn carrier(&self, session: SessionIndex) -> Option<ConnId> {
        let site = self.sites.get(usize::from(session.0))?;
        site.current.filter(|_| site.link.as_ref().is_some_and(Link::takes_tcp))
    }

    /// Whether records may go over TLS connections, in sessions and epochs that begin from now on.
    pub fn set_tcp(&mut self, tcp: bool) {
        self.params.tcp = tcp;
    }

    /// A newer connection has taken the place of `older`, by which records of the client may still be on their way.
    pub(super) fn leave(&mut self, now: Now, older: ConnId, site: usize) {
        self.send(older, &Message::Bye { code: farewell::REPLACED, text: "replaced".into() });
        let Some(conn) = self.conns.get_mut(&older) else { return };
        conn.stage = Stage::Replaced { site, until: now + OVERLAP };
    }

    /// Tells what carries the records of a site now, if that is news.
    pub(super) fn tell_carrier(&mut self, at: usize) {
        let Some(carrier) = self.sites[at].link.as_mut().and_then(Link::news) else { return };
        let name = &self.params.sites[at].name;
        let (level, by) = if carrier.tcp { (Level::Warn, "TCP") } else { (Level::Info, "UDP") };
        self.out
            .push_back(Output::Log(level, format!("records of site {name:?} go by {by}: {}", carrier.why)));
    }
}
