//! Answers laid out for people. A view shows what it knows; what an answer has not, or has beside it, does not disturb it.

mod table;
pub mod views;

use serde_json::{Map, Value};

pub use table::{Column, table};

use crate::printable;

/// Any value in a cell or behind a name.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => printable(text),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Array(items) if items.is_empty() => "-".into(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Number(number) if number.is_f64() => format!("{:.1}", number.as_f64().unwrap_or(0.0)),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{} {}", label(name), text(value)))
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    }
}

/// Anything, without knowing what it is: names and values, lists of objects as tables, the rest indented.
pub fn any(value: &Value) -> String {
    match value {
        Value::Object(fields) => object(fields, 0),
        Value::Array(rows) if rows.iter().any(Value::is_object) => every_column(value),
        Value::Array(items) => items.iter().map(|item| text(item) + "\n").collect(),
        other => text(other) + "\n",
    }
}

/// What was done, in the appliance's words.
pub fn done(value: &Value) -> String {
    match value["done"].as_str() {
        Some(text) => text.lines().map(|line| printable(line) + "\n").collect(),
        None => any(value),
    }
}

/// Lines that the appliance has laid out already.
pub fn lines(value: &Value) -> String {
    match value["text"].as_str() {
        Some(text) => text.lines().map(|line| printable(line) + "\n").collect(),
        None => any(value),
    }
}

/// Seconds as people say them: `3d 4h`, `12m 5s`.
pub fn duration(seconds: f64) -> String {
    let all = seconds.max(0.0) as u64;
    let (days, hours, minutes, rest) = (all / 86_400, all / 3600 % 24, all / 60 % 60, all % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m {rest}s"),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// A name of JSON as people write it.
pub(crate) fn label(name: &str) -> String {
    printable(&name.replace('_', " "))
}

fn object(fields: &Map<String, Value>, indent: usize) -> String {
    let pad = " ".repeat(indent);
    let plain = fields.iter().filter(|(_, value)| !is_nested(value));
    let width = plain.clone().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut out: String =
        plain.map(|(name, value)| format!("{pad}{:<width$}  {}\n", label(name), text(value))).collect();
    for (name, value) in fields.iter().filter(|(_, value)| is_nested(value)) {
        out += &format!("{pad}{}:\n", label(name));
        let inner = match value {
            Value::Object(fields) => object(fields, indent + 2),
            value => every_column(value).lines().map(|line| format!("{pad}  {line}\n")).collect(),
        };
        out += &inner;
    }
    out
}

fn is_nested(value: &Value) -> bool {
    match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(rows) => rows.iter().any(Value::is_object),
        _ => false,
    }
}

/// A table of every plain field that some row has.
fn every_column(rows: &Value) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (name, value) in rows.as_array().into_iter().flatten().filter_map(Value::as_object).flatten() {
        if !is_nested(value) && !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let columns: Vec<Column<'_>> = names.iter().map(|name| Column(name, name)).collect();
    table(rows, &columns)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::any;
    use super::*;

    #[test]
    fn what_nobody_knows_is_shown_all_the_same() {
        let value = json!({ "mode": "server", "paths": [{ "name": "a\u{1b}[2J", "up": true }, { "name": "b", "rtt_ms": 1.25 }], "none": [], "more": { "x": 1 } });
        let expected = "\
mode  server
none  -
more:
  x  1
paths:
  name         up   rtt ms
  a\\u{1b}[2J  yes  -
  b            -    1.2
";
        let shown = any(&value);
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeeze(&shown), squeeze(expected));
        assert!(!shown.contains('\x1b'));
    }

    #[test]
    fn durations() {
        assert_eq!(duration(5.9), "5s");
        assert_eq!(duration(125.0), "2m 5s");
        assert_eq!(duration(7_300.0), "2h 1m");
        assert_eq!(duration(300_000.0), "3d 11h");
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            proptest::arbitrary::any::<bool>().prop_map(Value::from),
            proptest::arbitrary::any::<i64>().prop_map(Value::from),
            proptest::arbitrary::any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("(?s).*", inner), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect()))
            ]
        })
    }

    proptest! {
        /// Whatever the appliance answers, or a peer has put into it: no view fails, and none prints what a terminal obeys.
        #[test]
        fn no_answer_breaks_a_view(value in value()) {
            for view in views::ALL {
                let text = view(&value);
                prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
            }
        }
    }
}
