//! Deploying an archive instead of pushing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Deployed, ok};
use crate::harness::{Settings, docker, run};

impl Deployed {
    /// What is committed, as an archive outside the work tree.
    fn archive(&self, name: &str, words: &[&str]) -> std::path::PathBuf {
        let path = self.server.data().join(name);
        let out = format!("--output={}", path.display());
        self.repo.git(&[&["archive", &out], words, &["HEAD"]].concat()).expect("git archive");
        path
    }

    fn uploads_left(&self) -> usize {
        fs::read_dir(self.server.data().join("uploads")).expect("the folder of uploads").count()
    }
}

#[test]
fn an_archive_is_built_and_deployed_by_file_by_ssh_and_by_http() {
    let app = Deployed::new();
    app.repo.answer("by file");
    let zip = app.archive("shop.zip", &["--prefix=shop-1.0/"]);
    let said = app.verb(&["builds:create", &zip.display().to_string()]);
    assert!(said.contains("Node.js") && said.contains("Release v2"), "{said}");
    assert_eq!(app.server.get("hello"), ok("by file"));
    assert_eq!(app.repo.remote_tip("main").as_ref(), Some(&app.head), "no branch moves");
    let refs = app.repo.git(&["ls-remote", &app.server.remote("hello")]).expect("ls-remote");
    assert!(!refs.contains("hythe"), "what keeps the objects is nobody's to see: {refs}");

    app.repo.answer("by ssh");
    let tar = app.archive("shop.tar.gz", &[]);
    let stdin = File::open(&tar).expect("the archive");
    let said = app.server.ssh_with(&app.server.owner, &["builds:create", "-a", "hello"], stdin).expect("ssh");
    assert!(said.contains("Release v3"), "{said}");
    assert_eq!(app.server.get("hello"), ok("by ssh"));

    app.repo.answer("by http");
    let tar = app.archive("shop.tar", &[]);
    let url = format!("{}/v1/apps/hello/environments/production/builds", app.server.api());
    let token = format!("Authorization: Bearer {}", app.token());
    let data = format!("@{}", tar.display());
    let taken = app.server.curl(&["-H", &token, "-H", "Content-Type: application/x-tar", "--data-binary", &data, &url]);
    assert_eq!(taken.status, 202, "{taken:?}");
    let form = app.server.curl(&["-H", &token, "--data-binary", &data, &url]);
    assert_eq!(form.status, 415, "a form of a foreign page: {form:?}");
    let output = app.verb(&["builds:output"]);
    assert!(output.contains("Release v4"), "{output}");
    assert_eq!(app.server.get("hello"), ok("by http"));

    let releases = app.verb(&["releases"]);
    assert_eq!(releases.matches("upload ").count(), 3, "{releases}");
    assert_eq!(app.uploads_left(), 0);
    // A push goes on from where the branch was.
    app.repo.answer("by push");
    app.repo.push("main").accepted();
    assert_eq!(app.server.get("hello"), ok("by push"));
    app.nothing_left();
}

#[test]
fn an_archive_that_cannot_be_taken_says_why_and_changes_nothing() {
    let app = Deployed::with(Settings::with("HYTHE_GIT_MAX_PACK_BYTES", 200_000));
    let path = |name: &str| app.server.data().join(name).display().to_string();
    fs::write(path("page"), "<html>not found</html>").expect("file");
    fs::write(path("large"), vec![7; 300_000]).expect("file");
    let mut evil = tar::Builder::new(File::create(path("evil.tar")).expect("file"));
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..9].copy_from_slice(b"../escape");
    header.set_mode(0o644);
    header.set_size(1);
    header.set_cksum();
    evil.append(&header, b"x".as_slice()).expect("entry");
    evil.into_inner().expect("archive");
    let whole = app.archive("whole.zip", &[]);
    let half = fs::read(&whole).expect("archive");
    fs::write(path("half.zip"), &half[..half.len() / 2]).expect("file");
    for (file, texts) in [
        ("page", &["the archive cannot be read"][..]),
        ("large", &["larger than 200000 bytes", "git.max_pack_bytes"]),
        ("evil.tar", &["\"../escape\" leads out of the archive"]),
        ("half.zip", &["the archive cannot be read"]),
        ("absent", &["absent cannot be read"]),
    ] {
        let said = app.server.cli(&app.server.owner, &["builds:create", &path(file), "-a", "hello"]);
        assert!(!said.ok, "{file}: {said:?}");
        for text in texts {
            assert!(said.err.contains(text), "{file}: {text:?} is not in {said:?}");
        }
    }
    let words = ["builds:create", "/etc/passwd", "-a", "hello"];
    let far = app.server.ssh(&app.server.owner, &words);
    assert!(!far.ok && far.err.contains("standard input"), "a file of the server is not a caller's: {far:?}");
    let nothing = run(app.server.hythe(&app.server.owner).args(["builds:create", "-a", "hello"]));
    assert!(!nothing.ok && nothing.err.contains("the archive has no files"), "{nothing:?}");
    assert_eq!(app.uploads_left(), 0);
    app.untouched();
}

