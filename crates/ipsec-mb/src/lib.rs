//! AES-GCM of Intel's Multi-Buffer Crypto for IPsec library (`libipsec-mb`), which has a path of its own for each generation of
//! x86-64 and little cost per call. [`Gcm`] is safe to use: one key, sealing and opening in place.
//!
//! On other machines the crate is empty but for [`Gcm`], of which there is none.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod gcm;
#[cfg(target_arch = "x86_64")]
pub use gcm::Gcm;

/// Octets of a nonce.
pub const NONCE_LEN: usize = 12;

/// Octets of a tag.
pub const TAG_LEN: usize = 16;

/// There is no such engine on this machine.
#[cfg(not(target_arch = "x86_64"))]
pub enum Gcm {}

#[cfg(not(target_arch = "x86_64"))]
impl Gcm {
    /// None: the library is for x86-64.
    pub fn new(_key: &[u8]) -> Option<Self> {
        None
    }

    /// Never called.
    pub fn seal(&self, _nonce: &[u8; NONCE_LEN], _aad: &[u8], _text: &mut [u8]) -> [u8; TAG_LEN] {
        match *self {}
    }

    /// Never called.
    pub fn open(
        &self,
        _nonce: &[u8; NONCE_LEN],
        _aad: &[u8],
        _text: &mut [u8],
        _tag: &[u8; TAG_LEN],
    ) -> bool {
        match *self {}
    }
}
