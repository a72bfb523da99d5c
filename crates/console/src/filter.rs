//! What stands behind `|`: keeps some of an answer's lines, counts them, or shows the answer as JSON.

use regex_lite::{Regex, RegexBuilder};
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
    Include(Pattern),
    /// Lines that do not match.
    Exclude(Pattern),
    /// Lines from the first on that matches.
    Begin(Pattern),
    /// How many there are.
    Count,
    /// As JSON.
    Json,
}

/// Most filters behind each other.
const MAX_FILTERS: usize = 4;

/// Sizes of a compiled pattern, in octets: the smallest that is enough says how much work the pattern may be, and there is no larger one.
const SIZES: &[usize] = &[1 << 9, 1 << 10, 2 << 10, 4 << 10, 8 << 10];

/// Octets of text times [`SIZES`] that are looked through in one go. Patterns are matched where the control channel waits for its turn:
/// this is a fraction of a second of the worst pattern.
pub(crate) const MAX_WORK: usize = 1 << 30;

/// What is looked for.
#[derive(Debug)]
pub enum Pattern {
    /// Text as it is.
    Text(String),
    /// A regular expression, and which of [`SIZES`] it has.
    Regex(Regex, usize),
}

impl Pattern {
    fn new(text: &str) -> Result<Self, String> {
        if regex_lite::escape(text) == text {
            return Ok(Self::Text(text.into()));
        }
        let build = |size: usize| RegexBuilder::new(text).size_limit(size).build();
        let fits = SIZES.iter().find_map(|size| Some((build(*size).ok()?, *size)));
        match fits.ok_or_else(|| build(SIZES[SIZES.len() - 1])) {
            Ok((regex, size)) => Ok(Self::Regex(regex, size)),
            Err(Err(error)) if error.to_string().contains("size limit") => {
                Err("the pattern is too large: look for less".into())
            }
            // What is no pattern is looked for as it is.
            Err(_) => Ok(Self::Text(text.into())),
        }
    }

    /// What it is to look through so many octets.
    fn work(&self, octets: usize) -> usize {
        match self {
            Self::Text(_) => octets,
            Self::Regex(_, size) => octets.saturating_mul(*size),
        }
    }

    fn is_match(&self, line: &str) -> bool {
        match self {
            Self::Text(text) => line.contains(text),
            Self::Regex(regex, _) => regex.is_match(line),
        }
    }
}

/// Reads what stands behind the `|`s of a line.
///
/// # Errors
/// What is wrong with it.
pub fn parse(parts: &[&str]) -> Result<Vec<Filter>, String> {
    if parts.len() > MAX_FILTERS {
        return Err(format!("{} filters are too many: {MAX_FILTERS} may follow each other", parts.len()));
    }
    parts.iter().enumerate().map(|(at, part)| one(part, at == 0)).collect()
}

/// Lays an answer out with `view`, and filters it.
pub fn apply(filters: &[Filter], answer: &Value, view: fn(&Value) -> String) -> String {
    let (text, filters) = match filters {
        [Filter::Json, rest @ ..] => (format!("{answer:#}\n"), rest),
        filters => (view(answer), filters),
    };
    let filtered = filters.iter().try_fold(text, |text, filter| match filter.work(text.len()) {
        work if work > MAX_WORK => Err(
            "% the answer is too long to look for this pattern in it: look for plain text, or ask for less of it\n",
        ),
        _ => Ok(filter.lines(&text)),
    });
    filtered.unwrap_or_else(str::to_owned)
}

/// What it is to filter so many octets, at most.
pub(crate) fn work(filters: &[Filter], octets: usize) -> usize {
    filters.iter().map(|filter| filter.work(octets)).fold(octets, usize::saturating_add)
}

impl Filter {
    fn work(&self, octets: usize) -> usize {
        match self {
            Self::Include(pattern) | Self::Exclude(pattern) | Self::Begin(pattern) => pattern.work(octets),
            Self::Count | Self::Json => octets,
        }
    }

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
    let pattern = Pattern::new(&rest.join(" "))?;
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

    #[test]
    fn no_pattern_holds_everybody_up() {
        let large = "include ((.?){1000}){50}q";
        assert!(filtered(large).expect_err("too large").contains("too large"));
        assert!(filtered("inc u | inc u | inc u | inc u | inc u").expect_err("five").contains("too many"));
        let parts = ["include ((.?){10}){3}q", "exclude .?x"];
        let filters = parse(&parts).expect("small enough");
        let long = Value::from("y".repeat(4 << 20));
        let shown = apply(&filters, &long, |text| text.as_str().unwrap_or_default().into());
        assert!(shown.starts_with("% the answer is too long"), "{}", shown.len());
        // Plain text is looked for in any answer.
        let shown = apply(&parse(&["inc yyy"]).expect("text"), &long, |text| {
            text.as_str().unwrap_or_default().into()
        });
        assert_eq!(shown.len(), (4 << 20) + 1);
        for few in
            [r#"include "^(one|two) .*(up|down)$""#, r"include 10\.2[0-9]\.", "include (?i)SITE-[a-z]+ .*up"]
        {
            assert!(filtered(few).is_ok(), "{few}");
        }
    }
}
