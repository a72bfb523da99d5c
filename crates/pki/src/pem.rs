//! Certificates and keys from PEM files, with errors that name the file and the fault.

use std::fs;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, CertificateSigningRequestDer, PrivateKeyDer,
};
use zeroize::Zeroizing;

use crate::kind::Kind;

/// No file of certificates is larger.
const MAX_FILE: u64 = 16 << 20;

/// Why a file does not give what it should. The operator's to mend.
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
    /// The file holds something else than it should.
    #[error("{} is the wrong file: it holds {found}, not {wanted}{}", path.display(), found.remedy())]
    WrongKind {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: Kind,
        /// What it holds.
        found: Kind,
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
    all(path, Kind::Certificate)
}

/// Reads every revocation list of a PEM file; there is at least one.
///
/// # Errors
/// The file cannot be read, is damaged, or has none.
pub fn read_crls(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, PemError> {
    all(path, Kind::Crl)
}

/// Reads the certificate signing request of a PEM file.
///
/// # Errors
/// The file cannot be read, is damaged, or has none.
pub fn read_request(path: &Path) -> Result<CertificateSigningRequestDer<'static>, PemError> {
    all(path, Kind::Request).map(|mut found| found.remove(0))
}

/// Reads the first private key of a PEM file (PKCS #8, PKCS #1 or SEC 1, not encrypted).
///
/// # Errors
/// The file cannot be read, is damaged, or has no private key.
pub fn read_private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let text = read_key_text(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| damaged(path, &error))
}

/// Reads a PEM file that has a private key in it, as it stands.
///
/// # Errors
/// As [`read_private_key`].
pub fn read_key_text(path: &Path) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let text = read(path)?;
    if text.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED) {
        return Err(PemError::WrongKind {
            path: path.into(),
            wanted: Kind::PrivateKey,
            found: Kind::EncryptedKey,
        });
    }
    expect(path, &text, Kind::PrivateKey)?;
    Ok(text)
}

/// In the head of a key that is encrypted in the old way (RFC 1421 4.6.1.1).
const ENCRYPTED: &[u8] = b"Proc-Type: 4,ENCRYPTED";

/// The kinds of a file's sections, in order; that of the whole file if it is no PEM.
///
/// # Errors
/// The file cannot be read.
pub fn sections(path: &Path) -> Result<Vec<Kind>, PemError> {
    Ok(kinds(&read(path)?))
}

/// The public key that belongs to a private one, as a certificate has it (SubjectPublicKeyInfo).
///
/// # Errors
/// The key is of a kind that TLS here cannot use.
pub fn public_key(path: &Path, key: &PrivateKeyDer<'_>) -> Result<Vec<u8>, PemError> {
    let unusable = |reason: String| PemError::Unusable { path: path.into(), reason };
    let signing = rustls::crypto::ring::sign::any_supported_type(key).map_err(|_| {
        unusable("the key is of a kind that cannot be used: RSA (2048 to 8192 bits), ECDSA P-256 and P-384 and Ed25519 can".into())
    })?;
    let public =
        signing.public_key().ok_or_else(|| unusable("the key does not tell its public key".into()))?;
    Ok(public.to_vec())
}

fn all<T: PemObject>(path: &Path, wanted: Kind) -> Result<Vec<T>, PemError> {
    let text = read(path)?;
    let found: Vec<T> =
        T::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|error| damaged(path, &error))?;
    if found.is_empty() {
        expect(path, &text, wanted)?;
        return Err(PemError::WrongKind { path: path.into(), wanted, found: Kind::Unknown });
    }
    Ok(found)
}

/// Whether a section of the wanted kind is there.
fn expect(path: &Path, text: &[u8], wanted: Kind) -> Result<(), PemError> {
    let kinds = kinds(text);
    if kinds.contains(&wanted) {
        return Ok(());
    }
    let found = kinds.first().copied().unwrap_or(Kind::Unknown);
    Err(PemError::WrongKind { path: path.into(), wanted, found })
}

fn kinds(text: &[u8]) -> Vec<Kind> {
    let lines = text.split(|octet| *octet == b'\n');
    let labels = lines.filter_map(|line| {
        let line = std::str::from_utf8(line).ok()?.trim();
        line.strip_prefix("-----BEGIN ")?.strip_suffix("-----")
    });
    let kinds: Vec<Kind> = labels.map(Kind::of_label).collect();
    if kinds.is_empty() { vec![Kind::of_binary(text)] } else { kinds }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let unreadable = |error| PemError::Unreadable { path: path.into(), error };
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_FILE {
        return Err(unreadable(std::io::Error::other(format!("it has {size} octets: that is no such file"))));
    }
    fs::read(path).map(Zeroizing::new).map_err(unreadable)
}

fn damaged(path: &Path, error: &pem::Error) -> PemError {
    PemError::Damaged { path: path.into(), reason: error.to_string() }
}
