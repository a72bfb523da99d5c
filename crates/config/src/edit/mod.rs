//! Changes to a configuration as an operator makes them: a **candidate** that begins as the running file, is changed by words, looked
//! at, compared, and in the end checked and put in force by whoever owns the appliance. Comments and order of the file are kept.

mod complete;
mod diff;
mod place;
mod secrets;
mod value;

use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, TableLike};

pub use complete::{Hint, complete, in_full};
pub use diff::compare;
pub use secrets::{mask, masked};

use crate::schema::{self, Key, Kind};
use crate::{Config, Errors};
use place::{Place, enter, entry_at, locate};

/// Why words change nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EditError(pub String);

/// A configuration that is being changed.
#[derive(Clone, Debug)]
pub struct Candidate {
    path: PathBuf,
    /// The text that it began with.
    base: String,
    document: DocumentMut,
    /// What was done to it, to do it again to a newer text.
    done: Vec<Done>,
}

#[derive(Clone, Debug)]
struct Done {
    how: How,
    words: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Set,
    Add,
    Delete,
    Replace,
}

impl Candidate {
    /// Begins with the text of the file at `path`.
    ///
    /// # Errors
    /// It is no TOML.
    pub fn new(path: &Path, text: &str) -> Result<Self, EditError> {
        let document = parse(text)?;
        Ok(Self { path: path.into(), base: text.into(), document, done: Vec::new() })
    }

    /// `set segment servers mtu 9000`: gives a key a value, several keys of one table theirs, or makes a table with a name. A list is
    /// replaced as a whole.
    ///
    /// # Errors
    /// There is no such key, or the value is not one for it. Nothing has changed then.
    pub fn set(&mut self, words: &[&str]) -> Result<(), EditError> {
        self.apply(How::Set, words)
    }

    /// `add site branch segments voice`: puts values into a list.
    ///
    /// # Errors
    /// As [`Candidate::set`], and when the key holds no list.
    pub fn add(&mut self, words: &[&str]) -> Result<(), EditError> {
        self.apply(How::Add, words)
    }

    /// `delete segment voice`: takes away a table, a key, or values of a list.
    ///
    /// # Errors
    /// There is none.
    pub fn delete(&mut self, words: &[&str]) -> Result<(), EditError> {
        self.apply(How::Delete, words)
    }

    /// Takes another text instead, as a rollback does.
    ///
    /// # Errors
    /// It is no TOML.
    pub fn replace(&mut self, text: &str) -> Result<(), EditError> {
        self.document = parse(text)?;
        self.done = vec![Done { how: How::Replace, words: Vec::new() }];
        Ok(())
    }

    /// The whole text, secrets included. What was not touched is as it was, to the octet.
    pub fn text(&self) -> String {
        if self.done.is_empty() { self.base.clone() } else { self.document.to_string() }
    }

    /// The text that it began with.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Whether anything is different from what it began with.
    pub fn is_changed(&self) -> bool {
        self.text() != self.base
    }

    /// All of it, or the part that words lead to, without secrets.
    ///
    /// # Errors
    /// The words lead nowhere.
    pub fn show(&self, words: &[&str]) -> Result<String, EditError> {
        if words.is_empty() {
            return Ok(mask(&self.text()));
        }
        let place = locate(words)?;
        if !place.rest.is_empty() {
            let key = place.leaf.map_or("a value", |key| key.name);
            return Err(EditError(format!("what stands behind {key} leads nowhere")));
        }
        let nothing = || EditError(format!("there is no {}", words.join(" ")));
        let mut document = self.document.clone();
        let table = enter(document.as_table_mut(), &place.steps, false)?.ok_or_else(nothing)?;
        let text = match place.leaf {
            Some(key) => {
                let item = table.get(key.name).ok_or_else(nothing)?;
                let mut alone = DocumentMut::new();
                alone.insert(key.name, item.clone());
                alone.to_string()
            }
            None => as_text(table),
        };
        Ok(mask(text.trim_start()))
    }

    /// The difference to the running text, in the unified format, without secrets. Empty: there is none.
    pub fn compare(&self, running: &str) -> String {
        compare("running", running, "candidate", &self.text())
    }

    /// Checks it by the rules of the file.
    ///
    /// # Errors
    /// All faults, by line of [`Candidate::text`].
    pub fn check(&self) -> Result<Config, Errors> {
        Config::parse(&self.path, &self.text())
    }

    /// Does the same changes to a newer text that somebody else has put in force meanwhile.
    ///
    /// # Errors
    /// The places that both have changed, in words. The candidate is as it was.
    pub fn merge(&mut self, newer: &str) -> Result<(), EditError> {
        let old = parse(&self.base)?;
        let mut merged = Self::new(&self.path, newer)?;
        let mut conflicts = Vec::new();
        for Done { how, words } in &self.done {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            if *how == How::Replace {
                return Err(EditError(
                    "the whole configuration is replaced by this candidate, and others changed it".into(),
                ));
            }
            if text_at(&old, &words) != text_at(&parse(newer)?, &words) {
                conflicts.push(masked(&words).join(" "));
            } else if let Err(error) = merged.apply(*how, &words) {
                conflicts.push(format!("{}: {error}", masked(&words).join(" ")));
            }
        }
        if !conflicts.is_empty() {
            return Err(EditError(format!("changed here and by somebody else: {}", conflicts.join("; "))));
        }
        *self = merged;
        Ok(())
    }

    fn apply(&mut self, how: How, words: &[&str]) -> Result<(), EditError> {
        let place = locate(words)?;
        let mut document = self.document.clone();
        match how {
            How::Set => set(&mut document, &place)?,
            How::Add => add(&mut document, &place)?,
            How::Delete => delete(&mut document, &place, words)?,
            How::Replace => {}
        }
        self.document = document;
        self.done.push(Done { how, words: words.iter().map(|word| (*word).to_owned()).collect() });
        Ok(())
    }
}

