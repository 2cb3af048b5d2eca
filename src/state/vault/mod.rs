//! Envelope encryption: each scope (an organization) has a data key; data keys are stored wrapped by
//! the master key, which is never in the database. XChaCha20-Poly1305 with random nonces throughout.
//!
//! A sealed value opens only with the scope and the `aad` that it was sealed with, so that a row
//! copied elsewhere in the database does not open there. Left to others: who may ask.

mod master;
mod seal;

use std::path::Path;
use std::sync::Arc;

use crate::base::error::{Error, Result};
use crate::base::secret::Secret;
use crate::state::store::{self, Store, Tx};
use seal::Key;

/// Environment variable with the master key, 64 hexadecimal digits; without it the key is a file.
const VARIABLE: &str = "HYTHE_MASTER_KEY";

/// Cheap to clone.
#[derive(Clone)]
pub struct Vault {
    master: Arc<Key>,
}

impl Vault {
    /// `dir` is the data directory. Fails when the master key is not the one that the database was
    /// sealed with.
    pub async fn open(dir: &Path, store: &Store) -> Result<Self> {
        let given = std::env::var_os(VARIABLE).map(|text| Secret::new(text.to_string_lossy().into_owned()));
        Self::with_key(dir, store, given).await
    }

    /// As [`Vault::open`], with what the environment says as an argument.
    pub async fn with_key(dir: &Path, store: &Store, given: Option<Secret<String>>) -> Result<Self> {
        let master = Arc::new(master::open(dir, store, given).await?);
        Ok(Self { master })
    }

    pub async fn seal(&self, tx: &mut Tx, scope: &str, aad: &str, plain: &[u8]) -> Result<Vec<u8>> {
        let key = match self.data_key(tx, scope).await? {
            Some(key) => key,
            None => self.make_data_key(tx, scope).await?,
        };
        seal::seal(&key, &bound(scope, aad), plain)
    }

    /// The reverse of [`Vault::seal`] with the same `scope` and `aad`.
    pub async fn unseal(&self, tx: &mut Tx, scope: &str, aad: &str, sealed: &[u8]) -> Result<Secret<Vec<u8>>> {
        let key = self.data_key(tx, scope).await?;
        let key = key.ok_or_else(|| Error::internal(format!("the vault has no data key for {scope}")))?;
        seal::open(&key, &bound(scope, aad), sealed)
            .ok_or_else(|| Error::internal(format!("a value sealed for {scope} ({aad}) does not open: it was changed")))
    }

    async fn data_key(&self, tx: &mut Tx, scope: &str) -> Result<Option<Key>> {
        let Some(wrapped) = store::data_keys::find(tx, scope).await? else { return Ok(None) };
        let key =
            seal::open(&self.master, &wrapping(scope), &wrapped).and_then(|plain| Key::from_slice(plain.reveal()));
        key.map(Some).ok_or_else(|| Error::internal(format!("the data key of {scope} does not open: it was changed")))
    }

    async fn make_data_key(&self, tx: &mut Tx, scope: &str) -> Result<Key> {
        let key = Key::fresh()?;
        let wrapped = seal::seal(&self.master, &wrapping(scope), key.bytes())?;
        if store::data_keys::insert(tx, scope, &wrapped).await? {
            return Ok(key);
        }
        // Another transaction made one meanwhile: that one holds.
        self.data_key(tx, scope).await?.ok_or_else(|| Error::internal(format!("the data key of {scope} is gone")))
    }
}

/// Parts are parted by NUL, which no scope holds.
fn bound(scope: &str, aad: &str) -> Vec<u8> {
    [b"hythe value\0", scope.as_bytes(), b"\0", aad.as_bytes()].concat()
}

fn wrapping(scope: &str) -> Vec<u8> {
    [b"hythe data key\0", scope.as_bytes()].concat()
}

#[cfg(test)]
mod tests;
