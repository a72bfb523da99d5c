//! Differences between two configurations.

use similar::TextDiff;

use super::secrets::{marked, unmarked};

/// The difference of two texts in the unified format, without secrets. Empty: there is none.
pub fn compare(old_name: &str, old: &str, new_name: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    let (old, new) = (marked(old), marked(new));
    let diff = TextDiff::from_lines(&old, &new);
    unmarked(&diff.unified_diff().context_radius(3).header(old_name, new_name).to_string())
}
