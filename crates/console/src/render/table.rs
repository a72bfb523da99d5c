//! Tables.

use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use super::{label, text};

/// A column: its head, and where its cells come from: a field, a field of `counters`, or a path with dots. A field that ends in `_s`
/// under a head without it is shown as a duration.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a>(pub &'a str, pub &'a str);

/// Rows under columns. A column for which no row has a value is left out.
pub fn table(rows: &Value, columns: &[Column<'_>]) -> String {
    let rows: Vec<&Value> = rows.as_array().into_iter().flatten().collect();
    let has = |column: &&Column<'_>| rows.is_empty() || rows.iter().any(|row| !find(row, column.1).is_null());
    let columns: Vec<&Column<'_>> = columns.iter().filter(has).collect();
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(|column| label(column.0)).collect()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|column| cell(row, column)).collect()));
    let widths: Vec<usize> =
        (0..columns.len()).map(|at| lines.iter().map(|line| line[at].width()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            text += cell;
            text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width()) + 2));
        }
        out += text.trim_end();
        out.push('\n');
    }
    out
}

fn cell(row: &Value, column: &Column<'_>) -> String {
    let found = find(row, column.1);
    match found.as_f64() {
        Some(seconds) if column.1.ends_with("_s") && !column.1.ends_with("_per_s") => {
            super::duration(seconds)
        }
        _ => text(found),
    }
}

fn find<'a>(row: &'a Value, path: &str) -> &'a Value {
    match path.split('.').fold(row, |value, key| &value[key]) {
        Value::Null => &row["counters"][path],
        found => found,
    }
}
