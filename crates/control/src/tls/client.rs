//! The client's side of TLS: how it knows its server.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, PeerIncompatible,
    RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use subtle::ConstantTimeEq;

use super::pem::{PemError, read_certificates};
use super::{ALPN, Fingerprint, crypto, fingerprint, fingerprint_text};

/// How a client knows that it talks to its server.
#[derive(Debug, Clone)]
pub enum Trust {
    /// The certificate's chain ends in one of the CA certificates of this PEM file, it is valid today,
    /// and it is made for the configured name.
    Authority(PathBuf),
    /// The certificate has this fingerprint, whatever else it says.
    Fingerprint(Fingerprint),
}

/// A client's settings, shared by its connections.
#[derive(Debug, Clone)]
pub struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
}

impl ClientTls {
    /// Prepares the verification.
    ///
    /// # Errors
    /// The CA file is missing, damaged, or has no usable certificate.
    pub fn new(trust: &Trust) -> Result<Self, PemError> {
        let provider = crypto();
        let verifier: Arc<dyn ServerCertVerifier> = match trust {
            Trust::Authority(path) => authority(path, &provider)?,
            Trust::Fingerprint(expected) => {
                Arc::new(PinnedVerifier { expected: *expected, provider: Arc::clone(&provider) })
            }
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has TLS 1.3 suites")
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Does nothing unless the operator sets SSLKEYLOGFILE, to decode a capture of his own.
        config.key_log = Arc::new(rustls::KeyLogFile::new());
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        Ok(Self { config: Arc::new(config) })
    }
}

fn authority(path: &Path, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, PemError> {
    let unusable = |error: String| PemError::Unusable {
        path: path.into(),
        reason: format!("the CA certificate cannot be used: {error}"),
    };
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| unusable(error.to_string()))?;
    Ok(verifier)
}

/// Takes exactly one certificate. The handshake signature is still checked: without it anybody who has
/// seen the certificate could present it.
#[derive(Debug)]
struct PinnedVerifier {
    expected: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let presented = fingerprint(end_entity);
        if bool::from(presented.ct_eq(&self.expected)) {
            return Ok(ServerCertVerified::assertion());
        }
        let differs = FingerprintDiffers { expected: self.expected, presented };
        Err(CertificateError::Other(OtherError(Arc::new(differs))).into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The server presented another certificate than the pinned one.
#[derive(Debug)]
struct FingerprintDiffers {
    expected: Fingerprint,
    presented: Fingerprint,
}

impl fmt::Display for FingerprintDiffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the server's certificate has another fingerprint: configured is {}, presented was {}",
            fingerprint_text(&self.expected),
            fingerprint_text(&self.presented)
        )
    }
}

impl std::error::Error for FingerprintDiffers {}
