//! Texts and commands without what is secret in them.

use std::hash::{DefaultHasher, Hash, Hasher};

use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

use super::place::locate;
use crate::schema::{self, Key, ROOT};

/// What stands instead of a secret.
const STARS: &str = "********";

/// The words of a `set`, `add` or `delete` for a log or an answer: without the values of secrets, and without all that stands behind the
/// first word that leads nowhere, since it may be the value of a secret whose name is written wrong.
pub fn masked(words: &[&str]) -> Vec<String> {
    let shown = shown(words);
    let word = |(at, word): (usize, &&str)| if shown(at) { (*word).to_owned() } else { STARS.to_owned() };
    words.iter().enumerate().map(word).collect()
}

/// Which words are no secrets.
fn shown(words: &[&str]) -> impl Fn(usize) -> bool {
    let mut secret = vec![true; words.len()];
    // Words that lead nowhere: the way is good up to some word before.
    let good = (0..=words.len()).rev().find(|count| locate(&words[..*count]).is_ok()).unwrap_or(0);
    let place = locate(&words[..good]).ok();
    let path = place.as_ref().map_or(0, |place| good - place.rest.len());
    // Of an entry of a list, its name has still to come when the word before leads nowhere yet: the first word that is wrong is told.
    let mut next = if path < good { path } else { (good + 1).min(words.len()) };
    secret[..next].fill(false);
    let (mut leaf, keys) = place.map_or((None, ROOT), |place| (place.leaf, place.keys));
    let mut had_secret = false;
    while let Some(key) = leaf.take() {
        had_secret |= key.secret;
        let values = if key.kind.is_list() { words.len() } else { (next + 1).min(words.len()) };
        secret[next.min(values)..values].fill(key.secret);
        next = values;
        let Some(word) = words.get(next) else { break };
        leaf = schema::find(keys, word).filter(|key| key.kind.keys().is_none());
        // A password with blanks goes on here.
        secret[next] = leaf.is_none() && had_secret;
        next += 1;
    }
    move |at| !secret[at]
}

/// A text without what is secret in it: values, and comments that name a secret key.
pub fn mask(text: &str) -> String {
    let parsed = text.parse::<DocumentMut>();
    let Ok(mut document) = parsed else { return UNREADABLE.into() };
    walk(document.as_table_mut(), &|_| STARS.into());
    comments(&document.to_string(), &|_| STARS.into())
}

/// As [`mask`], but secrets that are different stay so until [`unmarked`]: for a comparison.
pub(super) fn marked(text: &str) -> String {
    let Ok(mut document) = text.parse::<DocumentMut>() else { return UNREADABLE.into() };
    walk(document.as_table_mut(), &mark);
    comments(&document.to_string(), &mark)
}

/// Takes away what [`marked`] has told secrets apart by.
pub(super) fn unmarked(text: &str) -> String {
    let mut parts = text.split(MARK);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out += STARS;
        out += part.get(DIGITS..).unwrap_or_default();
    }
    out
}

/// A text that is no TOML may have its secrets anywhere.
const UNREADABLE: &str = "# This is no TOML, so that nobody can tell what is secret in it: it is not shown. `causeway check` tells more.\n";

/// Nobody writes this.
const MARK: &str = "********\u{e000}";
const DIGITS: usize = 16;

fn mark(secret: &str) -> String {
    let mut hasher = DefaultHasher::new();
    secret.hash(&mut hasher);
    format!("{MARK}{:0DIGITS$x}", hasher.finish())
}

fn walk(table: &mut dyn TableLike, stars: &dyn Fn(&str) -> String) {
    for (name, item) in table.iter_mut() {
        if is_secret(name.get()) {
            hide(item, stars);
            continue;
        }
        match item {
            Item::Table(inside) => walk(inside, stars),
            Item::ArrayOfTables(tables) => {
                tables.iter_mut().for_each(|inside: &mut Table| walk(inside, stars))
            }
            Item::Value(value) => walk_value(value, stars),
            Item::None => {}
        }
    }
}

fn walk_value(value: &mut Value, stars: &dyn Fn(&str) -> String) {
    match value {
        Value::InlineTable(inside) => walk(inside, stars),
        Value::Array(array) => array.iter_mut().for_each(|value| walk_value(value, stars)),
        _ => {}
    }
}

fn hide(item: &mut Item, stars: &dyn Fn(&str) -> String) {
    let hidden = stars(item.to_string().trim());
    let mut value = Value::from(hidden);
    if let Some(old) = item.as_value() {
        *value.decor_mut() = old.decor().clone();
    }
    *item = Item::Value(value);
}

/// Hides comments in which a secret key gets a value: one that was in force once, or will be.
fn comments(text: &str, stars: &dyn Fn(&str) -> String) -> String {
    let line = |line: &str| {
        let mut places = line.match_indices('#').map(|(at, _)| at);
        let found = places.find(|at| names_secret(&line[*at..]));
        let end = if line.ends_with('\n') { "\n" } else { "" };
        found.map_or_else(
            || line.to_owned(),
            |at| format!("{}# {}{end}", &line[..at], stars(line[at..].trim())),
        )
    };
    text.split_inclusive('\n').map(line).collect()
}

/// Whether a comment says `password =` or the like.
fn names_secret(comment: &str) -> bool {
    comment.match_indices('=').any(|(at, _)| {
        let before = comment[..at].trim_end().trim_end_matches(['"', '\'']);
        let name = before.rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next();
        name.is_some_and(is_secret)
    })
}

fn is_secret(name: &str) -> bool {
    fn among(keys: &'static [Key], name: &str) -> bool {
        keys.iter().any(|key| {
            key.secret && key.name == name || key.kind.keys().is_some_and(|inside| among(inside, name))
        })
    }
    among(ROOT, name)
}
