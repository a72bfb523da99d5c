//! SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677), bound to the TLS connection (RFC 9266).
//!
//! Own code over `ring`: see `docs/decisions/0004-own-scram.md`.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::Random;

/// The GS2 header: channel binding of type `tls-exporter`, no authorization identity (RFC 5802 7).
const GS2_HEADER: &str = "p=tls-exporter,,";

/// Label of the exporter that gives the binding data (RFC 9266 2).
pub const BINDING_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// Octets of binding data.
pub const BINDING_LEN: usize = 32;

/// Fewest iterations that are taken (RFC 7677 4).
const MIN_ITERATIONS: u32 = 4096;

/// Most iterations that a client does for a server: about a third of a second.
const MAX_ITERATIONS: u32 = 1_000_000;

/// Iterations of new verifiers.
const DEFAULT_ITERATIONS: u32 = 100_000;

type Hash = [u8; 32];

/// What a server knows of a password: enough to check it, not enough to use it.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    stored_key: Hash,
    server_key: Zeroizing<Hash>,
}

/// Why a login failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A message that does not follow the grammar, or not the exchange.
    #[error("the SCRAM exchange is malformed")]
    Malformed,
    /// The other side wants to bind to something else, or to nothing.
    #[error("the login is not bound to this TLS connection: somebody may stand in between")]
    Binding,
    /// The proof is wrong.
    #[error("the password is wrong")]
    Proof,
    /// The server did not prove that it knows the verifier.
    #[error("the server does not know the password: it is not the server it claims to be")]
    ServerSignature,
    /// The password has characters that SASLprep forbids (RFC 4013).
    #[error("the password has characters that are not allowed")]
    Password,
    /// The server asks for more work than is reasonable, or less than is safe.
    #[error("the server's iteration count is out of range (4,096 to 1,000,000)")]
    Iterations,
}

/// A text that is no verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a verifier as `causeway passwd` prints it (SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey)")]
pub struct NoVerifier;

impl Verifier {
    /// Makes a verifier for `password` with a new salt.
    pub fn new(password: &str, random: &mut dyn Random) -> Result<Self, Error> {
        let mut salt = vec![0; 16];
        random.fill(&mut salt);
        let iterations = NonZeroU32::new(DEFAULT_ITERATIONS).ok_or(Error::Iterations)?;
        let salted = salted_password(password, &salt, iterations)?;
        Ok(Self {
            iterations,
            salt,
            stored_key: sha256(&hmac_sha256(&salted[..], b"Client Key")[..]),
            server_key: Zeroizing::new(hmac_sha256(&salted[..], b"Server Key")),
        })
    }

    /// The verifier that an unknown site seems to have: always the same for one name, and satisfied by nothing.
    pub(crate) fn for_nobody(name: &str, secret: &Hash, like: Option<&Self>) -> Self {
        let default = NonZeroU32::new(DEFAULT_ITERATIONS).unwrap_or(NonZeroU32::MIN);
        Self {
            iterations: like.map_or(default, |verifier| verifier.iterations),
            salt: hmac_sha256(secret, &[b"salt", name.as_bytes()].concat())[..16].to_vec(),
            stored_key: hmac_sha256(secret, &[b"key", name.as_bytes()].concat()),
            server_key: Zeroizing::new([0; 32]),
        }
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b64 = |bytes: &[u8]| BASE64.encode(bytes);
        write!(
            f,
            "SCRAM-SHA-256${}:{}${}:{}",
            self.iterations,
            b64(&self.salt),
            b64(&self.stored_key),
            b64(&self.server_key[..])
        )
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(..)")
    }
}

impl FromStr for Verifier {
    type Err = NoVerifier;

    fn from_str(text: &str) -> Result<Self, NoVerifier> {
        let parse = || {
            let rest = text.strip_prefix("SCRAM-SHA-256$")?;
            let (parameters, keys) = rest.split_once('$')?;
            let (iterations, salt) = parameters.split_once(':')?;
            let (stored, server) = keys.split_once(':')?;
            let iterations: NonZeroU32 = iterations.parse().ok()?;
            let hash = |text: &str| -> Option<Hash> { BASE64.decode(text).ok()?.try_into().ok() };
            (MIN_ITERATIONS..=MAX_ITERATIONS).contains(&iterations.get()).then_some(())?;
            Some(Self {
                iterations,
                salt: BASE64.decode(salt).ok().filter(|salt| !salt.is_empty())?,
                stored_key: hash(stored)?,
                server_key: Zeroizing::new(hash(server)?),
            })
        };
        parse().ok_or(NoVerifier)
    }
}

