//! By what the two ends know each other: certificates, fingerprints, revocation lists, and the data ciphers they take.

use std::path::{Path, PathBuf};

use crate::mode::{Cipher, Trust};
use crate::reader::Table;

/// Most fingerprints of a client: the present certificate, the next, and those of other servers.
const MAX_FINGERPRINTS: usize = 16;

/// A certificate and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCertificate {
    /// The certificate, and those that lead to the CA.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Whether the appliance makes it, since none is configured.
    pub made: bool,
}

/// What vouches for certificates of the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// CA certificates in PEM.
    pub ca: PathBuf,
    /// Their revocation lists in PEM.
    pub crl: Option<PathBuf>,
}

/// `certificate` and `key`: both or none.
pub(crate) fn own(table: &Table<'_>, directory: &Path) -> Option<OwnCertificate> {
    let file = |key| table.string(key).map(|found| directory.join(found.value));
    match (file("certificate"), file("key")) {
        (Some(certificate), Some(key)) => Some(OwnCertificate { certificate, key, made: false }),
        (None, None) => None,
        (certificate, _) => {
            let missing = if certificate.is_none() { "certificate" } else { "key" };
            table.fault(None, missing, "is missing: certificate and key belong together");
            None
        }
    }
}

/// The certificate that a server makes by itself.
pub(crate) fn made(state: &Path) -> OwnCertificate {
    OwnCertificate { certificate: state.join("server.crt"), key: state.join("server.key"), made: true }
}

/// `client_ca` and `client_crl`.
pub(crate) fn clients(table: &Table<'_>, directory: &Path) -> Option<Authority> {
    let crl = table.string("client_crl");
    let ca = table.string("client_ca");
    if let (None, Some(crl)) = (&ca, &crl) {
        table.fault(Some(crl.at), "client_crl", "needs client_ca: the CA that the list is from");
    }
    Some(Authority { ca: directory.join(ca?.value), crl: crl.map(|crl| directory.join(crl.value)) })
}

/// `require_certificate` and `certificate_name` of a site: the name that the certificate must carry.
pub(crate) fn required_name(
    table: &Table<'_>,
    user: Option<&str>,
    clients: Option<&Authority>,
) -> Option<String> {
    let required = table.boolean("require_certificate").unwrap_or(false);
    let name = table.string("certificate_name");
    if !required {
        if let Some(name) = name {
            table.fault(Some(name.at), "certificate_name", "needs require_certificate = true");
        }
        return None;
    }
    if clients.is_none() {
        table.fault(
            None,
            "require_certificate",
            "needs server.client_ca: the CA that issues the certificates of sites",
        );
    }
    name.map_or_else(|| user.map(str::to_owned), |name| Some(name.value))
}

/// `fingerprint`, or `ca` with or without `crl`.
pub(crate) fn trust(table: &Table<'_>, directory: &Path) -> Option<Trust> {
    let crl = table.string("crl");
    match (table.has("fingerprint"), table.string("ca")) {
        (true, None) => {
            if let Some(crl) = crl {
                let problem = "has no use with fingerprint: a certificate that is pinned is believed whatever a list says";
                table.fault(Some(crl.at), "crl", problem);
            }
            fingerprints(table)
        }
        (false, Some(ca)) => Some(Trust::Ca(Authority {
            ca: directory.join(ca.value),
            crl: crl.map(|crl| directory.join(crl.value)),
        })),
        _ => {
            table.fault(None, "fingerprint", "needs exactly one of fingerprint and ca");
            None
        }
    }
}

fn fingerprints(table: &Table<'_>) -> Option<Trust> {
    let given = table.one_or_more("fingerprint")?;
    let mut fingerprints = Vec::new();
    for text in &given {
        match fingerprint(&text.value) {
            Some(fingerprint) => fingerprints.push(fingerprint),
            None => table.fault(
                Some(text.at),
                "fingerprint",
                "is not a SHA-256: 64 hexadecimal digits, as `causeway cert fingerprint` prints it",
            ),
        }
    }
    if !(1..=MAX_FINGERPRINTS).contains(&given.len()) {
        table.fault(None, "fingerprint", format!("has to name 1 to {MAX_FINGERPRINTS} fingerprints"));
    }
    (fingerprints.len() == given.len()).then_some(Trust::Fingerprints(fingerprints))
}

