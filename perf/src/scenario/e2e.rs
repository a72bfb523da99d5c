//! Scenario *end-to-end*: two appliances in network namespaces beside others of their kind. A program of its own
//! measures; what it writes, one scenario of this harness' schema, becomes part of the run.

use std::path::Path;
use std::process::Command;

use crate::bench::Extent;
use crate::schema::Scenario;

/// Debian's, which has the packages that install.sh installs.
const PYTHON: &str = "/usr/bin/python3";

/// The program, from the root of the repository.
const PROGRAM: &str = "perf/e2e/run.py";

/// Runs it. It takes the whole machine and root.
pub(crate) fn run(extent: Extent, peers: Option<&str>) -> Result<Scenario, String> {
    if !Path::new(PROGRAM).exists() {
        return Err(format!(
            "scenario end-to-end needs {PROGRAM}, which is not there: is this the root of the repository, and does this \
             revision have it?"
        ));
    }
    let out = std::env::temp_dir().join(format!("causeway-end-to-end-{}.json", std::process::id()));
    let mut command = Command::new(PYTHON);
    command.arg(PROGRAM).arg("--json").arg(&out);
    if extent == Extent::Quick {
        command.arg("--quick");
    }
    if let Some(peers) = peers {
        command.args(["--peers", peers]);
    }
    let status = command.status().map_err(|error| format!("{PYTHON}: {error}"))?;
    if !status.success() {
        return Err(format!("{PROGRAM} failed: {status}"));
    }
    let text = std::fs::read_to_string(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let _ = std::fs::remove_file(&out);
    serde_json::from_str(&text).map_err(|error| format!("{PROGRAM} wrote no scenario: {error}"))
}
