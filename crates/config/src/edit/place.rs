//! Where words lead in a configuration.

use toml_edit::{Array, ArrayOfTables, InlineTable, Item, Table, TableLike, Value};

use super::{EditError, entries};
use crate::schema::{self, Key, Kind, ROOT};

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// Into a table.
    Table(&'static str),
    /// Into the table of a list in which `by` is `name`; the `nth` of those, from 1.
    Entry { list: &'static str, by: &'static str, name: &'a str, nth: usize },
}

impl Step<'_> {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Table(name) => name,
            Self::Entry { list, .. } => list,
        }
    }
}

/// Where words lead.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) steps: Vec<Step<'a>>,
    /// The keys of the table that was reached.
    pub(super) keys: &'static [Key],
    /// The key in it.
    pub(super) leaf: Option<&'static Key>,
    /// What stands behind.
    pub(super) rest: Vec<&'a str>,
}

impl Place<'_> {
    pub(super) fn ends_at_entry(&self) -> bool {
        self.leaf.is_none() && matches!(self.steps.last(), Some(Step::Entry { .. }))
    }
}

pub(super) fn locate<'a>(words: &[&'a str]) -> Result<Place<'a>, EditError> {
    let mut place = Place { steps: Vec::new(), keys: ROOT, leaf: None, rest: Vec::new() };
    let mut rest = words;
    while let Some((word, after)) = rest.split_first() {
        let mut found = schema::find(place.keys, word);
        if let (None, true, Some(table)) = (found, place.steps.is_empty(), schema::shortcut(word)) {
            let inside = schema::find(ROOT, table).and_then(|key| key.kind.keys()).unwrap_or_default();
            place.steps.push(Step::Table(table));
            place.keys = inside;
            found = schema::find(inside, word);
        }
        let Some(key) = found else {
            return Err(EditError(format!("there is no {word:?} here; there are: {}", names(place.keys))));
        };
        rest = after;
        match &key.kind {
            Kind::Table(keys) => {
                place.steps.push(Step::Table(key.name));
                place.keys = keys;
            }
            Kind::Tables { by, keys } => {
                let Some((name, after)) = rest.split_first() else {
                    return Err(EditError(format!("which {word}? Its {by} comes next")));
                };
                let (name, nth) = numbered(name);
                place.steps.push(Step::Entry { list: key.name, by, name, nth });
                place.keys = keys;
                rest = after;
            }
            _ => {
                place.leaf = Some(key);
                place.rest = rest.to_vec();
                return Ok(place);
            }
        }
    }
    Ok(place)
}

/// `trunk0#2`: the second of that name.
fn numbered(word: &str) -> (&str, usize) {
    match word.rsplit_once('#').and_then(|(name, nth)| Some((name, nth.parse().ok()?))) {
        Some((name, nth)) if nth > 0 => (name, nth),
        _ => (word, 1),
    }
}

/// The table that steps lead to. Makes what is missing, or gives `None`.
pub(super) fn enter<'t>(
    table: &'t mut dyn TableLike,
    steps: &[Step<'_>],
    make: bool,
) -> Result<Option<&'t mut dyn TableLike>, EditError> {
    let Some((step, after)) = steps.split_first() else { return Ok(Some(table)) };
    let wrong = || {
        EditError(format!(
            "{:?} in the file is not what it should be: `causeway check` tells more",
            step.name()
        ))
    };
    if table.get(step.name()).is_none() {
        if !make {
            return Ok(None);
        }
        let new = match step {
            Step::Table(_) => Item::Table(apart(Table::new())),
            Step::Entry { .. } => Item::ArrayOfTables(ArrayOfTables::new()),
        };
        table.insert(step.name(), new);
    }
    let item = table.get_mut(step.name()).ok_or_else(wrong)?;
    let inside: &mut dyn TableLike = match step {
        Step::Table(_) => item.as_table_like_mut().ok_or_else(wrong)?,
        Step::Entry { by, name, nth, .. } => {
            let at = match entry_at(item, by, name, *nth) {
                Some(at) => at,
                None if !make => return Ok(None),
                None if *nth > 1 && entry_at(item, by, name, nth - 1).is_none() => {
                    return Err(EditError(format!("there is no {name}#{} yet", nth - 1)));
                }
                None => push(item, by, name).ok_or_else(wrong)?,
            };
            match item {
                Item::ArrayOfTables(tables) => tables.get_mut(at).ok_or_else(wrong)?,
                item => {
                    let array = item.as_array_mut().ok_or_else(wrong)?;
                    array.get_mut(at).and_then(Value::as_inline_table_mut).ok_or_else(wrong)?
                }
            }
        }
    };
    enter(inside, after, make)
}

/// The position of a named table in its list.
pub(super) fn entry_at(item: &Item, by: &str, name: &str, nth: usize) -> Option<usize> {
    let named = |text: Option<&str>| text == Some(name);
    let found: Vec<usize> = match item {
        Item::ArrayOfTables(tables) => {
            let tables = tables.iter().enumerate();
            tables
                .filter(|(_, table)| named(table.get(by).and_then(Item::as_str)))
                .map(|(at, _)| at)
                .collect()
        }
        item => {
            let tables = item.as_array()?.iter().enumerate();
            let name_of = |value: &Value| value.as_inline_table()?.get(by)?.as_str().map(str::to_owned);
            tables.filter(|(_, value)| named(name_of(value).as_deref())).map(|(at, _)| at).collect()
        }
    };
    found.get(nth - 1).copied()
}

/// The names in a list of tables.
pub(super) fn entry_names(item: &Item, by: &str) -> Vec<String> {
    match item {
        Item::ArrayOfTables(tables) => {
            tables.iter().filter_map(|table| table.get(by)?.as_str().map(str::to_owned)).collect()
        }
        item => item
            .as_array()
            .into_iter()
            .flat_map(Array::iter)
            .filter_map(|value| value.as_inline_table()?.get(by)?.as_str().map(str::to_owned))
            .collect(),
    }
}

/// What may stand here.
pub(super) fn names(keys: &[Key]) -> String {
    keys.iter().map(|key| key.name).collect::<Vec<_>>().join(", ")
}

/// The key of the list that a step goes into, with how its tables are told apart.
pub(super) fn list_of(keys: &'static [Key], word: &str) -> Option<(&'static Key, &'static str)> {
    let key = schema::find(keys, word)?;
    Some((key, entries(&key.kind)?))
}

fn push(item: &mut Item, by: &str, name: &str) -> Option<usize> {
    match item {
        Item::ArrayOfTables(tables) => {
            let mut table = apart(Table::new());
            table.insert(by, toml_edit::value(name));
            tables.push(table);
            Some(tables.len() - 1)
        }
        item => {
            let array = item.as_array_mut()?;
            let mut table = InlineTable::new();
            table.insert(by, name.into());
            array.push(table);
            Some(array.len() - 1)
        }
    }
}

/// With an empty line before it.
fn apart(mut table: Table) -> Table {
    table.decor_mut().set_prefix("\n");
    table
}
