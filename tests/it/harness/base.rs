//! Base images for tests: bootstrapped once per target directory, then given to each server as hard
//! links of immutable blobs. A lock file keeps test processes from making it twice. Images that buildpacks prepare are
//! large and of use to few tests: who needs them brings them, and whoever made some passes them on.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::server::{RealServer, Settings};
use super::{Repo, scratch};

/// What a server's data directory shares with another: content-addressed blobs, and recipes that name them.
const SHARED: [&str; 2] = ["blobs", "base"];

/// Fills a fresh data directory.
pub fn give(dir: &Path) {
    static CACHE: OnceLock<PathBuf> = OnceLock::new();
    share(CACHE.get_or_init(make), dir);
}

fn make() -> PathBuf {
    let cache = scratch().join("base-cache");
    let lock = File::create(scratch().join("base-cache.lock")).expect("lock file");
    lock.lock().expect("lock");
    // Another binary may follow other recipes; what they have in common is not made again.
    let mark = cache.join("made-by");
    let binary = fs::metadata(env!("CARGO_BIN_EXE_hythe")).expect("the binary");
    let binary = format!("{} {:?}", binary.len(), binary.modified().expect("time"));
    if fs::read_to_string(&mark).is_ok_and(|made_by| made_by == binary) {
        return cache;
    }
    let mut server = RealServer::prepared(Settings { bare: true, ..Settings::default() });
    share(&cache, server.data());
    server.boot();
    server.set_up();
    // The first push of a kind makes the layers that its buildpack puts on top of the base.
    let repo = Repo::node(&server, "warm", "first");
    let pushed = repo.push("main");
    assert!(pushed.ok, "the push that warms the base image:\n{}\n{}", pushed.text, server.log());
    server.stop();
    share(server.data(), &cache);
    fs::write(mark, binary).expect("mark");
    cache
}

fn share(from: &Path, to: &Path) {
    for part in SHARED {
        link(&from.join(part), &to.join(part));
    }
}

/// As `share`, but of the blobs only those that make up prepared images.
pub fn share_prepared(from: &Path, to: &Path) {
    let (blobs, target) = (from.join("blobs/sha256"), to.join("blobs/sha256"));
    fs::create_dir_all(&target).expect("directory");
    for name in prepared(from) {
        if !target.join(&name).exists() && blobs.join(&name).exists() {
            // Another process may have been faster.
            let linked = fs::hard_link(blobs.join(&name), target.join(&name));
            assert!(linked.is_ok() || target.join(&name).exists(), "{name}: {linked:?}");
        }
    }
    link(&from.join("base"), &to.join("base"));
}

/// Removes what no prepared image is made of, and the images that no binary of the last days has asked for.
pub fn tidy(dir: &Path) {
    const KEPT: Duration = Duration::from_secs(3 * 24 * 60 * 60);
    for recipe in fs::read_dir(dir.join("base")).into_iter().flatten() {
        let recipe = recipe.expect("entry");
        let used = recipe.metadata().and_then(|facts| facts.modified()).expect("time");
        if SystemTime::now().duration_since(used).is_ok_and(|age| age > KEPT) {
            fs::remove_file(recipe.path()).expect("an old recipe");
        }
    }
    let named = prepared(dir);
    for blob in fs::read_dir(dir.join("blobs/sha256")).into_iter().flatten() {
        let blob = blob.expect("entry");
        if !blob.file_name().to_str().is_some_and(|name| named.contains(name)) {
            fs::remove_file(blob.path()).expect("a blob");
        }
    }
}

/// The blobs of all images that recipes in `dir/base` lead to.
fn prepared(dir: &Path) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    let hex = |digest: &Value| digest.as_str().and_then(|d| d.strip_prefix("sha256:")).map(str::to_owned);
    for recipe in fs::read_dir(dir.join("base")).into_iter().flatten() {
        let Some(recipe) = json(&recipe.expect("entry").path()) else { continue };
        let Some(manifest) = hex(recipe.get("image").unwrap_or(&recipe)) else { continue };
        let Some(content) = json(&dir.join("blobs/sha256").join(&manifest)) else { continue };
        let layers = content["layers"].as_array().into_iter().flatten();
        named.extend(layers.chain([&content["config"]]).filter_map(|part| hex(&part["digest"])));
        named.insert(manifest);
    }
    named
}

fn json(path: &Path) -> Option<Value> {
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

/// Blobs never change and can share their bytes; what names them can change and is copied.
fn link(from: &Path, to: &Path) {
    let Ok(entries) = fs::read_dir(from) else { return };
    fs::create_dir_all(to).expect("directory");
    for entry in entries {
        let entry = entry.expect("entry");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().expect("type").is_dir() {
            link(&source, &target);
        } else if target.exists() {
            // Only recipes change under a name, and the newer one is right.
            if !is_blob(&source) {
                fs::copy(&source, &target).expect("copy");
            }
        } else if is_blob(&source) {
            fs::hard_link(&source, &target).or_else(|_| fs::copy(&source, &target).map(|_| ())).expect("blob");
        } else {
            fs::copy(&source, &target).expect("copy");
        }
    }
}

fn is_blob(path: &Path) -> bool {
    path.components().any(|c| c.as_os_str() == "sha256")
}
