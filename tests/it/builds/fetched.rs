//! Buildpacks from elsewhere: of git repositories, packed files and registries that want a login; and what a host may try.

use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use hythe::base::config;
use hythe::base::model::ImageDigest;
use hythe::base::secret::Secret;
use hythe::machinery::image::{BlobStore, Digest};
use serde_json::json;
use tokio::task::JoinSet;

use super::brought::{chosen, image_of};
use super::hosts::Goods;
use super::{App, Tree};
use crate::harness::{program, run};

/// One that says `word` when it builds, and has no process.
fn files(id: &str, word: &str) -> Vec<(String, String)> {
    let toml = format!("api = \"0.10\"\n[buildpack]\nid = \"acme/{id}\"\nversion = \"1.0.0\"\n");
    let launch = "printf '[[processes]]\\ntype = \"web\"\\ncommand = [\"true\"]\\n' >\"$CNB_LAYERS_DIR/launch.toml\"";
    [
        ("buildpack.toml", toml),
        ("bin/detect", "#!/bin/bash\n".to_owned()),
        ("bin/build", format!("#!/bin/bash\necho 'this is {word}'\n{launch}\n")),
    ]
    .map(|(file, text)| (file.to_owned(), text))
    .to_vec()
}

fn app(private: bool) -> App {
    if private { App::with(&config::Build::default()) } else { App::new() }
}

fn tree() -> Tree {
    Tree::empty().file("app.txt", "here\n")
}

fn git(at: &Path, words: &[&str]) -> String {
    let names = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"];
    run(program("git").current_dir(at).args(names).args(words)).expect("git").trim().to_owned()
}

/// A commit with a buildpack in `packs/tool` that says the word.
fn commit(at: &Path, word: &str) -> String {
    for (file, text) in files("tool", word) {
        let path = at.join("packs/tool").join(&file);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("directory");
        std::fs::write(&path, text).expect("file");
    }
    git(at, &["add", "."]);
    git(at, &["update-index", "--chmod=+x", "packs/tool/bin/detect", "packs/tool/bin/build"]);
    git(at, &["commit", "-q", "-m", word]);
    git(at, &["rev-parse", "HEAD"])
}

#[test]
fn a_repository_brings_a_buildpack_by_branch_tag_and_commit() {
    let home = tempfile::tempdir().expect("directory");
    git(home.path(), &["init", "-q"]);
    let first = commit(home.path(), "the first");
    git(home.path(), &["tag", "-a", "v1", "-m", "v1"]);
    // One that is made of the other, by a path beside it.
    let all = home.path().join("packs/all");
    std::fs::create_dir_all(&all).expect("directory");
    let order = "[[order]]\n[[order.group]]\nid = \"acme/tool\"\nversion = \"1.0.0\"\n";
    let toml = format!("api = \"0.10\"\n[buildpack]\nid = \"acme/all\"\nversion = \"1.0.0\"\n{order}");
    std::fs::write(all.join("buildpack.toml"), toml).expect("file");
    std::fs::write(all.join("package.toml"), "[[dependencies]]\nuri = \"../tool\"\n").expect("file");
    let second = commit(home.path(), "the second");
    let goods = Goods { repository: Some(home.path().to_owned()), ..Goods::default() };
    let mut tasks = JoinSet::new();
    let mut app = app(true);
    let host = app.await_(goods.clone().offer(&mut tasks));
    let at = |fragment: &str| format!("http://{host}/repo.git{fragment}");

    app.wishes.buildpacks = chosen(&[&at("#v1:packs/tool")]);
    let done = app.build(&tree());
    assert!(done.log.contains("this is the first"), "{}", done.log);
    assert!(done.log.contains(&format!("commit {first}\n")), "the commit of the tag: {}", done.log);
    let asked = goods.asked_for("/repo.git/git-upload-pack");
    assert_eq!(asked, 2, "where the tag stands, and the tree");
    // The same again is known by its commit.
    let done = app.build(&tree());
    assert!(done.log.contains(&format!("commit {first}, as in the last build")), "{}", done.log);
    assert_eq!(goods.asked_for("/repo.git/git-upload-pack"), asked + 1);

    for (fragment, word, commit) in [
        ("#main:packs/tool", "the second", &second),
        ("#:packs/tool", "the second", &second),
        (&format!("#{first}:packs/tool"), "the first", &first),
        ("#main:packs/all", "the second", &second),
        // What one is made of is there the next time as well.
        ("#main:packs/all", "the second", &second),
    ] {
        app.wishes.buildpacks = chosen(&[&at(fragment)]);
        let done = app.build(&tree());
        assert!(done.log.contains(&format!("this is {word}")) && done.log.contains(commit.as_str()), "{}", done.log);
    }
    for (fragment, says) in [
        ("#gone:packs/tool", "neither a branch nor a tag gone"),
        ("#main:packs/none", "there is no packs/none/buildpack.toml"),
        (&format!("#{}:packs/tool", "0".repeat(40)), "not our ref"),
    ] {
        app.wishes.buildpacks = chosen(&[&at(fragment)]);
        let (failure, _) = app.fail(&tree());
        assert!(failure.lines.join("\n").contains(says), "{fragment}: {failure:?}");
    }
    app.wishes.buildpacks = chosen(&[&format!("http://{host}/other.git")]);
    let (failure, _) = app.fail(&tree());
    assert!(failure.lines.join("\n").contains("answered 404") && !failure.temporary, "{failure:?}");
}

