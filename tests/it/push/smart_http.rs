//! The same pushes and fetches for people behind a firewall: git over HTTP beside the API.

use std::fs;

use super::{Deployed, ok};
use crate::harness::{Journal, Repo, Said, eventually};

impl Deployed {
    /// As people reach it, through the proxy: `git` asks without the password first, and then with it.
    fn address(&self, token: &str, path: &str) -> String {
        format!("http://anybody:{token}@hythe.localhost:{}/{path}", self.server.proxy_port)
    }

    /// What a program that is no git gets.
    fn asks(&self, words: &[&str], path: &str) -> (u16, String) {
        let url = format!("{}/{path}", self.server.api());
        let user = format!("x:{}", self.token());
        let answer = self.server.curl(&[&["-u", &user], words, &[&url]].concat());
        (answer.status, answer.body)
    }
}

#[test]
fn a_push_over_http_deploys_and_a_clone_has_it() {
    let mut app = Deployed::new();
    let address = app.address(&app.token(), "hello.git");
    app.repo.over(address.clone());
    // More than git sends in one piece, so that it comes in chunks behind a request that only asks.
    app.repo.write("large", noise(3 << 20));
    app.repo.answer("second");
    let said = app.repo.push("main").accepted();
    assert!(said.contains("remote: -----> Node.js detected") && said.contains("main -> main"), "{said}");
    assert_eq!(app.server.get("hello"), ok("second"));
    assert_eq!(app.repo.remote_tip("main"), Some(app.repo.head()));
    assert!(app.repo.push("main").accepted().contains("Everything up-to-date"));
    app.nothing_left();

    for version in ["0", "1", "2"] {
        let chosen = format!("protocol.version={version}");
        let folder = format!("clone{version}");
        let said = app.repo.git(&["-c", &chosen, "clone", "-q", &address, &folder]);
        assert!(said.ok, "version {version}: {said:?}");
        assert_eq!(fs::read(app.repo.file(&folder).join("large")).expect("it is there"), noise(3 << 20));
    }
    // Many commits of which the server knows some: what is asked is long enough to be compressed, and takes several rounds.
    for number in 0..300 {
        app.repo.git(&["commit", "-q", "--allow-empty", "-m", &number.to_string()]).expect("git commit");
    }
    app.repo.push("main").accepted();
    for version in ["0", "2"] {
        let folder = app.repo.file(&format!("clone{version}")).display().to_string();
        for number in 0..200 {
            let words = ["-C", &folder, "commit", "-q", "--allow-empty", "-m", &format!("own {number}")];
            app.repo.git(&words).expect("git commit");
        }
        let chosen = format!("protocol.version={version}");
        let said = app.repo.git(&["-c", &chosen, "-C", &folder, "fetch", "-q", "origin"]);
        assert!(said.ok, "version {version}: {said:?}");
        let tip = app.repo.git(&["-C", &folder, "rev-parse", "origin/main"]).expect("git rev-parse");
        assert_eq!(tip.trim(), app.repo.head());
    }
}

#[test]
fn an_app_is_made_by_its_first_push_and_a_refused_one_changes_nothing() {
    let app = Deployed::new();
    let token = app.token();
    let mut same = Repo::node(&app.server, "hello", "broken");
    same.over(app.address(&token, "default/hello.git"));
    same.commit(&[("app.json", "{")]);
    same.push("+main").refused(&["app.json", "remote rejected"]);
    same.push("main:feature").refused(&["deploys nowhere"]);
    let options = same.git(&["push", "-o", "nonsense", &app.address(&token, "hello.git"), "+main"]);
    assert!(!options.ok && options.err.contains("nonsense"), "{options:?}");
    app.untouched();

    let mut new = Repo::node(&app.server, "other", "new");
    new.over(app.address(&token, "other.git"));
    let said = new.push("main").accepted();
    assert!(said.contains("App other created"), "{said}");
    assert_eq!(app.server.get("other"), ok("new"));
}

