//! `causeway cert`: makes, imports, explains and verifies certificates.

mod import;
mod make;
mod show;
mod verify;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use config::PreparedFile;
use control::tls::{fingerprint, fingerprint_text};
use pki::read_certificates;

use crate::Failure;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a key and a certificate signing request, for a CA to make a certificate of.
    Csr(make::Request),
    /// Make a key and a certificate signed by itself. Clients pin its fingerprint, or take it as their CA file.
    SelfSign(make::SelfSign),
    /// Check that a certificate, its key and its chain fit together, and put them where the configuration wants them.
    Import(import::Import),
    /// Tell what files hold, for whom, until when, and what is wrong with it.
    Show(show::Show),
    /// Verify a certificate against a CA, as the other end would.
    Verify(verify::Verify),
    /// Print the SHA-256 of a certificate in PEM, for [client] fingerprint = "...".
    Fingerprint {
        /// The certificate file.
        file: PathBuf,
    },
}

/// Where a key and what belongs to it are written.
#[derive(Args)]
struct Output {
    /// Where to write: PREFIX.crt (or PREFIX.csr) and PREFIX.key.
    #[arg(long, default_value = "server")]
    out: PathBuf,
    /// Overwrite files that are there.
    #[arg(long)]
    force: bool,
}

impl Output {
    /// Adds to the name, where `Path::with_extension` would replace: `vpn.example.com` has a dot of its own.
    fn file(&self, extension: &str) -> PathBuf {
        PathBuf::from(format!("{}.{extension}", self.out.display()))
    }

    /// Nobody's key is overwritten by accident.
    fn must_be_free(&self, path: &Path) -> Result<(), Failure> {
        match path.exists() && !self.force {
            true => {
                Err(Failure(format!("{} is there already: choose another --out, or --force", path.display())))
            }
            false => Ok(()),
        }
    }
}

pub(crate) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Csr(wanted) => wanted.run(),
        Command::SelfSign(wanted) => wanted.run(),
        Command::Import(wanted) => wanted.run(),
        Command::Show(wanted) => wanted.run(),
        Command::Verify(wanted) => wanted.run(),
        Command::Fingerprint { file } => {
            let certificates = read_certificates(file)?;
            println!("{}", fingerprint_text(&fingerprint(&certificates[0])));
            Ok(())
        }
    }
}

/// Writes a key, if there is a new one, and what belongs to it: both or none, so that no reload finds the one without the other.
fn write(key: Option<(&Path, &[u8])>, public: (&Path, &[u8])) -> Result<(), Failure> {
    let unwritten = |path: &Path, error| Failure(format!("cannot write {}: {error}", path.display()));
    let mut files = Vec::new();
    if let Some((path, content)) = key {
        files.push(PreparedFile::secret(path, content).map_err(|error| unwritten(path, error))?);
    }
    let (path, content) = public;
    files.push(PreparedFile::new(path, content, 0o644).map_err(|error| unwritten(path, error))?);
    PreparedFile::rename_all(&files).map_err(|error| Failure(format!("cannot write {error}")))
}
