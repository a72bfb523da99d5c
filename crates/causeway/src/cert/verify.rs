//! `causeway cert verify`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use control::tls::{Authority, verify};
use pki::{Facts, public_key, read_certificates, read_private_key};
use rustls_pki_types::{ServerName, UnixTime};

use crate::Failure;

pub(super) const NO_NAME: &str =
    "it names no host (no DNS name and no address among its subject alternative names)";

#[derive(Args)]
pub(crate) struct Verify {
    /// The certificate in PEM, with those of the CAs between behind it.
    certificate: PathBuf,
    /// The CA certificates in PEM.
    #[arg(long)]
    ca: PathBuf,
    /// The CA's revocation list in PEM.
    #[arg(long)]
    crl: Option<PathBuf>,
    /// The name or address that a server's certificate has to be for.
    #[arg(long)]
    name: Option<String>,
    /// The private key that has to belong to it.
    #[arg(long)]
    key: Option<PathBuf>,
    /// What it is to be good for.
    #[arg(long, value_enum, default_value = "server")]
    purpose: Purpose,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Purpose {
    Server,
    Client,
}

impl Purpose {
    /// What a certificate is for, by what it says: a server's, unless it is for clients only or has no name that one could connect to.
    pub(super) fn of(facts: &Facts) -> Self {
        let says = |usage: &str| facts.usages.iter().any(|own| own == usage);
        let is_client_only = says("TLS client") && !says("TLS server") && !says("anything");
        if is_client_only || (!says("TLS server") && own_name(facts).is_none()) {
            Self::Client
        } else {
            Self::Server
        }
    }
}

/// A name that it has and that a client could ask for; certificates carry others too, of mailboxes for one. A wildcard stands for any.
pub(super) fn own_name(facts: &Facts) -> Option<String> {
    let names = facts.names.iter().map(|name| name.replacen('*', "any", 1));
    names.into_iter().find(|name| ServerName::try_from(name.as_str()).is_ok())
}

impl Verify {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let in_file = |reason: String| Failure(format!("{}: {reason}", self.certificate.display()));
        let chain = read_certificates(&self.certificate)?;
        let facts = Facts::of(&chain[0]).map_err(in_file)?;
        if let Some(key) = &self.key {
            let public = public_key(key, &read_private_key(key)?)?;
            pki::arrange(&chain[..1], &public).map_err(|_| {
                in_file(format!("key and certificate do not match: {} is the key of another", key.display()))
            })?;
        }
        // Without a name that is asked for, one that it has: all the rest is verified all the same.
        let name = match (&self.name, self.purpose) {
            (Some(name), Purpose::Server) => Some(name.clone()),
            (None, Purpose::Server) => Some(own_name(&facts).ok_or_else(|| in_file(NO_NAME.into()))?),
            (_, Purpose::Client) => None,
        };
        let authority = Authority { ca: self.ca.clone(), crl: self.crl.clone() };
        verify(&chain, &authority, name.as_deref(), UnixTime::now()).map_err(in_file)?;
        if let (Some(name), Purpose::Client) = (&self.name, self.purpose) {
            if !facts.carried_names().iter().any(|carried| carried.eq_ignore_ascii_case(name)) {
                let names = facts.carried_names().join(", ");
                return Err(in_file(format!(
                    "the client's certificate is for another name: expected {name}, it is for {names}"
                )));
            }
        }
        println!("{} is good: {}, issued by {}", self.certificate.display(), facts.subject, facts.issuer);
        Ok(())
    }
}
