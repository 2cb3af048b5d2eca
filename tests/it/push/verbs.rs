//! The verbs of an app that runs: by the command line and over ssh.

use super::{Deployed, ok};
use crate::harness::eventually;

#[test]
fn a_rollback_brings_the_release_before_back() {
    let app = Deployed::new();
    app.repo.answer("second");
    app.repo.push("main").accepted();
    let said = app.server.cli(&app.server.owner, &["rollback", "-a", "hello"]);
    assert!(said.ok, "{said:?}");
    assert_eq!(app.server.get("hello"), ok("first"));
    let releases = app.server.cli(&app.server.owner, &["releases", "-a", "hello"]).expect("releases");
    assert!(releases.contains("v3") && releases.contains("rollback to v1"), "{releases}");
}

#[test]
fn variables_reach_the_app_and_make_a_release() {
    let app = Deployed::new();
    let server =
        "require('http').createServer((_, r) => r.end(process.env.GREETING ?? 'none')).listen(process.env.PORT);\n";
    app.repo.commit(&[("server.js", server)]);
    app.repo.push("main").accepted();
    assert_eq!(app.server.get("hello"), ok("none"));
    let owner = &app.server.owner;
    app.server.cli(owner, &["config:set", "-a", "hello", "GREETING=well met"]).expect("config:set");
    assert_eq!(app.server.get("hello"), ok("well met"));
    let stored = std::fs::read(app.server.data().join("hythe.db")).expect("database");
    assert!(!stored.windows(8).any(|w| w == b"well met"), "variables are stored sealed");
    app.server.cli(owner, &["config:unset", "-a", "hello", "GREETING"]).expect("config:unset");
    assert_eq!(app.server.get("hello"), ok("none"));

    app.server.cli(owner, &["rollback", "v3", "-a", "hello"]).expect("rollback");
    assert_eq!(app.server.get("hello"), ok("well met"));
    let shown = app.server.cli(owner, &["config", "-a", "hello"]).expect("config");
    assert!(shown.contains("GREETING"), "a rollback is of the whole state: {shown}");
    app.repo.commit(&[("note.txt", "another commit")]);
    app.repo.push("main").accepted();
    assert_eq!(app.server.get("hello"), ok("well met"));
}

#[test]
fn the_same_verbs_work_over_ssh() {
    let app = Deployed::new();
    let owner = &app.server.owner;
    let apps = app.server.ssh(owner, &["apps"]).expect("apps");
    assert!(apps.contains("hello"), "{apps}");
    app.server.ssh(owner, &["ps:scale", "-a", "hello", "web=2"]).expect("ps:scale");
    eventually("two replicas run", || (app.server.replicas("hello").len() == 2).then_some(()));
    let unknown = app.server.ssh(owner, &["apps:info", "-a", "$(id)"]);
    assert!(!unknown.ok && !unknown.err.contains("uid="), "{unknown:?}");
    let shell = app.server.ssh(owner, &[]);
    assert!(!shell.ok && shell.err.contains("no shell"), "{shell:?}");
    app.server.ssh(owner, &["apps:destroy", "-a", "hello", "--confirm", "hello"]).expect("apps:destroy");
    eventually("nothing of the app runs", || app.server.replicas("hello").is_empty().then_some(()));
    assert_eq!(app.server.get("hello").status, 404);
    eventually("neither sandbox nor repository is kept", || {
        let repositories = std::fs::read_dir(app.server.data().join("repos")).expect("repos").count();
        (app.server.containers().is_empty() && repositories == 0).then_some(())
    });
}
