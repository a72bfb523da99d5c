//! Certificates and keys from PEM files, with errors that name the file and the fault.

use std::fs;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Why a PEM file does not give what it should. The operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The file is readable, but its PEM armour is damaged.
    #[error("{} is not good PEM: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// The file has no section of the wanted kind.
    #[error("{} has no {what} in it (expected a line \"-----BEGIN {label}-----\")", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Its PEM label.
        label: &'static str,
    },
    /// The section is there, but what is inside cannot be used.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The certificate was made for another key.
    #[error("the key in {} does not belong to the certificate in {}", key.display(), certificate.display())]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

/// Reads every certificate of a PEM file, in its order; there is at least one.
///
/// # Errors
/// The file cannot be read, is damaged, or has no certificate.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let text = read(path)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| damaged(path, &error))?;
    if found.is_empty() {
        return Err(PemError::Missing { path: path.into(), what: "certificate", label: "CERTIFICATE" });
    }
    Ok(found)
}

/// Reads the first private key of a PEM file (PKCS #8, PKCS #1 or SEC 1, not encrypted).
///
/// # Errors
/// The file cannot be read, is damaged, or has no private key.
pub fn read_private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            PemError::Missing { path: path.into(), what: "private key", label: "PRIVATE KEY" }
        }
        other => damaged(path, &other),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, PemError> {
    fs::read(path).map_err(|error| PemError::Unreadable { path: path.into(), error })
}

fn damaged(path: &Path, error: &pem::Error) -> PemError {
    PemError::Damaged { path: path.into(), reason: error.to_string() }
}