#[test]
fn an_archive_of_what_does_not_build_fails_as_a_push_of_it() {
    let app = Deployed::new();
    app.repo.commit(&[("package.json", "{ \"name\": \"x\", }")]);
    let tar = app.archive("bad.tar", &[]);
    let said = app.server.cli(&app.server.owner, &["builds:create", &tar.display().to_string(), "-a", "hello"]);
    assert!(!said.ok && said.out.contains("JSON") && said.err.contains("the build failed"), "{said:?}");
    app.untouched();
}

/// The image that `docker save` wrote, as an OCI layout with its layers packed by zstd.
fn lay_out(saved: &Path, layout: &Path) {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(File::open(saved).expect("the archive")).entries().expect("entries") {
        let mut entry = entry.expect("an entry");
        let (path, mut bytes) = (entry.path().expect("a path").display().to_string(), Vec::new());
        entry.read_to_end(&mut bytes).expect("content");
        files.insert(path, bytes);
    }
    let list: Value = serde_json::from_slice(&files["manifest.json"]).expect("JSON");
    let mut out = tar::Builder::new(File::create(layout).expect("a file"));
    let mut add = |path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        out.append_data(&mut header, path, bytes).expect("an entry");
    };
    let mut blob = |kind: &str, bytes: &[u8]| {
        let hex = hex::encode(Sha256::digest(bytes));
        add(&format!("blobs/sha256/{hex}"), bytes);
        json!({"mediaType": kind, "digest": format!("sha256:{hex}"), "size": bytes.len()})
    };
    let layers = list[0]["Layers"].as_array().expect("layers").iter().map(|path| {
        let layer = &files[path.as_str().expect("a path")];
        blob("application/vnd.oci.image.layer.v1.tar+zstd", &zstd::encode_all(layer.as_slice(), 3).expect("packed"))
    });
    let layers: Vec<Value> = layers.collect();
    let config = blob("application/vnd.oci.image.config.v1+json", &files[list[0]["Config"].as_str().expect("a path")]);
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers});
    let manifest = blob(kind, manifest.to_string().as_bytes());
    add("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#);
    add("index.json", json!({"schemaVersion": 2, "manifests": [manifest]}).to_string().as_bytes());
    out.into_inner().expect("the layout");
}

/// As `docker save` writes it, and as an OCI layout whose layers are packed with zstd: each is told from an app's files by itself.
#[test]
fn an_image_in_an_archive_is_deployed_as_it_is() {
    let app = Deployed::new();
    let id = docker(&["inspect", "--format", "{{.Image}}", &app.server.replicas("hello")[0]]).expect("docker inspect");
    let saved = app.server.home().join("saved.tar");
    let tag = format!("{}-saved:1", app.server.prefix);
    docker(&["tag", id.trim(), &tag]).expect("tag");
    let written = docker(&["save", "-o", &saved.display().to_string(), &tag]);
    docker(&["rmi", &tag]).expect("rmi");
    written.expect("docker save");
    app.repo.answer("by push");
    app.repo.push("main").accepted();
    assert_eq!(app.server.get("hello"), ok("by push"));

    let said = app.verb(&["builds:create", &saved.display().to_string()]);
    assert!(said.contains("Image uploaded (sha256:") && said.contains("Release v3"), "{said}");
    assert_eq!(app.server.get("hello"), ok("first"));
    assert!(app.verb(&["releases"]).contains("image uploaded sha256:"));

    app.repo.answer("by push again");
    app.repo.push("main").accepted();
    let layout = app.server.home().join("layout.tar");
    lay_out(&saved, &layout);
    let stdin = File::open(&layout).expect("the archive");
    let said = app.server.ssh_with(&app.server.owner, &["builds:create", "-a", "hello"], stdin).expect("ssh");
    assert!(said.contains("Image uploaded (sha256:") && said.contains("Release v5"), "{said}");
    assert_eq!(app.server.get("hello"), ok("first"));

    // A layout of which a byte was changed on its way.
    let mut bytes = fs::read(&layout).expect("the layout");
    let at = bytes.windows(4).position(|part| part == [0x28, 0xb5, 0x2f, 0xfd]).expect("a layer");
    bytes[at + 100] ^= 1;
    fs::write(&layout, bytes).expect("the layout");
    let said = app.server.cli(&app.server.owner, &["builds:create", &layout.display().to_string(), "-a", "hello"]);
    assert!(!said.ok && said.err.contains("has the digest sha256:"), "{said:?}");
    assert_eq!(app.server.get("hello"), ok("first"));
    assert_eq!(app.uploads_left(), 0);
}
