//! Lane secrets and the keys of their phases (protocol 3).

use ring::aead;
use ring::hkdf;
use zeroize::Zeroizing;

use crate::aead::{Aead, NONCE_LEN, Suite};
use crate::{HEADER_LEN, TAG_LEN};

/// The AEAD of a lane (protocol 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// AES-128-GCM.
    Aes128Gcm,
    /// AES-256-GCM.
    Aes256Gcm,
}

impl Cipher {
    /// The number in `login` and `welcome`.
    pub fn code(self) -> u64 {
        match self {
            Self::Aes128Gcm => 1,
            Self::Aes256Gcm => 2,
        }
    }

    /// The cipher of a number; `None` for one that we do not know.
    pub fn from_code(code: u64) -> Option<Self> {
        [Self::Aes128Gcm, Self::Aes256Gcm].into_iter().find(|cipher| cipher.code() == code)
    }

    /// The name in the configuration and the console.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "aes-128-gcm",
            Self::Aes256Gcm => "aes-256-gcm",
        }
    }

    pub(crate) fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes128Gcm => &aead::AES_128_GCM,
            Self::Aes256Gcm => &aead::AES_256_GCM,
        }
    }
}

/// The secret of one phase of a lane. Wiped when dropped, never shown.
pub struct LaneSecret(Zeroizing<[u8; 32]>);

impl LaneSecret {
    /// Takes a secret, for phase 0 what the TLS exporter gave.
    pub fn new(secret: [u8; 32]) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// The secret of the following phase.
    pub(crate) fn next(&self) -> Self {
        let mut next = Zeroizing::new([0; 32]);
        self.expand_label(b"next", next.as_mut());
        Self(next)
    }

    pub(crate) fn key(&self, suite: Suite) -> Key {
        let mut key = Zeroizing::new([0; 32]);
        let key = &mut key[..suite.cipher.algorithm().key_len()];
        self.expand_label(b"key", key);
        let mut iv = [0; NONCE_LEN];
        self.expand_label(b"iv", &mut iv);
        Key::new(suite, key, iv)
    }

    /// HKDF-Expand-Label with SHA-256 and an empty context (RFC 8446 7.1).
    fn expand_label(&self, label: &[u8], out: &mut [u8]) {
        let length = (out.len() as u16).to_be_bytes();
        let label_length = [b"tls13 ".len() as u8 + label.len() as u8];
        let info: [&[u8]; 5] = [&length, &label_length, b"tls13 ", label, &[0]];
        let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, self.0.as_ref());
        prk.expand(&info, Length(out.len()))
            .and_then(|okm| okm.fill(out))
            .expect("HKDF gives up to 8160 octets");
    }
}

impl std::fmt::Debug for LaneSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LaneSecret(..)")
    }
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// The key and IV of one phase.
pub(crate) struct Key {
    aead: Box<dyn Aead>,
    iv: [u8; NONCE_LEN],
}

impl Key {
    /// `key` has the cipher's length.
    pub(crate) fn new(suite: Suite, key: &[u8], iv: [u8; NONCE_LEN]) -> Self {
        Self { aead: crate::aead::new(suite, key), iv }
    }

    /// Encrypts in place and returns the tag. Never to be called twice for one number.
    #[inline]
    pub(crate) fn seal(&self, number: u64, header: &[u8], in_out: &mut [u8]) -> Option<[u8; TAG_LEN]> {
        self.aead.seal(self.nonce(number), header, in_out)
    }

    /// Decrypts `in_out`, ciphertext and tag, in place. False when it is not authentic.
    #[inline]
    pub(crate) fn open(&self, number: u64, header: [u8; HEADER_LEN], in_out: &mut [u8]) -> bool {
        self.aead.open(self.nonce(number), &header, in_out)
    }

    /// RFC 8446 5.3: the IV xor the number, padded to the left with zeros.
    #[inline]
    fn nonce(&self, number: u64) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (octet, of_number) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
            *octet ^= of_number;
        }
        nonce
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
    }

    /// Test cases 4 and 16 of the GCM specification submitted to NIST (McGrew and Viega, appendix B).
    #[test]
    fn aes_gcm_gives_what_nist_says() {
        let half = "feffe9928665731c6d6a8f9467308308";
        let plaintext = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e\
                         2449a6b525b16aedf5aa0de657ba637b39";
        let aad = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let iv: [u8; 12] = hex("cafebabefacedbaddecaf888").try_into().expect("12 octets");
        for (cipher, key, ciphertext, tag) in [
            (
                Cipher::Aes128Gcm,
                half.to_owned(),
                "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa05\
                 1ba30b396a0aac973d58e091",
                "5bc94fbc3221a5db94fae95ae7121a47",
            ),
            (
                Cipher::Aes256Gcm,
                half.repeat(2),
                "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838\
                 c5f61e6393ba7a0abcc9f662",
                "76fc6ece0f4e1768cddf8853bb2d551b",
            ),
        ] {
            for engine in crate::Engine::ALL {
                let key = Key::new(Suite { cipher, engine }, &hex(&key), iv);
                let mut data = hex(plaintext);
                // Record number 0 leaves the IV as it is.
                let made = key.seal(0, &aad, &mut data).expect("within limits");
                assert_eq!(data, hex(ciphertext), "{cipher:?} by {engine:?}");
                assert_eq!(made.to_vec(), hex(tag), "{cipher:?} by {engine:?}");
            }
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", LaneSecret::new([7; 32]));
        assert!(!shown.contains('7'), "{shown}");
    }
}