/// A text as TOML writes it, with its quotes.
pub fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

/// Of a text what stands under these keys of the root, with its comments.
///
/// # Errors
/// It is no TOML.
pub fn only(text: &str, keys: &[&str]) -> Result<String, EditError> {
    let mut document = parse(text)?;
    document.retain(|key, _| keys.contains(&key));
    document.set_trailing("");
    Ok(document.to_string())
}

fn parse(text: &str) -> Result<DocumentMut, EditError> {
    text.parse().map_err(|error: toml_edit::TomlError| EditError(format!("not TOML: {}", error.message())))
}

fn set(document: &mut DocumentMut, place: &Place<'_>) -> Result<(), EditError> {
    let assignments = assignments(place)?;
    if assignments.is_empty() && !place.ends_at_entry() {
        return Err(EditError(format!("what of it? {}", place::names(place.keys))));
    }
    let table = enter(document.as_table_mut(), &place.steps, true)?.ok_or_else(gone)?;
    for (key, values) in assignments {
        for other in key.instead_of {
            table.remove(other);
        }
        value::put(table, key, value::of(key, values)?);
    }
    Ok(())
}

fn add(document: &mut DocumentMut, place: &Place<'_>) -> Result<(), EditError> {
    let Some(key) = place.leaf.filter(|key| key.kind.is_list()) else {
        return Err(EditError("only lists take more values: use set".into()));
    };
    if place.rest.is_empty() {
        return Err(EditError(format!("add what to {}?", key.name)));
    }
    let table = enter(document.as_table_mut(), &place.steps, true)?.ok_or_else(gone)?;
    let mut all = value::texts(table.get(key.name));
    all.extend(place.rest.iter().map(|word| (*word).to_owned()));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    value::put(table, key, value::of(key, &all)?);
    Ok(())
}

fn delete(document: &mut DocumentMut, place: &Place<'_>, words: &[&str]) -> Result<(), EditError> {
    let nothing = || EditError(format!("there is no {}", masked(words).join(" ")));
    let (key, steps) = match (place.leaf, place.steps.split_last()) {
        (Some(key), _) => (key.name, place.steps.as_slice()),
        (None, Some((last, before))) => (last.name(), before),
        (None, None) => return Err(EditError("delete what?".into())),
    };
    let table = enter(document.as_table_mut(), steps, false)?.ok_or_else(nothing)?;
    if let (Some(key), false) = (place.leaf, place.rest.is_empty()) {
        return value::take_out(table, key, &place.rest);
    }
    match place.steps.last().filter(|_| place.leaf.is_none()) {
        Some(place::Step::Entry { list, by, name, nth, .. }) => {
            let item = table.get_mut(list).ok_or_else(nothing)?;
            let at = entry_at(item, by, name, *nth).ok_or_else(nothing)?;
            let left = match item {
                Item::ArrayOfTables(tables) => {
                    tables.remove(at);
                    tables.len()
                }
                item => {
                    let array = item.as_array_mut().ok_or_else(nothing)?;
                    array.remove(at);
                    array.len()
                }
            };
            if left == 0 {
                table.remove(list);
            }
            Ok(())
        }
        _ => table.remove(key).map(drop).ok_or_else(nothing),
    }
}

/// The keys and values of a `set`.
fn assignments<'a>(place: &'a Place<'_>) -> Result<Vec<(&'static Key, &'a [&'a str])>, EditError> {
    let mut found = Vec::new();
    let (mut leaf, mut rest) = (place.leaf, place.rest.as_slice());
    while let Some(key) = leaf {
        let count = if key.kind.is_list() { rest.len() } else { rest.len().min(1) };
        if count == 0 {
            return Err(EditError(format!("{} needs a value: {}", key.name, key.kind.shape())));
        }
        let (values, after) = rest.split_at(count);
        found.push((key, values));
        let Some((name, after)) = after.split_first() else { break };
        let next = schema::find(place.keys, name).filter(|key| key.kind.keys().is_none());
        leaf = Some(next.ok_or_else(|| {
            let names = place::names(place.keys);
            EditError(match found.iter().find(|(key, _)| key.secret) {
                None => format!("{name:?} is too much, or no key here: {names}"),
                Some((key, _)) => format!(
                    "what stands behind {} is too much (a value with blanks stands in double quotes), or no key here: {names}",
                    key.name
                ),
            })
        })?);
        rest = after;
    }
    Ok(found)
}

/// What stands where words lead, for a comparison.
fn text_at(document: &DocumentMut, words: &[&str]) -> String {
    let Ok(place) = locate(words) else { return String::new() };
    let mut document = document.clone();
    let Ok(Some(table)) = enter(document.as_table_mut(), &place.steps, false) else { return String::new() };
    match place.leaf {
        Some(_) => {
            let names = assignments(&place).unwrap_or_default();
            let leaf = place.leaf.into_iter().chain(names.into_iter().map(|(key, _)| key));
            leaf.map(|key| table.get(key.name).map(ToString::to_string).unwrap_or_default()).collect()
        }
        None => as_text(table),
    }
}

fn as_text(table: &mut dyn TableLike) -> String {
    let mut alone = toml_edit::Table::new();
    for (name, item) in table.iter() {
        alone.insert(name, item.clone());
    }
    DocumentMut::from(alone).to_string()
}

fn gone() -> EditError {
    EditError("it cannot be made".into())
}

/// Whether a key holds a list of tables with names.
fn entries(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::Tables { by, .. } => Some(by),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
