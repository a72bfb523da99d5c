//! What went wrong with TLS, in the words of somebody who has to mend it.

use rustls::{AlertDescription as Alert, CertificateError, Error};
use rustls_pki_types::UnixTime;

use crate::clock::utc_text;

/// Whose certificate was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Server,
    Client,
}

/// Tells why a connection failed, for the log and for `show service l2vpn`. `peer` is what the other end is.
pub(super) fn describe(error: &Error, peer: Whose) -> String {
    match error {
        Error::NoCertificatesPresented => "the client showed no certificate".into(),
        Error::InvalidMessage(detail) => format!("what the peer sends is not TLS ({detail:?})"),
        Error::InvalidCertificate(fault) => describe_certificate(fault, peer),
        Error::NoApplicationProtocol => "the peer offers no ALPN protocol that we speak (causeway/1)".into(),
        Error::PeerIncompatible(detail) => {
            format!("the peer's TLS does not fit ours, which is TLS 1.3 with AES-GCM ({detail:?})")
        }
        Error::PeerMisbehaved(detail) => format!("the peer breaks the rules of TLS ({detail:?})"),
        Error::AlertReceived(alert) => describe_alert(*alert),
        other => format!("TLS failed: {other}"),
    }
}

fn describe_certificate(fault: &CertificateError, peer: Whose) -> String {
    let whose = match peer {
        Whose::Server => "the server's certificate",
        Whose::Client => "the client's certificate",
    };
    match fault {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("{whose} is expired since {}", date(*not_after))
        }
        CertificateError::Expired => format!("{whose} is expired"),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("{whose} is not valid before {}", date(*not_before))
        }
        CertificateError::NotValidYet => format!("{whose} is not valid yet"),
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "{whose} is for another name: expected {}, it is for {}",
            expected.to_str(),
            if presented.is_empty() {
                "no name at all".into()
            } else {
                presented.join(", ").escape_debug().to_string()
            }
        ),
        CertificateError::NotValidForName => format!("{whose} is for another name"),
        CertificateError::UnknownIssuer => format!("{whose} was issued by none of the configured CAs"),
        CertificateError::BadEncoding => format!("{whose} cannot be read"),
        // A CA of the configured name but with another key, or a server without the certificate's key.
        CertificateError::BadSignature => {
            format!(
                "{whose} has a wrong signature: not made by the configured CA, or not with the certificate's key"
            )
        }
        CertificateError::Revoked => format!("{whose} is revoked"),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            let role = if peer == Whose::Server { "servers" } else { "clients" };
            format!("{whose} is not meant for TLS {role}")
        }
        CertificateError::UnknownRevocationStatus => {
            format!("{whose} was issued by a CA that no configured revocation list is from")
        }
        CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
            format!("{whose} cannot be checked: the revocation list of its CA is out of date")
        }
        CertificateError::Other(detail) => detail.0.to_string(),
        other => format!("{whose} does not verify: {other:?}"),
    }
}

fn describe_alert(alert: Alert) -> String {
    match alert {
        Alert::NoApplicationProtocol => "the peer does not speak causeway/1 (ALPN)".into(),
        Alert::ProtocolVersion => "the peer does not speak TLS 1.3".into(),
        Alert::HandshakeFailure => "the peer found no common cipher suite".into(),
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied => {
            format!("the peer refused our certificate (alert {alert:?}); its log tells why")
        }
        other => format!("the peer closed the connection with the TLS alert {other:?}"),
    }
}

fn date(time: UnixTime) -> String {
    utc_text(time.as_secs())
}
