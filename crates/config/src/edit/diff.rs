//! Differences between two configurations, and texts without their secrets.

use similar::TextDiff;

use crate::schema::{Key, ROOT};

/// What stands instead of a secret.
const MASK: &str = "\"********\"";

/// The difference of two texts in the unified format, without secrets. Empty: there is none.
pub fn compare(old_name: &str, old: &str, new_name: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    let diff = TextDiff::from_lines(old, new);
    mask(&diff.unified_diff().context_radius(3).header(old_name, new_name).to_string())
}

/// A text without what is secret in it. A difference stays one, with its marks.
pub(super) fn mask(text: &str) -> String {
    text.split_inclusive('\n').map(|line| masked(line).unwrap_or_else(|| line.to_owned())).collect()
}

fn masked(line: &str) -> Option<String> {
    let (left, right) = line.split_once('=')?;
    let key = left.trim_start_matches(['+', '-', ' ']).trim().trim_matches('"');
    let key = key.rsplit('.').next()?;
    if !is_secret(ROOT, key) {
        return None;
    }
    let end = if right.ends_with('\n') { "\n" } else { "" };
    Some(format!("{left}= {MASK}{end}"))
}

fn is_secret(keys: &'static [Key], name: &str) -> bool {
    keys.iter().any(|key| {
        key.secret && key.name == name || key.kind.keys().is_some_and(|inside| is_secret(inside, name))
    })
}
