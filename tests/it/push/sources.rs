//! Deploying an archive instead of pushing.

use std::fs::{self, File};

use super::{Deployed, ok};
use crate::harness::{Settings, run};

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

/// What `hythe setup` kept for the owner.
fn token(app: &Deployed) -> String {
    let kept = fs::read_to_string(app.server.owner.home.join("hythe/config.toml")).expect("settings");
    let line = kept.lines().find_map(|line| line.strip_prefix("token = \""));
    line.expect("a token").trim_end_matches('"').to_owned()
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
    let token = format!("Authorization: Bearer {}", token(&app));
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
