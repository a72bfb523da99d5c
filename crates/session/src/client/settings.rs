//! Settings that change while the client runs.

use super::{Client, ClientParams, SESSION};
use crate::message::{Message, SegmentList, farewell};
use crate::{Now, Output};

impl Client {
    /// Asks the server something, or answers it. False: there is no control connection now.
    pub fn tell(&mut self, message: &Message) -> bool {
        let Some(conn) = self.current else { return false };
        self.send(conn, message);
        true
    }

    /// Attaches other segments from now on, and tells the server. The session goes on.
    pub fn set_segments(&mut self, segments: SegmentList) {
        if self.params.segments == segments {
            return;
        }
        self.params.segments.clone_from(&segments);
        if let Some(conn) = self.current {
            self.send(conn, &Message::Segments(segments));
        }
        self.out.push_back(Output::Changed(SESSION));
    }

    /// Ends the session and begins anew with other settings: another server, user or password. What is known of the uplinks stays: they
    /// are changed by [`Client::set_uplinks`] only.
    pub fn restart(&mut self, now: Now, params: ClientParams) {
        self.end(now, farewell::SHUTDOWN, "the client's settings changed", "the client's settings changed");
        self.stopped = false;
        let uplinks = std::mem::take(&mut self.params.uplinks);
        self.params = ClientParams { uplinks, ..params };
        self.cache = Default::default();
        self.redirect = None;
        self.failures = 0;
        self.connect_at = Some(now);
    }

    /// Ends the session and begins anew.
    pub fn begin_anew(&mut self, now: Now) {
        let text = "the client's operator ended the session";
        self.end(now, farewell::OPERATOR, text, "the operator ended the session");
        self.connect_at = Some(now);
    }

    /// Ends the session and connects no more until [`Client::restart`].
    pub fn stop(&mut self, now: Now) {
        self.end(
            now,
            farewell::OPERATOR,
            "the client's operator disabled it",
            "the operator disabled the service",
        );
        self.stopped = true;
    }

    /// Says goodbye, and leaves nothing open.
    pub(super) fn end(&mut self, now: Now, code: u64, text: &str, reason: &str) {
        self.say_bye(code, text);
        let open: Vec<_> = self.conns.keys().copied().collect();
        open.into_iter().for_each(|conn| self.close(conn));
        self.down(now, reason);
        self.connect_at = None;
    }
}
