//! A server whose certificate is not good any more by what the operator believes now (protocol 2.4).

use std::time::Duration;

use super::Client;
use crate::message::farewell;
use crate::{Level, Now, Output};

/// So long the session of such a server has to go over to the keys of a handshake in which it shows a better one.
const PROOF_TIME: Duration = Duration::from_secs(5);

/// The session's server has to prove itself anew.
pub(super) struct Doubt {
    /// Until when.
    pub(super) until: Now,
    /// What is against the certificate that it showed.
    reason: String,
}

impl Client {
    /// Servers are believed by other rules from now on, by which `fault` is against the certificate that the session began with.
    /// The server may have another by now: if it shows that in a new handshake, the session goes on; otherwise it ends.
    pub fn believe_anew(&mut self, now: Now, fault: Option<String>) {
        if self.stopped {
            return;
        }
        // Whoever answers a login that is on its way was found good by the rules before.
        let begun = self.attempt;
        begun.into_iter().for_each(|conn| self.abandon(conn));
        self.doubt = fault.filter(|_| self.link.is_some()).map(|reason| {
            let text = format!("the server has to show another certificate: {reason}");
            self.out.push_back(Output::Log(Level::Warn, text));
            Doubt { until: now + PROOF_TIME, reason }
        });
        if self.doubt.is_some() || self.link.is_none() || begun.is_some() {
            self.connect_at = Some(now);
        }
    }

    /// Ends the session of a server that has had its time.
    pub(super) fn look_at_doubt(&mut self, now: Now) {
        if self.doubt.as_ref().is_some_and(|doubt| now >= doubt.until) {
            self.disbelieve(now);
        }
    }

    /// Ends the session of a server that has shown no better certificate.
    pub(super) fn disbelieve(&mut self, now: Now) {
        let Some(Doubt { reason, .. }) = self.doubt.take() else { return };
        self.say_bye(farewell::CERTIFICATE, &reason);
        self.down(now, &reason);
    }
}
