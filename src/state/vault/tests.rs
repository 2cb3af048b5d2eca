use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::base::Kind;

async fn store(dir: &Path) -> Store {
    Store::open(None, dir).await.expect("store")
}

async fn refused(dir: &Path, given: Option<&str>) -> Error {
    let store = store(dir).await;
    let given = given.map(|key| Secret::new(key.to_owned()));
    Vault::with_key(dir, &store, given).await.err().expect("refused")
}

#[tokio::test]
async fn what_was_sealed_opens_again_also_after_a_restart() {
    let dir = tempfile::tempdir().expect("directory");
    let sealed = {
        let store = store(dir.path()).await;
        let vault = Vault::with_key(dir.path(), &store, None).await.expect("vault");
        let mut tx = store.begin().await.expect("begin");
        let sealed = vault.seal(&mut tx, "org_a", "env/1", b"hunter2").await.expect("seal");
        let again = vault.seal(&mut tx, "org_a", "env/1", b"hunter2").await.expect("seal");
        tx.commit().await.expect("commit");
        assert_ne!(sealed, again, "nonces differ");
        sealed
    };
    assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
    let store = store(dir.path()).await;
    let vault = Vault::with_key(dir.path(), &store, None).await.expect("vault");
    let mut tx = store.read().await.expect("read");
    let plain = vault.unseal(&mut tx, "org_a", "env/1", &sealed).await.expect("unseal");
    assert_eq!(plain.reveal(), b"hunter2");
}

#[tokio::test]
async fn another_scope_another_place_or_a_changed_byte_do_not_open() {
    let dir = tempfile::tempdir().expect("directory");
    let store = store(dir.path()).await;
    let vault = Vault::with_key(dir.path(), &store, None).await.expect("vault");
    let mut tx = store.begin().await.expect("begin");
    let sealed = vault.seal(&mut tx, "org_a", "env/1", b"hunter2").await.expect("seal");
    vault.seal(&mut tx, "org_b", "env/1", b"").await.expect("seal");
    for (scope, aad) in [("org_b", "env/1"), ("org_a", "env/2"), ("org_c", "env/1")] {
        assert!(vault.unseal(&mut tx, scope, aad, &sealed).await.is_err(), "{scope} {aad}");
    }
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(vault.unseal(&mut tx, "org_a", "env/1", &changed).await.is_err(), "byte {at}");
        assert!(vault.unseal(&mut tx, "org_a", "env/1", &sealed[..at]).await.is_err(), "{at} bytes");
    }
    // A data key moved to another scope does not open there either.
    let wrapped = store::data_keys::find(&mut tx, "org_a").await.expect("find").expect("key");
    store::data_keys::insert(&mut tx, "org_c", &wrapped).await.expect("insert");
    assert!(vault.seal(&mut tx, "org_c", "env/1", b"x").await.is_err());
}

#[tokio::test]
async fn a_data_key_that_was_rolled_back_is_not_used_again() {
    let dir = tempfile::tempdir().expect("directory");
    let store = store(dir.path()).await;
    let vault = Vault::with_key(dir.path(), &store, None).await.expect("vault");
    let mut tx = store.begin().await.expect("begin");
    vault.seal(&mut tx, "org_a", "x", b"lost").await.expect("seal");
    drop(tx);
    let mut tx = store.begin().await.expect("begin");
    let sealed = vault.seal(&mut tx, "org_a", "x", b"kept").await.expect("seal");
    tx.commit().await.expect("commit");
    let mut tx = store.read().await.expect("read");
    assert_eq!(vault.unseal(&mut tx, "org_a", "x", &sealed).await.expect("unseal").reveal(), b"kept");
}

#[tokio::test]
async fn the_key_file_is_the_owners_only() {
    let dir = tempfile::tempdir().expect("directory");
    Vault::with_key(dir.path(), &store(dir.path()).await, None).await.expect("vault");
    let file = dir.path().join("master.key");
    assert_eq!(fs::metadata(&file).expect("file").permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("mode");
    let error = refused(dir.path(), None).await;
    assert!(error.public.contains("chmod 600"), "{error}");
}

#[tokio::test]
async fn a_wrong_missing_or_malformed_key_is_found_at_the_start() {
    let dir = tempfile::tempdir().expect("directory");
    Vault::with_key(dir.path(), &store(dir.path()).await, None).await.expect("vault");
    let file = dir.path().join("master.key");
    let good = fs::read_to_string(&file).expect("key");

    let wrong = refused(dir.path(), Some(&"ab".repeat(32))).await;
    assert_eq!(wrong.kind, Kind::Conflict);
    assert!(wrong.public.contains("HYTHE_MASTER_KEY is not the one"), "{wrong}");
    let malformed = refused(dir.path(), Some("short")).await;
    assert!(malformed.public.contains("64 hexadecimal digits"), "{malformed}");

    fs::write(&file, "").expect("write");
    assert!(refused(dir.path(), None).await.public.contains("64 hexadecimal digits"));
    fs::remove_file(&file).expect("remove");
    assert!(refused(dir.path(), None).await.public.contains("is missing"));
    assert!(!file.exists(), "no new key over a sealed database");

    let given = Some(Secret::new(good));
    Vault::with_key(dir.path(), &store(dir.path()).await, given).await.expect("the right key from elsewhere");
}
