//! Verifies a certificate as the other end would, for `causeway cert verify`.

use rustls::client::danger::ServerCertVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::material::Material;
use super::reason::{Whose, describe};
use super::{Authority, crypto};

/// Verifies a server's chain for a name, or a client's without one, as the other end does at `now`.
///
/// # Errors
/// What the other end would have against it, or what of the authority's files cannot be used.
pub fn verify(
    chain: &[CertificateDer<'_>],
    authority: &Authority,
    server_name: Option<&str>,
    now: UnixTime,
) -> Result<(), String> {
    let Some((own, others)) = chain.split_first() else { return Err("there is no certificate".into()) };
    let provider = crypto();
    let mut material = Material::default();
    let loaded =
        authority.load(&provider, ("ca", "crl"), &mut material).map_err(|error| error.to_string())?;
    match server_name {
        Some(name) => {
            let parsed = server_name_of(name)?;
            let verifier = loaded.for_servers().map_err(|error| error.to_string())?;
            verifier
                .verify_server_cert(own, others, &parsed, &[], now)
                .map(drop)
                .map_err(|error| describe(&error, Whose::Server))
        }
        None => {
            let verifier = loaded.for_clients().map_err(|error| error.to_string())?;
            verifier
                .verify_client_cert(own, others, now)
                .map(drop)
                .map_err(|error| describe(&error, Whose::Client))
        }
    }
}

/// A server's name as TLS has it.
pub(super) fn server_name_of(name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| format!("{name:?} is neither a DNS name nor an IP address"))
}

/// A chain in DER: the own certificate, and the others.
pub(super) fn parts(chain: &[Vec<u8>]) -> Option<(CertificateDer<'_>, Vec<CertificateDer<'_>>)> {
    let (own, others) = chain.split_first()?;
    let others = others.iter().map(|other| CertificateDer::from(other.as_slice()));
    Some((CertificateDer::from(own.as_slice()), others.collect()))
}
