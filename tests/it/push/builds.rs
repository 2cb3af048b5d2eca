//! What builds say: of trees that can be built, of those that cannot, and never of secrets.

use super::{Deployed, ok};
use crate::harness::{RealServer, Repo};

/// What the pusher read, without what is another each time: durations, sizes, digests, the port, patch levels of Node.js.
fn read(said: &str, server: &RealServer) -> String {
    let port = format!(":{}", server.proxy_port);
    let is_number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let units = |word: &str| ["ms", "s", "m"].iter().any(|unit| word.strip_suffix(unit).is_some_and(is_number));
    let word = |word: &str, next: Option<&&str>| {
        if word.starts_with("sha256:") {
            return "sha256:HEX…".to_owned();
        }
        if units(word) {
            return "TIME".to_owned();
        }
        if is_number(word) && (word.contains('.') || next.is_some_and(|next| next.ends_with('B'))) {
            return "N".to_owned();
        }
        word.replace(&port, ":PORT")
    };
    let mut lines = Vec::new();
    for line in said.lines().filter_map(|line| line.strip_prefix("remote: ")) {
        let line = line.trim_end();
        if line.trim_start().starts_with("took ") || line.contains("builds are before") || line.contains("Waiting") {
            continue;
        }
        let line = line.split_once(" … ").map_or(line, |(heading, _)| heading).trim_end_matches(" …");
        let words: Vec<_> = line.split(' ').collect();
        let words: Vec<_> = words.iter().enumerate().map(|(at, one)| word(one, words.get(at + 1))).collect();
        lines.push(words.join(" "));
    }
    lines.join("\n")
}

#[test]
fn a_push_says_what_it_found_what_it_made_and_where_it_serves() {
    let server = RealServer::start();
    let sample = |name: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/samples/hello-node").join(name);
        std::fs::read_to_string(path).expect("a file of the sample")
    };
    let files = ["package.json", "package-lock.json", "server.js"].map(|name| (name, sample(name)));
    let repo = Repo::with(&server, "shop", &files.each_ref().map(|(name, text)| (*name, text.as_str())));
    let said = repo.push("main").accepted();
    insta::assert_snapshot!(read(&said, &server));
}

#[test]
fn a_secret_that_a_build_prints_is_neither_pushed_back_nor_kept() {
    let app = Deployed::new();
    app.verb(&[
        "config:set",
        "API_TOKEN=tk-0123-4567",
        "DATABASE_URL=postgres://shop:pa55w0rd@db/shop",
        "MODE=production",
    ]);
    let package = |end: &str| {
        format!(
            r#"{{"name":"app","version":"1.0.0","scripts":{{"start":"node server.js",
                "build":"echo token=$API_TOKEN mode=$MODE; echo ${{DATABASE_URL#postgres://}} >&2; {end}"}}}}"#
        )
    };
    app.repo.commit(&[("package.json", &package("true"))]);
    let said = app.repo.push("main").accepted();
    app.repo.commit(&[("package.json", &package("exit 3"))]);
    let refused = app.repo.push("main").refused(&["build failed"]);
    // It ends as the build has ended.
    let kept = app.server.cli(&app.server.owner, &["builds:output", "-a", "hello"]).out;
    let logs = app.verb(&["logs", "-n", "1000"]);
    for text in [&said, &refused, &kept] {
        assert!(text.contains("token=**** mode=production") && text.contains("shop:****@db/shop"), "{text}");
    }
    for text in [&said, &refused, &kept, &logs] {
        assert!(!text.contains("tk-0123-4567") && !text.contains("pa55w0rd"), "{text}");
    }
}

#[test]
fn a_tree_that_no_buildpack_knows_says_what_is_looked_for() {
    let app = Deployed::new();
    app.repo.git(&["rm", "-rq", "."]).expect("git rm");
    app.repo.commit(&[("notes.txt", "no code here")]);
    app.repo.push("main").refused(&["package.json", "requirements.txt"]);
    app.untouched();
}

#[test]
fn a_package_json_that_is_no_json_is_named() {
    let app = Deployed::new();
    app.repo.commit(&[("package.json", "{ \"name\": \"x\", }")]);
    app.repo.push("main").refused(&["package.json", "JSON"]);
    app.untouched();
}

#[test]
fn npm_that_fails_shows_its_last_words() {
    let app = Deployed::new();
    let package = r#"{"name":"app","version":"1.0.0","scripts":{"start":"node server.js","build":"echo no such luck >&2; exit 3"}}"#;
    app.repo.commit(&[("package.json", package)]);
    app.repo.push("main").refused(&["no such luck", "build failed"]);
    app.untouched();
}

#[test]
fn a_dependency_that_does_not_exist_is_named() {
    let app = Deployed::new();
    let package = r#"{"name":"app","version":"1.0.0","scripts":{"start":"node server.js"},"dependencies":{"left-pad":"99.99.99"}}"#;
    app.repo.commit(&[("package.json", package)]);
    app.repo.push("main").refused(&["left-pad", "build failed"]);
    app.untouched();
}

#[test]
fn a_first_push_that_fails_can_be_followed_by_one_that_does_not() {
    let server = RealServer::start();
    let repo = Repo::node(&server, "late", "there");
    repo.commit(&[("package.json", "no")]);
    repo.push("main").refused(&["package.json"]);
    assert_eq!(repo.remote_tip("main"), None);
    repo.answer("there");
    repo.push("main").accepted();
    assert_eq!(server.get("late"), ok("there"));
}

#[test]
fn a_push_that_changes_nothing_builds_nothing() {
    let app = Deployed::new();
    let push = || {
        app.repo.git(&["commit", "-q", "--allow-empty", "-m", "Nothing"]).expect("git commit");
        let said = app.repo.push("main").accepted();
        assert_eq!(app.server.get("hello"), ok("first"));
        assert_eq!(app.repo.remote_tip("main"), Some(app.repo.head()));
        said.contains("its image is used again") && !said.contains("detected")
    };
    assert!(push() && push());
    app.verb(&["config:set", "A=1"]);
    assert!(!push() && push(), "a build sees the variables");
    app.verb(&["builds:cache:clear"]);
    assert!(!push() && push());
}
