//! Which app, which ref, who: refused before anything is built.

use super::{Deployed, ok};
use crate::harness::{RealServer, Repo, Settings};

#[test]
fn an_unknown_app_says_how_to_make_it() {
    let server = RealServer::start_with(Settings::with("HYTHE_GIT_CREATE_ON_PUSH", false));
    let repo = Repo::node(&server, "nowhere", "x");
    repo.push("main").refused(&["nowhere", "not found", "hythe apps:create nowhere"]);
    assert!(server.containers().iter().all(|name| !name.contains("nowhere")), "{:?}", server.containers());
}

#[test]
fn an_address_that_names_no_app_says_how_one_reads() {
    let server = RealServer::start();
    let repo = Repo::node(&server, "hello", "x");
    for path in ["../../etc/passwd", "a/b/c.git", "Hello.git", "-oProxyCommand=id.git", "%2e%2e.git"] {
        let address = format!("ssh://git@localhost:{}/{path}", server.ssh_port);
        repo.push_to(&address, "main").refused(&["names no app"]);
    }
    let address = format!("ssh://git@localhost:{}/$(id).git", server.ssh_port);
    repo.push_to(&address, "main").refused(&["names no app"]);
}

#[test]
fn a_foreign_app_answers_like_one_that_does_not_exist() {
    let app = Deployed::new();
    let stranger = app.server.newcomer("stranger");
    let repo = Repo::empty(&app.server, &stranger, "default/hello");
    repo.commit(&[("index.html", "stolen")]);
    let foreign = repo.push("main").refused(&["not found"]);
    let missing = Repo::empty(&app.server, &stranger, "default/nothing");
    missing.commit(&[("index.html", "stolen")]);
    let missing = missing.push("main").refused(&["not found"]);
    assert_eq!(foreign.replace("default/hello", "X"), missing.replace("default/nothing", "X"));
    let fetched = repo.git(&["ls-remote", &app.server.remote("default/hello")]);
    assert!(!fetched.ok && fetched.err.contains("not found"), "{fetched:?}");
    app.untouched();
}

#[test]
fn a_key_that_nobody_has_is_not_let_in() {
    let server = RealServer::start();
    let nobody = crate::harness::Persona::new(server.home(), "nobody");
    let repo = Repo::empty(&server, &nobody, "hello");
    repo.commit(&[("index.html", "x")]);
    repo.push("main").refused(&["Permission denied (publickey)"]);
}

#[test]
fn only_branches_are_deployed() {
    let app = Deployed::new();
    app.repo.answer("second");
    app.repo.git(&["tag", "v1"]).expect("git tag");
    app.repo.push("v1").refused(&["v1", "only branches are deployed", "push to main"]);
    app.repo.push("HEAD:refs/notes/x").refused(&["only branches are deployed"]);
    app.untouched();
}

#[test]
fn a_branch_without_an_environment_says_which_has_one() {
    let app = Deployed::new();
    app.repo.answer("second");
    app.repo.push("main:feature").refused(&["feature", "deploys nowhere", "main"]);
    app.untouched();
}

#[test]
fn of_two_branches_at_once_the_deployed_one_is_deployed() {
    let app = Deployed::new();
    app.repo.answer("second");
    let said = app.repo.push("main main:other").refused(&["other", "deploys nowhere"]);
    assert!(said.contains("main -> main"), "{said}");
    assert_eq!(app.server.get("hello"), ok("second"));
    assert_eq!(app.repo.remote_tip("other"), None);
    assert_eq!(app.repo.remote_tip("main"), Some(app.repo.head()));
    app.nothing_left();
}

#[test]
fn two_branches_atomically_are_refused_together() {
    let app = Deployed::new();
    app.repo.answer("second");
    app.repo.push("--atomic main main:other").refused(&["other", "atomic"]);
    app.untouched();
}

#[test]
fn a_deployed_branch_cannot_be_deleted() {
    let app = Deployed::new();
    app.repo.push(":main").refused(&["deleting", "apps:destroy"]);
    app.untouched();
}

#[test]
fn an_empty_repository_pushes_nothing() {
    let app = Deployed::new();
    let repo = Repo::empty(&app.server, &app.server.owner, "hello");
    // git itself has nothing to send.
    repo.push("main").refused(&["main"]);
    app.repo.push("main").accepted();
    app.untouched();
}

#[test]
fn a_commit_without_files_has_nothing_to_build() {
    let app = Deployed::new();
    app.repo.git(&["rm", "-rq", "."]).expect("git rm");
    app.repo.commit(&[]);
    app.repo.push("main").refused(&["remote rejected"]);
    app.untouched();
}

#[test]
fn a_forced_update_goes_back_and_a_plain_one_does_not() {
    let app = Deployed::new();
    let first = app.repo.head();
    app.repo.answer("second");
    app.repo.push("main").accepted();
    app.repo.git(&["reset", "-q", "--hard", &first]).expect("git reset");
    app.repo.push("main").refused(&["non-fast-forward"]);
    assert_eq!(app.server.get("hello"), ok("second"));
    app.repo.push("--force main").accepted();
    assert_eq!(app.server.get("hello"), ok("first"));
    assert_eq!(app.repo.remote_tip("main"), Some(first));
    app.nothing_left();
}
