//! The keys of the configuration, in one table: what each holds, its limits, and what it is for. The commands `set` and `delete`,
//! their completion, and docs/configuration.md come from it. A test compares it with what the reader asks for.

mod reference;
mod tables;
#[cfg(test)]
mod tests;

pub use reference::reference;
pub use tables::ROOT;

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Its name in the file.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What it is for, in one line.
    pub help: &'static str,
    /// What holds without it; empty: nothing, or it has to be there.
    pub default: &'static str,
    /// Keys beside it that it takes the place of.
    pub instead_of: &'static [&'static str],
    /// Whether it is never shown.
    pub secret: bool,
}

/// What a key holds.
#[derive(Debug)]
pub enum Kind {
    /// Text; what of, for people.
    Text(&'static str),
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Number {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts; what of.
    Texts(&'static str),
    /// One text or a list of them; what of.
    OneOrMore(&'static str),
    /// A list of words out of these.
    Choices(&'static [&'static str]),
    /// A list of whole numbers.
    Numbers {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// A table.
    Table(&'static [Key]),
    /// A list of tables, each found by the value of one of its keys.
    Tables {
        /// The key that tells them apart.
        by: &'static str,
        /// What is in each.
        keys: &'static [Key],
    },
}

impl Kind {
    /// How it is written, for people.
    pub fn shape(&self) -> String {
        match self {
            Self::Text(what) => (*what).into(),
            Self::Bool => "true or false".into(),
            Self::Number { min, max } => format!("{min} to {max}"),
            Self::Choice(words) => quoted(words, " or "),
            Self::Texts(what) => format!("list of {what}"),
            Self::OneOrMore(what) => format!("{what}, or a list of them"),
            Self::Choices(words) => format!("list of {}", quoted(words, ", ")),
            Self::Numbers { min, max } => format!("list of numbers from {min} to {max}"),
            Self::Table(_) => "table".into(),
            Self::Tables { by, .. } => format!("tables, each with its {by}"),
        }
    }

    /// The keys inside of a table.
    pub fn keys(&self) -> Option<&'static [Key]> {
        match self {
            Self::Table(keys) | Self::Tables { keys, .. } => Some(keys),
            _ => None,
        }
    }

    /// Whether it takes several values.
    pub fn is_list(&self) -> bool {
        matches!(self, Self::Texts(_) | Self::OneOrMore(_) | Self::Choices(_) | Self::Numbers { .. })
    }
}

/// The key with this name.
pub fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == name)
}

/// Where a first word leads that is not a key of the root: `site` is short for `server site`.
pub fn shortcut(word: &str) -> Option<&'static str> {
    (word == "site").then_some("server")
}

fn quoted(words: &[&str], between: &str) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(between)
}
