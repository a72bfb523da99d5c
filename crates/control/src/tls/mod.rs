//! TLS as the control channel uses it (protocol 2.1): version 1.3 only, two AES-GCM suites, ALPN
//! `causeway/1`, no tickets, no resumption, no early data.
//!
//! [`ServerTls`] and [`ClientTls`] are the two kinds of settings, made once from files; [`TlsConn`] is
//! one connection. What goes wrong is told in plain words, because an operator reads it in the log and
//! in `show service l2vpn`.

mod client;
mod conn;
mod pem;
mod reason;
mod server;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ring::digest;
use rustls::crypto::{CryptoProvider, ring as provider};

pub use client::{ClientTls, Trust};
pub use conn::{SendError, TlsConn, TlsEvent};
pub use pem::{PemError, read_certificates, read_private_key};
pub use server::ServerTls;

/// The protocol name for ALPN (RFC 7301) that both ends must agree on.
pub const ALPN: &[u8] = b"causeway/1";

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
    let pairs: Vec<String> = fingerprint.iter().map(|octet| format!("{octet:02x}")).collect();
    pairs.join(":")
}

/// The cryptography of the control channel. Passed along explicitly: a process-wide default would be
/// changed by any other user of rustls in the process.
fn crypto() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            provider::cipher_suite::TLS13_AES_128_GCM_SHA256,
            provider::cipher_suite::TLS13_AES_256_GCM_SHA384,
        ],
        ..provider::default_provider()
    })
}
