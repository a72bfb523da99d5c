//! The `causeway` command: runs an appliance, checks its configuration, makes certificates and verifiers, and asks a
//! running appliance what it does.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)] // this is what a command is for

mod ask;
mod capture;
mod cert;
mod console;
mod doctor;
mod explain;
mod join;
mod kernel_ports;
mod logging;
mod manual;
mod passwd;
mod ports;
mod records;
mod run;
mod setup;
mod show;
mod site;
mod start;
mod test;
mod top;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Where commands look for the configuration if they are not told.
const DEFAULT_CONFIG: &str = "/etc/causeway/causeway.toml";

/// Where the running appliance is asked, unless its configuration says otherwise.
const SOCKET: &str = config::SOCKET;

/// An L2 VPN appliance: stretches VLANs and VXLANs between sites over an encrypted tunnel.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the appliance until SIGTERM or SIGINT.
    Run {
        /// The configuration file.
        #[arg(short, long, default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Check a configuration and the files that it names. Ends with 0 when all is well, 1 when not.
    Check {
        /// The configuration file.
        #[arg(short, long, default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Make, import, explain and verify certificates.
    #[command(subcommand)]
    Cert(cert::Command),
    /// Add, list, change and remove the sites of a server's configuration.
    #[command(subcommand)]
    Site(site::Command),
    /// Write a client's configuration from the token that `causeway site add` printed on the server.
    Join(join::Join),
    /// Read a password and print its verifier, for [[server.site]] verifier = "...".
    Passwd {
        /// Print a hash for [[console.user]] password_hash = "..." instead.
        #[arg(long)]
        console: bool,
    },
    /// Open the appliance's console, or do one command of it: causeway console -c "show sessions | json".
    Console(console::Wanted),
    /// Put the changed configuration in force on the running appliance, as SIGHUP does. What did not change goes on undisturbed.
    Reload {
        /// The appliance's socket.
        #[arg(long, default_value = SOCKET)]
        socket: PathBuf,
    },
    /// Have the running appliance forget: counters, mac-table [filters], sessions [SITE], loops, duplicates [MAC], neighbours.
    Clear {
        /// What to forget.
        #[arg(required = true)]
        words: Vec<String>,
        /// The appliance's socket.
        #[arg(long, default_value = SOCKET)]
        socket: PathBuf,
    },
    /// Capture packets of the running appliance, as pcapng or a line for each.
    Capture(capture::Capture),
    /// Test a segment, or the path to a site, and tell what is wrong.
    #[command(subcommand)]
    Test(test::Test),
    /// Ask whether a host is there.
    #[command(subcommand)]
    Ping(test::Ping),
    /// Ask what becomes of a frame, step by step, here and at the other end.
    Explain(explain::Explain),
    /// Rates, workers, drops and alarms of the running appliance, live.
    Top {
        /// The appliance's socket.
        #[arg(long, default_value = SOCKET)]
        socket: PathBuf,
    },
    /// Write all that those who help want to know into one tar archive, without secrets.
    TechSupport {
        /// The archive, which must not be there yet.
        #[arg(short, long)]
        write: PathBuf,
        /// The appliance's socket.
        #[arg(long, default_value = SOCKET)]
        socket: PathBuf,
    },
    /// Show what the running appliance does: causeway show service l2vpn. Words may be abbreviated; docs/console.md has them all.
    Show {
        /// What to show.
        #[arg(required = true)]
        words: Vec<String>,
        /// As JSON, documented in docs/show.md.
        #[arg(long)]
        json: bool,
        /// The appliance's socket.
        #[arg(long, default_value = SOCKET)]
        socket: PathBuf,
    },
    /// Show the NICs and cores of this machine, propose how to use them, and set it up on request.
    Setup(setup::Setup),
    /// Find what is wrong with this machine. Ends with 1 when something keeps the appliance from working.
    Doctor(doctor::Doctor),
    /// Write man pages and shell completions into a directory.
    #[command(hide = true)]
    Manual {
        /// The directory.
        directory: PathBuf,
    },
}

/// A failure that has been put into words for the operator.
#[derive(Debug)]
struct Failure(String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run { config } => run::run(&config),
        Command::Check { config } => run::check(&config),
        Command::Capture(capture) => capture::run(&capture),
        Command::Test(test) => test::test(&test),
        Command::Ping(ping) => test::ping(&ping),
        Command::Explain(explain) => explain::run(&explain),
        Command::Cert(command) => cert::run(&command),
        Command::Reload { socket } => show::reload(&socket),
        Command::Clear { words, socket } => show::clear(&words, &socket),
        Command::Site(command) => site::run(&command),
        Command::Join(join) => join.run(),
        Command::Passwd { console } => passwd::run(console),
        Command::Console(wanted) => console::run(&wanted),
        Command::Top { socket } => top::run(&socket),
        Command::TechSupport { write, socket } => top::tech_support(&write, &socket),
        Command::Setup(wanted) => setup::run(&wanted),
        Command::Doctor(wanted) => doctor::run(&wanted),
        Command::Manual { directory } => manual::run(&directory),
        Command::Show { words, json, socket } => show::run(&words, json, &socket),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(reason)) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;

    /// Every command, however deep.
    fn commands(command: &clap::Command) -> Vec<&clap::Command> {
        std::iter::once(command).chain(command.get_subcommands().flat_map(commands)).collect()
    }

    #[test]
    fn every_command_asks_at_the_same_socket() {
        let cli = Cli::command();
        let sockets: Vec<_> = commands(&cli)
            .into_iter()
            .flat_map(|command| command.get_arguments().map(move |argument| (command.get_name(), argument)))
            .filter(|(_, argument)| argument.get_long() == Some("socket"))
            .map(|(name, argument)| (name, argument.get_default_values().to_vec()))
            .collect();
        assert!(sockets.len() > 8, "{sockets:?}");
        for (name, default) in sockets {
            assert_eq!(default, [SOCKET], "causeway {name}");
        }
        let system = config::schema::find(config::schema::ROOT, "system").and_then(|key| key.kind.keys());
        let key = system.and_then(|keys| config::schema::find(keys, "socket")).expect("a key");
        assert_eq!(key.default, SOCKET);
    }

    #[test]
    fn every_command_finds_the_configuration_where_it_usually_is() {
        let cli = Cli::command();
        let found: Vec<_> = commands(&cli)
            .into_iter()
            .flat_map(|command| command.get_arguments().map(move |argument| (command.get_name(), argument)))
            .filter(|(name, argument)| argument.get_long() == Some("config") && *name != "doctor")
            .collect();
        assert!(found.len() > 7, "found them");
        for (name, argument) in found {
            assert_eq!(argument.get_default_values(), [DEFAULT_CONFIG], "causeway {name}");
        }
    }

    /// The Markdown files of a directory and those below it.
    fn pages(directory: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).expect("readable").map(|entry| entry.expect("an entry").path());
        let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
        let files = files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "md"));
        files.chain(directories.iter().flat_map(|path| pages(path))).collect()
    }

    #[test]
    fn no_page_names_another_socket() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut pages = pages(&root.join("docs"));
        pages.push(root.join("README.md"));
        let mut named = 0;
        for page in pages {
            let text = fs::read_to_string(&page).expect("readable");
            for word in text.split(|c: char| c.is_whitespace() || matches!(c, '`' | '"' | ')' | ';' | ',')) {
                if word.starts_with("/run/") && word.ends_with(".sock") {
                    assert_eq!(word, SOCKET, "{}", page.display());
                    named += 1;
                }
            }
        }
        assert!(named > 3, "found them");
    }
}