/// `tar` and gzip of entries; a directory, a link or a device where the mode says so.
fn tgz(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, kind, text) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o6755);
        let is_file = *kind == tar::EntryType::Regular;
        header.set_size(if is_file { text.len() as u64 } else { 0 });
        header.set_uid(0);
        header.set_gid(0);
        if !is_file && !text.is_empty() {
            header.set_link_name(text).expect("link");
        }
        header.set_cksum();
        tar.append(&header, if is_file { text.as_bytes() } else { &[] }).expect("entry");
    }
    tar.into_inner().expect("tar").finish().expect("gzip")
}

fn packed(id: &str, word: &str, below: &str) -> Vec<u8> {
    let files: Vec<_> = files(id, word).into_iter().map(|(path, text)| (format!("{below}{path}"), text)).collect();
    let entries: Vec<_> =
        files.iter().map(|(path, text)| (path.as_str(), tar::EntryType::Regular, text.as_str())).collect();
    tgz(&entries)
}

/// An image as a file: an OCI layout in a tar.
fn layout(blobs: &BlobStore, image: &ImageDigest) -> Vec<u8> {
    let digest: Digest = image.to_string().parse().expect("digest");
    let manifest = blobs.read(&digest).expect("manifest");
    let parsed: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let layers = parsed["layers"].as_array().into_iter().flatten();
    let named = layers.chain([&parsed["config"]]).map(|part| part["digest"].as_str().expect("digest").to_owned());
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let index = json!({ "schemaVersion": 2, "manifests": [
        { "mediaType": kind, "digest": digest.to_string(), "size": manifest.len() }
    ] });
    let mut tar = tar::Builder::new(Vec::new());
    let mut put = |path: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, path, content).expect("entry");
    };
    for name in named.chain([digest.to_string()]) {
        let content = blobs.read(&name.parse().expect("digest")).expect("blob");
        put(&format!("blobs/{}", name.replace(':', "/")), &content);
    }
    put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    put("index.json", index.to_string().as_bytes());
    tar.into_inner().expect("tar")
}

fn package(blobs: &BlobStore, id: &str, word: &str) -> ImageDigest {
    let files = files(id, word);
    let at: Vec<_> =
        files.iter().map(|(path, text)| (format!("cnb/buildpacks/acme_{id}/1.0.0/{path}"), text.as_str())).collect();
    let at: Vec<_> = at.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    image_of(blobs, &at, &format!("{{\"id\": \"acme/{id}\", \"version\": \"1.0.0\"}}"))
}

