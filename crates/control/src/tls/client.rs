//! The client's side of TLS: how it knows its server.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, Error, OtherError};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use subtle::ConstantTimeEq;

use super::own::{self, OwnCertificate};
use super::reason::{Whose, describe};
use super::signature::handshake_signatures;
use super::verify::{parts, server_name_of};
use super::{ALPN, Authority, Fingerprint, Material, PemError, crypto, fingerprint, fingerprint_text};

/// How a client knows that it talks to its server.
#[derive(Debug, Clone)]
pub enum Trust {
    /// The certificate's chain ends in one of the CA certificates, it is valid today, not revoked, and made for the
    /// configured name.
    Authority(Authority),
    /// The certificate has one of these fingerprints, whatever else it says.
    Fingerprints(Vec<Fingerprint>),
}

/// A client's settings, shared by its connections.
#[derive(Debug, Clone)]
pub struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
    material: Material,
    verifier: Arc<dyn ServerCertVerifier>,
    trust: Fingerprint,
}

impl ClientTls {
    /// Prepares the verification, and the client's own certificate and key if it has any.
    ///
    /// # Errors
    /// A file is missing, damaged, or has nothing usable in it.
    pub fn new(trust: &Trust, own: Option<(&Path, &Path)>) -> Result<Self, PemError> {
        let provider = crypto();
        let mut material = Material::default();
        let (verifier, trust): (Arc<dyn ServerCertVerifier>, _) = match trust {
            Trust::Authority(authority) => {
                let loaded = authority.load(&provider, ("ca", "crl"), &mut material)?;
                (loaded.for_servers()?, loaded.trust())
            }
            Trust::Fingerprints(expected) => {
                material.pinned.clone_from(expected);
                let provider = Arc::clone(&provider);
                let verifier = PinnedVerifier { expected: expected.clone(), provider };
                (Arc::new(verifier), fingerprint(expected.as_flattened()))
            }
        };
        let own = own
            .map(|(certificate, key)| own::read(certificate, key, &provider, "client", &mut material))
            .transpose()?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has TLS 1.3 suites")
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier));
        let mut config = match own {
            Some(own) => builder.with_client_cert_resolver(Arc::new(OwnCertificate(Arc::new(own)))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Does nothing unless the operator sets SSLKEYLOGFILE, to decode a capture of his own.
        config.key_log = Arc::new(rustls::KeyLogFile::new());
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        Ok(Self { config: Arc::new(config), material, verifier, trust })
    }

    /// What is in force.
    pub fn material(&self) -> &Material {
        &self.material
    }

    /// A word for the CAs and revocation lists, or the fingerprints, that servers are verified with.
    pub(crate) fn trust(&self) -> Fingerprint {
        self.trust
    }

    /// Verifies the certificate of a server anew, which was good when it was shown: its own first, then the others of its chain.
    ///
    /// # Errors
    /// What is against it.
    pub fn verify_server(&self, chain: &[Vec<u8>], server_name: &str) -> Result<(), String> {
        let Some((own, others)) = parts(chain) else { return Ok(()) };
        self.verifier
            .verify_server_cert(&own, &others, &server_name_of(server_name)?, &[], UnixTime::now())
            .map(drop)
            .map_err(|error| describe(&error, Whose::Server))
    }
}

/// Settings of a client for people rather than for appliances, without a protocol name.
///
/// # Errors
/// As [`ClientTls::new`].
pub(crate) fn plain_client(trust: &Trust) -> Result<ClientConfig, PemError> {
    let mut config = ClientConfig::clone(&ClientTls::new(trust, None)?.config);
    config.alpn_protocols = Vec::new();
    Ok(config)
}

/// Takes certificates by their fingerprints. The handshake signature is still checked: without it anybody who has
/// seen the certificate could present it.
#[derive(Debug)]
struct PinnedVerifier {
    expected: Vec<Fingerprint>,
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
        if self.expected.iter().any(|expected| bool::from(presented.ct_eq(expected))) {
            return Ok(ServerCertVerified::assertion());
        }
        let differs = FingerprintDiffers { expected: self.expected.clone(), presented };
        Err(CertificateError::Other(OtherError(Arc::new(differs))).into())
    }

    handshake_signatures!();
}

/// The server presented another certificate than the pinned one.
#[derive(Debug)]
struct FingerprintDiffers {
    expected: Vec<Fingerprint>,
    presented: Fingerprint,
}

impl fmt::Display for FingerprintDiffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expected: Vec<String> = self.expected.iter().map(fingerprint_text).collect();
        write!(
            f,
            "the server's certificate has another fingerprint: configured is {}, presented was {}; if the server's operator \
             confirms that it has a new certificate, add the new fingerprint to client.fingerprint",
            expected.join(" or "),
            fingerprint_text(&self.presented)
        )
    }
}

impl std::error::Error for FingerprintDiffers {}
