//! What `?` and the tab key say of a line that is not whole yet.

use crate::filter::FILTERS;
use crate::tree::{Names, Node, Role, Walk};
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
    let (before, begun) = cut(line);
    let parts = words::parts(before);
    if parts.len() > 1 {
        let last = words::split(parts[parts.len() - 1]);
        return Ok(match last.len() {
            0 => starting(FILTERS.iter().map(|(name, help)| ((*name).into(), (*help).into())), begun),
            _ => vec![("<PATTERN>".into(), "What to look for: text, or a regular expression".into())],
        });
    }
    let mut walk = Walk::new(root, role);
    for word in words::split(before) {
        walk.step(&word).map_err(|wrong| wrong.to_string())?;
    }
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
                let known = names.names(arg).into_iter().map(|name| (words::quote(&name), String::new()));
                found.extend(known.take(MAX_NAMES));
            }
        }
    }
    let mut found = starting(found.into_iter(), begun);
    if begun.is_empty() && walk.does().is_some() {
        found.push(("<cr>".into(), "Do it".into()));
        found.push(("|".into(), "Filter what is shown".into()));
    }
    Ok(found)
}

/// Completes the word before the cursor.
pub(crate) fn complete(
    root: &Node,
    role: Role,
    line: &str,
    names: &dyn Names,
    candidate: Option<&str>,
) -> Completion {
    let (before, begun) = cut(line);
    let Ok(found) = help(root, role, line, names, candidate) else { return Completion::Nothing };
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
    use crate::tree::Arg;

    struct Known;
    impl Names for Known {
        fn names(&self, kind: Arg) -> Vec<String> {
            match kind {
                Arg::Site => vec!["berlin".into(), "New York".into(), "bern".into()],
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
}
