//! The join token: one string that tells a client all that it needs of its server (docs/tasks/join-a-site.md).
//!
//! `causeway1.` and, in base64url without padding, a JSON object and the first 8 octets of the SHA-256 of version and object. A
//! letter that was lost or changed on the way is noticed before anything is written; spaces and line ends that a mail put in do
//! no harm.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::Fingerprint;

/// What a token begins with. The number is its version.
const PREFIX: &str = "causeway1.";

/// Octets of the checksum.
const CHECK: usize = 8;

/// A token is no longer than this.
const MAX_LEN: usize = 8192;

/// Most addresses of a server.
const MAX_SERVERS: usize = 16;

/// All that a client needs of its server.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Where the server is: host name or address, and TCP port; the first is tried first.
    pub servers: Vec<(String, u16)>,
    /// The fingerprints that the server's certificate may have.
    pub fingerprints: Vec<Fingerprint>,
    /// The site's name.
    pub site: String,
    /// The site's password.
    pub password: Zeroizing<String>,
    /// The segments that the site may join, as a proposal for its configuration.
    pub segments: Vec<TokenSegment>,
}

/// A segment as the server has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSegment {
    /// Its name.
    #[serde(rename = "n")]
    pub name: String,
    /// Its tunnel ID.
    #[serde(rename = "t")]
    pub tunnel_id: u16,
    /// Its MTU.
    #[serde(rename = "m")]
    pub mtu: u16,
    /// Its VLAN at the server's site, if it is one there.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
}

/// Why a token cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// It is something else.
    #[error("this is no join token: it would begin with \"{PREFIX}\"")]
    NotOne,
    /// It comes from a newer version.
    #[error("this join token is of version {0}, which this program does not know: update it")]
    Version(String),
    /// Something of it is missing or changed.
    #[error("the join token is damaged: {0}; copy the whole of it once more")]
    Damaged(&'static str),
}

/// As it stands inside a token. Keys that are not known are skipped.
#[derive(Serialize, Deserialize)]
struct Inside {
    /// Servers.
    s: Vec<(String, u16)>,
    /// Fingerprints.
    f: Vec<Fingerprint>,
    /// Site.
    n: String,
    /// Password.
    p: String,
    /// Segments.
    #[serde(default)]
    g: Vec<TokenSegment>,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut inside = Inside {
            s: self.servers.clone(),
            f: self.fingerprints.clone(),
            n: self.site.clone(),
            p: self.password.to_string(),
            g: self.segments.clone(),
        };
        let json = serde_json::to_vec(&inside).map_err(|_| fmt::Error)?;
        zeroize::Zeroize::zeroize(&mut inside.p);
        let mut octets = Zeroizing::new(json);
        let check = check(&octets);
        octets.extend_from_slice(&check);
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(&*octets))
    }
}

/// A token holds a password: it is not shown by accident.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("servers", &self.servers)
            .field("site", &self.site)
            .finish_non_exhaustive()
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text.len() > MAX_LEN {
            return Err(TokenError::Damaged("it is too long"));
        }
        let text: Zeroizing<String> = Zeroizing::new(text.chars().filter(|c| !c.is_whitespace()).collect());
        let Some(body) = text.strip_prefix(PREFIX) else {
            let version = text.strip_prefix("causeway").and_then(|rest| rest.split_once('.'));
            let version = version
                .filter(|(version, _)| !version.is_empty() && version.bytes().all(|c| c.is_ascii_digit()));
            return Err(
                version.map_or(TokenError::NotOne, |(version, _)| TokenError::Version(version.into()))
            );
        };
        let octets = URL_SAFE_NO_PAD
            .decode(body)
            .map_err(|_| TokenError::Damaged("a character is wrong or missing"))?;
        let octets = Zeroizing::new(octets);
        let split = octets.len().checked_sub(CHECK).ok_or(TokenError::Damaged("it is too short"))?;
        let (json, given) = octets.split_at(split);
        if check(json) != given {
            return Err(TokenError::Damaged("its checksum does not fit"));
        }
        let inside: Inside =
            serde_json::from_slice(json).map_err(|_| TokenError::Damaged("what is inside cannot be read"))?;
        let complete = (1..=MAX_SERVERS).contains(&inside.s.len())
            && !inside.f.is_empty()
            && !inside.n.is_empty()
            && !inside.p.is_empty();
        if !complete {
            return Err(TokenError::Damaged("something inside is missing"));
        }
        Ok(Self {
            servers: inside.s,
            fingerprints: inside.f,
            site: inside.n,
            password: Zeroizing::new(inside.p),
            segments: inside.g,
        })
    }
}

fn check(json: &[u8]) -> [u8; CHECK] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(PREFIX.as_bytes());
    context.update(json);
    let mut out = [0; CHECK];
    out.copy_from_slice(&context.finish().as_ref()[..CHECK]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token {
            servers: vec![("vpn.example.com".into(), 443), ("192.0.2.1".into(), 8443)],
            fingerprints: vec![[7; 32]],
            site: "br\u{e4}nch 1".into(),
            password: Zeroizing::new("a \"quoted\" one".into()),
            segments: vec![
                TokenSegment { name: "servers".into(), tunnel_id: 10, mtu: 1500, vlan: Some(10) },
                TokenSegment { name: "voice".into(), tunnel_id: 11, mtu: 1500, vlan: None },
            ],
        }
    }

    #[test]
    fn a_token_comes_back_as_it_was() {
        let text = token().to_string();
        assert!(text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c)), "{text}");
        assert_eq!(text.parse(), Ok(token()));
        let wrapped = format!("  {}\r\n {}\n", &text[..40], &text[40..]);
        assert_eq!(wrapped.parse(), Ok(token()));
        assert!(!format!("{:?}", token()).contains("quoted"));
    }

    #[test]
    fn every_damage_is_noticed() {
        let text = token().to_string();
        for at in PREFIX.len()..text.len() {
            let mut bad = text.clone().into_bytes();
            bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
            let bad = String::from_utf8(bad).expect("ASCII");
            assert!(matches!(bad.parse::<Token>(), Err(TokenError::Damaged(_))), "letter {at}");
            assert!(matches!(text[..at].parse::<Token>(), Err(TokenError::Damaged(_))), "cut at {at}");
        }
        assert_eq!("hello".parse::<Token>(), Err(TokenError::NotOne));
        assert_eq!("causeway2.AAAA".parse::<Token>(), Err(TokenError::Version("2".into())));
        assert_eq!("causewayx.AAAA".parse::<Token>(), Err(TokenError::NotOne));
        let text = "a".repeat(MAX_LEN + 1);
        assert_eq!(text.parse::<Token>(), Err(TokenError::Damaged("it is too long")));
    }
}
