//! What `?` and the tab key say of a line that is not whole yet.

use crate::filter::FILTERS;
use crate::tree::{Arg, Names, Node, Role, Walk, Wrong};
use crate::words;

/// Most names that help lists.
const MAX_NAMES: usize = 40;

/// What the tab key does with the line before the cursor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Completion {
    /// The line becomes this.
    Line(String),
    /// There are several ways on: word and help of each.
    Several(Vec<(String, String)>),
    /// There is none.
    Nothing,
}

/// The words that may stand where the cursor is, with their help. An error says what is wrong before it.
pub(crate) fn help(
    root: &Node,
    role: Role,
    line: &str,
    names: &dyn Names,
    candidate: Option<&str>,
) -> Result<Vec<(String, String)>, String> {
    look(root, role, line, names, candidate).map(|(found, _)| found)
}

/// The same, and where the word begins that is being typed.
fn look(
    root: &Node,
    role: Role,
    line: &str,
    names: &dyn Names,
    candidate: Option<&str>,
) -> Result<(Vec<(String, String)>, usize), String> {
    let (before, begun) = cut(line);
    let parts = words::parts(before);
    if parts.len() > 1 {
        let last = words::split(parts[parts.len() - 1]);
        let found = match last.len() {
            0 => starting(FILTERS.iter().map(|(name, help)| ((*name).into(), (*help).into())), begun),
            _ => vec![("<PATTERN>".into(), "What to look for: text, or a regular expression".into())],
        };
        return Ok((found, before.len()));
    }
    let mut walk = Walk::new(root, role);
    for word in words::split(before) {
        walk.step(&word).map_err(|wrong| wrong.to_string())?;
    }
    let begun = stuck(&mut walk, begun).map_err(|wrong| wrong.to_string())?;
    let mut found = Vec::new();
    if let Some((session, rest)) = candidate.zip(walk.rest()) {
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        found = names.configuration(session, &rest);
    }
    let next = if found.is_empty() { walk.next() } else { Vec::new() };
    for node in next {
        match node.arg {
            None => found.push((node.word.to_owned(), node.help.to_owned())),
            Some(arg) => {
                found.push((node.shown(), node.help.to_owned()));
                let known = match arg {
                    Arg::Choice(words) => words.iter().map(|word| (*word).to_owned()).collect(),
                    arg => names.names(arg),
                };
                // Of many names those that begin so: the one that is meant may be the last.
                let known = known.iter().map(|name| (words::quote(name), String::new()));
                found.extend(starting(known, begun).into_iter().take(MAX_NAMES));
            }
        }
    }
    let mut found = starting(found.into_iter(), begun);
    if begun.is_empty() && walk.does().is_some() {
        found.push(("<cr>".into(), "Do it".into()));
        found.push(("|".into(), "Filter what is shown".into()));
    }
    Ok((found, line.len() - begun.len()))
}

/// Completes the word before the cursor.
pub(crate) fn complete(
    root: &Node,
    role: Role,
    line: &str,
    names: &dyn Names,
    candidate: Option<&str>,
) -> Completion {
    let Ok((found, at)) = look(root, role, line, names, candidate) else { return Completion::Nothing };
    let (before, begun) = line.split_at(at);
    let ways: Vec<&(String, String)> =
        found.iter().filter(|(word, _)| !word.starts_with('<') && word != "|").collect();
    // A word that is whole is not completed to a longer one, but is shown with it.
    match ways.as_slice() {
        [] if found.is_empty() => Completion::Nothing,
        [] => Completion::Several(found),
        [(only, _)] => Completion::Line(format!("{before}{only} ")),
        several => {
            let common = several.iter().skip(1).fold(several[0].0.as_str(), |common, (word, _)| {
                let same = common.chars().zip(word.chars()).take_while(|(a, b)| a == b);
                &common[..same.map(|(c, _)| c.len_utf8()).sum()]
            });
            if common.len() > begun.len() {
                Completion::Line(format!("{before}{common}"))
            } else {
                Completion::Several(found)
            }
        }
    }
}

