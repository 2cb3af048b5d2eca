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
