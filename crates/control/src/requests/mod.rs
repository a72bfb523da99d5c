//! Requests to the appliance: one line of words each, from the Unix socket ([`socket`]) or from a console.
//!
//! Whoever handles a [`Request`] answers at once, keeps its [`Reply`] and answers later, or turns it into a [`Stream`] of lines or
//! octets. None of it ever waits: a reader that is slow loses what there is no room for, and one that stays so is cut off.

#[allow(dead_code, reason = "what tests, captures and consoles need of it comes with them")]
mod reply;
pub(crate) mod socket;

use std::fmt;

#[allow(unused_imports, reason = "as above")]
pub(crate) use reply::{Outbox, Piece, Reply, Stream};

/// What somebody may do.
#[allow(dead_code, reason = "as above")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Look.
    Operator,
    /// Change.
    Admin,
}

/// Who asks.
#[allow(dead_code, reason = "as above")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    /// The user of the console, or `uid N` of the process that asks.
    pub(crate) user: String,
    /// Where from: an address, or `local`.
    pub(crate) from: String,
    /// What the user may do.
    pub(crate) role: Role,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.user, self.from)
    }
}

/// Somebody asks something.
#[derive(Debug)]
#[allow(dead_code, reason = "as above")]
pub(crate) struct Request {
    /// Who.
    pub(crate) who: Who,
    /// What, as it was written. [`Request::words`] are its words.
    pub(crate) line: String,
    /// Where the answer goes.
    pub(crate) reply: Reply,
}

impl Request {
    /// The words of the line.
    pub(crate) fn words(&self) -> Vec<String> {
        console::words::split(&self.line)
    }
}
