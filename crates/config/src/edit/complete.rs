//! What may come next in a `set`, `add`, `delete` or `show`.

use toml_edit::Item;

use super::Candidate;
use super::place::{Place, enter, entry_names, list_of, locate};
use crate::schema::{self, Key, Kind, ROOT};

/// A word that may come next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The word, or `<what>` for one of the operator's own.
    pub word: String,
    /// What it is for.
    pub help: String,
    /// Whether the word can be taken as it stands.
    pub literal: bool,
}

/// What may come after complete words. Empty: nothing, or the words lead nowhere.
pub fn complete(candidate: &Candidate, words: &[&str]) -> Vec<Hint> {
    // A list whose table has no name yet.
    if let Some((last, before)) = words.split_last() {
        let keys = match locate(before) {
            Ok(place) if place.leaf.is_none() => place.keys,
            _ => &[],
        };
        let shortcut = before.is_empty().then(|| schema::shortcut(last)).flatten();
        let (path, keys) = match shortcut {
            Some(table) => {
                (vec![table], schema::find(ROOT, table).and_then(|key| key.kind.keys()).unwrap_or_default())
            }
            None => (before.to_vec(), keys),
        };
        if let Some((key, by)) = list_of(keys, last) {
            return names_in(candidate, &path, key, by);
        }
    }
    let Ok(place) = locate(words) else { return Vec::new() };
    match place.leaf {
        None => {
            let mut hints: Vec<Hint> = place.keys.iter().map(key_hint).collect();
            if words.is_empty() {
                let site =
                    Hint { word: "site".into(), help: "a site that may connect".into(), literal: true };
                hints.push(site);
            }
            hints
        }
        Some(key) if place.rest.is_empty() || key.kind.is_list() => values(candidate, key),
        // Behind a value the next key of the table may come.
        Some(_) if place.rest.len() % 2 == 1 => {
            place.keys.iter().filter(|key| key.kind.keys().is_none()).map(key_hint).collect()
        }
        Some(_) => {
            let last = place.rest.last().and_then(|name| schema::find(place.keys, name));
            last.map(|key| values(candidate, key)).unwrap_or_default()
        }
    }
}

/// Most words in which keys are looked for: no command has as many that are one.
const MAX_KEYS: usize = 64;

/// The same words with their keys in full, where one is abbreviated and can mean one thing only. Names and values stay as they are.
pub fn in_full<'w>(words: &[&'w str]) -> Vec<&'w str> {
    let mut full: Vec<&'w str> = Vec::with_capacity(words.len());
    for (at, word) in words.iter().enumerate() {
        let keys = if at < MAX_KEYS { keys_behind(&full) } else { Vec::new() };
        let mut meant = keys.iter().filter(|key| !word.is_empty() && key.starts_with(word));
        full.push(match (keys.contains(word), meant.next(), meant.next()) {
            (false, Some(only), None) => *only,
            _ => *word,
        });
    }
    full
}

/// The keys that may come behind these words, if it is a key that has to come.
fn keys_behind(words: &[&str]) -> Vec<&'static str> {
    let names = |keys: &'static [Key]| keys.iter().map(|key| key.name);
    match locate(words) {
        Ok(Place { leaf: None, keys, .. }) => {
            let site = schema::shortcut("site").filter(|_| words.is_empty()).map(|_| "site");
            names(keys).chain(site).collect()
        }
        // Behind a value comes the next key of the table.
        Ok(Place { leaf: Some(key), keys, rest, .. }) if rest.len() % 2 == 1 && !key.kind.is_list() => {
            names(keys).collect()
        }
        _ => Vec::new(),
    }
}

fn key_hint(key: &Key) -> Hint {
    let default = match key.default {
        "" => String::new(),
        default => format!(" ({default})"),
    };
    Hint { word: key.name.into(), help: format!("{}{default}", key.help), literal: true }
}

/// The names of a list's tables, and a place for a new one.
fn names_in(candidate: &Candidate, path: &[&str], key: &Key, by: &'static str) -> Vec<Hint> {
    let mut document = candidate.document.clone();
    let steps = locate(path).map(|place| place.steps).unwrap_or_default();
    let table = enter(document.as_table_mut(), &steps, false).ok().flatten();
    let item = table.and_then(|table| table.get(key.name).cloned());
    let known = item.map(|item| entry_names(&item, by)).unwrap_or_default();
    let mut hints: Vec<Hint> = Vec::new();
    for (at, name) in known.iter().enumerate() {
        let before = known[..at].iter().filter(|other| *other == name).count();
        let word = if before == 0 { name.clone() } else { format!("{name}#{}", before + 1) };
        hints.push(Hint { word, help: format!("{} that is there", key.name), literal: true });
    }
    if by == "port" {
        for name in list(candidate, "port", "name").into_iter().filter(|name| !known.contains(name)) {
            hints.push(Hint { word: name, help: "a port".into(), literal: true });
        }
    } else {
        hints.push(Hint { word: format!("<{by}>"), help: format!("a new {}", key.name), literal: false });
    }
    hints
}

/// What a key may be set to.
fn values(candidate: &Candidate, key: &Key) -> Vec<Hint> {
    let word = |word: &str, help: &str| Hint { word: word.into(), help: help.into(), literal: true };
    match &key.kind {
        Kind::Bool => vec![word("true", key.help), word("false", "not")],
        Kind::Choice(words) | Kind::Choices(words) => {
            words.iter().map(|choice| word(choice, key.help)).collect()
        }
        Kind::Texts(_) if key.name == "segments" => {
            list(candidate, "segment", "name").iter().map(|name| word(name, "a segment")).collect()
        }
        Kind::Text(_) if key.name == "port" => {
            list(candidate, "port", "name").iter().map(|name| word(name, "a port")).collect()
        }
        kind => vec![Hint { word: format!("<{}>", kind.shape()), help: key.help.into(), literal: false }],
    }
}

/// The names in a list of the root.
fn list(candidate: &Candidate, name: &'static str, by: &str) -> Vec<String> {
    candidate.document.get(name).map(|item: &Item| entry_names(item, by)).unwrap_or_default()
}
