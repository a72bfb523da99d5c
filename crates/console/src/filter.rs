//! What stands behind `|`: keeps some of an answer's lines, counts them, or shows the answer as JSON.

use regex_lite::Regex;
use serde_json::Value;

/// The filters there are, with their help.
pub const FILTERS: &[(&str, &str)] = &[
    ("begin", "Lines from the first on that matches"),
    ("count", "How many lines there are"),
    ("exclude", "Lines that do not match"),
    ("include", "Lines that match"),
    ("json", "The answer as JSON"),
];

/// One of them.
#[derive(Debug)]
pub enum Filter {
    /// Lines that match.
    Include(Regex),
    /// Lines that do not match.
    Exclude(Regex),
    /// Lines from the first on that matches.
    Begin(Regex),
    /// How many there are.
    Count,
    /// As JSON.
    Json,
}

/// Reads what stands behind the `|`s of a line.
///
/// # Errors
/// What is wrong with it.
pub fn parse(parts: &[&str]) -> Result<Vec<Filter>, String> {
    parts.iter().enumerate().map(|(at, part)| one(part, at == 0)).collect()
}

/// Lays an answer out with `view`, and filters it.
pub fn apply(filters: &[Filter], answer: &Value, view: fn(&Value) -> String) -> String {
    let (text, filters) = match filters {
        [Filter::Json, rest @ ..] => (format!("{answer:#}\n"), rest),
        filters => (view(answer), filters),
    };
    filters.iter().fold(text, |text, filter| filter.lines(&text))
}

impl Filter {
    fn lines(&self, text: &str) -> String {
        let kept: Vec<&str> = match self {
            Self::Include(pattern) => text.lines().filter(|line| pattern.is_match(line)).collect(),
            Self::Exclude(pattern) => text.lines().filter(|line| !pattern.is_match(line)).collect(),
            Self::Begin(pattern) => text.lines().skip_while(|line| !pattern.is_match(line)).collect(),
            Self::Count => {
                return format!("{} lines\n", text.lines().filter(|line| !line.is_empty()).count());
            }
            Self::Json => return text.into(),
        };
        kept.iter().flat_map(|line| [line, "\n"]).collect()
    }
}

fn one(part: &str, first: bool) -> Result<Filter, String> {
    let words = crate::words::split(part);
    let (name, rest) = words.split_first().ok_or("a filter has to follow |; ? shows which there are")?;
    let named: Vec<&str> = FILTERS
        .iter()
        .map(|(filter, _)| *filter)
        .filter(|filter| filter.starts_with(name.as_str()))
        .collect();
    let [filter] = named.as_slice() else {
        return Err(format!("{name:?} is no filter: include, exclude, begin, count, json"));
    };
    if matches!(*filter, "count" | "json") {
        return match (*filter, rest.is_empty()) {
            (_, false) => Err(format!("{filter} takes nothing")),
            ("json", _) if !first => Err("json has to be the first filter".into()),
            ("json", _) => Ok(Filter::Json),
            _ => Ok(Filter::Count),
        };
    }
    if rest.is_empty() {
        return Err(format!("{filter} needs what to look for"));
    }
    let text = rest.join(" ");
    // What is no pattern is looked for as it is.
    let pattern = Regex::new(&text).or_else(|_| Regex::new(&regex_lite::escape(&text)));
    let pattern = pattern.map_err(|_| format!("{text:?} cannot be looked for"))?;
    Ok(match *filter {
        "include" => Filter::Include(pattern),
        "exclude" => Filter::Exclude(pattern),
        _ => Filter::Begin(pattern),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filtered(filters: &str) -> Result<String, String> {
        let parts = crate::words::parts(filters);
        let filters = parse(&parts)?;
        Ok(apply(&filters, &json!({ "a": 1 }), |_| "one up\ntwo down\n\nthree up\n".into()))
    }

    #[test]
    fn lines_are_kept_counted_and_shown_as_json() {
        assert_eq!(filtered("include up").as_deref(), Ok("one up\nthree up\n"));
        assert_eq!(filtered("i t.o").as_deref(), Ok("two down\n"));
    }

    #[test]
    fn filters_follow_each_other() {
        assert_eq!(filtered("inc \"two|three\" | exc down").as_deref(), Ok("three up\n"));
        assert_eq!(filtered("begin two | count").as_deref(), Ok("2 lines\n"));
        assert_eq!(filtered("json").as_deref(), Ok("{\n  \"a\": 1\n}\n"));
        assert_eq!(filtered("json | include a").as_deref(), Ok("  \"a\": 1\n"));
        assert_eq!(filtered("include (up").as_deref(), Ok(""), "as it is");
        for bad in ["", "wc", "include", "count x", "count | json"] {
            assert!(filtered(bad).is_err(), "{bad}");
        }
    }
}
