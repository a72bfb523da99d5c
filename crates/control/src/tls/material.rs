//! The certificates and revocation lists that are in force, for the console and the log.

use std::path::{Path, PathBuf};

use pki::{CrlFacts, Facts, Fingerprint, PemError, date, fingerprint_text};
use serde_json::{Value, json};

/// What was read from files, with what it is for.
#[derive(Clone, Debug, Default)]
pub struct Material {
    certificates: Vec<Item<Facts>>,
    crls: Vec<Item<CrlFacts>>,
    /// The fingerprints that a client takes.
    pub(super) pinned: Vec<Fingerprint>,
}

#[derive(Clone, Debug)]
struct Item<T> {
    purpose: &'static str,
    file: PathBuf,
    facts: T,
}

impl Material {
    /// Notes a certificate.
    pub(super) fn certificate(
        &mut self,
        purpose: &'static str,
        file: &Path,
        der: &[u8],
    ) -> Result<(), PemError> {
        let facts = Facts::of(der).map_err(|reason| PemError::Unusable {
            path: file.into(),
            reason: format!("the certificate cannot be used: {reason}"),
        })?;
        self.certificates.push(Item { purpose, file: file.into(), facts });
        Ok(())
    }

    /// Notes a revocation list.
    pub(super) fn crl(&mut self, purpose: &'static str, file: &Path, facts: CrlFacts) {
        self.crls.push(Item { purpose, file: file.into(), facts });
    }

    /// When the certificate for this purpose ends, in seconds since 1970.
    pub(super) fn ends(&self, purpose: &str) -> Option<i64> {
        self.certificates.iter().find(|item| item.purpose == purpose).map(|item| item.facts.not_after)
    }

    /// Whether a client knows its server by fingerprints.
    pub fn pins(&self) -> bool {
        !self.pinned.is_empty()
    }

    /// What an operator should know of it at this time, in seconds since 1970.
    pub fn warnings(&self, now: i64) -> Vec<String> {
        let certificates = self.certificates.iter().flat_map(|Item { purpose, file, facts }| {
            let told = certificate_warnings(purpose, facts, now);
            told.into_iter().map(|warning| format!("the certificate in {} {warning}", file.display()))
        });
        let crls = self.crls.iter().flat_map(|Item { file, facts, .. }| {
            let told = facts.warnings(now);
            told.into_iter().map(|warning| format!("the revocation list in {} {warning}", file.display()))
        });
        certificates.chain(crls).collect()
    }

    /// All of it, for `show certificate`.
    pub fn json(&self, now: i64) -> Value {
        let certificate = |Item { purpose, file, facts }: &Item<Facts>| {
            let mut value = certificate_json(facts, now);
            value["use"] = json!(purpose);
            value["file"] = json!(file);
            value["warnings"] = json!(certificate_warnings(purpose, facts, now));
            value
        };
        let crl = |Item { purpose, file, facts }: &Item<CrlFacts>| {
            json!({
                "use": purpose,
                "file": file,
                "issuer": facts.issuer,
                "made": date(facts.made),
                "next": facts.next.map(date),
                "revoked": facts.revoked.len(),
                "warnings": facts.warnings(now),
            })
        };
        json!({
            "certificates": self.certificates.iter().map(certificate).collect::<Vec<_>>(),
            "crls": self.crls.iter().map(crl).collect::<Vec<_>>(),
            "pinned": self.pinned.iter().map(fingerprint_text).collect::<Vec<_>>(),
        })
    }
}

/// What a certificate says, for programs.
pub fn certificate_json(facts: &Facts, now: i64) -> Value {
    json!({
        "subject": facts.subject,
        "issuer": facts.issuer,
        "serial": facts.serial,
        "not_before": date(facts.not_before),
        "not_after": date(facts.not_after),
        "days_left": facts.days_left(now),
        "key": facts.key,
        "signature": facts.signature,
        "fingerprint": fingerprint_text(&facts.fingerprint),
        "names": facts.names,
        "usages": facts.usages,
        "ca": facts.ca,
        "self_signed": facts.self_signed,
        "warnings": facts.warnings(now),
    })
}

/// A CA's certificate is one, and names nobody.
fn certificate_warnings(purpose: &str, facts: &Facts, now: i64) -> Vec<String> {
    let mut warnings = facts.warnings(now);
    if purpose.ends_with("ca") {
        warnings.retain(|warning| {
            !warning.starts_with("names nobody") && !warning.starts_with("is that of a CA")
        });
    }
    warnings
}
