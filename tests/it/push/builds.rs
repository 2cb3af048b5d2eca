//! Trees that cannot be built.

use super::{Deployed, ok};
use crate::harness::{RealServer, Repo};

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