#[test]
fn who_may_not_is_told_so_and_what_one_may_not_see_is_not_there() {
    let app = Deployed::new();
    let stranger = app.server.newcomer("stranger");
    let theirs = app.server.ssh(&stranger, &["tokens:create", "git"]).expect("a token").trim().to_owned();
    let listed = |address: &str| -> Said { app.repo.git(&["ls-remote", address]) };
    let said = listed(&app.address("hyt_wrong", "hello.git"));
    assert!(!said.ok && said.err.contains("Authentication failed"), "{said:?}");
    let [foreign, missing] = ["default/hello", "default/nothing"].map(|path| {
        let said = listed(&app.address(&theirs, path));
        assert!(!said.ok && said.err.contains("not found"), "{said:?}");
        said.err.replace(path, "X")
    });
    assert_eq!(foreign, missing);
    let mut repo = Repo::empty(&app.server, &stranger, "hello");
    repo.commit(&[("index.html", "stolen")]);
    repo.over(app.address(&theirs, "default/hello.git"));
    repo.push("+main").refused(&["not found"]);

    // What only a program asks.
    let anonymous = app.server.curl(&[&format!("{}/hello.git/info/refs?service=git-upload-pack", app.server.api())]);
    assert_eq!(anonymous.status, 401);
    assert!(anonymous.body.contains("hythe tokens:create"), "{anonymous:?}");
    for (words, path, status, text) in [
        (&[][..], "hello.git/info/refs", 403, "smart HTTP"),
        (&[], "hello.git/info/refs?service=git-upload-archive", 403, "smart HTTP"),
        (&[], "..%2f..%2fetc/passwd/info/refs?service=git-upload-pack", 404, ""),
        (&[], "-oProxy/info/refs?service=git-receive-pack", 404, "names no app"),
        (&["-d", "0000"], "hello.git/git-upload-pack", 415, "application/x-git-upload-pack-request"),
    ] {
        let (found, said) = app.asks(words, path);
        assert!(found == status && said.contains(text), "{path}: {found} {said}");
    }
    let kind = |service: &str| format!("content-type: application/x-{service}-request");
    let (receive, upload) = (kind("git-receive-pack"), kind("git-upload-pack"));
    for (kind, data, path, status, text) in [
        (&receive, "zzzz", "hello.git/git-receive-pack", 400, "packet length"),
        (&receive, "0000", "hello.git/git-receive-pack", 200, ""),
        (&receive, "", "hello.git/git-receive-pack", 200, ""),
        (&upload, "zzzz", "hello.git/git-upload-pack", 200, "packet length"),
        (&upload, "0000", "hello.git/git-upload-pack", 200, ""),
    ] {
        let (found, said) = app.asks(&["-H", kind, "--data-binary", data], path);
        assert!(found == status && said.contains(text), "{path} {data:?}: {found} {said}");
    }
    // It says that it is compressed, and is not; it is compressed by something else.
    let (found, said) = app.asks(
        &["-H", &receive, "-H", "content-encoding: gzip", "-d", "plain text, long enough"],
        "hello.git/git-receive-pack",
    );
    assert!(found == 400 && said.contains("cannot be unpacked"), "{found} {said}");
    let (found, said) =
        app.asks(&["-H", &receive, "-H", "content-encoding: br", "-d", "x"], "hello.git/git-receive-pack");
    assert!(found == 415 && said.contains("gzip"), "{found} {said}");
    app.untouched();
}

#[test]
fn a_client_of_http_that_goes_away_changes_nothing() {
    let mut app = Deployed::new();
    app.repo.over(app.address(&app.token(), "hello.git"));
    let journal = Journal::open(app.server.data());
    let jobs = journal.jobs();
    app.repo.answer("second");
    let push = app.repo.push_in_background("main");
    eventually("the push is a job", || (journal.jobs() > jobs).then_some(()));
    push.kill();
    eventually("the new version serves", || (app.server.get("hello") == ok("second")).then_some(()));
    eventually("the branch moved", || (app.repo.remote_tip("main") == Some(app.repo.head())).then_some(()));
    app.nothing_left();
}

/// The same bytes every time, which nothing compresses.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}
