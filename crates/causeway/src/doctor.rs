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
    // However it was spelt.
    let [meant, usual] = [file, &root.path(machine::setup::CONFIG)].map(|path| path.canonicalize().ok());
    if meant.is_none() || meant != usual {
        return Vec::new();
    }
    let usual = root.path(machine::setup::CONFIG);
    // Whoever cannot read it was told so before.
    let named = config::named_files(&usual, &std::fs::read_to_string(&usual).unwrap_or_default());
    std::iter::once(usual).chain(named).collect()
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_services_configuration_is_known_however_it_is_spelt() {
        let place = std::env::temp_dir().join(format!("causeway-doctor-{}", std::process::id()));
        let usual = place.join("etc/causeway/causeway.toml");
        fs::create_dir_all(place.join("etc/causeway")).expect("a directory");
        fs::write(&usual, "[client]\npassword_file = \"secret\"\n").expect("written");
        fs::write(place.join("other.toml"), "").expect("written");
        std::os::unix::fs::symlink(&usual, place.join("link.toml")).expect("a link");
        let root = Root::new(&place);
        let wanted = [usual.clone(), place.join("etc/causeway/secret")];
        for spelt in ["etc/causeway/causeway.toml", "etc/../etc/causeway//causeway.toml", "link.toml"] {
            assert_eq!(of_service(&root, &place.join(spelt)), wanted, "{spelt}");
        }
        assert!(of_service(&root, &place.join("other.toml")).is_empty());
        assert!(of_service(&root, &place.join("none.toml")).is_empty());
        fs::remove_dir_all(&place).expect("removed");
    }
}
