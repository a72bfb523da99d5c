//! The server's side of TLS: its certificate, what it agrees to, and whom it believes.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls_pki_types::UnixTime;

use super::authority::ClientVerifier;
use super::reason::{Whose, describe};
use super::verify::parts;
use super::{ALPN, Authority, Fingerprint, Material, PemError, crypto, fingerprint, own};

/// A server's certificate and settings, shared by its connections.
#[derive(Debug, Clone)]
pub struct ServerTls {
    pub(super) config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
    material: Box<Material>,
    /// What verifies clients, and a word for it.
    clients: Option<(Arc<ClientVerifier>, Fingerprint)>,
}

impl ServerTls {
    /// Reads the certificate chain (the server's own first) and its private key, and what the certificates of clients
    /// are verified with.
    ///
    /// # Errors
    /// A file is missing, damaged or empty, the key is of no known kind, or the two do not belong
    /// together. A certificate that clients would find expired is only a warning, since a client that
    /// pins its fingerprint takes it.
    pub fn from_files(certificate: &Path, key: &Path, clients: Option<&Authority>) -> Result<Self, PemError> {
        let provider = crypto();
        let mut material = Material::default();
        let certified = own::read(certificate, key, &provider, "server", &mut material)?;
        let fingerprint = fingerprint(&certified.cert[0]);
        let clients = clients
            .map(|authority| {
                let loaded = authority.load(&provider, ("client_ca", "client_crl"), &mut material)?;
                Ok::<_, PemError>((loaded.for_clients()?, loaded.trust()))
            })
            .transpose()?;
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has TLS 1.3 suites");
        let builder = match clients.clone() {
            Some((verifier, _)) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Does nothing unless the operator sets SSLKEYLOGFILE, to decode a capture of his own.
        config.key_log = Arc::new(rustls::KeyLogFile::new());
        // Every connection proves itself anew: what outlives a connection is the session's, not TLS's.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(Self { config: Arc::new(config), fingerprint, material: Box::new(material), clients })
    }

    /// The fingerprint of the server's own certificate, which clients may pin.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Verifies the certificate of a client anew, which was good when it was shown: its own first, then the others of its chain.
    /// Where clients are not asked for any, all are good.
    ///
    /// # Errors
    /// What is against it.
    pub fn verify_client(&self, chain: &[Vec<u8>]) -> Result<(), String> {
        let (Some((verifier, _)), Some((own, others))) = (&self.clients, parts(chain)) else {
            return Ok(());
        };
        verifier
            .verify_client_cert(&own, &others, UnixTime::now())
            .map(drop)
            .map_err(|error| describe(&error, Whose::Client))
    }

    /// A word for the CAs and revocation lists that clients are verified with, if they are.
    pub(crate) fn client_trust(&self) -> Option<Fingerprint> {
        self.clients.as_ref().map(|(_, trust)| *trust)
    }

    /// When the certificate ends, in seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.material.ends("server").unwrap_or(i64::MAX)
    }

    /// What is in force.
    pub fn material(&self) -> &Material {
        &self.material
    }
}

/// Settings of a server for people rather than for appliances: TLS 1.3 with a certificate, and no protocol name.
///
/// # Errors
/// As [`ServerTls::from_files`].
pub(crate) fn plain_server(certificate: &Path, key: &Path) -> Result<ServerConfig, PemError> {
    let mut config = ServerConfig::clone(&ServerTls::from_files(certificate, key, None)?.config);
    config.alpn_protocols = Vec::new();
    Ok(config)
}
