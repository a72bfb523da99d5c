//! Certificates in the order in which TLS shows them: the own one first, each followed by that of its issuer (RFC 8446 4.4.2).

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::facts::name;

/// A chain in order.
#[derive(Debug)]
pub struct Chain {
    /// The own certificate, then those that lead to the CA.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Subjects of certificates that were given and have no place in it.
    pub left_over: Vec<String>,
    /// Whether it ends with a certificate that signs itself.
    pub complete: bool,
    /// Who issued the last certificate of the chain.
    pub issuer: String,
}

/// Finds the certificate of this public key (SubjectPublicKeyInfo) among those given, and puts the others behind it.
///
/// # Errors
/// None has that key, or one cannot be read.
pub fn arrange(given: &[CertificateDer<'static>], public_key: &[u8]) -> Result<Chain, String> {
    let parsed: Vec<X509Certificate<'_>> = given
        .iter()
        .map(|der| X509Certificate::from_der(der).map(|(_, parsed)| parsed))
        .collect::<Result<_, _>>()
        .map_err(|error| format!("a certificate cannot be read: {error}"))?;
    let own = parsed.iter().position(|certificate| certificate.public_key().raw == public_key);
    let Some(own) = own else {
        let subjects: Vec<String> = parsed.iter().map(|certificate| name(certificate.subject())).collect();
        return Err(format!(
            "key and certificate do not match: the key belongs to none of {}",
            subjects.join("; ")
        ));
    };
    let mut order = vec![own];
    let mut last = own;
    while let Some(next) =
        (0..parsed.len()).find(|at| !order.contains(at) && issued(&parsed[*at], &parsed[last]))
    {
        order.push(next);
        last = next;
    }
    let left_over = (0..parsed.len()).filter(|at| !order.contains(at));
    Ok(Chain {
        left_over: left_over.map(|at| name(parsed[at].subject())).collect(),
        complete: issued(&parsed[last], &parsed[last]),
        issuer: name(parsed[last].issuer()),
        certificates: order.into_iter().map(|at| given[at].clone()).collect(),
    })
}

/// The issuer that neither the chain nor the CA certificates have, if one is missing: its name, and for whom it issued.
pub fn missing_issuer(
    chain: &[CertificateDer<'_>],
    authorities: &[CertificateDer<'_>],
) -> Option<(String, String)> {
    let parse = |der: &'_ [u8]| {
        X509Certificate::from_der(der).ok().map(|(_, parsed)| (name(parsed.subject()), name(parsed.issuer())))
    };
    let subjects = |ders: &[CertificateDer<'_>]| -> Vec<String> {
        ders.iter().filter_map(|der| parse(der)).map(|(subject, _)| subject).collect()
    };
    let known: Vec<String> = subjects(chain).into_iter().chain(subjects(authorities)).collect();
    let (mut subject, mut issuer) = parse(chain.first()?)?;
    let trusted = subjects(authorities);
    for _ in 0..chain.len() {
        if trusted.contains(&issuer) {
            return None;
        }
        if !known.contains(&issuer) {
            return Some((issuer, subject));
        }
        let next = chain.iter().filter_map(|der| parse(der)).find(|(next, _)| *next == issuer)?;
        if next.0 == next.1 {
            // It signs itself and is no CA here.
            return None;
        }
        (subject, issuer) = next;
    }
    None
}

fn issued(issuer: &X509Certificate<'_>, subject: &X509Certificate<'_>) -> bool {
    issuer.subject() == subject.issuer() && subject.verify_signature(Some(issuer.public_key())).is_ok()
}
