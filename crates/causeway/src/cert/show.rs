//! `causeway cert show`.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use control::certificates::unix_now;
use control::tls::certificate_json;
use pki::{CrlFacts, Facts, Kind, date, fingerprint_text, key_of_request};
use pki::{read_certificates, read_crls, read_private_key, read_request};
use serde_json::{Value, json};

use crate::Failure;

#[derive(Args)]
pub(crate) struct Show {
    /// Files in PEM: certificates, keys, requests, revocation lists. A key that is given after a certificate is compared with it.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut all = Vec::new();
        let mut certificates: Vec<(PathBuf, Vec<u8>)> = Vec::new();
        for file in &self.files {
            for kind in kinds(file)? {
                all.extend(match kind {
                    Kind::Certificate => certificate(file, &mut certificates)?,
                    Kind::Request => vec![request(file)?],
                    Kind::Crl => crls(file)?,
                    Kind::PrivateKey => vec![key(file, &certificates)?],
                    other => vec![json!({
                        "file": file, "holds": other.to_string(),
                        "warnings": [format!("cannot be used here{}", other.remedy())],
                    })],
                });
            }
        }
        if self.json {
            println!("{:#}", Value::Array(all));
        } else {
            let texts: Vec<String> = all.iter().map(layout).collect();
            print!("{}", texts.join("\n"));
        }
        Ok(())
    }
}

/// What is in the file, each kind once.
fn kinds(file: &Path) -> Result<Vec<Kind>, Failure> {
    let mut kinds = Vec::new();
    for kind in pki::sections(file)? {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    // The public parts of an EC key have a section of their own.
    kinds.retain(|kind| *kind != Kind::Unknown || kinds_is_all_unknown(file));
    Ok(kinds)
}

fn kinds_is_all_unknown(file: &Path) -> bool {
    pki::sections(file).is_ok_and(|kinds| kinds.iter().all(|kind| *kind == Kind::Unknown))
}

fn certificate(file: &Path, seen: &mut Vec<(PathBuf, Vec<u8>)>) -> Result<Vec<Value>, Failure> {
    let now = unix_now();
    let mut values = Vec::new();
    for (at, der) in read_certificates(file)?.iter().enumerate() {
        let facts = Facts::of(der).map_err(|reason| Failure(format!("{}: {reason}", file.display())))?;
        let mut value = certificate_json(&facts, now);
        if facts.ca {
            // In a chain behind the own certificate, or in a CA file, this is how it should be.
            let warnings: Vec<String> = facts
                .warnings(now)
                .into_iter()
                .filter(|warning| !warning.starts_with("is that of a CA"))
                .collect();
            value["warnings"] = json!(warnings);
        }
        value["file"] = json!(file);
        value["holds"] = json!(if facts.ca { "a certificate of a CA" } else { "a certificate" });
        values.push(value);
        if at == 0 {
            seen.push((file.into(), der.to_vec()));
        }
    }
    Ok(values)
}

fn request(file: &Path) -> Result<Value, Failure> {
    let (subject, key, names, good) = key_of_request(&read_request(file)?)
        .map_err(|reason| Failure(format!("{}: {reason}", file.display())))?;
    let warnings: Vec<&str> = if good { vec![] } else { vec!["its signature is not good"] };
    Ok(json!({
        "file": file, "holds": "a certificate signing request", "subject": subject, "key": key,
        "names": names, "warnings": warnings,
    }))
}

fn crls(file: &Path) -> Result<Vec<Value>, Failure> {
    let now = unix_now();
    let value = |der: &rustls_pki_types::CertificateRevocationListDer<'_>| {
        let facts = CrlFacts::of(der).map_err(|reason| Failure(format!("{}: {reason}", file.display())))?;
        Ok(json!({
            "file": file, "holds": "a revocation list", "issuer": facts.issuer, "made": date(facts.made),
            "next": facts.next.map(date), "revoked": facts.revoked, "warnings": facts.warnings(now),
        }))
    };
    read_crls(file)?.iter().map(value).collect()
}

