//! Sites that have to show a certificate beside their password.

use super::Server;
use crate::ConnId;
use crate::client::printable;

impl Server {
    /// A connection's client showed a certificate that verifies, with these names in it. To be told before its handshake is done.
    pub fn certificate(&mut self, conn: ConnId, names: Vec<String>) {
        if let Some(entry) = self.conns.get_mut(&conn) {
            entry.shown = Some(names);
        }
    }

    /// Why the certificate of a client that knows the site's password is not enough. The client itself is not told.
    pub(super) fn certificate_fault(&self, conn: ConnId, site: usize) -> Option<String> {
        let params = &self.params.sites[site];
        let wanted = params.certificate.as_ref()?;
        let name = &params.name;
        let entry = self.conns.get(&conn);
        let from = entry.map_or_else(|| "?".into(), |entry| entry.from.to_string());
        let problem = match entry.and_then(|entry| entry.shown.as_ref()) {
            None => "it showed no certificate, which the site requires".into(),
            Some(names) if names.iter().any(|shown| shown.eq_ignore_ascii_case(wanted)) => return None,
            Some(names) => format!(
                "its certificate has to be for {wanted:?}, but is for {}",
                names.iter().map(|name| format!("{:?}", printable(name))).collect::<Vec<_>>().join(", ")
            ),
        };
        Some(format!("login of site {name:?} from {from} failed: {problem}"))
    }
}
