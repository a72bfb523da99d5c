//! AES-GCM by the engines that there are: `ring`, which is always there, and Intel's ipsec-mb, which is faster for short
//! records on x86-64. Both give the same octets; tests hold them against each other and against NIST's vectors.

use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey};

use crate::{Cipher, TAG_LEN};

/// Octets of a nonce.
pub(crate) const NONCE_LEN: usize = 12;

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The `ring` crate.
    Ring,
    /// `libipsec-mb`, on x86-64.
    IpsecMb,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Ring, Self::IpsecMb];

    /// The name in the configuration and the console.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::IpsecMb => "ipsec-mb",
        }
    }

    /// Whether it works on this machine.
    pub fn is_available(self) -> bool {
        self == Self::Ring || ipsec_mb::Gcm::new(&[0; 16]).is_some()
    }
}

/// What seals and opens a lane's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suite {
    /// The cipher, agreed on with the peer.
    pub cipher: Cipher,
    /// Who computes it, a matter of this machine alone. Where it is not available, `ring` does.
    pub engine: Engine,
}

/// AES-GCM with one key.
pub(crate) trait Aead: Send {
    /// Encrypts `text` in place and returns the tag; `None` when it is longer than AES-GCM allows.
    fn seal(&self, nonce: [u8; NONCE_LEN], aad: &[u8], text: &mut [u8]) -> Option<[u8; TAG_LEN]>;

    /// Decrypts `text`, ciphertext and tag, in place. False when it is not authentic.
    fn open(&self, nonce: [u8; NONCE_LEN], aad: &[u8], text: &mut [u8]) -> bool;
}

/// The key of the engine that a suite names. `key` has the cipher's length.
pub(crate) fn new(suite: Suite, key: &[u8]) -> Box<dyn Aead> {
    if let (Engine::IpsecMb, Some(gcm)) = (suite.engine, ipsec_mb::Gcm::new(key)) {
        return Box::new(gcm);
    }
    let key = UnboundKey::new(suite.cipher.algorithm(), key).expect("the key has the cipher's length");
    Box::new(LessSafeKey::new(key))
}

impl Aead for LessSafeKey {
    #[inline]
    fn seal(&self, nonce: [u8; NONCE_LEN], aad: &[u8], text: &mut [u8]) -> Option<[u8; TAG_LEN]> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.seal_in_place_separate_tag(nonce, Aad::from(aad), text).ok()?;
        tag.as_ref().try_into().ok()
    }

    #[inline]
    fn open(&self, nonce: [u8; NONCE_LEN], aad: &[u8], text: &mut [u8]) -> bool {
        self.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), text).is_ok()
    }
}

impl Aead for ipsec_mb::Gcm {
    #[inline]
    fn seal(&self, nonce: [u8; NONCE_LEN], aad: &[u8], text: &mut [u8]) -> Option<[u8; TAG_LEN]> {
        Some(ipsec_mb::Gcm::seal(self, &nonce, aad, text))
    }

    #[inline]
    fn open(&self, nonce: [u8; NONCE_LEN], aad: &[u8], text: &mut [u8]) -> bool {
        let Some((text, tag)) = text.split_last_chunk_mut() else { return false };
        ipsec_mb::Gcm::open(self, &nonce, aad, text, tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// What one engine seals the other opens, octet for octet, and neither takes what was changed.
        #[test]
        fn engines_agree(key: [u8; 32], nonce: [u8; 12], aad in prop::collection::vec(any::<u8>(), 0..24), text in prop::collection::vec(any::<u8>(), 0..3000), flip: prop::sample::Index) {
            for cipher in [Cipher::Aes128Gcm, Cipher::Aes256Gcm] {
                let key = &key[..cipher.algorithm().key_len()];
                let [ring, other] = Engine::ALL.map(|engine| new(Suite { cipher, engine }, key));
                let sealed = |engine: &dyn Aead| {
                    let mut sealed = text.clone();
                    let tag = engine.seal(nonce, &aad, &mut sealed).expect("short enough");
                    sealed.extend(tag);
                    sealed
                };
                let record = sealed(&*ring);
                prop_assert!(record == sealed(&*other));
                for engine in [&ring, &other] {
                    let mut opened = record.clone();
                    prop_assert!(engine.open(nonce, &aad, &mut opened));
                    prop_assert!(opened[..text.len()] == text[..]);
                    let mut changed = record.clone();
                    let at = flip.index(changed.len());
                    changed[at] ^= 1;
                    prop_assert!(!engine.open(nonce, &aad, &mut changed));
                }
            }
        }
    }

    #[test]
    fn too_short_is_not_authentic() {
        for engine in Engine::ALL {
            let key = new(Suite { cipher: Cipher::Aes128Gcm, engine }, &[0; 16]);
            assert!(!key.open([0; 12], &[], &mut [0; TAG_LEN - 1]), "{engine:?}");
        }
    }
}
