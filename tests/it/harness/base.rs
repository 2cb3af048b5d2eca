//! Base images for tests: bootstrapped once per target directory, then given to each server as hard
//! links of immutable blobs. A lock file keeps test processes from making it twice.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::server::{RealServer, Settings};
use super::{Repo, scratch};

/// What a server's data directory shares with another: content-addressed blobs, and recipes that name them.
const SHARED: [&str; 2] = ["blobs", "base"];

/// Fills a fresh data directory.
pub fn give(dir: &Path) {
    static CACHE: OnceLock<PathBuf> = OnceLock::new();
    let cache = CACHE.get_or_init(make);
    for part in SHARED {
        link(&cache.join(part), &dir.join(part));
    }
}

fn make() -> PathBuf {
    let cache = scratch().join("base-cache");
    let lock = File::create(scratch().join("base-cache.lock")).expect("lock file");
    lock.lock().expect("lock");
    let ready = cache.join("ready");
    if !ready.exists() {
        let _ = fs::remove_dir_all(&cache);
        fs::create_dir_all(&cache).expect("cache directory");
        let mut server = RealServer::start_with(Settings { bare: true, ..Settings::default() });
        // The first push of a kind makes the layers that its buildpack puts on top of the base.
        let repo = Repo::node(&server, "warm", "first");
        let pushed = repo.push("main");
        assert!(pushed.ok, "the push that warms the base image:\n{}\n{}", pushed.text, server.log());
        server.stop();
        for part in SHARED {
            link(&server.data().join(part), &cache.join(part));
        }
        fs::write(ready, "").expect("mark");
    }
    cache
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
        } else if source.components().any(|c| c.as_os_str() == "sha256") {
            fs::hard_link(&source, &target).or_else(|_| fs::copy(&source, &target).map(|_| ())).expect("blob");
        } else {
            fs::copy(&source, &target).expect("copy");
        }
    }
}
