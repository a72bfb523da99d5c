//! Words to values and back.

use toml_edit::{Array, Item, TableLike, Value};

use super::EditError;
use crate::schema::{Key, Kind};

/// The value that words mean for a key.
pub(super) fn of(key: &Key, words: &[&str]) -> Result<Value, EditError> {
    let wrong = |word: &str| EditError(format!("{word:?} is nothing for {}: {}", key.name, key.kind.shape()));
    let number = |word: &&str, min: u64, max: u64| {
        let number: u64 = word.parse().map_err(|_| wrong(word))?;
        let fits = (min..=max).contains(&number);
        i64::try_from(number)
            .ok()
            .filter(|_| fits)
            .ok_or_else(|| EditError(format!("{number} is out of range for {}: {min} to {max}", key.name)))
    };
    let choice = |word: &&str, words: &[&str]| match words.contains(word) {
        true => Ok((*word).to_owned()),
        false => Err(wrong(word)),
    };
    let Some(first) = words.first() else {
        return Err(EditError(format!("{} needs a value: {}", key.name, key.kind.shape())));
    };
    Ok(match &key.kind {
        Kind::Text(_) => (*first).into(),
        Kind::Bool => first.parse::<bool>().map_err(|_| wrong(first))?.into(),
        Kind::Number { min, max } => number(first, *min, *max)?.into(),
        Kind::Choice(known) => choice(first, known)?.into(),
        Kind::OneOrMore(_) if words.len() == 1 => (*first).into(),
        Kind::Texts(_) | Kind::OneOrMore(_) => words.iter().copied().collect::<Array>().into(),
        Kind::Choices(known) => {
            words.iter().map(|word| choice(word, known)).collect::<Result<Array, _>>()?.into()
        }
        Kind::Numbers { min, max } => {
            words.iter().map(|word| number(word, *min, *max)).collect::<Result<Array, _>>()?.into()
        }
        Kind::Table(_) | Kind::Tables { .. } => return Err(wrong(first)),
    })
}

/// Puts a value in place. The comment behind an old one stays.
pub(super) fn put(table: &mut dyn TableLike, key: &Key, mut value: Value) {
    match table.get_mut(key.name) {
        Some(Item::Value(old)) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        _ => {
            table.insert(key.name, Item::Value(value));
        }
    }
}

/// The values of a list, or the one that stands alone, as words.
pub(super) fn texts(item: Option<&Item>) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.value().clone(),
        other => other.clone().decorated("", "").to_string(),
    };
    match item {
        Some(Item::Value(Value::Array(array))) => array.iter().map(text).collect(),
        Some(Item::Value(value)) => vec![text(value)],
        _ => Vec::new(),
    }
}

/// Takes values out of a list.
pub(super) fn take_out(table: &mut dyn TableLike, key: &Key, words: &[&str]) -> Result<(), EditError> {
    let all = texts(table.get(key.name));
    if let Some(missing) = words.iter().find(|word| !all.iter().any(|value| value == *word)) {
        let missing = if key.secret { "this".into() } else { format!("{missing:?}") };
        return Err(EditError(format!("{missing} is not in {}", key.name)));
    }
    if !key.kind.is_list() {
        table.remove(key.name);
        return Ok(());
    }
    let left: Vec<&str> = all.iter().map(String::as_str).filter(|value| !words.contains(value)).collect();
    match left.is_empty() {
        // What an empty list would mean is another thing than no list: that is for `set` to say.
        true => {
            table.remove(key.name);
        }
        false => put(table, key, of(key, &left)?),
    }
    Ok(())
}