/// A password after its salt and iterations, kept so that a renewal need not compute it again.
#[derive(Default)]
pub struct SaltedCache(Option<(Vec<u8>, NonZeroU32, Zeroizing<Hash>)>);

impl fmt::Debug for SaltedCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SaltedCache(..)")
    }
}

/// The client's side of one exchange.
#[derive(Debug)]
pub struct ClientScram {
    header: String,
    binding: Vec<u8>,
    first_bare: String,
    nonce: String,
    server_signature: Option<Hash>,
}

impl ClientScram {
    /// Starts an exchange for `user` on the connection with this binding data.
    pub fn new(user: &str, binding: [u8; BINDING_LEN], random: &mut dyn Random) -> Self {
        Self::with(GS2_HEADER, user, binding.to_vec(), fresh_nonce(random))
    }

    fn with(header: &str, user: &str, binding: Vec<u8>, nonce: String) -> Self {
        let first_bare = format!("n={},r={nonce}", user.replace('=', "=3D").replace(',', "=2C"));
        Self { header: header.into(), binding, first_bare, nonce, server_signature: None }
    }

    /// The client-first-message.
    pub fn first(&self) -> Vec<u8> {
        format!("{}{}", self.header, self.first_bare).into_bytes()
    }

    /// The client-final-message in answer to the server-first-message.
    pub fn respond(
        &mut self,
        challenge: &[u8],
        password: &str,
        cache: &mut SaltedCache,
    ) -> Result<Vec<u8>, Error> {
        let challenge = std::str::from_utf8(challenge).map_err(|_| Error::Malformed)?;
        let mut parts = challenge.split(',');
        let nonce = attribute(parts.next(), "r=")?;
        let salt = BASE64.decode(attribute(parts.next(), "s=")?).map_err(|_| Error::Malformed)?;
        let iterations: NonZeroU32 = attribute(parts.next(), "i=")?.parse().map_err(|_| Error::Malformed)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(Error::Malformed);
        }
        if !(MIN_ITERATIONS..=MAX_ITERATIONS).contains(&iterations.get()) {
            return Err(Error::Iterations);
        }
        let salted = match cache {
            SaltedCache(Some((s, i, salted))) if *s == salt && *i == iterations => salted.clone(),
            SaltedCache(slot) => {
                let salted = salted_password(password, &salt, iterations)?;
                *slot = Some((salt, iterations, salted.clone()));
                salted
            }
        };
        let without_proof =
            format!("c={},r={nonce}", BASE64.encode(binding_input(&self.header, &self.binding)));
        let auth = format!("{},{challenge},{without_proof}", self.first_bare);
        let client_key = Zeroizing::new(hmac_sha256(&salted[..], b"Client Key"));
        let signature = hmac_sha256(&sha256(&client_key[..]), auth.as_bytes());
        let server_key = Zeroizing::new(hmac_sha256(&salted[..], b"Server Key"));
        self.server_signature = Some(hmac_sha256(&server_key[..], auth.as_bytes()));
        Ok(format!("{without_proof},p={}", BASE64.encode(xor(&client_key, &signature))).into_bytes())
    }

    /// Checks the server-final-message.
    pub fn verify(&self, last: &[u8]) -> Result<(), Error> {
        let last = std::str::from_utf8(last).map_err(|_| Error::Malformed)?;
        let signature =
            BASE64.decode(attribute(last.split(',').next(), "v=")?).map_err(|_| Error::Malformed)?;
        let expected = self.server_signature.ok_or(Error::Malformed)?;
        if bool::from(expected[..].ct_eq(&signature)) { Ok(()) } else { Err(Error::ServerSignature) }
    }
}

/// The server's side of one exchange, after the client-first-message.
#[derive(Debug)]
pub struct ServerScram {
    header: String,
    binding: Vec<u8>,
    verifier: Verifier,
    first_bare: String,
    nonce: String,
    challenge: String,
}

/// The user name of a client-first-message, and its part behind the GS2 header.
pub fn parse_first(first: &[u8]) -> Result<(String, String), Error> {
    parse_first_with(GS2_HEADER, first)
}