#[test]
fn packed_ones_come_by_address_and_out_of_the_tree() {
    let home = tempfile::tempdir().expect("directory");
    let blobs = BlobStore::open(home.path()).expect("blobs");
    let image = layout(&blobs, &package(&blobs, "cnb", "an image"));
    let plain = packed("tool", "a directory", "");
    let digest = Digest::of(&plain);
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (path, text) in files("zip", "a zip") {
        let mode = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
        zip.start_file(format!("zip-1.0/{path}"), mode).expect("entry");
        zip.write_all(text.as_bytes()).expect("content");
    }
    let zip = zip.finish().expect("zip").into_inner();
    let files = [
        ("tool.tgz".to_owned(), plain.clone()),
        ("wrapped.tar.gz".to_owned(), packed("wrapped", "wrapped", "wrapped-1.0/")),
        ("tool.zip".to_owned(), zip),
        ("tool.cnb".to_owned(), image.clone()),
    ];
    let goods = Goods { files: files.into(), ..Goods::default() };
    let mut tasks = JoinSet::new();
    let mut app = app(true);
    let host = app.await_(goods.clone().offer(&mut tasks));
    for (file, word) in [
        ("tool.tgz", "a directory"),
        ("wrapped.tar.gz", "wrapped"),
        ("tool.zip", "a zip"),
        ("tool.cnb", "an image"),
        (&format!("tool.tgz#{digest}"), "a directory"),
    ] {
        app.wishes.buildpacks = chosen(&[&format!("http://{host}/{file}")]);
        let done = app.build(&tree());
        assert!(done.log.contains(&format!("this is {word}")) && done.log.contains("       sha256:"), "{}", done.log);
    }
    // The one that was pinned is known.
    let asked = goods.asked_for("/tool.tgz");
    let done = app.build(&tree());
    assert!(done.log.contains("this is a directory"), "{}", done.log);
    assert_eq!(goods.asked_for("/tool.tgz"), asked);
    app.wishes.buildpacks = chosen(&[&format!("http://{host}/tool.tgz#sha256:{}", "0".repeat(64))]);
    let (failure, _) = app.fail(&tree());
    assert!(failure.lines.join("\n").contains(&format!("gives now is {digest}")), "{failure:?}");

    for (path, content, word) in [("packs/tool.tgz", plain, "a directory"), ("packs/tool.cnb", image, "an image")] {
        app.wishes.buildpacks = chosen(&[&format!("./{path}")]);
        let done = app.build(&tree().bytes(path, &content));
        assert!(done.log.contains(&format!("this is {word}")), "{}", done.log);
    }
    app.wishes.buildpacks = chosen(&["./packs/none.tgz"]);
    let (failure, _) = app.fail(&tree());
    assert!(failure.lines.join("\n").contains("there is no packs/none.tgz"), "{failure:?}");
}

#[test]
fn hostile_files_and_hosts_are_told_what_is_wrong() {
    use tar::EntryType::{Char, Directory, Link, Regular, Symlink};
    let toml = ("buildpack.toml", Regular, "api = \"0.10\"\n[buildpack]\nid = \"acme/tool\"\nversion = \"1.0.0\"\n");
    let many: Vec<_> = (0..=200_000).map(|number| format!("d/{number}")).collect();
    let many: Vec<_> = many.iter().map(|path| (path.as_str(), Directory, "")).collect();
    // It says that it is 600 MB long, and is not.
    let mut sparse = tar::Header::new_ustar();
    sparse.set_path("large").expect("path");
    sparse.set_size(600 << 20);
    sparse.set_mode(0o644);
    sparse.set_cksum();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(sparse.as_bytes()).expect("header");
    let cases = [
        ("up.tgz", tgz(&[toml, ("../../x", Regular, "x")]), "leads out of the archive"),
        ("root.tgz", tgz(&[toml, ("/etc/x", Regular, "x")]), "leads out of the archive"),
        ("device.tgz", tgz(&[toml, ("null", Char, "")]), "is a device or a pipe"),
        ("hard.tgz", tgz(&[toml, ("x", Link, "../../etc/passwd")]), "leads out of the archive"),
        ("link.tgz", tgz(&[toml, ("x", Symlink, "../../etc/passwd")]), "../../etc/passwd"),
        ("many.tgz", tgz(&many), "more than 200000 entries"),
        ("large.tgz", gzip.finish().expect("gzip"), "a file may have"),
        ("page.tgz", b"<html>not here</html>".to_vec(), "cannot be read"),
        ("empty.tgz", tgz(&[]), "no files"),
        ("other.tgz", tgz(&[("readme", Regular, "x"), ("b", Regular, "")]), "there is no buildpack.toml"),
        ("half.tgz", packed("tool", "x", "")[..60].to_vec(), "cannot be read"),
    ];
    let files = cases.iter().map(|(name, content, _)| ((*name).to_owned(), content.clone())).collect();
    let mut tasks = JoinSet::new();
    let mut app = App::with(&config::Build { timeout_seconds: 60, ..config::Build::default() });
    let host = app.await_(Goods { files, ..Goods::default() }.offer(&mut tasks));
    let refused = |app: &mut App, at: &str, says: &str| {
        app.wishes.buildpacks = chosen(&[at]);
        let (failure, _) = app.fail(&tree());
        let text = failure.lines.join("\n");
        assert!(text.contains(says) && failure.reason.starts_with("build failed: "), "{at}: {text}");
    };
    for (name, _, says) in &cases {
        refused(&mut app, &format!("http://{host}/{name}"), says);
    }
    refused(&mut app, &format!("http://{host}/none.tgz"), "answered 404");
    refused(&mut app, &format!("http://{host}/away.tgz"), "not an address of the public internet");
    refused(&mut app, "http://127.0.0.1:1/x.tgz", "does not give it");
    app.builder = app.lab.builder_with(&config::Build { timeout_seconds: 3, ..config::Build::default() });
    refused(&mut app, &format!("http://{host}/endless.tgz"), "3 s");

    // Set-id bits do not come along.
    let mut app = self::app(true);
    let build = "#!/bin/bash\nstat -c 'mode %a of %U' \"$0\"\n\
                 printf '[[processes]]\\ntype = \"web\"\\ncommand = [\"true\"]\\n' >\"$CNB_LAYERS_DIR/launch.toml\"\n";
    let set = tgz(&[toml, ("bin/detect", Regular, "#!/bin/bash\n"), ("bin/build", Regular, build)]);
    app.wishes.buildpacks = chosen(&["./tool.tgz"]);
    let done = app.build(&tree().bytes("tool.tgz", &set));
    assert!(done.log.contains("mode 755 of root"), "{}", done.log);

    // Without the operator's leave, no private address at all.
    let mut app = self::app(false);
    for at in [
        format!("http://{host}/tool.tgz"),
        format!("http://{host}/repo.git"),
        format!("http://localhost:{}/repo.git", host.rsplit(':').next().expect("port")),
        "http://[::1]/x.tgz".to_owned(),
        "http://169.254.169.254/x.git".to_owned(),
        "http://0177.0.0.1/x.git".to_owned(),
        format!("docker://{host}/acme/pack:1"),
    ] {
        refused(&mut app, &at, "outbound.private");
    }
}

