//! `causeway cert csr` and `self-sign`.

use std::path::{Path, PathBuf};

use clap::Args;
use control::certificates::unix_now;
use control::tls::{fingerprint, fingerprint_text};
use pki::{Keys, Subject};
use rcgen::KeyPair;
use zeroize::Zeroizing;

use super::{Output, write};
use crate::Failure;

#[derive(Args)]
pub(crate) struct Request {
    #[command(flatten)]
    whom: Whom,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(crate) struct SelfSign {
    #[command(flatten)]
    whom: Whom,
    /// How long it is valid.
    #[arg(long, default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=36500))]
    days: u32,
    #[command(flatten)]
    output: Output,
}

/// For whom, and with which key.
#[derive(Args)]
struct Whom {
    /// The common name (CN), and the first name that the certificate is for.
    #[arg(long)]
    cn: String,
    /// The organization (O).
    #[arg(long)]
    o: Option<String>,
    /// The unit of the organization (OU).
    #[arg(long)]
    ou: Option<String>,
    /// The country (C), two letters.
    #[arg(long)]
    c: Option<String>,
    /// More DNS names or IP addresses that it is for. Can be given several times.
    #[arg(long)]
    san: Vec<String>,
    /// The kind of a new key: p256, p384, ed25519, rsa2048, rsa3072 or rsa4096.
    #[arg(long, default_value = "p256")]
    key: Keys,
    /// Use this key instead of making a new one, as for a renewal that keeps the key.
    #[arg(long, conflicts_with = "key")]
    key_file: Option<PathBuf>,
}

impl Whom {
    fn subject(&self) -> Subject {
        Subject {
            common_name: self.cn.clone(),
            organization: self.o.clone(),
            unit: self.ou.clone(),
            country: self.c.clone(),
            names: self.san.clone(),
        }
    }

    fn key(&self) -> Result<KeyPair, Failure> {
        match &self.key_file {
            None => Ok(pki::generate(self.key)?),
            Some(path) => {
                let text = pki::read_key_text(path)?;
                pki::key_from_pem(&text).map_err(|error| Failure(format!("{}: {error}", path.display())))
            }
        }
    }

    /// Writes what was made with a key, and the key itself if it is new. Tells where that is.
    fn write(&self, key: &KeyPair, output: &Output, public: (&Path, &str)) -> Result<PathBuf, Failure> {
        let public = (public.0, public.1.as_bytes());
        if let Some(path) = &self.key_file {
            write(None, public)?;
            return Ok(path.clone());
        }
        let path = output.file("key");
        write(Some((&path, Zeroizing::new(key.serialize_pem()).as_bytes())), public)?;
        Ok(path)
    }

    fn must_be_free(&self, output: &Output, extension: &str) -> Result<(), Failure> {
        if self.key_file.is_none() {
            output.must_be_free(&output.file("key"))?;
        }
        output.must_be_free(&output.file(extension))
    }
}

impl Request {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let Self { whom, output } = self;
        whom.must_be_free(output, "csr")?;
        let key = whom.key()?;
        let request = pki::certificate_request(&whom.subject(), &key)?;
        let csr = output.file("csr");
        let key = whom.write(&key, output, (&csr, &request))?;
        println!("wrote {} for the CA; the key stays here, in {}", csr.display(), key.display());
        println!(
            "with the CA's answer: causeway cert import --certificate ANSWER --key {} --out PREFIX",
            key.display()
        );
        Ok(())
    }
}

impl SelfSign {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let Self { whom, days, output } = self;
        whom.must_be_free(output, "crt")?;
        let key = whom.key()?;
        let certificate = pki::self_signed(&whom.subject(), &key, *days, unix_now())?;
        let crt = output.file("crt");
        let key = whom.write(&key, output, (&crt, &certificate))?;
        let der = pki::read_certificates(&crt)?;
        println!("wrote {} and {}", crt.display(), key.display());
        println!("fingerprint = \"{}\"", fingerprint_text(&fingerprint(&der[0])));
        Ok(())
    }
}