fn parse_first_with(header: &str, first: &[u8]) -> Result<(String, String), Error> {
    let first = std::str::from_utf8(first).map_err(|_| Error::Malformed)?;
    let bare = first.strip_prefix(header).ok_or(Error::Binding)?;
    let name = attribute(bare.split(',').next(), "n=")?;
    // RFC 5802 5.1: any "=" that is not followed by "2C" or "3D" is an error.
    if name.replace("=2C", "").replace("=3D", "").contains('=') || name.is_empty() {
        return Err(Error::Malformed);
    }
    Ok((name.replace("=2C", ",").replace("=3D", "="), bare.into()))
}

impl ServerScram {
    /// Goes on from a client-first-message without its GS2 header, on the connection with this binding data.
    pub fn new(
        first_bare: &str,
        verifier: Verifier,
        binding: [u8; BINDING_LEN],
        random: &mut dyn Random,
    ) -> Result<Self, Error> {
        Self::with(GS2_HEADER, first_bare, verifier, binding.to_vec(), &fresh_nonce(random))
    }

    fn with(
        header: &str,
        first_bare: &str,
        verifier: Verifier,
        binding: Vec<u8>,
        own_nonce: &str,
    ) -> Result<Self, Error> {
        let theirs = attribute(first_bare.split(',').nth(1), "r=")?;
        let printable = theirs.bytes().all(|octet| (0x21..=0x7e).contains(&octet) && octet != b',');
        if theirs.is_empty() || !printable {
            return Err(Error::Malformed);
        }
        let nonce = format!("{theirs}{own_nonce}");
        let challenge = format!("r={nonce},s={},i={}", BASE64.encode(&verifier.salt), verifier.iterations);
        Ok(Self { header: header.into(), binding, verifier, first_bare: first_bare.into(), nonce, challenge })
    }

    /// The server-first-message.
    pub fn challenge(&self) -> Vec<u8> {
        self.challenge.clone().into_bytes()
    }

    /// Checks the client-final-message; returns the server-final-message.
    pub fn verify(&self, response: &[u8]) -> Result<Vec<u8>, Error> {
        let response = std::str::from_utf8(response).map_err(|_| Error::Malformed)?;
        let (without_proof, proof) = response.rsplit_once(",p=").ok_or(Error::Malformed)?;
        let mut parts = without_proof.split(',');
        let binding = BASE64.decode(attribute(parts.next(), "c=")?).map_err(|_| Error::Malformed)?;
        if binding != binding_input(&self.header, &self.binding) {
            return Err(Error::Binding);
        }
        if attribute(parts.next(), "r=")? != self.nonce {
            return Err(Error::Malformed);
        }
        let auth = format!("{},{},{without_proof}", self.first_bare, self.challenge);
        let proof: Hash =
            BASE64.decode(proof).ok().and_then(|proof| proof.try_into().ok()).ok_or(Error::Malformed)?;
        let signature = hmac_sha256(&self.verifier.stored_key, auth.as_bytes());
        let client_key = Zeroizing::new(xor(&proof, &signature));
        if !bool::from(sha256(&client_key[..]).ct_eq(&self.verifier.stored_key)) {
            return Err(Error::Proof);
        }
        let signature = hmac_sha256(&self.verifier.server_key[..], auth.as_bytes());
        Ok(format!("v={}", BASE64.encode(signature)).into_bytes())
    }
}

/// RFC 5802 7: the GS2 header and the binding data.
fn binding_input(header: &str, binding: &[u8]) -> Vec<u8> {
    [header.as_bytes(), binding].concat()
}

fn attribute<'a>(part: Option<&'a str>, name: &str) -> Result<&'a str, Error> {
    part.and_then(|part| part.strip_prefix(name)).ok_or(Error::Malformed)
}

fn fresh_nonce(random: &mut dyn Random) -> String {
    let mut octets = [0; 18];
    random.fill(&mut octets);
    BASE64.encode(octets)
}

fn salted_password(password: &str, salt: &[u8], iterations: NonZeroU32) -> Result<Zeroizing<Hash>, Error> {
    let prepared = stringprep::saslprep(password).map_err(|_| Error::Password)?;
    let mut salted = Zeroizing::new([0; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, prepared.as_bytes(), &mut salted[..]);
    Ok(salted)
}

fn hmac_sha256(key: &[u8], data: &[u8]) -> Hash {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data);
    let mut out = [0; 32];
    out.copy_from_slice(tag.as_ref());
    out
}

