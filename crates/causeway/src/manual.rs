//! `causeway manual`: writes man pages and shell completions, from which the package is made.

use std::fs;
use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::{Cli, Failure};

/// What the first page says beside what the commands say of themselves.
const MORE: &str = r#".SH FILES
.TP
.I /etc/causeway/causeway.toml
The configuration that the unit
.B causeway.service
runs.
.TP
.I /usr/share/doc/causeway/examples
A commented configuration for each kind of deployment.
.TP
.I /run/causeway/causeway.sock
Where
.B causeway show
and the other commands find the running appliance.
.TP
.I /var/lib/causeway\-setup/setup.json
What was there before
.BR "causeway setup \-\-write" .
.SH SIGNALS
.TP
.B SIGHUP
Puts the changed configuration in force.
.TP
.BR SIGTERM ", " SIGINT
Says goodbye to the peers and ends. A second one ends at once.
.SH EXIT STATUS
0 when all is well, 1 when not, 2 for a command that is not understood.
"#;

pub(crate) fn run(directory: &Path) -> Result<(), Failure> {
    let command = Cli::command().disable_help_subcommand(true);
    let (man, completions) = (directory.join("man"), directory.join("completions"));
    for place in [&man, &completions] {
        fs::create_dir_all(place)?;
    }
    page(&command, "causeway", &man)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "causeway", &completions)?;
    }
    Ok(())
}

/// A page for a command, and for each of its subcommands.
fn page(command: &clap::Command, name: &str, directory: &Path) -> Result<(), Failure> {
    let mut text = Vec::new();
    // The page's name, with hyphens where the command has spaces.
    let named = command
        .clone()
        .name(name.to_owned())
        .bin_name(name.replace('-', " "))
        .version(env!("CARGO_PKG_VERSION"));
    let man = Man::new(named).manual("Causeway").source(format!("causeway {}", env!("CARGO_PKG_VERSION")));
    man.render(&mut text)?;
    if name == "causeway" {
        text.write_all(MORE.as_bytes())?;
    }
    fs::write(directory.join(format!("{name}.1")), text)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        page(sub, &format!("{name}-{}", sub.get_name()), directory)?;
    }
    Ok(())
}
