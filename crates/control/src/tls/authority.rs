//! Certificates that are verified against a CA and its revocation lists, on either side.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pki::{CrlFacts, PemError, read_certificates, read_crls};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DistinguishedName, Error, OtherError, RootCertStore};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};

use super::material::Material;
use super::signature::handshake_signatures;
use super::{Fingerprint, fingerprint};

/// Who may vouch for the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// CA certificates in PEM.
    pub ca: PathBuf,
    /// Their revocation lists in PEM.
    pub crl: Option<PathBuf>,
}

/// An authority's files, read.
pub(super) struct Loaded<'a> {
    authority: &'a Authority,
    certificates: Vec<CertificateDer<'static>>,
    roots: Arc<RootCertStore>,
    crls: Vec<CertificateRevocationListDer<'static>>,
    provider: &'a Arc<CryptoProvider>,
}

impl Authority {
    /// Reads the files, and notes them in `material` under these names.
    pub(super) fn load<'a>(
        &'a self,
        provider: &'a Arc<CryptoProvider>,
        names: (&'static str, &'static str),
        material: &mut Material,
    ) -> Result<Loaded<'a>, PemError> {
        let certificates = read_certificates(&self.ca)?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|error| unusable(&self.ca, &error))?;
            material.certificate(names.0, &self.ca, certificate)?;
        }
        let crls = self.crl.as_deref().map(read_crls).transpose()?.unwrap_or_default();
        for (crl, file) in crls.iter().zip(self.crl.iter().cycle()) {
            let facts = CrlFacts::of(crl)
                .map_err(|reason| PemError::Unusable { path: file.clone(), reason: no_crl(&reason) })?;
            if !facts.numbered {
                let reason = "the revocation list is of version 1: the CA has to make version 2 with a number and the key's identifier \
                              (RFC 5280 5.2; with openssl: crlnumber and crl_extensions)";
                return Err(PemError::Unusable { path: file.clone(), reason: reason.into() });
            }
            material.crl(names.1, file, facts);
        }
        Ok(Loaded { authority: self, certificates, roots: Arc::new(roots), crls, provider })
    }
}

impl Loaded<'_> {
    /// Another word for other certificates or lists.
    pub(super) fn trust(&self) -> Fingerprint {
        let authorities = self.certificates.iter().map(|der| fingerprint(der));
        let all: Vec<u8> =
            authorities.chain(self.crls.iter().map(|der| fingerprint(der))).flatten().collect();
        fingerprint(&all)
    }

    /// Verifies servers.
    pub(super) fn for_servers(&self) -> Result<Arc<ServerVerifier>, PemError> {
        let builder = || {
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&self.roots), Arc::clone(self.provider))
                .with_crls(self.crls.iter().cloned())
        };
        // A revoked CA between is refused where its issuer's list is there; the own certificate must be covered by one.
        let mut checks = vec![self.built(builder().allow_unknown_revocation_status().build())?];
        if !self.crls.is_empty() {
            checks.push(self.built(builder().only_check_end_entity_revocation().build())?);
        }
        Ok(Arc::new(ServerVerifier {
            checks,
            authorities: self.certificates.clone(),
            provider: Arc::clone(self.provider),
        }))
    }

    /// Verifies clients, if they show a certificate.
    pub(super) fn for_clients(&self) -> Result<Arc<ClientVerifier>, PemError> {
        let builder = || {
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), Arc::clone(self.provider))
                .with_crls(self.crls.iter().cloned())
                .allow_unauthenticated()
        };
        let mut checks = vec![self.built(builder().allow_unknown_revocation_status().build())?];
        if !self.crls.is_empty() {
            checks.push(self.built(builder().only_check_end_entity_revocation().build())?);
        }
        Ok(Arc::new(ClientVerifier {
            checks,
            authorities: self.certificates.clone(),
            provider: Arc::clone(self.provider),
        }))
    }

    fn built<T, E: fmt::Display>(&self, built: Result<T, E>) -> Result<T, PemError> {
        // The builders complain of lists that they cannot use, and of a CA file without a usable certificate.
        let path = self.authority.crl.as_ref().unwrap_or(&self.authority.ca);
        built.map_err(|error| PemError::Unusable { path: path.clone(), reason: no_crl(&error.to_string()) })
    }
}

fn unusable(path: &Path, error: &rustls::Error) -> PemError {
    PemError::Unusable { path: path.into(), reason: format!("the CA certificate cannot be used: {error}") }
}

fn no_crl(reason: &str) -> String {
    format!("the revocation list cannot be used: {reason}")
}

/// Each of the checks has to pass.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    checks: Vec<Arc<WebPkiServerVerifier>>,
    authorities: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        for check in &self.checks {
            check
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .map_err(|error| explain(error, end_entity, intermediates, &self.authorities))?;
        }
        Ok(ServerCertVerified::assertion())
    }

    handshake_signatures!();
}

/// Each of the checks has to pass, if the client shows a certificate. Which site needs one is said at its login.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    checks: Vec<Arc<dyn ClientCertVerifier>>,
    authorities: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.checks[0].root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        for check in &self.checks {
            check
                .verify_client_cert(end_entity, intermediates, now)
                .map_err(|error| explain(error, end_entity, intermediates, &self.authorities))?;
        }
        Ok(ClientCertVerified::assertion())
    }

    handshake_signatures!();
}

/// Says which issuer is missing, where rustls says only that one is.
fn explain(
    error: Error,
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    authorities: &[CertificateDer<'static>],
) -> Error {
    if error != Error::InvalidCertificate(CertificateError::UnknownIssuer) {
        return error;
    }
    let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
    match pki::missing_issuer(&chain, authorities) {
        Some((issuer, subject)) => {
            CertificateError::Other(OtherError(Arc::new(ChainIncomplete { issuer, subject }))).into()
        }
        None => error,
    }
}

/// Neither the peer nor our CA file has the certificate of an issuer.
#[derive(Debug)]
struct ChainIncomplete {
    issuer: String,
    subject: String,
}

impl fmt::Display for ChainIncomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the certificate's chain is incomplete: the certificate of {:?}, which issued that of {:?}, is neither in the \
             chain nor in the CA file",
            self.issuer, self.subject
        )
    }
}

impl std::error::Error for ChainIncomplete {}
