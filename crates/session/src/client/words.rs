//! What is told of the server.

use super::Client;
use crate::link::Link;
use crate::message::{SegmentList, refusal};
use crate::{Level, Now, Output};

impl Client {
    /// Tells which segments do not fit the server's.
    pub(super) fn log_segments(&mut self, theirs: &SegmentList) {
        for (tunnel, mtu) in &self.params.segments {
            let line = match theirs.iter().find(|(other, _)| other == tunnel) {
                None => format!("the server does not attach the segment with tunnel ID {tunnel}"),
                Some((_, other)) if other != mtu => {
                    format!(
                        "the segment with tunnel ID {tunnel} has MTU {mtu} here and {other} at the server"
                    )
                }
                Some(_) => continue,
            };
            self.out.push_back(Output::Log(Level::Warn, line));
        }
    }
}

/// That a session ends since it was not renewed, and what kept it from that.
pub(crate) fn expired(last_failure: Option<&(Now, String)>, link: Option<&Link>) -> String {
    let since = link.map_or(Now::ZERO, |link| link.keys_since);
    let why = last_failure.filter(|(at, _)| *at >= since).map(|(_, why)| format!(": {why}"));
    format!("its keys were not renewed within 15 minutes{}", why.unwrap_or_default())
}

/// What a refusal means.
pub(super) fn refused_text(code: u64, text: &str) -> String {
    let meaning = match code {
        refusal::AUTHENTICATION => "user or password is wrong",
        refusal::DISABLED => "disabled at the server",
        refusal::VERSION => "no common protocol version",
        refusal::ELSEWHERE => "the site is already connected from elsewhere",
        refusal::BUSY => "the server is too busy",
        refusal::PROTOCOL => "protocol error",
        refusal::CIPHER => "no common data cipher",
        _ => "for a reason this version does not know",
    };
    format!("the server refused the login: {meaning} (\"{}\")", printable(text))
}

/// Text of the peer, fit for a log.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::new();
    for character in text.chars().take(200) {
        match character {
            '\'' => printable.push(character),
            other => printable.extend(other.escape_debug()),
        }
    }
    printable
}
