//! The master key: 32 bytes from the environment, or from `master.key` in the data directory, made
//! once. The database keeps a check value, so that a wrong key is found at the start and not when
//! somebody's variables are needed.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::VARIABLE;
use super::seal::{self, Key};
use crate::base::error::{Error, Kind, Result};
use crate::base::secret::Secret;
use crate::state::store::{self, Store};

const FILE: &str = "master.key";
/// Setting with the check value.
const CHECK: &str = "vault.check";
const CHECKED: &[u8] = b"hythe";
const CHECK_AAD: &[u8] = b"hythe master key check\0";

pub(super) async fn open(dir: &Path, store: &Store, given: Option<Secret<String>>) -> Result<Key> {
    let check = store::settings::get(&mut store.read().await?, CHECK).await?;
    let file = dir.join(FILE);
    let (key, from) = match given {
        Some(text) => (parsed(text.reveal()).ok_or_else(|| malformed(VARIABLE))?, VARIABLE.to_owned()),
        None => (from_file(&file, check.is_some())?, file.display().to_string()),
    };
    match check {
        Some(check) => {
            let sealed = hex::decode(&check).map_err(Error::internal)?;
            seal::open(&key, CHECK_AAD, &sealed).map(|_| key).ok_or_else(|| wrong(&from))
        }
        None => {
            let check = hex::encode(seal::seal(&key, CHECK_AAD, CHECKED)?);
            let mut tx = store.begin().await?;
            store::settings::set(&mut tx, CHECK, &check).await?;
            tx.commit().await?;
            Ok(key)
        }
    }
}

/// `sealed`: the database was sealed already, so that a new key could open nothing.
fn from_file(path: &Path, sealed: bool) -> Result<Key> {
    let shown = path.display().to_string();
    match fs::read_to_string(path).map(Secret::new) {
        Ok(text) => {
            let mode = fs::metadata(path).map_err(|e| unusable(path, e))?.permissions().mode();
            if mode & 0o077 != 0 {
                let text = format!("the master key {shown} can be read by others; run: chmod 600 {shown}");
                return Err(Error::new(Kind::Conflict, text));
            }
            parsed(text.reveal()).ok_or_else(|| malformed(&shown))
        }
        Err(e) if e.kind() == ErrorKind::NotFound && sealed => Err(Error::new(
            Kind::Conflict,
            format!("the master key {shown} is missing; restore it from your backup, or set {VARIABLE}"),
        )),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let key = Key::fresh()?;
            write(path, &key).map_err(|e| unusable(path, e))?;
            Ok(key)
        }
        Err(e) => Err(unusable(path, e)),
    }
}

/// On disk before it is used: what is sealed with a lost key is lost.
fn write(path: &Path, key: &Key) -> std::io::Result<()> {
    let fresh = path.with_extension("key.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    let text = Secret::new(format!("{}\n", Secret::new(hex::encode(key.bytes())).reveal()));
    file.write_all(text.reveal().as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

fn parsed(text: &str) -> Option<Key> {
    let bytes = Secret::new(hex::decode(text.trim()).ok()?);
    Key::from_slice(bytes.reveal())
}

fn malformed(from: &str) -> Error {
    Error::new(Kind::Conflict, format!("the master key in {from} must be 64 hexadecimal digits"))
}

fn wrong(from: &str) -> Error {
    let text = format!("the master key in {from} is not the one that this database was sealed with; restore that one");
    Error::new(Kind::Conflict, text)
}

fn unusable(path: &Path, fault: std::io::Error) -> Error {
    Error::unavailable(format!("the master key {} cannot be used: {fault}", path.display()), fault)
}
