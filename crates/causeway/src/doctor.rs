//! `causeway doctor`: what is wrong with this machine.

use std::path::{Path, PathBuf};

use clap::Args;
use config::Config;
use machine::doctor::{self, Finding, Severity};
use machine::{Machine, Root};
use serde_json::json;

use crate::{Failure, setup};

#[derive(Args)]
pub(crate) struct Doctor {
    /// The configuration whose ports and cores are looked at; without it /etc/causeway/causeway.toml, if that is there.
    #[arg(short, long)]
    config: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Print all codes that findings can have, with their meaning.
    #[arg(long)]
    codes: bool,
    #[command(flatten)]
    root: setup::RootArg,
}

pub(crate) fn run(wanted: &Doctor) -> Result<(), Failure> {
    if wanted.codes {
        for (code, meaning) in doctor::CODES {
            println!("{code:<24} {meaning}");
        }
        return Ok(());
    }
    let root = wanted.root.open();
    let usual = root.path(machine::setup::CONFIG);
    let file = wanted.config.clone().or_else(|| usual.exists().then_some(usual));
    let config = file.as_deref().map(Config::load).transpose()?;
    let files = file.as_deref().map_or_else(Vec::new, |file| of_service(&root, file));
    let findings = doctor::examine(&root, &Machine::look(&root), config.as_ref(), &files);
    if wanted.json {
        println!("{:#}", json!({ "config": file, "findings": findings }));
    } else {
        print!("{}", layout(file.as_deref(), &findings));
    }
    match findings.iter().filter(|finding| finding.severity == Severity::Error).count() {
        0 => Ok(()),
        1 => Err(Failure("1 error: the appliance will not work like this".into())),
        count => Err(Failure(format!("{count} errors: the appliance will not work like this"))),
    }
}

/// What the package's service has to read when `file` is its configuration: that, and what it names.
pub(crate) fn of_service(root: &Root, file: &Path) -> Vec<PathBuf> {
    if file != root.path(machine::setup::CONFIG) {
        return Vec::new();
    }
    let mut files = vec![file.to_owned()];
    // Whoever cannot read it was told so before.
    files.extend(config::named_files(file, &std::fs::read_to_string(file).unwrap_or_default()));
    files
}

fn layout(file: Option<&Path>, findings: &[Finding]) -> String {
    let mut text = match file {
        Some(file) => format!("for {}:\n", file.display()),
        None => "without a configuration; --config FILE looks at its ports and cores too:\n".into(),
    };
    for finding in findings {
        let severity = match finding.severity {
            Severity::Error => "ERROR",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        text +=
            &format!("\n{severity:<8} {}: {}\n         -> {}\n", finding.code, finding.what, finding.remedy);
    }
    if findings.is_empty() {
        text += "\nnothing is wrong\n";
    }
    text
}
