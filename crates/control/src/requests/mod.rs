//! Requests to the appliance: one line of words each, from the Unix socket ([`socket`]) or from a console.
//!
//! Whoever handles a [`Request`] answers at once, keeps its [`Reply`] and answers later, or turns it into a [`Stream`] of lines or
//! octets. None of it ever waits: a reader that is slow loses what there is no room for, and one that stays so is cut off.

#[allow(dead_code, reason = "what tests, captures and consoles need of it comes with them")]
mod reply;
pub(crate) mod socket;

use std::fmt;

pub(crate) use console::tree::Role;
#[allow(unused_imports, reason = "as above")]
pub(crate) use reply::{Outbox, Piece, Reply, Stream};

/// Who asks.
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

    /// Whether it only looks: programs do that all the time, and it is no news for the log.
    pub(crate) fn is_look(&self) -> bool {
        let mut words = self.line.split_whitespace();
        let word = words.next().unwrap_or("");
        let switches = words.any(|word| matches!(word, "enable" | "disable"));
        word == "show"
            || !switches
                && crate::show::COMMANDS.iter().any(|command| command.split(' ').next() == Some(word))
    }
}

/// Names of settings whose values are nobody's business.
const SECRETS: &[&str] = &["password", "verifier", "secret", "hash", "token"];

/// A line for the log: without the values of secrets.
pub(crate) fn masked(line: &str) -> String {
    let mut words = console::words::split(line);
    let looks = matches!(words.first().map(String::as_str), Some("show" | "clear"));
    let is_secret = |word: &str| SECRETS.iter().any(|secret| word.to_lowercase().contains(secret));
    for at in 0..if looks { 0 } else { words.len() } {
        match words[at].split_once('=') {
            Some((name, _)) if is_secret(name) => words[at] = format!("{name}=***"),
            Some(_) => {}
            None if is_secret(&words[at]) => {
                words.iter_mut().skip(at + 1).for_each(|word| *word = "***".into())
            }
            None => {}
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_reach_the_log() {
        assert_eq!(masked("set client.password \"a b\""), "set client.password ***");
        assert_eq!(masked("set client.password = x y"), "set client.password *** *** ***");
        assert_eq!(masked("set password=x"), "set password=***");
        assert_eq!(masked("set client.port 443"), "set client.port 443");
        assert_eq!(masked("show log include password"), "show log include password");
    }
}
