//! Sites that have to show a certificate beside their password.

use super::Server;
use super::parts::Stage;
use crate::client::printable;
use crate::message::farewell;
use crate::{ConnId, Now, Shown};

/// What a client is told whose session ends over its certificate: what is against that, the server's operator alone learns.
const FAREWELL: (u64, &str) = (farewell::CERTIFICATE, "the site's certificate is not accepted any more");

impl Server {
    /// A connection's client showed a certificate that verifies. To be told before its handshake is done.
    pub fn certificate(&mut self, conn: ConnId, shown: Shown) {
        if let Some(entry) = self.conns.get_mut(&conn) {
            entry.shown = Some(shown);
        }
    }

    /// Certificates are believed by other rules from now on: ends every session and login whose client showed one that `verify`
    /// has something against.
    pub fn verify_again(&mut self, now: Now, verify: impl Fn(&[Vec<u8>]) -> Result<(), String>) {
        let fault = |shown: &Option<Shown>| verify(&shown.as_ref()?.chain).err();
        let sessions: Vec<_> =
            self.sites.iter().enumerate().filter(|(_, site)| site.link.is_some()).collect();
        let sessions: Vec<(usize, String)> =
            sessions.into_iter().filter_map(|(at, site)| Some((at, fault(&site.shown)?))).collect();
        let open = |stage: &Stage| matches!(stage, Stage::Open { .. } | Stage::Replaced { .. });
        let logins = self.conns.iter().filter(|(_, conn)| !open(&conn.stage));
        let logins: Vec<(ConnId, String)> =
            logins.filter_map(|(id, conn)| Some((*id, fault(&conn.shown)?))).collect();
        for (at, reason) in sessions {
            self.dismiss_with(now, at, FAREWELL, &reason);
        }
        for (id, reason) in logins {
            self.fail(now, id, &reason);
        }
    }

    /// The certificate that a site has to show is another one now: ends its session and its logins if theirs is not it.
    pub(super) fn demand_changed(&mut self, now: Now, at: usize) {
        if self.sites[at].link.is_some() {
            if let Some(problem) = self.problem(at, self.sites[at].shown.as_ref()) {
                return self.dismiss_with(now, at, FAREWELL, &problem);
            }
        }
        let logins: Vec<ConnId> = self.conns.keys().copied().filter(|id| self.is_login_of(*id, at)).collect();
        for id in logins {
            if let Some(reason) = self.certificate_fault(id, at) {
                self.fail(now, id, &reason);
            }
        }
    }

    /// Why the certificate of a client that knows the site's password is not enough. The client itself is not told.
    pub(super) fn certificate_fault(&self, conn: ConnId, site: usize) -> Option<String> {
        let entry = self.conns.get(&conn);
        let problem = self.problem(site, entry.and_then(|entry| entry.shown.as_ref()))?;
        let from = entry.map_or_else(|| "?".into(), |entry| entry.from.to_string());
        let name = &self.params.sites[site].name;
        Some(format!("login of site {name:?} from {from} failed: {problem}"))
    }

    /// What a site's demand has against a certificate.
    fn problem(&self, site: usize, shown: Option<&Shown>) -> Option<String> {
        let wanted = self.params.sites[site].certificate.as_ref()?;
        let Some(Shown { names, .. }) = shown else {
            return Some("it showed no certificate, which the site requires".into());
        };
        if names.iter().any(|name| name.eq_ignore_ascii_case(wanted)) {
            return None;
        }
        let names = names.iter().map(|name| format!("{:?}", printable(name))).collect::<Vec<_>>().join(", ");
        Some(format!("its certificate has to be for {wanted:?}, but is for {names}"))
    }
}
