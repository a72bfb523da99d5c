//! Where a run took place: what a reader needs to judge whether two runs can be compared.

use std::process::Command;

use crate::cores;
use crate::schema::Host;
use crate::site;

/// Asks the system. What it does not say stays "unknown".
pub(crate) fn describe() -> Host {
    // Set by `./dev bench --against`, whose worktree has this harness put into it and would always be dirty.
    let given = std::env::var("PERF_REVISION").ok();
    let dirty = given.is_none() && !output("git", &["status", "--porcelain"]).unwrap_or_default().is_empty();
    Host {
        revision: given
            .or_else(|| output("git", &["rev-parse", "--short=12", "HEAD"]))
            .unwrap_or_else(unknown),
        dirty,
        cpu: cpu(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
        cores: cores::count(),
        kernel: output("uname", &["-sr"]).unwrap_or_else(unknown),
        dpdk: output("pkg-config", &["--modversion", "libdpdk"]).unwrap_or_else(unknown),
        aead: site::aead().name().into(),
        rustc: output("rustc", &["--version"]).unwrap_or_else(unknown),
        flags: flags(),
        date: output("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]).unwrap_or_else(unknown),
    }
}

fn unknown() -> String {
    "unknown".into()
}

/// How this binary was built.
fn flags() -> String {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    [profile, option_env!("RUSTFLAGS").unwrap_or("")].join(" ").trim().into()
}

/// The model's name and, for the many that are all called the same, family and model.
fn cpu(cpuinfo: &str) -> String {
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split(':').nth(1)).map_or("?", str::trim)
    };
    format!("{} (family {} model {})", field("model name"), field("cpu family"), field("model"))
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named() {
        let text = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n";
        assert_eq!(cpu(text), "AMD EPYC (family 25 model 17)");
    }
}
