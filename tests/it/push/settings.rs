//! Releases as the whole state: their number of replicas, what differs between two, the way back, restarts.

use std::collections::BTreeSet;

use super::{Deployed, ok};
use crate::harness::{docker, eventually};

/// Ids of the containers that run the app.
pub fn ids(app: &Deployed) -> BTreeSet<String> {
    let names = app.server.replicas("hello");
    names.iter().map(|name| docker(&["inspect", "-f", "{{.Id}}", name]).out.trim().to_owned()).collect()
}

impl Deployed {
    /// A verb about the app, as its owner; what it printed.
    #[track_caller]
    pub fn verb(&self, words: &[&str]) -> String {
        let words = [words, &["-a", "hello"]].concat();
        let said = self.server.cli(&self.server.owner, &words);
        assert!(said.ok, "{words:?}: {said:?}");
        said.out
    }
}

#[test]
fn scaling_keeps_what_runs_makes_a_release_and_is_rolled_back() {
    let app = Deployed::new();
    let before = ids(&app);
    app.verb(&["ps:scale", "web=3"]);
    eventually("three replicas run", || (ids(&app).len() == 3).then_some(()));
    assert!(ids(&app).is_superset(&before), "the one that ran runs on");
    let releases = app.verb(&["releases"]);
    assert!(releases.contains("v2") && releases.contains("scale web=3"), "{releases}");
    let diff = app.verb(&["releases:diff", "v1", "v2"]);
    assert!(diff.contains("formation  web: 1 → 3") && !diff.contains("image"), "{diff}");

    app.verb(&["config:set", "TOKEN=hunter2", "COLOUR=blue"]);
    app.verb(&["config:set", "TOKEN=correct horse"]);
    app.verb(&["config:unset", "COLOUR"]);
    assert!(ids(&app).len() >= 3, "new variables do not change the number");
    for json in [false, true] {
        let words: &[&str] =
            if json { &["releases:diff", "v3", "v5", "--json"] } else { &["releases:diff", "v3", "v5"] };
        let diff = app.verb(words);
        assert!(diff.contains("TOKEN") && diff.contains("COLOUR"), "{diff}");
        assert!(!diff.contains("hunter2") && !diff.contains("horse") && !diff.contains("blue"), "{diff}");
    }
    let said = app.verb(&["releases:diff", "v3", "v5"]);
    assert!(said.contains("TOKEN changed") && said.contains("COLOUR removed"), "{said}");
    assert!(app.verb(&["releases:diff", "v5"]).contains("no difference"), "v5 is the one that shall be live");

    app.verb(&["rollback", "v1"]);
    eventually("the number is that of v1", || (ids(&app).len() == 1).then_some(()));
    assert_eq!(app.server.get("hello"), ok("first"));
    let info = app.verb(&["releases:info"]);
    assert!(info.contains("rollback to v1"), "{info}");
    app.verb(&["rollback", "v2"]);
    eventually("the number is that of v2", || (ids(&app).len() == 3).then_some(()));
    assert!(app.verb(&["releases:info"]).contains("web=3"));
}

#[test]
fn a_rollback_without_a_number_goes_behind_the_rollout_not_behind_the_scaling() {
    let app = Deployed::new();
    app.repo.answer("second");
    app.repo.push("main").accepted();
    app.verb(&["ps:scale", "web=2"]);
    app.verb(&["rollback"]);
    assert_eq!(app.server.get("hello"), ok("first"));
    assert!(app.verb(&["releases"]).contains("rollback to v1"));
}

#[test]
fn a_restart_after_a_failed_push_is_of_the_release_that_serves() {
    let app = Deployed::new();
    app.repo.commit(&[("server.js", "console.error('no such luck'); process.exit(7);\n")]);
    let said = app.repo.push("main").refused(&["web exited with 7 before it was ready", "no such luck"]);
    assert!(said.contains("deploy failed"), "{said}");
    let before = ids(&app);
    app.verb(&["ps:restart"]);
    eventually("another replica serves", || {
        let now = ids(&app);
        (now.len() == 1 && now.is_disjoint(&before)).then_some(())
    });
    assert_eq!(app.server.get("hello"), ok("first"));
    assert!(app.verb(&["ps"]).contains("web.1 v1 running"), "{}", app.verb(&["ps"]));
    app.verb(&["ps:scale", "web=2"]);
    eventually("and it can be scaled", || (ids(&app).len() == 2).then_some(()));
    assert_eq!(app.server.get("hello"), ok("first"));
}

#[test]
fn who_listens_elsewhere_is_told_where() {
    let app = Deployed::with(crate::harness::Settings::with("HYTHE_RUNTIME_READY_SECONDS", 4));
    app.repo.commit(&[("server.js", "require('http').createServer((_, r) => r.end()).listen(3000);\n")]);
    app.repo.push("main").refused(&["It listens on port 3000", "the variable PORT (here 8080)"]);
    let server = "require('http').createServer((_, r) => r.end()).listen(process.env.PORT, '127.0.0.1');\n";
    app.repo.commit(&[("server.js", server)]);
    app.repo.push("main").refused(&["8080 (for itself only)", "listen on 0.0.0.0"]);
    app.untouched();
}
