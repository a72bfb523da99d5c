//! What a certificate or a revocation list says, and what is wrong with it.

use std::net::IpAddr;

use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry as oid;
use x509_parser::prelude::{
    CertificateRevocationList, FromDer, ParsedExtension, SubjectPublicKeyInfo, X509Certificate,
    X509CertificationRequest, X509Name,
};
use x509_parser::public_key::PublicKey;

use crate::{Fingerprint, colons, fingerprint, printable};

/// A certificate that ends so soon is warned of.
const SOON_DAYS: i64 = 30;

/// RSA keys that are shorter are not safe any more (NIST SP 800-131A).
const MIN_RSA_BITS: usize = 2048;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// For whom it is.
    pub subject: String,
    /// The subject's common name.
    pub common_name: Option<String>,
    /// Who made it.
    pub issuer: String,
    /// Its number at the issuer, in hexadecimal.
    pub serial: String,
    /// Valid from, in seconds since 1970.
    pub not_before: i64,
    /// Valid until.
    pub not_after: i64,
    /// Kind and size of its key.
    pub key: String,
    /// Bits of an RSA key, 0 for other kinds.
    rsa_bits: usize,
    /// How it is signed.
    pub signature: String,
    /// Its SHA-256.
    pub fingerprint: Fingerprint,
    /// The names and addresses that it is for.
    pub names: Vec<String>,
    /// Whether it may issue others.
    pub ca: bool,
    /// Whether it is signed with its own key.
    pub self_signed: bool,
    /// What it may be used for; empty: no limit is given.
    pub usages: Vec<String>,
}

impl Facts {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// It is none.
    pub fn of(der: &[u8]) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let names = parsed.subject_alternative_name().ok().flatten();
        let names = names.map(|names| names.value.general_names.iter().map(name_text).collect());
        let (key, rsa_bits) = key_text(parsed.public_key());
        Ok(Self {
            subject: name(parsed.subject()),
            common_name: common_name(parsed.subject()),
            issuer: name(parsed.issuer()),
            serial: colons(parsed.raw_serial()),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            key,
            rsa_bits,
            signature: signature_text(&parsed.signature_algorithm.algorithm),
            fingerprint: fingerprint(der),
            names: names.unwrap_or_default(),
            ca: parsed.is_ca(),
            self_signed: parsed.subject() == parsed.issuer() && parsed.verify_signature(None).is_ok(),
            usages: usages(&parsed),
        })
    }

    /// Whole days until it ends; negative when it has ended.
    pub fn days_left(&self, now: i64) -> i64 {
        (self.not_after - now).div_euclid(86_400)
    }

    /// Why it is not valid at this time.
    pub fn invalid(&self, now: i64) -> Option<String> {
        if now > self.not_after {
            Some(format!("expired on {} ({} days ago)", date(self.not_after), -self.days_left(now)))
        } else if now < self.not_before {
            Some(format!("is not valid before {}", date(self.not_before)))
        } else {
            None
        }
    }

    /// Whether it is for this name or address (RFC 9525: a wildcard stands for one label).
    pub fn is_for(&self, name: &str) -> bool {
        let address = name.parse::<IpAddr>().ok();
        self.names.iter().any(|own| match (own.parse::<IpAddr>(), address) {
            (Ok(own), Some(address)) => own == address,
            (Err(_), None) => matches(own, name),
            _ => false,
        })
    }

    /// The names that it carries: the common name and those that it is for.
    pub fn carried_names(&self) -> Vec<String> {
        self.common_name.iter().chain(&self.names).cloned().collect()
    }

    /// What an operator should know of a certificate that a server or client shows.
    pub fn warnings(&self, now: i64) -> Vec<String> {
        let mut warnings = Vec::new();
        match self.invalid(now) {
            Some(fault) => {
                warnings.push(format!("{fault}: who verifies it against a CA refuses it"));
            }
            None if self.days_left(now) < SOON_DAYS => warnings.push(format!(
                "ends in {} days, on {}: renew it",
                self.days_left(now),
                date(self.not_after)
            )),
            None => {}
        }
        if self.rsa_bits > 0 && self.rsa_bits < MIN_RSA_BITS {
            warnings.push(format!("has an RSA key of {} bits: {MIN_RSA_BITS} are the least", self.rsa_bits));
        }
        if self.signature.contains("SHA-1") || self.signature.contains("MD5") {
            warnings.push(format!("is signed with {}, which is not safe", self.signature));
        }
        if self.names.is_empty() && !self.ca {
            warnings
                .push("names nobody (no subject alternative name): no name can be verified with it".into());
        }
        if self.ca && !self.self_signed {
            warnings.push("is that of a CA: a server or client should have one of its own".into());
        }
        warnings
    }
}

/// What a revocation list says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlFacts {
    /// Who made it.
    pub issuer: String,
    /// When it was made, in seconds since 1970.
    pub made: i64,
    /// When the next is due.
    pub next: Option<i64>,
    /// The numbers of the certificates that are revoked.
    pub revoked: Vec<String>,
    /// Whether it is of version 2, with a number, as RFC 5280 5 wants them.
    pub numbered: bool,
}

impl CrlFacts {
    /// Reads a revocation list in DER.
    ///
    /// # Errors
    /// It is none.
    pub fn of(der: &[u8]) -> Result<Self, String> {
        let (_, parsed) = CertificateRevocationList::from_der(der).map_err(|error| error.to_string())?;
        Ok(Self {
            numbered: parsed.crl_number().is_some(),
            issuer: name(parsed.issuer()),
            made: parsed.last_update().timestamp(),
            next: parsed.next_update().map(|next| next.timestamp()),
            revoked: parsed.iter_revoked_certificates().map(|entry| colons(entry.raw_serial())).collect(),
        })
    }

