//! The appliance's configuration: TOML to validated types.
//!
//! [`Config::load`] either gives a configuration in which every reference resolves and every number is in its
//! range, or all the faults it found, each with file, line and key. What only the machine can tell (does the interface
//! exist, does the key fit the certificate) is checked by those who use it.
#![forbid(unsafe_code)]

mod attachments;
mod console;
mod credentials;
pub mod edit;
mod gateway;
mod guard;
mod metrics;
mod mode;
mod named;
mod ports;
mod reader;
pub mod schema;
mod segments;
mod servers;
mod share;
mod sketch;
mod storm;
mod sub_interfaces;
mod system;
mod transport;
mod write;

use std::fs;
use std::path::Path;

pub use attachments::{Attachment, Encap};
pub use console::{Console, User};
pub use credentials::{Authority, OwnCertificate};
pub use gateway::{Gateway, Route};
pub use guard::{DuplicateMac, LoopGuard, LoopGuardMode};
pub use metrics::Metrics;
pub use mode::{Cipher, Client, Mode, Password, Server, Site, Trust};
pub use named::named_files;
pub use ports::{Device, Port, Role, Vtep};
pub use reader::{Errors, Fault};
pub use segments::Segment;
pub use servers::{HostPort, MAX_SERVERS, Proxy, Servers};
pub use share::{ProxyProtocol, Share};
pub use sketch::Sketch;
pub use storm::{SiteStormLimits, StormLimits};
pub use system::{Aead, Idle, LogFormat, SOCKET, System};
pub use transport::Transport;
pub use write::{PreparedFile, write_atomic};

use reader::{Document, Table};

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// How the appliance runs.
    pub system: System,
    /// Its ports, in the order of the file.
    pub ports: Vec<Port>,
    /// What it stretches.
    pub segments: Vec<Segment>,
    /// How loops are looked for.
    pub loop_guard: LoopGuard,
    /// When an address moves too often.
    pub duplicate_mac: DuplicateMac,
    /// Who may watch it over HTTP; `None`: nobody.
    pub metrics: Option<Metrics>,
    /// Server or client, with all that belongs to it.
    pub mode: Mode,
    /// Who may use the console over TCP.
    pub console: Console,
}

impl Config {
    /// Reads and checks the file at `path`. Relative paths inside are relative to its directory.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        let text = fs::read_to_string(path)
            .map_err(|error| Errors::whole_file(path, format!("cannot be read: {error}")))?;
        Self::parse(path, &text)
    }

    /// Checks the configuration `text` that stands in the file at `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Errors> {
        let document = Document::parse(path, text)?;
        let root = document.root();
        let config = read(&root, path.parent().unwrap_or(Path::new(".")));
        root.finish();
        document.result(config)
    }
}

fn read(root: &Table<'_>, directory: &Path) -> Option<Config> {
    let system = system::read(&root.table_or_empty("system"), directory);
    let ports = ports::read(root);
    let segments = segments::read(root, &ports);
    let loop_guard = guard::loop_guard(root);
    let duplicate_mac = guard::duplicate_mac(root);
    let metrics = metrics::read(&root.table_or_empty("metrics"));
    let mode = mode::read(root, &segments, directory, &system.state);
    let console = console::read(&root.table_or_empty("console"), directory);
    Some(Config { system, ports, segments, loop_guard, duplicate_mac, metrics, mode: mode?, console })
}