/// 64 hexadecimal digits, with or without colons.
fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    if digits.len() != 64 || !digits.bytes().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    let mut out = [0; 32];
    for (at, octet) in out.iter_mut().enumerate() {
        *octet = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(out)
}

pub(crate) fn ciphers(table: &Table<'_>) -> Vec<Cipher> {
    let Some(names) = table.strings("ciphers") else {
        return vec![Cipher::Aes128Gcm, Cipher::Aes256Gcm];
    };
    let mut ciphers = Vec::new();
    for name in names {
        let cipher = match name.value.as_str() {
            "aes-128-gcm" => Cipher::Aes128Gcm,
            "aes-256-gcm" => Cipher::Aes256Gcm,
            other => {
                table.fault(Some(name.at), "ciphers", format!("{other:?} is none of {KNOWN}{}", hint(other)));
                continue;
            }
        };
        if ciphers.contains(&cipher) {
            table.fault(Some(name.at), "ciphers", format!("{:?} stands here twice", name.value));
        }
        ciphers.push(cipher);
    }
    if ciphers.is_empty() {
        table.fault(None, "ciphers", format!("has to name at least one of {KNOWN}"));
    }
    ciphers
}

const KNOWN: &str = "\"aes-128-gcm\", \"aes-256-gcm\"";

/// What somebody who comes from NSX meant, and which of ours to use.
fn hint(name: &str) -> String {
    let upper = name.to_uppercase().replace('_', "-");
    let ours = if upper.contains("256-GCM") || upper.contains("AES256") || upper.contains("AES-256") {
        "aes-256-gcm"
    } else {
        "aes-128-gcm"
    };
    if upper.contains("GCM") && upper.contains("AES") {
        return format!(": NSX's {name} is \"{ours}\" here");
    }
    let why = if upper.contains("NULL") {
        "encrypts nothing"
    } else if ["SHA", "CBC", "DES", "RC4", "MD5", "AES", "CAMELLIA"].iter().any(|part| upper.contains(part)) {
        "is not safe any more"
    } else {
        return String::new();
    };
    format!(": NSX's {name} {why} and is not offered, use \"{ours}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nsx_lead_to_ours() {
        for (name, told) in [
            ("ECDHE-RSA-AES128-GCM-SHA256", "is \"aes-128-gcm\" here"),
            ("ECDHE-RSA-AES256-GCM-SHA384", "is \"aes-256-gcm\" here"),
            ("AES128-GCM-SHA256", "is \"aes-128-gcm\" here"),
            ("TLS_AES_256_GCM_SHA384", "is \"aes-256-gcm\" here"),
            ("NULL-SHA256", "encrypts nothing and is not offered, use \"aes-128-gcm\""),
            ("NULL-MD5", "encrypts nothing"),
            ("AES256-SHA", "is not safe any more and is not offered, use \"aes-256-gcm\""),
            ("AES128-SHA", "use \"aes-128-gcm\""),
            ("DES-CBC3-SHA", "use \"aes-128-gcm\""),
            ("RC4-MD5", "is not safe any more"),
        ] {
            assert!(hint(name).contains(told), "{name}: {}", hint(name));
        }
        assert_eq!(hint("fast"), "");
    }

    #[test]
    fn fingerprints_are_64_digits() {
        assert_eq!(fingerprint(&"ab".repeat(32)), Some([0xab; 32]));
        assert_eq!(fingerprint(&["ab"; 32].join(":")), Some([0xab; 32]));
        assert_eq!(fingerprint(&"ab".repeat(31)), None);
        assert_eq!(fingerprint(&"+b".repeat(32)), None);
    }
}
