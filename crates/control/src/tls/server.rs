//! The server's side of TLS: its certificate, and what it agrees to.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::pem::{PemError, read_certificates, read_private_key};
use super::{ALPN, Fingerprint, crypto, fingerprint};

/// A server's certificate and settings, shared by its connections.
#[derive(Debug, Clone)]
pub struct ServerTls {
    pub(super) config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
    not_after: i64,
    warnings: Vec<String>,
}

impl ServerTls {
    /// Reads the certificate chain (the server's own first) and its private key.
    ///
    /// # Errors
    /// A file is missing, damaged or empty, the key is of no known kind, or the two do not belong
    /// together. A certificate that clients would find expired is only a warning, since a client that
    /// pins its fingerprint takes it.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, PemError> {
        let chain = read_certificates(certificate)?;
        let private = read_private_key(key)?;
        let provider = crypto();
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
            other => unusable(certificate, &other.to_string()),
        })?;
        let (not_after, warning) = validity(certificate, &own, SystemTime::now())?;

        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has TLS 1.3 suites")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Does nothing unless the operator sets SSLKEYLOGFILE, to decode a capture of his own.
        config.key_log = Arc::new(rustls::KeyLogFile::new());
        // Every connection proves itself anew: what outlives a connection is the session's, not TLS's.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(Self {
            config: Arc::new(config),
            fingerprint: fingerprint(&own),
            not_after,
            warnings: warning.into_iter().collect(),
        })
    }

    /// The fingerprint of the server's own certificate, which clients may pin.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// When the certificate ends, in seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// What an operator should know although the server works.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// When the certificate ends, and a word if a client that checks validity would refuse it now.
fn validity(path: &Path, der: &[u8], now: SystemTime) -> Result<(i64, Option<String>), PemError> {
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| unusable(path, &error.to_string()))?;
    let now =
        now.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    let validity = parsed.validity();
    let end = validity.not_after.timestamp();
    let fault = if now > end {
        format!("expired on {}", validity.not_after)
    } else if now < validity.not_before.timestamp() {
        format!("is not valid before {}", validity.not_before)
    } else {
        return Ok((end, None));
    };
    let warning = format!(
        "the certificate in {} {fault}: clients that verify it against a CA will refuse it",
        path.display()
    );
    Ok((end, Some(warning)))
}

fn unusable(path: &Path, reason: &str) -> PemError {
    PemError::Unusable { path: path.into(), reason: format!("the certificate cannot be used: {reason}") }
}
