//! Certificates, private keys, requests and revocation lists: read from files, explained, made, and put in order.
//!
//! Everything here is told in the words of somebody who has to mend it: which file, what is in it, and what should be. No clock:
//! dates are compared with the `now` that the caller brings, in seconds since 1970.
#![forbid(unsafe_code)]

mod chain;
mod facts;
mod kind;
mod make;
mod pem;
pub mod token;

pub use chain::{Chain, arrange, missing_issuer};
pub use facts::{CrlFacts, Facts, date, key_of_request};
pub use kind::Kind;
pub use make::{Keys, MakeError, Subject, certificate_request, generate, key_from_pem, self_signed};
pub use pem::{
    PemError, public_key, read_certificates, read_crls, read_key_text, read_private_key, read_request,
    sections,
};

use ring::digest;

/// The SHA-256 of the DER encoding of an end-entity certificate.
pub type Fingerprint = [u8; 32];

/// Computes the fingerprint of a certificate in DER.
pub fn fingerprint(der: &[u8]) -> Fingerprint {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
    out
}

/// Writes a fingerprint as people compare it: `ab:cd:...`.
pub fn fingerprint_text(fingerprint: &Fingerprint) -> String {
    colons(fingerprint)
}

/// Octets in hexadecimal with colons between.
fn colons(octets: &[u8]) -> String {
    let pairs: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    pairs.join(":")
}

/// Text of a certificate, without what could play tricks with a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
