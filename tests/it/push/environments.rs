//! Environments beside production, and promotion between them.

use super::{Deployed, ok};
use crate::harness::eventually;

const SERVER: &str = "require('http').createServer((_, r) => r.end('second, ' + (process.env.GREETING ?? 'none')))\n\
    .listen(process.env.PORT);\nprocess.on('SIGTERM', () => process.exit(0));\n";

#[test]
fn staging_has_its_own_variables_and_host_and_is_promoted_without_a_build() {
    let app = Deployed::new();
    let made = app.verb(&["envs:create", "staging"]);
    let url = format!("http://staging--hello.localhost:{}", app.server.proxy_port);
    assert!(made.contains("branch staging") && made.contains(&url), "{made}");
    app.verb(&["config:set", "GREETING=for the world"]);
    app.verb(&["config:set", "-e", "staging", "GREETING=for us"]);

    app.repo.commit(&[("server.js", SERVER), ("app.json", r#"{"formation": {"web": {"quantity": 2}}}"#)]);
    let said = app.repo.push("main:staging").accepted();
    assert!(said.contains("→ staging") && said.contains(&url), "{said}");
    assert_eq!(app.server.get("staging--hello"), ok("second, for us"));
    assert_eq!(app.server.get("hello"), ok("first"), "production is untouched");
    let listed = app.verb(&["envs"]);
    assert!(listed.contains("staging") && listed.contains("production"), "{listed}");

    let builds = app.verb(&["builds"]).lines().count();
    let images = |environment| {
        let info = app.verb(&["releases:info", "-e", environment]);
        info.lines().find(|line| line.starts_with("image")).expect("an image").to_owned()
    };
    app.verb(&["promote"]);
    assert_eq!(app.server.get("hello"), ok("second, for the world"));
    assert_eq!(app.verb(&["builds"]).lines().count(), builds, "nothing was built");
    assert_eq!(images("production"), images("staging"));
    assert!(app.verb(&["releases"]).contains("promote v1 of staging"));
    eventually("production keeps its own number", || {
        (app.server.replicas("hello").len() == 3).then_some(()) // two of staging, one of production
    });
    app.verb(&["rollback"]);
    assert_eq!(app.server.get("hello"), ok("first"));

    let owner = &app.server.owner;
    let unsure = app.server.cli(owner, &["envs:destroy", "-a", "hello", "staging"]);
    assert!(!unsure.ok && unsure.err.contains("--confirm staging"), "{unsure:?}");
    app.verb(&["envs:destroy", "staging", "--confirm", "staging"]);
    eventually("nothing of staging runs", || (app.server.replicas("hello").len() == 1).then_some(()));
    assert_eq!(app.server.get("staging--hello").status, 404);
    eventually("its branch is gone", || app.repo.remote_tip("staging").is_none().then_some(()));
    app.repo.push("main:staging").refused(&["branch staging deploys nowhere", "push to main"]);
    let production = app.server.cli(owner, &["envs:destroy", "-a", "hello", "production", "--confirm", "production"]);
    assert!(!production.ok && production.err.contains("apps:destroy"), "{production:?}");
}

#[test]
fn what_others_have_cannot_be_claimed() {
    let app = Deployed::new();
    let owner = &app.server.owner;
    for (words, text) in [
        (&["envs:create", "-a", "hello", "production"][..], "already exists"),
        (&["envs:create", "-a", "hello", "staging", "--branch", "main"], "already deploys to production"),
        (&["envs:create", "-a", "hello", "No"], "must be"),
        (&["promote", "-a", "hello"], "not found"),
        (&["promote", "-a", "hello", "--from", "production"], "cannot be promoted to itself"),
    ] {
        let said = app.server.cli(owner, words);
        assert!(!said.ok && said.err.contains(text), "{words:?}: {said:?}");
    }
    app.verb(&["envs:create", "empty"]);
    let nothing = app.server.cli(owner, &["promote", "-a", "hello", "--from", "empty"]);
    assert!(!nothing.ok && nothing.err.contains("nothing is live in empty"), "{nothing:?}");
    let outsider = app.server.newcomer("mallory");
    let unseen = app.server.cli(&outsider, &["envs:create", "-a", "hello", "mine"]);
    assert!(!unseen.ok, "{unseen:?}");
}
