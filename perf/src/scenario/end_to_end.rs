//! Scenario *end-to-end*: two appliances in network namespaces, beside plain forwarding and other tunnels. Measured by `perf/e2e/run.py`,
//! which writes a scenario of the same form.

use std::path::Path;
use std::process::Command;

use crate::bench::Bench;
use crate::cli::RunArgs;
use crate::schema::Scenario;

const SCRIPT: &str = "perf/e2e/run.py";

/// Debian's, which has nothing but itself to depend on.
const PYTHON: &str = "/usr/bin/python3";

/// Measures.
pub(crate) fn run(bench: &mut Bench, args: &RunArgs) -> Result<Scenario, String> {
    if !Path::new(SCRIPT).exists() {
        return Err(format!("{SCRIPT} is not here: start from the top of the repository, by ./dev bench"));
    }
    let file = std::env::temp_dir().join(format!("causeway-end-to-end-{}.json", std::process::id()));
    let mut command = Command::new(PYTHON);
    command.arg(SCRIPT).arg("--json").arg(&file);
    if args.quick {
        command.arg("--quick");
    }
    if let Some(peers) = &args.peers {
        command.args(["--peers", peers]);
    }
    (0..16).for_each(|_| bench.probe());
    let status = command.status().map_err(|error| format!("{PYTHON}: {error}"))?;
    (0..16).for_each(|_| bench.probe());
    if !status.success() {
        return Err(format!("{SCRIPT} ended with {status}"));
    }
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let _ = std::fs::remove_file(&file);
    serde_json::from_str(&text).map_err(|error| format!("{SCRIPT}: {error}"))
}
