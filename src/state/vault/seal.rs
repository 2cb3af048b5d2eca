//! The form of a sealed value: one byte of version, 24 of nonce, then ciphertext with its tag.

use chacha20poly1305::aead::{Aead, Generate, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use zeroize::Zeroize;

use crate::base::error::{Error, Result};
use crate::base::secret::Secret;

const VERSION: u8 = 1;
const NONCE: usize = 24;

pub(super) struct Key(Secret<[u8; 32]>);

impl Key {
    pub(super) fn fresh() -> Result<Self> {
        let mut random = chacha20poly1305::Key::try_generate().map_err(|e| Error::internal(e.to_string()))?;
        let key = Self::from_slice(&random);
        random.as_mut_slice().zeroize();
        key.ok_or_else(|| Error::internal("a key of another length"))
    }

    pub(super) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(Secret::new(bytes)))
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        self.0.reveal()
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.0.reveal().into())
    }
}

pub(super) fn seal(key: &Key, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
    let nonce = XNonce::try_generate().map_err(|e| Error::internal(e.to_string()))?;
    let payload = Payload { msg: plain, aad };
    let sealed = key.cipher().encrypt(&nonce, payload).map_err(|e| Error::internal(e.to_string()))?;
    Ok([&[VERSION], nonce.as_slice(), &sealed].concat())
}

/// None: another key, another `aad`, or not what was sealed. The cipher does not tell which.
pub(super) fn open(key: &Key, aad: &[u8], sealed: &[u8]) -> Option<Secret<Vec<u8>>> {
    let (&[VERSION], rest) = sealed.split_first_chunk::<1>()? else { return None };
    let (nonce, msg) = rest.split_first_chunk::<NONCE>()?;
    key.cipher().decrypt(nonce.into(), Payload { msg, aad }).ok().map(Secret::new)
}
