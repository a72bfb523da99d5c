//! The library's direct AES-GCM functions.

use std::mem::MaybeUninit;
use std::sync::OnceLock;

use subtle::ConstantTimeEq;

use crate::{NONCE_LEN, TAG_LEN};

#[allow(
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    missing_docs,
    dead_code,
    clippy::all
)]
mod sys {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

use sys::{gcm_context_data, gcm_key_data};

type Prepare = unsafe extern "C" fn(*const std::ffi::c_void, *mut gcm_key_data);
type Crypt = unsafe extern "C" fn(
    *const gcm_key_data,
    *mut gcm_context_data,
    *mut u8,
    *const u8,
    u64,
    *const u8,
    *const u8,
    u64,
    *mut u8,
    u64,
);

/// The functions of one key size, for this CPU.
#[derive(Clone, Copy)]
struct Functions {
    prepare: Prepare,
    encrypt: Crypt,
    decrypt: Crypt,
}

/// One AES-128 or AES-256 key, expanded.
pub struct Gcm {
    key: Box<gcm_key_data>,
    functions: Functions,
}

// SAFETY: the key is plain data, and the functions have no state but their arguments.
unsafe impl Send for Gcm {}

impl Gcm {
    /// Expands a key of 16 or 32 octets. `None` for other sizes, and when the library does not run on this CPU.
    pub fn new(key: &[u8]) -> Option<Self> {
        let [short, long] = (*functions())?;
        let functions = match key.len() {
            16 => short,
            32 => long,
            _ => return None,
        };
        let mut expanded = Box::new(MaybeUninit::<gcm_key_data>::zeroed());
        // SAFETY: `key` has the size that the function reads, `expanded` the size and alignment of what it fills.
        unsafe { (functions.prepare)(key.as_ptr().cast(), expanded.as_mut_ptr()) };
        // SAFETY: plain octets, all of them filled.
        Some(Self { key: unsafe { Box::from_raw(Box::into_raw(expanded).cast()) }, functions })
    }

    /// Encrypts `text` in place and returns the tag. Never to be called twice with one nonce.
    #[inline]
    pub fn seal(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        let mut tag = [0; TAG_LEN];
        self.crypt(self.functions.encrypt, nonce, aad, text, &mut tag);
        tag
    }

    /// Decrypts `text` in place. False when `tag` is not its tag; what is in `text` then is not to be used.
    #[inline]
    pub fn open(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], text: &mut [u8], tag: &[u8; TAG_LEN]) -> bool {
        let mut expected = [0; TAG_LEN];
        self.crypt(self.functions.decrypt, nonce, aad, text, &mut expected);
        expected.ct_eq(tag).into()
    }

    #[inline]
    fn crypt(
        &self,
        function: Crypt,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &mut [u8; TAG_LEN],
    ) {
        let mut context = MaybeUninit::<gcm_context_data>::uninit();
        let (start, len) = (text.as_mut_ptr(), text.len() as u64);
        // SAFETY: the key is expanded; the context is room for the function's own use; input and output are the same `len`
        // octets, which the library allows; nonce (12 octets), `aad` and `tag` have the lengths that are passed.
        unsafe {
            function(
                &raw const *self.key,
                context.as_mut_ptr(),
                start,
                start,
                len,
                nonce.as_ptr(),
                aad.as_ptr(),
                aad.len() as u64,
                tag.as_mut_ptr(),
                TAG_LEN as u64,
            );
        }
    }
}

impl Drop for Gcm {
    fn drop(&mut self) {
        let octets: *mut u8 = (&raw mut *self.key).cast();
        for at in 0..size_of::<gcm_key_data>() {
            // SAFETY: within the key, which we own; volatile, so that it is done although nobody reads it.
            unsafe { octets.add(at).write_volatile(0) };
        }
    }
}

/// The functions for 16 and for 32 octets of key, chosen for this CPU once.
fn functions() -> &'static Option<[Functions; 2]> {
    static FUNCTIONS: OnceLock<Option<[Functions; 2]>> = OnceLock::new();
    FUNCTIONS.get_or_init(|| {
        // SAFETY: makes a manager with default flags, or null.
        let manager = unsafe { sys::alloc_mb_mgr(0) };
        if manager.is_null() {
            return None;
        }
        // SAFETY: a manager of ours, which is never freed: the functions are the library's own.
        let manager = unsafe {
            sys::init_mb_mgr_auto(manager, std::ptr::null_mut());
            &*manager
        };
        Some([
            Functions {
                prepare: manager.gcm128_pre?,
                encrypt: manager.gcm128_enc?,
                decrypt: manager.gcm128_dec?,
            },
            Functions {
                prepare: manager.gcm256_pre?,
                encrypt: manager.gcm256_enc?,
                decrypt: manager.gcm256_dec?,
            },
        ])
    })
}
