//! The server's Ed25519 host key: made once, kept for as long as the data is.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use russh::keys::{Algorithm, PrivateKey, ssh_key::LineEnding};

use crate::base::error::{Error, Result};

/// Reads the key at `path`, or makes it (mode 0600) together with `path`.pub for clients to pin.
pub fn load_or_make(path: &Path) -> Result<PrivateKey> {
    if path.exists() {
        let text = std::fs::read_to_string(path).map_err(|e| fault(path, "cannot be read", e))?;
        return PrivateKey::from_openssh(&text).map_err(|e| fault(path, "is not an OpenSSH private key", e));
    }
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).map_err(Error::internal)?;
    let text = key.to_openssh(LineEnding::LF).map_err(Error::internal)?;
    // Under another name first: a crash must not leave half a key that the next start would refuse.
    let fresh = path.with_extension("new");
    let _ = std::fs::remove_file(&fresh);
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)
    };
    write().map_err(|e| fault(path, "cannot be written", e))?;
    let public = key.public_key().to_openssh().map_err(Error::internal)?;
    std::fs::write(path.with_extension("pub"), format!("{public}\n"))
        .map_err(|e| fault(path, "cannot be written", e))?;
    Ok(key)
}

fn fault(path: &Path, what: &str, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::internal(source).said(format!("the host key {} {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_kept() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("host_key");
        let first = load_or_make(&path).expect("made");
        assert_eq!(load_or_make(&path).expect("read").public_key(), first.public_key());
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("there").permissions());
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "half a k").expect("written");
        assert!(load_or_make(&path).is_err(), "a broken key is never replaced by a new one");
    }
}