#[test]
fn credentials_are_named_and_never_told() {
    let home = tempfile::tempdir().expect("directory");
    git(home.path(), &["init", "-q"]);
    commit(home.path(), "for friends");
    let blobs_home = tempfile::tempdir().expect("directory");
    let blobs = BlobStore::open(blobs_home.path()).expect("blobs");
    let image = package(&blobs, "image", "an image for friends");
    let goods = Goods {
        repository: Some(home.path().to_owned()),
        files: [("tool.tgz".to_owned(), packed("packed", "packed for friends", ""))].into(),
        image: Some((blobs, image)),
        // ann:hunter2
        authorization: Some("Basic YW5uOmh1bnRlcjI=".to_owned()),
        ..Goods::default()
    };
    let mut tasks = JoinSet::new();
    let mut app = app(true);
    let host = app.await_(goods.offer(&mut tasks));
    app.variables.insert("WHO".into(), Secret::new("ann".into()));
    app.variables.insert("WORD".into(), Secret::new("hunter2".into()));
    for (at, word) in [
        (format!("http://$WHO:$WORD@{host}/repo.git#main:packs/tool"), "for friends"),
        (format!("http://$WHO:$WORD@{host}/tool.tgz"), "packed for friends"),
        (format!("docker://$WHO:$WORD@{host}/acme/pack:1"), "an image for friends"),
    ] {
        app.wishes.buildpacks = chosen(&[&at]);
        let done = app.build(&tree());
        assert!(done.log.contains(&format!("this is {word}")) && !done.log.contains("hunter2"), "{}", done.log);
        let done = app.build(&tree());
        assert!(done.log.contains(&format!("this is {word}")), "{}", done.log);

        app.wishes.buildpacks = chosen(&[&at.replace("$WHO:$WORD", "$WHO:$OTHER")]);
        let (failure, _) = app.fail(&tree());
        assert!(failure.lines.join("\n").contains("hythe config:set OTHER="), "{failure:?}");
        app.wishes.buildpacks = chosen(&[&at.replace("$WHO:$WORD@", "")]);
        let (failure, _) = app.fail(&tree());
        let text = failure.lines.join("\n");
        assert!(text.contains("names of the variables that hold them") && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn the_tools_that_such_buildpacks_call_are_there() {
    let names = "curl git jq wget unzip zip xz bzip2 make gcc g++ pkg-config openssl rsync file tar gzip perl";
    let mut app = app(true);
    app.wishes.buildpacks = chosen(&["./look"]);
    let launch = "printf '[[processes]]\\ntype = \"web\"\\ncommand = [\"true\"]\\n' >\"$CNB_LAYERS_DIR/launch.toml\"";
    let build = format!(
        "#!/bin/bash\nfor name in {names}; do type -P $name >/dev/null || echo \"no $name\"; done\n{launch}\necho looked\n"
    );
    let mut all = tree();
    for (path, text) in files("look", "x") {
        let text = if path == "bin/build" { build.clone() } else { text };
        all = all.program(&format!("look/{path}"), &text);
    }
    let done = app.build(&all);
    assert!(done.log.contains("looked") && !done.log.contains("       no "), "{}", done.log);
}