/// Tells of a key only its public part, and to which of the certificates it belongs.
fn key(file: &Path, certificates: &[(PathBuf, Vec<u8>)]) -> Result<Value, Failure> {
    let private = read_private_key(file)?;
    let public = pki::public_key(file, &private)?;
    let mut warnings = Vec::new();
    let mut belongs = Vec::new();
    for (path, der) in certificates {
        match pki::arrange(&[der.clone().into()], &public) {
            Ok(_) => belongs.push(path),
            Err(_) => warnings.push(format!("it does not belong to the certificate in {}", path.display())),
        }
    }
    let directory = std::fs::canonicalize(file)?.parent().map(std::fs::metadata).transpose()?;
    warnings.extend(
        exposed(&std::fs::metadata(file)?, directory.as_ref())
            .map(|(why, remedy)| format!("{why}: chmod {remedy} {}", file.display())),
    );
    let digest = pki::fingerprint(&public);
    Ok(json!({
        "file": file, "holds": "a private key", "public_key_sha256": fingerprint_text(&digest),
        "belongs_to": belongs, "warnings": warnings,
    }))
}

/// Who may read or change a key that should not, and the mode that mends it. In /etc/causeway keys are of the group of the service, which
/// has to read them; to take that away would end it.
fn exposed(key: &Metadata, directory: Option<&Metadata>) -> Option<(String, &'static str)> {
    let mode = key.mode() & 0o777;
    let is_meant = key.gid() == 0 || directory.is_some_and(|directory| directory.gid() == key.gid());
    if mode & 0o070 != 0 && !is_meant {
        return Some((format!("the group {} may read it (mode {mode:o})", key.gid()), "go="));
    }
    (mode & 0o007 != 0).then(|| (format!("others may read it (mode {mode:o})"), "o="))
}

/// Lines for people.
fn layout(value: &Value) -> String {
    const ROWS: &[(&str, &str)] = &[
        ("subject", "subject"),
        ("names", "names"),
        ("issuer", "issuer"),
        ("serial", "serial"),
        ("not_before", "valid from"),
        ("not_after", "valid until"),
        ("days_left", "days left"),
        ("made", "made"),
        ("next", "next due"),
        ("revoked", "revoked"),
        ("key", "key"),
        ("signature", "signed with"),
        ("usages", "for"),
        ("fingerprint", "fingerprint"),
        ("public_key_sha256", "public key"),
        ("belongs_to", "belongs to"),
    ];
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            items.iter().map(|item| item.as_str().unwrap_or("?")).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    };
    let mut out = format!("{}: {}\n", text(&value["file"]), text(&value["holds"]));
    for (key, name) in ROWS {
        let empty = value[*key].is_null() || value[*key].as_array().is_some_and(Vec::is_empty);
        if !empty {
            out += &format!("  {name:<12} {}\n", text(&value[*key]));
        }
    }
    for warning in value["warnings"].as_array().into_iter().flatten() {
        out += &format!("  warning      {}\n", text(warning));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;

    /// A group that there need not be.
    const GROUP: u32 = 54_321;

    #[test]
    fn a_key_of_the_services_group_is_as_it_has_to_be() {
        let directory = std::env::temp_dir().join(format!("causeway-show-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let key = directory.join("a.key");
        fs::write(&key, "").expect("written");
        let told = |mode: u32| {
            fs::set_permissions(&key, fs::Permissions::from_mode(mode)).expect("changed");
            let of = |path: &Path| fs::metadata(path).expect("there");
            exposed(&of(&key), Some(&of(&directory))).map(|(_, remedy)| remedy)
        };
        // As the package and `causeway cert` make them, which takes root.
        let is_root =
            chown(&directory, Some(0), Some(GROUP)).is_ok() && chown(&key, Some(0), Some(GROUP)).is_ok();
        assert_eq!(told(0o640), None);
        assert_eq!(told(0o644), Some("o="));
        if is_root {
            chown(&key, Some(0), Some(GROUP + 1)).expect("changed");
            assert_eq!((told(0o640), told(0o644), told(0o600)), (Some("go="), Some("go="), None));
            chown(&key, Some(0), Some(0)).expect("changed");
            assert_eq!((told(0o640), told(0o604)), (None, Some("o=")));
        }
        fs::remove_dir_all(&directory).expect("removed");
    }
}
