//! Reads TOML with its positions, collects faults instead of stopping at the first, and notices keys that
//! nobody asked for.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One fault in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1; 0 when the fault is that of the whole file.
    pub line: usize,
    /// The key, with the tables that it stands in.
    pub key: String,
    /// What is wrong, and what to do.
    pub problem: String,
}

/// All the faults of one file, by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    /// The file.
    pub path: PathBuf,
    /// At least one.
    pub faults: Vec<Fault>,
}

impl Errors {
    pub(crate) fn whole_file(path: &Path, problem: String) -> Self {
        Self { path: path.into(), faults: vec![Fault { line: 0, key: String::new(), problem }] }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Fault { line, key, problem }) in self.faults.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:", self.path.display())?;
            if *line > 0 {
                write!(f, "{line}:")?;
            }
            if !key.is_empty() {
                write!(f, " {key}:")?;
            }
            write!(f, " {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// A parsed file and the faults found in it so far.
pub(crate) struct Document<'a> {
    path: &'a Path,
    text: &'a str,
    root: Spanned<DeTable<'a>>,
    faults: RefCell<Vec<Fault>>,
    /// What was asked for, by table and key, with the shape that was wanted. A test compares it with the schema.
    #[cfg(test)]
    pub(crate) wanted: RefCell<std::collections::BTreeMap<(String, String), String>>,
}

impl<'a> Document<'a> {
    pub(crate) fn parse(path: &'a Path, text: &'a str) -> Result<Self, Errors> {
        let line = |span: Option<Range<usize>>| span.map_or(0, |span| line_of(text, span.start));
        let root = DeTable::parse(text).map_err(|error| Errors {
            path: path.into(),
            faults: vec![Fault {
                line: line(error.span()),
                key: String::new(),
                problem: format!("not TOML: {}", error.message()),
            }],
        })?;
        Ok(Self {
            path,
            text,
            root,
            faults: RefCell::default(),
            #[cfg(test)]
            wanted: RefCell::default(),
        })
    }

    pub(crate) fn root(&self) -> Table<'_> {
        Table::new(self, Some(self.root.get_ref()), String::new(), 0)
    }

    /// `value` if no fault was found.
    pub(crate) fn result<T>(&self, value: Option<T>) -> Result<T, Errors> {
        let mut faults = self.faults.take();
        match value {
            Some(value) if faults.is_empty() => Ok(value),
            _ => {
                faults.sort_by_key(|fault| fault.line);
                Err(Errors { path: self.path.into(), faults })
            }
        }
    }

    fn fault(&self, at: usize, key: String, problem: String) {
        self.faults.borrow_mut().push(Fault { line: line_of(self.text, at), key, problem });
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|octet| **octet == b'\n').count() + 1
}

/// A table of the file, or an absent one that reads as empty.
pub(crate) struct Table<'a> {
    document: &'a Document<'a>,
    table: Option<&'a DeTable<'a>>,
    /// How errors name it: `server.site[2]`.
    name: String,
    /// Where it stands.
    at: usize,
    asked: RefCell<HashSet<String>>,
}

/// A value that was found, with where it stands.
pub(crate) struct Found<T> {
    pub(crate) value: T,
    pub(crate) at: usize,
}

impl<'a> Table<'a> {
    fn new(document: &'a Document<'a>, table: Option<&'a DeTable<'a>>, name: String, at: usize) -> Self {
        Self { document, table, name, at, asked: RefCell::default() }
    }

    /// Whether it stands in the file.
    pub(crate) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// The line where it stands.
    pub(crate) fn line(&self) -> usize {
        line_of(self.document.text, self.at)
    }

    /// Notes a fault of `key`, at `at` or else where the table stands.
    pub(crate) fn fault(&self, at: Option<usize>, key: &str, problem: impl Into<String>) {
        let key = match (self.name.as_str(), key) {
            ("", key) => key.into(),
            (name, "") => name.into(),
            (name, key) => format!("{name}.{key}"),
        };
        self.document.fault(at.unwrap_or(self.at), key, problem.into());
    }

