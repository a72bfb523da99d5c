//! TLS as the control channel uses it (protocol 2.1): version 1.3 only, two AES-GCM suites, ALPN
//! `causeway/1`, no tickets, no resumption, no early data.
//!
//! [`ServerTls`] and [`ClientTls`] are the two kinds of settings, made once from files; [`TlsConn`] is
//! one connection. What goes wrong is told in plain words, because an operator reads it in the log and
//! in `show service l2vpn`.

mod authority;
mod client;
mod conn;
mod material;
mod own;
mod reason;
mod server;
mod signature;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_authority;
mod verify;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring as provider};

pub use authority::Authority;
pub(crate) use client::plain_client;
pub use client::{ClientTls, Trust};
pub use conn::{SendError, TlsConn, TlsEvent};
pub use material::{Material, certificate_json};
pub use pki::{Fingerprint, PemError, fingerprint, fingerprint_text};
pub use server::ServerTls;
pub(crate) use server::plain_server;
pub use verify::verify;

/// The protocol name for ALPN (RFC 7301) that both ends must agree on.
pub const ALPN: &[u8] = b"causeway/1";

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
