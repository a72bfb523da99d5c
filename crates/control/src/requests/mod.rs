//! Requests to the appliance: one line of words each, from the Unix socket ([`socket`]) or from a console.
//!
//! Whoever handles a [`Request`] answers at once, keeps its [`Reply`] and answers later, or turns it into a [`Stream`] of lines or
//! octets. None of it ever waits: a reader that is slow loses what there is no room for, and one that stays so is cut off.

mod asked;
#[allow(dead_code, reason = "what tests, captures and consoles need of it comes with them")]
mod reply;
pub(crate) mod socket;

use std::fmt;

pub(crate) use asked::Asked;
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
}

/// Whether a line only looks: programs do that all the time, and it is no news for the log.
fn looks(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let word = words.next().unwrap_or("");
    let switches = words.any(|word| matches!(word, "enable" | "disable"));
    word == "show"
        || !switches && crate::show::COMMANDS.iter().any(|command| command.split(' ').next() == Some(word))
}

/// Names of settings whose values are nobody's business.
const SECRETS: &[&str] = &["password", "verifier", "secret", "hash", "token"];

/// A line for the log: without the values of secrets.
pub(crate) fn masked(line: &str) -> String {
    let mut words = console::words::split(line);
    let first = words.first().map_or("", String::as_str);
    match first {
        "show" | "clear" => {}
        // Behind the session and what is done to its candidate stands a place.
        "configure"
            if matches!(
                words.get(2).map(String::as_str),
                Some("set" | "add" | "delete" | "show" | "complete")
            ) =>
        {
            let place: Vec<&str> = words.iter().skip(3).map(String::as_str).collect();
            let place = config::edit::masked(&place);
            words.splice(3.., place);
        }
        _ if !is_command(first) => words.iter_mut().skip(1).for_each(hide),
        _ => named(&mut words),
    }
    words.join(" ")
}

/// Whether a console, or its configuration mode, has a command that begins so. What stands behind another word may be anything.
fn is_command(word: &str) -> bool {
    let mut all = console::commands::root().children.iter().chain(&console::commands::configure().children);
    !word.is_empty() && all.any(|command| command.word.starts_with(word))
}

/// Hides what stands behind the name of a secret.
fn named(words: &mut [String]) {
    let is_secret = |word: &str| SECRETS.iter().any(|secret| word.to_lowercase().contains(secret));
    for at in 0..words.len() {
        match words[at].split_once('=') {
            Some((name, _)) if is_secret(name) => words[at] = format!("{name}=***"),
            Some(_) => {}
            None if is_secret(&words[at]) => words.iter_mut().skip(at + 1).for_each(hide),
            None => {}
        }
    }
}

fn hide(word: &mut String) {
    *word = "***".into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_reach_the_log() {
        for (line, logged) in [
            ("set client.password \"a b\"", "set client.password ***"),
            ("set client.password = x y", "set client.password *** *** ***"),
            ("set password=x", "set password=***"),
            ("set client.port 443", "set client.port 443"),
            ("show log include password", "show log include password"),
            (
                "configure ann set client password \"a b\" user c",
                "configure ann set client password ******** user c",
            ),
            ("configure ann set client pasword hunter2", "configure ann set client pasword ********"),
            ("configure ann commit confirmed 5", "configure ann commit confirmed 5"),
            ("configure versions", "configure versions"),
            ("sett client pasword hunter2", "sett *** *** ***"),
            ("site enable branch", "site enable branch"),
        ] {
            assert_eq!(masked(line), logged);
        }
    }
}
