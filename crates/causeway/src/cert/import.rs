//! `causeway cert import`.

use std::path::PathBuf;

use clap::Args;
use control::certificates::unix_now;
use control::tls::{Authority, fingerprint_text, verify};
use pki::{Facts, arrange, public_key, read_certificates, read_key_text, read_private_key};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::verify::{NO_NAME, Purpose, own_name};
use super::{Output, write};
use crate::Failure;

/// Octets of base64 in a line of PEM (RFC 7468 2).
const LINE: usize = 64;

#[derive(Args)]
pub(crate) struct Import {
    /// The certificate in PEM, as the CA gave it; others that came with it may stand in the same file.
    #[arg(long)]
    certificate: PathBuf,
    /// Its private key in PEM.
    #[arg(long)]
    key: PathBuf,
    /// The certificates of CAs between it and the root, in any order. Can be given several times.
    #[arg(long)]
    chain: Vec<PathBuf>,
    /// Verify it against the CA certificates in this file before anything is written.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// What it is to be good for. Without it: what it says that it is for.
    #[arg(long, value_enum, requires = "ca")]
    purpose: Option<Purpose>,
    #[command(flatten)]
    output: Output,
}

impl Import {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let output = &self.output;
        let (crt, key) = (output.file("crt"), output.file("key"));
        // A key that is imported from where it goes to stays as it is.
        let key_stays = self.key == key;
        output.must_be_free(&crt)?;
        if !key_stays {
            output.must_be_free(&key)?;
        }
        let mut given = read_certificates(&self.certificate)?;
        for file in &self.chain {
            given.extend(read_certificates(file)?);
        }
        let private = read_private_key(&self.key)?;
        let public = public_key(&self.key, &private)?;
        let in_file = |reason: String| Failure(format!("{}: {reason}", self.certificate.display()));
        let chain = arrange(&given, &public).map_err(in_file)?;
        let facts = Facts::of(&chain.certificates[0]).map_err(in_file)?;
        if let Some(fault) = facts.invalid(unix_now()).filter(|_| !output.force) {
            return Err(in_file(format!("the certificate {fault}; --force imports it all the same")));
        }
        if let Some(ca) = &self.ca {
            let authority = Authority { ca: ca.clone(), crl: None };
            let name = match self.purpose.unwrap_or_else(|| Purpose::of(&facts)) {
                Purpose::Server => Some(own_name(&facts).ok_or_else(|| in_file(NO_NAME.into()))?),
                Purpose::Client => None,
            };
            verify(&chain.certificates, &authority, name.as_deref(), UnixTime::now()).map_err(in_file)?;
        }
        // A root that comes along is of no use to the other end: it has its own, or would not believe this one.
        let send = match chain.complete && chain.certificates.len() > 1 {
            true => &chain.certificates[..chain.certificates.len() - 1],
            false => &chain.certificates,
        };
        let text: String = send.iter().map(pem).collect();
        write(Some((&key, &read_key_text(&self.key)?)), (&crt, text.as_bytes()))?;
        println!("wrote {} and {}", crt.display(), key.display());
        println!("{} with {} CA certificates behind it", facts.subject, send.len() - 1);
        match chain.complete {
            true => {}
            false => println!("clients need {:?} as their CA", chain.issuer),
        }
        for subject in &chain.left_over {
            println!("left out: {subject} is no part of the chain");
        }
        for warning in facts.warnings(unix_now()) {
            println!("warning: the certificate {warning}");
        }
        println!("fingerprint = \"{}\"", fingerprint_text(&facts.fingerprint));
        Ok(())
    }
}

fn pem(der: &CertificateDer<'static>) -> String {
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for at in (0..text.len()).step_by(LINE) {
        out += &text[at..text.len().min(at + LINE)];
        out.push('\n');
    }
    out + "-----END CERTIFICATE-----\n"
}