    /// Whether `key` stands in the file, good or bad.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// A key that has to be there.
    pub(crate) fn required<T>(&self, key: &str, found: Option<T>) -> Option<T> {
        if found.is_none() && self.value(key).is_none() {
            self.fault(None, key, "is missing");
        }
        found
    }

    pub(crate) fn string(&self, key: &str) -> Option<Found<String>> {
        self.typed(key, "a string", |value| value.as_str().map(str::to_owned))
    }

    pub(crate) fn boolean(&self, key: &str) -> Option<bool> {
        self.typed(key, "true or false", |value| value.as_bool()).map(|found| found.value)
    }

    /// A whole number within `range`.
    pub(crate) fn number(&self, key: &str, range: std::ops::RangeInclusive<u64>) -> Option<Found<u64>> {
        self.number_or(key, range, |_| "")
    }

    /// The same; `hint` says what else to do about a number that is out of range.
    pub(crate) fn number_or(
        &self,
        key: &str,
        range: std::ops::RangeInclusive<u64>,
        hint: impl Fn(i128) -> &'static str,
    ) -> Option<Found<u64>> {
        self.want(key, || format!("{} to {}", range.start(), range.end()));
        let found = self.typed(key, "a whole number", |value| {
            let integer = value.as_integer()?;
            i128::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()).ok()
        })?;
        match u64::try_from(found.value).ok().filter(|value| range.contains(value)) {
            Some(value) => Some(Found { value, at: found.at }),
            None => {
                self.fault(
                    Some(found.at),
                    key,
                    format!(
                        "{} is out of range: {} to {}{}",
                        found.value,
                        range.start(),
                        range.end(),
                        hint(found.value)
                    ),
                );
                None
            }
        }
    }

    /// A string that means a `T`.
    pub(crate) fn parsed<T: FromStr<Err: fmt::Display>>(&self, key: &str) -> Option<Found<T>> {
        let text = self.string(key)?;
        self.parse_text(key, &text)
    }

    /// A list of strings that each mean a `T`.
    pub(crate) fn parsed_list<T: FromStr<Err: fmt::Display>>(&self, key: &str) -> Option<Vec<Found<T>>> {
        let texts = self.strings(key)?;
        Some(texts.iter().filter_map(|text| self.parse_text(key, text)).collect())
    }

    fn parse_text<T: FromStr<Err: fmt::Display>>(&self, key: &str, text: &Found<String>) -> Option<Found<T>> {
        match text.value.parse() {
            Ok(value) => Some(Found { value, at: text.at }),
            Err(error) => {
                self.fault(Some(text.at), key, format!("{:?}: {error}", text.value));
                None
            }
        }
    }

    pub(crate) fn strings(&self, key: &str) -> Option<Vec<Found<String>>> {
        self.want(key, || "list of strings".into());
        let value = self.value(key)?;
        let list = value.get_ref().as_array().map(|array| {
            let text = |item: &Spanned<DeValue<'_>>| {
                let value = item.get_ref().as_str()?.to_owned();
                Some(Found { value, at: item.span().start })
            };
            array.iter().map(text).collect::<Option<Vec<_>>>()
        });
        if let Some(Some(list)) = list {
            return Some(list);
        }
        self.fault(Some(value.span().start), key, "has to be a list of strings");
        None
    }

    /// A string, or a list of strings.
    pub(crate) fn one_or_more(&self, key: &str) -> Option<Vec<Found<String>>> {
        self.want(key, || "one or more".into());
        match self.value(key)?.get_ref() {
            DeValue::String(_) => self.string(key).map(|one| vec![one]),
            _ => self.strings(key),
        }
    }

    /// A list of whole numbers within `range`.
    pub(crate) fn numbers(&self, key: &str, range: std::ops::RangeInclusive<u64>) -> Option<Found<Vec<u64>>> {
        self.want(key, || format!("list of numbers from {} to {}", range.start(), range.end()));
        let value = self.value(key)?;
        let at = value.span().start;
        let number = |item: &Spanned<DeValue<'_>>| -> Option<u64> {
            item.get_ref().as_integer()?.as_str().parse().ok().filter(|number| range.contains(number))
        };
        let list = value.get_ref().as_array().and_then(|array| array.iter().map(number).collect());
        if list.is_none() {
            self.fault(
                Some(at),
                key,
                format!("has to be a list of numbers from {} to {}", range.start(), range.end()),
            );
        }
        list.map(|value| Found { value, at })
    }

    /// The table under `key`, empty when it is absent.
    pub(crate) fn table_or_empty(&self, key: &str) -> Table<'a> {
        let found = self.typed(key, "a table", |value| value.as_table());
        let at = found.as_ref().map_or(self.at, |found| found.at);
        Table::new(self.document, found.map(|found| found.value), self.child(key), at)
    }

    /// The array of tables under `key`, empty when it is absent. Counted from 1 in errors.
    pub(crate) fn tables(&self, key: &str) -> Vec<Table<'a>> {
        let Some(found) = self.typed(key, "a list of tables ([[...]])", |value| value.as_array()) else {
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (at, item) in found.value.iter().enumerate() {
            let name = format!("{}[{}]", self.child(key), at + 1);
            match item.get_ref().as_table() {
                Some(table) => {
                    tables.push(Table::new(self.document, Some(table), name, item.span().start));
                }
                None => self.document.fault(item.span().start, name, "has to be a table".into()),
            }
        }
        tables
    }

    /// Notes every key that was never asked for. To be called on each table when it has been read.
    pub(crate) fn finish(&self) {
        let asked = self.asked.borrow();
        for (key, _) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if !asked.contains(name) {
                let mut known: Vec<&str> = asked.iter().map(String::as_str).collect();
                known.sort_unstable();
                let nearest = known.iter().find(|known| similar(known, name));
                let hint = match nearest {
                    Some(nearest) => format!("unknown key (did you mean {nearest:?}?)"),
                    None => format!("unknown key; known here: {}", known.join(", ")),
                };
                self.fault(Some(key.span().start), name, hint);
            }
        }
    }

    fn child(&self, key: &str) -> String {
        if self.name.is_empty() { key.into() } else { format!("{}.{key}", self.name) }
    }

    /// Notes what is wanted of a key.
    #[cfg_attr(not(test), allow(unused_variables, reason = "only tests look at it"))]
    fn want(&self, key: &str, shape: impl Fn() -> String) {
        #[cfg(test)]
        {
            let table: String = self
                .name
                .split('.')
                .map(|part| part.split('[').next().unwrap_or(part))
                .collect::<Vec<_>>()
                .join(".");
            self.document.wanted.borrow_mut().entry((table, key.into())).or_insert_with(shape);
        }
    }

    fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().insert(key.into());
        self.table?.get(key)
    }

    fn typed<T>(
        &self,
        key: &str,
        kind: &str,
        read: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<Found<T>> {
        self.want(key, || kind.into());
        let value = self.value(key)?;
        let at = value.span().start;
        let read = read(value.get_ref());
        if read.is_none() {
            self.fault(Some(at), key, format!("has to be {kind}, but is {}", value.get_ref().type_str()));
        }
        read.map(|value| Found { value, at })
    }
}

/// Whether two keys differ by little: a swapped, missing or wrong letter, `-` for `_`.
fn similar(a: &str, b: &str) -> bool {
    let normal = |text: &str| text.to_lowercase().replace('-', "_");
    let (a, b) = (normal(a), normal(b));
    let (short, long) = if a.len() <= b.len() { (&a, &b) } else { (&b, &a) };
    if long.len() - short.len() > 1 {
        return false;
    }
    let front = short.bytes().zip(long.bytes()).take_while(|(a, b)| a == b).count();
    let back = short.bytes().rev().zip(long.bytes().rev()).take_while(|(a, b)| a == b).count();
    front + back + 2 >= long.len() && long.len() > 2
}
