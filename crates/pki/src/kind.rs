//! What a file holds, whatever its name says.

use std::fmt;

use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate, X509CertificationRequest};

/// What a file, or a section of one, holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A certificate.
    Certificate,
    /// A private key that is not encrypted.
    PrivateKey,
    /// A private key behind a passphrase.
    EncryptedKey,
    /// A public key without a certificate.
    PublicKey,
    /// A certificate signing request.
    Request,
    /// A certificate revocation list.
    Crl,
    /// A bundle of certificates in PKCS #7.
    Pkcs7,
    /// A bundle of key and certificates in PKCS #12.
    Pkcs12,
    /// A certificate in binary.
    CertificateDer,
    /// A request in binary.
    RequestDer,
    /// A revocation list in binary.
    CrlDer,
    /// A key in binary.
    KeyDer,
    /// An SSH key.
    Ssh,
    /// Nothing at all.
    Empty,
    /// Nothing that has to do with certificates.
    Unknown,
}

impl Kind {
    /// What the PEM label of a section says.
    pub fn of_label(label: &str) -> Self {
        match label {
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => Self::Certificate,
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => Self::PrivateKey,
            "ENCRYPTED PRIVATE KEY" => Self::EncryptedKey,
            "PUBLIC KEY" | "RSA PUBLIC KEY" => Self::PublicKey,
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => Self::Request,
            "X509 CRL" => Self::Crl,
            "PKCS7" | "CMS" => Self::Pkcs7,
            label if label.contains("SSH") => Self::Ssh,
            _ => Self::Unknown,
        }
    }

    /// What octets are that have no PEM armour.
    pub fn of_binary(octets: &[u8]) -> Self {
        if octets.iter().all(u8::is_ascii_whitespace) {
            return Self::Empty;
        }
        if octets.starts_with(b"ssh-") {
            return Self::Ssh;
        }
        if X509Certificate::from_der(octets).is_ok() {
            return Self::CertificateDer;
        }
        if X509CertificationRequest::from_der(octets).is_ok() {
            return Self::RequestDer;
        }
        if CertificateRevocationList::from_der(octets).is_ok() {
            return Self::CrlDer;
        }
        match sequence(octets) {
            // PFX ::= SEQUENCE { version INTEGER (3), ... (RFC 7292 4)
            Some([2, 1, 3, ..]) => Self::Pkcs12,
            // PKCS #8 and PKCS #1 begin with version 0, PKCS #8v2 and SEC 1 with version 1.
            Some([2, 1, 0 | 1, ..]) => Self::KeyDer,
            // ContentInfo ::= SEQUENCE { contentType OBJECT IDENTIFIER (1.2.840.113549.1.7...), ... (RFC 5652 3)
            Some([6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, ..]) => Self::Pkcs7,
            _ => Self::Unknown,
        }
    }

    /// What to do with it, where another kind should be.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::EncryptedKey => ": take the passphrase off with `openssl pkey -in FILE -out NEW`",
            Self::CertificateDer => ": convert it with `openssl x509 -inform DER -in FILE -out NEW`",
            Self::RequestDer => ": convert it with `openssl req -inform DER -in FILE -out NEW`",
            Self::CrlDer => ": convert it with `openssl crl -inform DER -in FILE -out NEW`",
            Self::KeyDer => ": convert it with `openssl pkey -inform DER -in FILE -out NEW`",
            Self::Pkcs12 => {
                ": take it apart with `openssl pkcs12 -in FILE -nodes -nokeys -out CERTIFICATE` and `-nodes -nocerts -out KEY`"
            }
            Self::Pkcs7 => ": take it apart with `openssl pkcs7 -print_certs -in FILE -out NEW`",
            Self::Request => ": a CA makes a certificate of it",
            _ => "",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "a certificate",
            Self::PrivateKey => "a private key",
            Self::EncryptedKey => "an encrypted private key",
            Self::PublicKey => "a public key",
            Self::Request => "a certificate signing request",
            Self::Crl => "a revocation list",
            Self::Pkcs7 => "a PKCS #7 bundle",
            Self::Pkcs12 => "a PKCS #12 bundle (.p12, .pfx)",
            Self::CertificateDer => "a certificate in binary (DER)",
            Self::RequestDer => "a certificate signing request in binary (DER)",
            Self::CrlDer => "a revocation list in binary (DER)",
            Self::KeyDer => "a key in binary (DER)",
            Self::Ssh => "an SSH key",
            Self::Empty => "nothing",
            Self::Unknown => "something that is not PEM",
        })
    }
}

/// What is inside of a DER SEQUENCE that spans all of the octets.
fn sequence(octets: &[u8]) -> Option<&[u8]> {
    let (header, length) = match *octets.get(..6)? {
        [0x30, short, ..] if short < 0x80 => (2, usize::from(short)),
        [0x30, 0x81, a, ..] => (3, usize::from(a)),
        [0x30, 0x82, a, b, ..] => (4, usize::from(u16::from_be_bytes([a, b]))),
        [0x30, 0x83, a, b, c, ..] => (5, u32::from_be_bytes([0, a, b, c]) as usize),
        // Indefinite length, as some PKCS #12 files have.
        [0x30, 0x80, ..] => return octets.get(2..),
        _ => return None,
    };
    (octets.len() == header + length).then(|| &octets[header..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_kinds_are_told_apart() {
        assert_eq!(Kind::of_binary(b" \n"), Kind::Empty);
        assert_eq!(Kind::of_binary(b"hello world"), Kind::Unknown);
        assert_eq!(Kind::of_binary(b"ssh-ed25519 AAAA"), Kind::Ssh);
        assert_eq!(Kind::of_binary(&[0x30, 4, 2, 1, 3, 0]), Kind::Pkcs12);
        assert_eq!(Kind::of_binary(&[0x30, 4, 2, 1, 0, 0]), Kind::KeyDer);
        assert_eq!(Kind::of_binary(&[0x30, 5, 2, 1, 0, 0]), Kind::Unknown, "cut off");
    }
}
