//! Our own certificate with its key, as server or as client.

use std::path::Path;
use std::sync::Arc;

use pki::{PemError, read_certificates, read_private_key};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;

use super::material::Material;

/// Reads a certificate chain (the own certificate first) and its private key, and notes it in `material`.
pub(super) fn read(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
    purpose: &'static str,
    material: &mut Material,
) -> Result<CertifiedKey, PemError> {
    let chain = read_certificates(certificate)?;
    let private = read_private_key(key)?;
    let signing = provider
        .key_provider
        .load_private_key(private)
        .map_err(|error| PemError::Unusable { path: key.into(), reason: error.to_string() })?;
    let own = chain[0].clone();
    let certified = CertifiedKey::new(chain, signing);
    certified.keys_match().map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            PemError::KeyMismatch { certificate: certificate.into(), key: key.into() }
        }
        other => PemError::Unusable {
            path: certificate.into(),
            reason: format!("the certificate cannot be used: {other}"),
        },
    })?;
    material.certificate(purpose, certificate, &own)?;
    Ok(certified)
}

/// Hands out the one certificate that there is.
#[derive(Debug)]
pub(super) struct OwnCertificate(pub(super) Arc<CertifiedKey>);

impl rustls::client::ResolvesClientCert for OwnCertificate {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        // Shown whatever CAs the server hints at: its log then says what it has against it.
        self.0.key.choose_scheme(schemes).map(|_| Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
