//! `causeway cert`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use control::tls::{fingerprint, fingerprint_text, read_certificates};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use time::{Duration, OffsetDateTime};

use crate::Failure;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a key and a certificate signed by itself. Clients pin its fingerprint, or take it as their CA file.
    SelfSign(SelfSign),
    /// Print the SHA-256 of a certificate in PEM, for [client] fingerprint = "...".
    Fingerprint {
        /// The certificate file.
        file: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct SelfSign {
    /// The common name, and the first name that the certificate is for.
    #[arg(long)]
    cn: String,
    /// More names or IP addresses that it is for.
    #[arg(long)]
    san: Vec<String>,
    /// How long it is valid.
    #[arg(long, default_value_t = 825)]
    days: u32,
    /// Where to write: PREFIX.crt and PREFIX.key.
    #[arg(long, default_value = "server")]
    out: PathBuf,
}

pub(crate) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::SelfSign(wanted) => self_sign(wanted),
        Command::Fingerprint { file } => print_fingerprint(file),
    }
}

fn self_sign(wanted: &SelfSign) -> Result<(), Failure> {
    let mut names = vec![wanted.cn.clone()];
    names.extend(wanted.san.iter().filter(|san| **san != wanted.cn).cloned());
    let mut params = CertificateParams::new(names)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, wanted.cn.as_str());
    params.distinguished_name = subject;
    let now = OffsetDateTime::now_utc();
    // An hour back, for clients whose clocks are behind.
    params.not_before = now - Duration::hours(1);
    params.not_after = now + Duration::days(wanted.days.into());
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let (crt, private) = (with_extension(&wanted.out, "crt"), with_extension(&wanted.out, "key"));
    write_new(&private, key.serialize_pem().as_bytes(), 0o600)?;
    write_new(&crt, certificate.pem().as_bytes(), 0o644)?;
    println!("wrote {} and {}", crt.display(), private.display());
    println!("fingerprint = \"{}\"", fingerprint_text(&fingerprint(certificate.der())));
    Ok(())
}

/// Adds to the name, where `Path::with_extension` would replace: `vpn.example.com` has a dot of its own.
fn with_extension(prefix: &Path, extension: &str) -> PathBuf {
    PathBuf::from(format!("{}.{extension}", prefix.display()))
}

/// Writes a file that must not be there yet: nobody's key is overwritten.
fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), Failure> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(content))
        .map_err(|error| Failure(format!("cannot write {}: {error}", path.display())))
}

fn print_fingerprint(file: &Path) -> Result<(), Failure> {
    let certificates = read_certificates(file)?;
    println!("{}", fingerprint_text(&fingerprint(&certificates[0])));
    Ok(())
}