    /// What an operator should know of it.
    pub fn warnings(&self, now: i64) -> Vec<String> {
        match self.next {
            Some(next) if now > next => vec![format!(
                "is out of date since {}: newer revocations are not in it, get the next one from {}",
                date(next),
                self.issuer
            )],
            _ => Vec::new(),
        }
    }
}

/// For whom a certificate signing request is, its kind of key, the names it asks for, and whether its signature is good.
///
/// # Errors
/// It is none.
pub fn key_of_request(der: &[u8]) -> Result<(String, String, Vec<String>, bool), String> {
    let (_, parsed) = X509CertificationRequest::from_der(der).map_err(|error| error.to_string())?;
    let info = &parsed.certification_request_info;
    let names = parsed
        .requested_extensions()
        .into_iter()
        .flatten()
        .filter_map(|extension| match extension {
            ParsedExtension::SubjectAlternativeName(names) => {
                Some(names.general_names.iter().map(name_text).collect::<Vec<_>>())
            }
            _ => None,
        })
        .flatten()
        .collect();
    Ok((name(&info.subject), key_text(&info.subject_pki).0, names, parsed.verify_signature().is_ok()))
}

/// Seconds since 1970 as a date and time in UTC: `2024-02-29 12:00:00Z`.
pub fn date(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds).map_or_else(
        |_| format!("second {seconds}"),
        |at| {
            let (year, month, day) = at.to_calendar_date();
            let (hour, minute, second) = at.to_hms();
            format!("{year:04}-{:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z", u8::from(month))
        },
    )
}

pub(crate) fn name(name: &X509Name<'_>) -> String {
    printable(&name.to_string())
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    name.iter_common_name().next().and_then(|attribute| attribute.as_str().ok()).map(printable)
}

fn name_text(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
            printable(text)
        }
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => <[u8; 4]>::try_from(*octets)
                .map(IpAddr::from)
                .map_or_else(|_| "?".into(), |ip| ip.to_string()),
            16 => <[u8; 16]>::try_from(*octets)
                .map(IpAddr::from)
                .map_or_else(|_| "?".into(), |ip| ip.to_string()),
            _ => "an address of a wrong length".into(),
        },
        other => printable(&other.to_string()),
    }
}

fn key_text(key: &SubjectPublicKeyInfo<'_>) -> (String, usize) {
    let curve = || key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => (format!("RSA {} bits", rsa.key_size()), rsa.key_size()),
        Ok(PublicKey::EC(point)) => match curve() {
            Some(curve) if curve == oid::OID_EC_P256 => ("ECDSA P-256".into(), 0),
            Some(curve) if curve == oid::OID_NIST_EC_P384 => ("ECDSA P-384".into(), 0),
            Some(curve) if curve == oid::OID_NIST_EC_P521 => ("ECDSA P-521".into(), 0),
            _ => (format!("ECDSA {} bits", point.key_size()), 0),
        },
        _ if key.algorithm.algorithm == oid::OID_SIG_ED25519 => ("Ed25519".into(), 0),
        _ => (format!("of kind {}", key.algorithm.algorithm), 0),
    }
}

fn signature_text(algorithm: &oid::Oid<'_>) -> String {
    let known = [
        (oid::OID_PKCS1_MD5WITHRSAENC, "RSA with MD5"),
        (oid::OID_PKCS1_SHA1WITHRSA, "RSA with SHA-1"),
        (oid::OID_PKCS1_SHA256WITHRSA, "RSA with SHA-256"),
        (oid::OID_PKCS1_SHA384WITHRSA, "RSA with SHA-384"),
        (oid::OID_PKCS1_SHA512WITHRSA, "RSA with SHA-512"),
        (oid::OID_PKCS1_RSASSAPSS, "RSA-PSS"),
        (oid::OID_SIG_ECDSA_WITH_SHA256, "ECDSA with SHA-256"),
        (oid::OID_SIG_ECDSA_WITH_SHA384, "ECDSA with SHA-384"),
        (oid::OID_SIG_ECDSA_WITH_SHA512, "ECDSA with SHA-512"),
        (oid::OID_SIG_ED25519, "Ed25519"),
    ];
    let found = known.iter().find(|(known, _)| known == algorithm);
    found.map_or_else(|| algorithm.to_string(), |(_, name)| (*name).into())
}

fn usages(parsed: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(usage)) = parsed.extended_key_usage() else { return Vec::new() };
    let usage = usage.value;
    let named = [
        (usage.any, "anything"),
        (usage.server_auth, "TLS server"),
        (usage.client_auth, "TLS client"),
        (usage.code_signing, "code signing"),
        (usage.email_protection, "e-mail"),
        (usage.time_stamping, "time stamping"),
        (usage.ocsp_signing, "OCSP"),
    ];
    let mut usages: Vec<String> =
        named.iter().filter(|(set, _)| *set).map(|(_, name)| (*name).to_owned()).collect();
    usages.extend(usage.other.iter().map(ToString::to_string));
    usages
}

/// Whether a name of a certificate covers `name`.
fn matches(own: &str, name: &str) -> bool {
    match own.strip_prefix("*.") {
        Some(domain) => name
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(domain)),
        None => own.eq_ignore_ascii_case(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        assert!(matches("*.example.com", "vpn.Example.com"));
        assert!(!matches("*.example.com", "a.vpn.example.com"));
        assert!(!matches("*.example.com", "example.com"));
        assert!(!matches("*.example.com", ".example.com"));
        assert!(matches("vpn.example.com", "VPN.example.com"));
    }

    #[test]
    fn dates_are_written_in_utc() {
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00Z");
        assert_eq!(date(-1), "1969-12-31 23:59:59Z");
        assert_eq!(date(i64::MAX), format!("second {}", i64::MAX));
    }
}
