//! A tiny image from programs of this machine (coreutils, bash, perl) and the libraries that `ldd` names for
//! them: no registry is needed, and the user 1000:1000 can write to /workspace and /tmp.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use bytes::Bytes;
use hythe::base::model::ImageDigest;
use sha2::{Digest, Sha256};

const PROGRAMS: [&str; 17] = [
    "bash", "cat", "chown", "echo", "false", "id", "ls", "mkdir", "perl", "printenv", "pwd", "rm", "sleep", "stat",
    "touch", "true", "env",
];

/// A layer as an uncompressed tar.
pub struct Layer {
    pub digest: String,
    pub tar: Bytes,
}

impl Layer {
    fn of(tar: Vec<u8>) -> Self {
        Self { digest: sha256(&tar), tar: tar.into() }
    }

    /// A layer with one small file.
    pub fn with(path: &str, content: &str) -> Self {
        let mut builder = tar::Builder::new(Vec::new());
        append(&mut builder, path, 0o644, 0, content.as_bytes());
        Self::of(builder.into_inner().expect("tar"))
    }
}

/// The layer that all test images stand on.
pub fn base() -> &'static Layer {
    static BASE: OnceLock<Layer> = OnceLock::new();
    BASE.get_or_init(|| Layer::of(rootfs()))
}

/// A docker-archive of an image with these layers; those marked false are named and left out.
pub struct Archive {
    pub digest: ImageDigest,
    config: Vec<u8>,
    layers: Vec<(String, Option<Bytes>)>,
}

impl Archive {
    pub fn new(layers: &[(&Layer, bool)]) -> Self {
        let digests: Vec<_> = layers.iter().map(|(layer, _)| layer.digest.as_str()).collect();
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let config = serde_json::json!({
            "architecture": architecture,
            "os": "linux",
            "config": {"User": "1000:1000", "WorkingDir": "/workspace", "Env": ["PATH=/usr/bin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": digests},
        });
        let config = config.to_string().into_bytes();
        let digest = sha256(&config).parse().expect("a digest");
        let layers = layers.iter().map(|(layer, comes)| (layer.digest.clone(), comes.then(|| layer.tar.clone())));
        Self { digest, config, layers: layers.collect() }
    }

    pub fn tar(&self, reference: &str) -> Vec<u8> {
        let path = |digest: &str| format!("{}/layer.tar", digest.trim_start_matches("sha256:"));
        let paths: Vec<_> = self.layers.iter().map(|(digest, _)| path(digest)).collect();
        let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": [reference], "Layers": paths}]);
        let mut builder = tar::Builder::new(Vec::new());
        append(&mut builder, "config.json", 0o644, 0, &self.config);
        for (digest, tar) in &self.layers {
            if let Some(tar) = tar {
                append(&mut builder, &path(digest), 0o644, 0, tar);
            }
        }
        append(&mut builder, "manifest.json", 0o644, 0, manifest.to_string().as_bytes());
        builder.into_inner().expect("tar")
    }
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn rootfs() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let directories = [
        ("etc", 0o755, 0),
        ("home", 0o755, 0),
        ("home/app", 0o755, 1000),
        ("layers", 0o755, 1000),
        ("tmp", 0o1777, 0),
        ("usr", 0o755, 0),
        ("usr/bin", 0o755, 0),
        ("usr/lib", 0o755, 0),
        ("usr/lib64", 0o755, 0),
        ("workspace", 0o755, 1000),
    ];
    for (path, mode, owner) in directories {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_size(0);
        builder.append_data(&mut header, path, std::io::empty()).expect("append");
    }
    for (path, target) in [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        builder.append_link(&mut header, path, target).expect("append");
    }
    append(
        &mut builder,
        "etc/passwd",
        0o644,
        0,
        b"root:x:0:0::/root:/bin/bash\napp:x:1000:1000::/home/app:/bin/bash\n",
    );
    append(&mut builder, "etc/group", 0o644, 0, b"root:x:0:\napp:x:1000:\n");
    for file in files() {
        let inside = file.strip_prefix("/").expect("absolute");
        let inside = if inside.starts_with("usr") { inside.to_owned() } else { Path::new("usr").join(inside) };
        let content = std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        append(&mut builder, inside.to_str().expect("text"), 0o755, 0, &content);
    }
    builder.into_inner().expect("tar")
}

fn files() -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    for program in PROGRAMS {
        let path = Path::new("/usr/bin").join(program);
        let ldd = Command::new("ldd").arg(&path).output().expect("ldd");
        let libraries = String::from_utf8_lossy(&ldd.stdout).into_owned();
        files.extend(libraries.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
        files.insert(path);
    }
    // What a listener in perl loads, as perl itself tells.
    let loads = r#"print "$_\n" for values %INC, grep { -e } map { "$_/auto/Socket/Socket.so" } @INC"#;
    let perl = Command::new("/usr/bin/perl").args(["-MSocket", "-e", loads]).output().expect("perl");
    files.extend(String::from_utf8_lossy(&perl.stdout).lines().map(PathBuf::from));
    files
}

fn append(builder: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, owner: u64, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(owner);
    header.set_gid(owner);
    header.set_size(content.len() as u64);
    builder.append_data(&mut header, path, content).expect("append");
}
