//! Runs as files.

use std::fs;
use std::path::Path;

use crate::schema::{Report, SCHEMA};

/// Reads a run, and says of a file that is none why.
pub(crate) fn read(path: &Path) -> Result<Report, String> {
    let fail = |why: String| format!("{}: {why}", path.display());
    let text = fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    let report: Report = serde_json::from_str(&text).map_err(|error| fail(error.to_string()))?;
    if report.schema != SCHEMA {
        return Err(fail(format!("schema {} instead of {SCHEMA}", report.schema)));
    }
    Ok(report)
}

/// Writes a run as JSON.
pub(crate) fn write(path: &Path, report: &Report) -> Result<(), String> {
    let text = serde_json::to_string(report).map_err(|error| error.to_string())?;
    write_text(path, &text)
}

/// Writes a file.
pub(crate) fn write_text(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
