//! Keys, certificate signing requests, and certificates that sign themselves.

use std::str::FromStr;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
};
use ring::rand::{SecureRandom, SystemRandom};
use rsa::pkcs8::{EncodePrivateKey, LineEnding};
use rsa::rand_core::{TryCryptoRng, TryRng};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

/// Clocks of clients that are behind so much do not make a new certificate invalid.
const CLOCKS_BEHIND: Duration = Duration::hours(1);

/// A kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// RSA with so many bits.
    Rsa(usize),
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// Ed25519.
    Ed25519,
}

impl FromStr for Keys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "p256" | "p-256" | "ecdsa" => Ok(Self::P256),
            "p384" | "p-384" => Ok(Self::P384),
            "ed25519" => Ok(Self::Ed25519),
            "rsa" | "rsa2048" | "rsa:2048" => Ok(Self::Rsa(2048)),
            "rsa3072" | "rsa:3072" => Ok(Self::Rsa(3072)),
            "rsa4096" | "rsa:4096" => Ok(Self::Rsa(4096)),
            "rsa1024" | "rsa:1024" | "rsa512" | "rsa:512" => {
                Err("an RSA key has at least 2048 bits: rsa2048, rsa3072 or rsa4096".into())
            }
            _ => Err(format!("{text:?} is none of p256, p384, ed25519, rsa2048, rsa3072, rsa4096")),
        }
    }
}

/// For whom a certificate is to be.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// CN.
    pub common_name: String,
    /// O.
    pub organization: Option<String>,
    /// OU.
    pub unit: Option<String>,
    /// C, two letters.
    pub country: Option<String>,
    /// More DNS names and IP addresses; the common name is the first if it is one.
    pub names: Vec<String>,
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// What was asked for cannot be.
    #[error("{0}")]
    Wish(String),
    /// The library refuses.
    #[error("{0}")]
    Library(#[from] rcgen::Error),
    /// No RSA key could be made.
    #[error("cannot make an RSA key: {0}")]
    Rsa(String),
}

/// Makes a new key.
///
/// # Errors
/// The library cannot.
pub fn generate(keys: Keys) -> Result<KeyPair, MakeError> {
    Ok(match keys {
        Keys::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
        Keys::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?,
        Keys::Ed25519 => ed25519()?,
        // ring makes no RSA keys. Once made, it is ring that works with them.
        Keys::Rsa(bits) => {
            let told = |error: String| MakeError::Rsa(error);
            let key = rsa::PrivateKey::new(&mut OsRandom(SystemRandom::new()), bits)
                .map_err(|error| told(error.to_string()))?;
            let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|error| told(error.to_string()))?;
            KeyPair::from_pem(&pem)?
        }
    })
}

/// An Ed25519 key in PKCS #8 version 1 (RFC 8410 7). ring writes version 2, in a form that OpenSSL does not read.
fn ed25519() -> Result<KeyPair, MakeError> {
    /// SEQUENCE { version 0, SEQUENCE { OID 1.3.101.112 }, OCTET STRING { OCTET STRING of 32 octets } }.
    const HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let mut der = Zeroizing::new([0; 48]);
    der[..16].copy_from_slice(&HEAD);
    SystemRandom::new().fill(&mut der[16..]).map_err(|_| MakeError::Wish(NoRandom.to_string()))?;
    let pkcs8 = PrivatePkcs8KeyDer::from(der.as_slice());
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_ED25519)?)
}

/// A key that is there already, for a renewal with the same key.
///
/// # Errors
/// It is of no kind that certificates are made for here.
pub fn key_from_pem(text: &[u8]) -> Result<KeyPair, MakeError> {
    let wish = |reason: &str| MakeError::Wish(reason.into());
    let der = PrivateKeyDer::from_pem_slice(text).map_err(|error| MakeError::Wish(error.to_string()))?;
    let PrivateKeyDer::Pkcs8(pkcs8) = &der else {
        return Err(wish("the key is in an old format: convert it with `openssl pkey -in FILE -out NEW`"));
    };
    KeyPair::try_from(pkcs8).map_err(|_| {
        wish("the key is of a kind that cannot be used: RSA, ECDSA P-256 and P-384 and Ed25519 can")
    })
}

/// A certificate signing request in PEM.
///
/// # Errors
/// A part of the subject cannot be.
pub fn certificate_request(subject: &Subject, key: &KeyPair) -> Result<String, MakeError> {
    Ok(params(subject)?.serialize_request(key)?.pem()?)
}

/// A certificate signed with its own key, in PEM, valid from `now` (seconds since 1970) for so many days.
///
/// # Errors
/// A part of the subject cannot be.
pub fn self_signed(subject: &Subject, key: &KeyPair, days: u32, now: i64) -> Result<String, MakeError> {
    let mut params = params(subject)?;
    let now = OffsetDateTime::from_unix_timestamp(now).map_err(|error| MakeError::Wish(error.to_string()))?;
    params.not_before = now - CLOCKS_BEHIND;
    params.not_after = now
        .checked_add(Duration::days(days.into()))
        .filter(|end| end.year() < 9999)
        .ok_or_else(|| MakeError::Wish(format!("{days} days are too many: the year 9999 is the last")))?;
    Ok(params.self_signed(key)?.pem())
}

fn params(subject: &Subject) -> Result<CertificateParams, MakeError> {
    if subject.common_name.is_empty() || subject.common_name.chars().count() > 64 {
        return Err(MakeError::Wish("the common name has 1 to 64 characters (RFC 5280)".into()));
    }
    let mut names = Vec::new();
    // A common name with a space or so is a title, not a host.
    let is_host = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || ".-:*_".contains(c));
    let own = Some(&subject.common_name).filter(|name| is_host(name));
    for name in own.into_iter().chain(&subject.names) {
        if !is_host(name) || name.is_empty() {
            return Err(MakeError::Wish(format!("{name:?} is neither a DNS name nor an IP address")));
        }
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let mut params = CertificateParams::new(names)?;
    let mut distinguished = DistinguishedName::new();
    if let Some(country) = &subject.country {
        if country.len() != 2 || !country.chars().all(|c| c.is_ascii_alphabetic()) {
            return Err(MakeError::Wish(format!(
                "the country {country:?} is not two letters, like DE (ISO 3166)"
            )));
        }
        let country = country.to_ascii_uppercase().as_str().try_into()?;
        distinguished.push(DnType::CountryName, DnValue::PrintableString(country));
    }
    if let Some(organization) = &subject.organization {
        distinguished.push(DnType::OrganizationName, organization.as_str());
    }
    if let Some(unit) = &subject.unit {
        distinguished.push(DnType::OrganizationalUnitName, unit.as_str());
    }
    distinguished.push(DnType::CommonName, subject.common_name.as_str());
    params.distinguished_name = distinguished;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// The system's randomness, as the library takes it.
struct OsRandom(SystemRandom);

impl TryRng for OsRandom {
    type Error = NoRandom;

    fn try_next_u32(&mut self) -> Result<u32, NoRandom> {
        let mut octets = [0; 4];
        self.try_fill_bytes(&mut octets)?;
        Ok(u32::from_ne_bytes(octets))
    }

    fn try_next_u64(&mut self) -> Result<u64, NoRandom> {
        let mut octets = [0; 8];
        self.try_fill_bytes(&mut octets)?;
        Ok(u64::from_ne_bytes(octets))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), NoRandom> {
        self.0.fill(out).map_err(|_| NoRandom)
    }
}

impl TryCryptoRng for OsRandom {}

/// The operating system gives no randomness.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no randomness")]
struct NoRandom;
