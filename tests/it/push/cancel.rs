//! `builds:cancel`: whatever is under way ends, nothing of it is kept, and what is live serves on.

use super::{Deployed, ok, quarantined};
use crate::harness::{Journal, Pushing, docker, eventually};

const SLEEPS: &str = r#"{"name":"app","version":"1.0.0","scripts":{"start":"node server.js","build":"sleep 611"}}"#;
const DEAF: &str = "setInterval(() => {}, 1000);\n";

impl Deployed {
    /// What runs in the containers of the server whose names have this word in them.
    fn runs(&self, word: &str) -> String {
        let named = self.server.containers().into_iter().filter(|name| name.contains(word));
        named.map(|name| docker(&["top", &name, "-o", "pid,args"]).out).collect()
    }

    fn push_into(&self, step: &str) -> Pushing {
        let journal = Journal::open(self.server.data());
        let jobs = journal.jobs();
        let push = self.repo.push_in_background("main");
        eventually("the step runs", || {
            let at_work = || journal.newest().iter().any(|row| row.name == step && row.state == "running");
            (journal.jobs() > jobs && at_work()).then_some(())
        });
        push
    }

    fn cancel(&self, words: &[&str]) -> crate::harness::Said {
        let all = [&["builds:cancel", "-a", "hello"], words].concat();
        self.server.cli(&self.server.owner, &all)
    }
}

#[test]
fn a_build_and_one_that_waits_behind_it_are_cancelled() {
    let app = Deployed::new();
    let owner = app.server.owner.name.clone();
    app.repo.commit(&[("package.json", SLEEPS)]);
    let build = app.push_into("build");
    eventually("the script of the build runs", || app.runs("-sandbox-").contains("sleep 611").then_some(()));

    // The newest that is not over is the one that waits.
    app.repo.commit(&[("note.txt", "waits")]);
    let journal = Journal::open(app.server.data());
    let jobs = journal.jobs();
    let queued = app.repo.push_in_background("main");
    eventually("it waits", || (journal.jobs() > jobs && quarantined(app.server.data()).len() == 2).then_some(()));
    let stranger = app.server.newcomer("stranger");
    let foreign = app.server.ssh(&stranger, &["builds:cancel", "-a", "default/hello"]);
    assert!(!foreign.ok && foreign.err.contains("not found"), "{foreign:?}");
    let said = app.cancel(&[]);
    assert!(said.ok && said.err.contains("cancelled"), "{said:?}");
    queued.wait().refused(&[&format!("Build cancelled by {owner}."), &format!("(cancelled by {owner})")]);
    assert!(app.runs("-sandbox-").contains("sleep 611"), "the one before it goes on");

    let said = app.server.ssh(&app.server.owner, &["builds:cancel", "-a", "hello"]);
    assert!(said.ok && said.err.contains("cancelled"), "{said:?}");
    build.wait().refused(&[&format!("Build cancelled by {owner}."), "keeps serving"]);
    assert!(!app.runs("").contains("sleep 611"), "its process has ended");
    app.untouched();

    // Too late, and once more.
    let again = app.cancel(&[]);
    assert!(!again.ok && again.err.contains(&format!("it is over already: cancelled by {owner}")), "{again:?}");
    let output = app.server.cli(&app.server.owner, &["builds:output", "-a", "hello"]);
    assert!(!output.ok && output.out.contains(&format!("Build cancelled by {owner}.")), "{output:?}");
    app.repo.answer("after");
    app.repo.push("main").accepted();
    assert_eq!(app.server.get("hello"), ok("after"));
    let late = app.cancel(&[]);
    assert!(!late.ok && late.err.contains("it is over already: it succeeded"), "{late:?}");
    let events = app.verb(&["events", "-n", "50"]);
    assert!(events.contains("end of build bld_"), "{events}");
}

#[test]
fn a_rollout_and_a_command_before_it_are_cancelled() {
    let app = Deployed::new();
    let owner = app.server.owner.name.clone();
    let server = std::fs::read_to_string(app.repo.file("server.js")).expect("server.js");
    app.repo.commit(&[("app.json", r#"{"scripts": {"predeploy": "sleep 612"}}"#)]);
    let push = app.push_into("predeploy");
    eventually("the command runs", || app.runs("").contains("sleep 612").then_some(()));
    app.cancel(&[]).expect("builds:cancel");
    push.wait().refused(&[&format!("(cancelled by {owner})")]);
    assert!(!app.runs("").contains("sleep 612"), "its process has ended");
    app.untouched();

    app.repo.commit(&[("app.json", "{}"), ("server.js", DEAF)]);
    let push = app.push_into("rollout");
    let token = app.token();
    let url = format!("{}/v1/apps/hello/builds/latest/cancel", app.server.api());
    let answer = app.server.curl(&["-X", "POST", "-H", &format!("Authorization: Bearer {token}"), &url]);
    assert!(answer.status == 200 && answer.body.contains(&format!("cancelled by {owner}")), "{answer:?}");
    push.wait().refused(&["keeps serving", &format!("(cancelled by {owner})")]);
    eventually("the one before is left", || (app.server.replicas("hello").len() == 1).then_some(()));
    app.untouched();

    // From here on it serves: what follows the switch is not taken back.
    app.repo.commit(&[("app.json", r#"{"scripts": {"postdeploy": "sleep 3"}}"#), ("server.js", &server)]);
    let push = app.push_into("postdeploy");
    let late = app.cancel(&[]);
    assert!(!late.ok && late.err.contains("serves already"), "{late:?}");
    push.wait().accepted();
}