/// Takes what stands close before the word that is being typed, and returns that word.
fn stuck<'l>(walk: &mut Walk<'_>, begun: &'l str) -> Result<&'l str, Wrong> {
    match begun.rfind(['(', ')']) {
        Some(at) if walk.is_close() && !begun.starts_with('"') => {
            walk.step(&begun[..=at])?;
            Ok(&begun[at + 1..])
        }
        _ => Ok(begun),
    }
}

/// The line up to the word that is being typed, and that word.
fn cut(line: &str) -> (&str, &str) {
    let mut start = 0;
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in line.char_indices() {
        match c {
            '"' if !escaped => quoted = !quoted,
            c if c.is_whitespace() && !quoted => start = at + c.len_utf8(),
            '|' if !quoted => start = at + 1,
            _ => {}
        }
        escaped = quoted && c == '\\' && !escaped;
    }
    line.split_at(start)
}

fn starting(all: impl Iterator<Item = (String, String)>, begun: &str) -> Vec<(String, String)> {
    // A name in quotes is found by what it begins with, quoted or not.
    let plain = begun.trim_start_matches('"').to_lowercase();
    let matches =
        |word: &str| word.starts_with('<') || word.trim_start_matches('"').to_lowercase().starts_with(&plain);
    all.filter(|(word, _)| matches(word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::root;

    struct Known;
    impl Names for Known {
        fn names(&self, kind: Arg) -> Vec<String> {
            match kind {
                Arg::Site => vec!["berlin".into(), "New York".into(), "bern".into()],
                Arg::Segment => (0..1000).map(|number| format!("net{number}")).collect(),
                _ => Vec::new(),
            }
        }
    }

    fn completed(line: &str) -> Completion {
        complete(root(), Role::Admin, line, &Known, None)
    }

    fn line(text: &str) -> Completion {
        Completion::Line(text.into())
    }

    #[test]
    fn the_tab_key_completes_words_and_names() {
        assert_eq!(completed("sh"), line("show "));
        assert_eq!(completed("sh mac site be"), line("sh mac site ber"));
        assert!(matches!(completed("sh mac site ber"), Completion::Several(ways) if ways.len() == 3));
        assert_eq!(completed("sh mac site New"), line("sh mac site \"New York\" "));
        assert_eq!(completed("show ports | inc"), line("show ports | include "));
        assert_eq!(completed("bogus x"), Completion::Nothing);
        assert_eq!(completed("test segment net998"), line("test segment net998 "), "one of very many");
        assert!(matches!(completed("sh mac s"), Completion::Several(ways) if ways.len() == 2));
    }

    #[test]
    fn help_is_there_at_every_point() {
        let help = |line| help(root(), Role::Operator, line, &Known, None);
        let has = |line, word: &str| help(line).expect("help").iter().any(|(found, _)| found == word);
        assert!(has("", "show") && !has("", "reload"), "an operator cannot reload");
        assert!(has("show ", "ports") && has("show po", "ports") && !has("show po", "segments"));
        assert!(has("show ports ", "<cr>") && has("show ports ", "|") && has("show ports | ", "count"));
        assert!(has("show mac-table site ", "<NAME>") && has("show mac-table site ", "\"New York\""));
        assert!(help("nonsense ").is_err());
    }

    /// The words that lead to a node, one for each of those that may follow it.
    fn lines(before: &str, node: &Node, deep: usize, found: &mut Vec<String>) {
        found.push(before.to_owned());
        for next in node.following().chain(&node.options) {
            assert!(
                !next.help.is_empty() && !next.help.ends_with('.'),
                "{before}{}: {:?}",
                next.word,
                next.help
            );
            let word = match next.arg {
                None => next.word.into(),
                Some(Arg::Mac) => "02:00:00:00:00:01".into(),
                Some(Arg::Ip) => "10.0.0.1".into(),
                Some(Arg::Net) => "10.0.0.0/8".into(),
                Some(Arg::PortRange) => "1-2".into(),
                Some(Arg::EtherType) => "0x806".into(),
                Some(Arg::Number(least, _)) => least.to_string(),
                Some(Arg::Choice(words)) => words[0].into(),
                Some(Arg::Reason) => "hairpin".into(),
                Some(_) => "x".to_owned(),
            };
            // A filter goes on and on.
            if deep > 0 && next.word != ")" {
                let deep = if next.close { deep / 2 } else { deep - 1 };
                lines(&format!("{before}{word} "), next, deep, found);
            }
        }
    }

    #[test]
    fn there_is_no_point_without_help() {
        for root in [root(), crate::commands::configure()] {
            let mut found = Vec::new();
            lines("", root, 8, &mut found);
            assert!(found.len() > 20, "{found:?}");
            for line in found {
                let help = help(root, Role::Admin, &line, &Known, None)
                    .unwrap_or_else(|wrong| panic!("{line}: {wrong}"));
                assert!(!help.is_empty(), "{line}");
                let words = words::split(&line);
                let whole = crate::tree::parse(root, &words, Role::Admin).is_ok();
                assert_eq!(whole, help.iter().any(|(word, _)| word == "<cr>"), "{line}");
            }
        }
    }

    #[test]
    fn each_word_of_a_frame_and_of_a_filter_has_its_help() {
        let words = |line: &str| -> Vec<String> {
            let found = help(root(), Role::Admin, line, &Known, None).expect(line);
            found.into_iter().map(|(word, _)| word).collect()
        };
        assert_eq!(words("explain "), ["segment", "live"]);
        assert_eq!(words("explain segment x "), ["src", "dst", "ip", "size", "port", "from"]);
        assert_eq!(words("explain segment x size "), ["<OCTETS>"]);
        assert_eq!(words("explain segment x size 60 from "), ["<NAME>", "berlin", "\"New York\"", "bern"]);
        assert_eq!(words("explain segment x src 020000000001 s"), ["size"], "each once");
        let whole = words("explain segment x src 020000000001 dst 02-00-00-00-00-02 ");
        assert!(whole.contains(&"<cr>".into()) && whole.contains(&"ip".into()), "{whole:?}");
        let points = ["port", "segment", "session", "drops"];
        assert_eq!(words("capture lines "), [&points[..], &["count", "seconds", "snap"]].concat());
        assert_eq!(words("capture lines count 3 "), [&points[..], &["seconds", "snap"]].concat());
        let of_session = words("capture lines session bern ");
        for word in ["outside", "icmp", "not", "<cr>"] {
            assert!(of_session.contains(&word.into()), "{word}: {of_session:?}");
        }
        assert_eq!(words("capture lines session bern records "), ["<cr>", "|"]);
        assert_eq!(words("capture lines port p tcp port "), ["<PORT>"]);
        assert_eq!(words("capture lines port p (arp or vlan 10 "), ["and", "or", ")"], "one is open");
        assert_eq!(words("capture lines port p (arp) "), ["and", "or", "<cr>", "|"]);
        assert_eq!(words("explain live ether "), ["host", "src", "dst", "proto", "broadcast", "multicast"]);
        assert_eq!(words("explain live ether src h"), ["<MAC>", "host"]);
        let levels = ["<LEVEL>", "error", "warn", "info", "debug", "trace"];
        assert_eq!(words("show log level "), levels);
        assert_eq!(words("debug control "), levels);
        // And the tab key goes on with it, where a parenthesis stands close too.
        assert_eq!(completed("explain seg"), line("explain segment "));
        assert_eq!(completed("capt li ses bern ou"), line("capt li ses bern outside "));
        assert_eq!(completed("capture lines port p not (br"), line("capture lines port p not (broadcast "));
        assert_eq!(completed("debug all tr"), line("debug all trace "));
    }
}