fn sha256(data: &[u8]) -> Hash {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    out
}

fn xor(a: &Hash, b: &Hash) -> Hash {
    std::array::from_fn(|at| a[at] ^ b[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(u8);

    impl Random for Counting {
        fn fill(&mut self, out: &mut [u8]) {
            for octet in out {
                self.0 = self.0.wrapping_add(1);
                *octet = self.0;
            }
        }
    }

    fn verifier(password: &str, salt: &str) -> Verifier {
        let iterations = NonZeroU32::new(4096).expect("not 0");
        let salt = BASE64.decode(salt).expect("base64");
        let salted = salted_password(password, &salt, iterations).expect("allowed");
        Verifier {
            iterations,
            salt,
            stored_key: sha256(&hmac_sha256(&salted[..], b"Client Key")),
            server_key: Zeroizing::new(hmac_sha256(&salted[..], b"Server Key")),
        }
    }

    /// The example of RFC 7677 3, which has no channel binding.
    #[test]
    fn the_exchange_of_rfc_7677() {
        let mut client = ClientScram::with("n,,", "user", vec![], "rOprNGfwEbeRWgbNEkqO".into());
        assert_eq!(client.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (name, bare) = parse_first_with("n,,", &client.first()).expect("well-formed");
        assert_eq!(name, "user");
        let server = ServerScram::with(
            "n,,",
            &bare,
            verifier("pencil", "W22ZaJ0SNY7soEsUEjb6gQ=="),
            vec![],
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        )
        .expect("well-formed");
        assert_eq!(
            server.challenge(),
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let response =
            client.respond(&server.challenge(), "pencil", &mut SaltedCache::default()).expect("well-formed");
        assert_eq!(
            String::from_utf8_lossy(&response),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let last = server.verify(&response).expect("right");
        assert_eq!(last, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(client.verify(&last), Ok(()));
    }

    fn exchange(password: &str, client_binding: u8, server_binding: u8) -> Result<(), Error> {
        let mut random = Counting(0);
        let verifier = Verifier::new("pass wörd", &mut random).expect("allowed");
        let mut client = ClientScram::new("a,b=c", [client_binding; 32], &mut random);
        let (name, bare) = parse_first(&client.first())?;
        assert_eq!(name, "a,b=c");
        let server = ServerScram::new(&bare, verifier, [server_binding; 32], &mut random)?;
        let response = client.respond(&server.challenge(), password, &mut SaltedCache::default())?;
        client.verify(&server.verify(&response)?)
    }

    #[test]
    fn only_the_right_password_on_the_same_connection_gets_in() {
        assert_eq!(exchange("pass wörd", 1, 1), Ok(()));
        assert_eq!(exchange("pass wo\u{308}rd", 1, 1), Ok(()), "SASLprep normalises");
        assert_eq!(exchange("wrong", 1, 1), Err(Error::Proof));
        assert_eq!(exchange("pass wörd", 1, 2), Err(Error::Binding));
    }

    #[test]
    fn a_client_that_does_not_bind_is_refused() {
        assert_eq!(parse_first(b"n,,n=user,r=abc"), Err(Error::Binding));
        assert_eq!(parse_first(b"y,,n=user,r=abc"), Err(Error::Binding));
        assert_eq!(parse_first(b"p=tls-unique,,n=user,r=abc"), Err(Error::Binding));
    }

    #[test]
    fn verifiers_round_trip_and_are_not_shown() {
        let verifier = verifier("pencil", "W22ZaJ0SNY7soEsUEjb6gQ==");
        let text = verifier.to_string();
        assert_eq!(text.parse::<Verifier>(), Ok(verifier.clone()));
        assert_eq!(format!("{verifier:?}"), "Verifier(..)");
        for bad in ["", "SCRAM-SHA-256$4096:$a:b", &text[..text.len() - 4], &text.replace("4096", "12")] {
            assert_eq!(bad.parse::<Verifier>(), Err(NoVerifier), "{bad}");
        }
    }

    #[test]
    fn nobody_looks_like_somebody_and_stays_the_same() {
        let (one, again) =
            (Verifier::for_nobody("x", &[1; 32], None), Verifier::for_nobody("x", &[1; 32], None));
        assert!(one == again && one != Verifier::for_nobody("y", &[1; 32], None));
        assert_eq!(one.salt.len(), 16);
    }
}
