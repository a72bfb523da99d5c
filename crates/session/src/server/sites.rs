//! Sites that come, change and go while the server runs. What did not change goes on undisturbed.

use std::time::Duration;

use bridge::SessionIndex;
use record::Cipher;

use super::parts::{Site, Stage};
use super::{Admission, Server, SiteParams, index};
use crate::message::{Message, farewell};
use crate::{ConnId, Now, Output};

impl Server {
    /// Asks a client something, or answers it. False: it has no control connection now.
    pub fn tell(&mut self, session: SessionIndex, message: &Message) -> bool {
        let Some(conn) = self.sites.get(usize::from(session.0)).and_then(|site| site.current) else {
            return false;
        };
        self.send(conn, message);
        true
    }

    /// Changes what holds for all sites. Sessions that are up keep what they agreed on.
    pub fn set_limits(&mut self, dead_peer: Duration, max_half_open: usize, ciphers: Vec<Cipher>) {
        self.params.dead_peer = dead_peer;
        self.params.max_half_open = max_half_open;
        self.params.ciphers = ciphers;
    }

    /// Adds a site, or changes the one at this place. A session goes on unless the site is now disabled, has another name or
    /// password, or has to show a certificate that its client did not. Places are to be filled in order, without a gap.
    pub fn set_site(&mut self, now: Now, session: SessionIndex, params: SiteParams) {
        let at = usize::from(session.0);
        if at == self.sites.len() {
            self.sites.push(Site::default());
            self.params.sites.push(params);
            return;
        }
        let Some(old) = self.params.sites.get(at) else { return };
        let same = old.name == params.name && old.verifier == params.verifier;
        let reason = match params.admission {
            _ if self.sites[at].vacant || !same => Some("the site's credentials changed"),
            Admission::Open => None,
            Admission::SiteDisabled => Some("the operator disabled the site"),
            Admission::ServiceDisabled => Some("the operator disabled the service"),
        };
        if let Some(reason) = reason {
            self.dismiss(now, at, reason);
        }
        let demand_changed = self.params.sites[at].certificate != params.certificate;
        let segments_changed = self.params.sites[at].segments != params.segments;
        if self.sites[at].vacant || self.params.sites[at].name != params.name {
            self.sites[at] = Site::default();
        }
        let segments = params.segments.clone();
        self.params.sites[at] = params;
        if demand_changed {
            self.demand_changed(now, at);
        }
        if segments_changed && self.sites[at].link.is_some() {
            if let Some(conn) = self.sites[at].current {
                self.send(conn, &Message::Segments(segments));
            }
            self.out.push_back(Output::Changed(session));
        }
    }

    /// Removes a site. Its place stays empty until [`Server::set_site`] fills it.
    pub fn remove_site(&mut self, now: Now, session: SessionIndex) {
        let at = usize::from(session.0);
        if at < self.sites.len() {
            self.dismiss(now, at, "the operator removed the site");
            self.sites[at].vacant = true;
        }
    }

    /// Ends a site's session, so that it logs in anew.
    pub fn begin_anew(&mut self, now: Now, session: SessionIndex) {
        let at = usize::from(session.0);
        if at < self.sites.len() {
            self.dismiss(now, at, "the operator ended the session");
        }
    }

    /// Ends a site's session and the logins that are on their way, as the operator wants.
    fn dismiss(&mut self, now: Now, at: usize, reason: &str) {
        self.dismiss_with(now, at, (farewell::OPERATOR, reason), reason);
    }

    /// Ends a site's session and the logins that are on their way, with this farewell, for a reason of which that need not tell all.
    pub(super) fn dismiss_with(&mut self, now: Now, at: usize, (code, text): (u64, &str), reason: &str) {
        if let Some(conn) = self.sites[at].current {
            self.send(conn, &Message::Bye { code, text: text.into() });
        }
        self.down(now, at, reason);
        let of_site = |stage: &Stage| match stage {
            Stage::Challenged { site, .. } => *site == Some(at),
            Stage::Open { site } | Stage::Replaced { site, .. } => *site == at,
            login => login.passed() == Some(at),
        };
        let conns: Vec<ConnId> =
            self.conns.iter().filter(|(_, conn)| of_site(&conn.stage)).map(|(id, _)| *id).collect();
        for conn in conns {
            self.fail(now, conn, reason);
        }
        self.out.push_back(Output::Changed(index(at)));
    }

    /// Whether a connection has passed the login of a site, and is not open yet.
    pub(super) fn is_login_of(&self, id: ConnId, at: usize) -> bool {
        self.conns.get(&id).is_some_and(|conn| conn.stage.passed() == Some(at))
    }
}
