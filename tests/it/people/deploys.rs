//! The commands of a deployment: before the rollout, after it, and a server that dies in the middle of one.

use serde_json::Value;

use super::{commands, none_left};
use crate::harness::{Journal, docker, eventually};
use crate::push::{Deployed, ok};

const PROCFILE: &str = "web: node server.js\nrelease: ";

fn deployed(app: &Deployed) -> Vec<Value> {
    super::listed(&app.server, &["deployments", "-a", "hello", "--json"])
}

fn newest(app: &Deployed) -> Value {
    let id = deployed(app)[0]["id"].as_str().expect("id").to_owned();
    let json = app.server.cli(&app.server.owner, &["deployments:info", "-a", "hello", &id, "--json"]).expect("info");
    serde_json::from_str(&json).expect("JSON")
}

#[test]
fn a_release_command_runs_before_the_rollout() {
    let app = Deployed::new();
    let script = "echo migrating $HYTHE_RELEASE; echo careful >&2";
    app.repo.commit(&[("Procfile", &format!("{PROCFILE}{script}\n"))]);
    app.repo.answer("second");
    let said = app.repo.push("main").accepted();
    for line in ["Running the release command: ", "migrating v2", "careful"] {
        assert!(said.contains(line), "{line:?} in {said}");
    }
    assert!(said.find("migrating v2") < said.find("healthy in"), "before the rollout: {said}");
    assert_eq!(app.server.get("hello"), ok("second"));
    none_left(&app.server);
    let info = newest(&app);
    let ran = &info["commands"][0];
    assert_eq!((ran["kind"].as_str(), ran["exit_code"].as_i64()), (Some("release"), Some(0)));
    assert!(ran["output"].as_array().expect("lines").iter().any(|line| line == "migrating v2"), "{ran}");
    // It runs for every release, whatever made it: new variables, and a rollback to it.
    let owner = &app.server.owner;
    let set = app.server.cli(owner, &["config:set", "-a", "hello", "A=b"]);
    assert!(set.ok && set.err.contains("migrating v3"), "{set:?}");
    let back = app.server.cli(owner, &["rollback", "-a", "hello", "v2"]);
    assert!(back.ok && back.err.contains("migrating v4"), "{back:?}");
}

#[test]
fn a_release_command_that_fails_leaves_the_release_before() {
    let app = Deployed::new();
    app.repo.commit(&[
        ("Procfile", &format!("{PROCFILE}echo half done; exit 3\n")),
        ("server.js", "require('http').createServer((_, r) => r.end('worse')).listen(process.env.PORT)"),
    ]);
    app.repo.push("main").refused(&["half done", "release command: it exited with 3"]);
    app.untouched();
    none_left(&app.server);
    let info = newest(&app);
    assert_eq!(info["state"], "failed");
    assert_eq!(info["commands"][0]["exit_code"], 3);
    assert_eq!(info["commands"][0]["output"][0], "half done");
    let shown =
        app.server.cli(&app.server.owner, &["deployments:info", "-a", "hello", info["id"].as_str().expect("id")]);
    assert!(shown.out.contains("release command failed (3)") && shown.out.contains("half done"), "{shown:?}");
}

#[test]
fn scripts_of_the_manifest_run_before_and_after() {
    let app = Deployed::new();
    let manifest = r#"{"scripts": {"predeploy": "echo before $HYTHE_RELEASE", "postdeploy": "echo after; exit 9"}}"#;
    app.repo.commit(&[("app.json", manifest)]);
    app.repo.answer("second");
    let said = app.repo.push("main").accepted();
    assert!(said.contains("before v2") && said.contains("after"), "{said}");
    assert!(said.contains("postdeploy command failed: it exited with 9"), "it is told and undoes nothing: {said}");
    assert!(said.find("before v2") < said.find("healthy in") && said.find("healthy in") < said.find("after"), "{said}");
    assert_eq!(app.server.get("hello"), ok("second"));
    assert_eq!(app.repo.remote_tip("main"), Some(app.repo.head()));
    assert_eq!(newest(&app)["state"], "succeeded");
    app.repo.commit(&[("app.json", r#"{"scripts": {"predeploy": "exit 2"}}"#)]);
    app.repo.push("main").refused(&["predeploy command: it exited with 2"]);
    assert_eq!(app.server.get("hello"), ok("second"));
    none_left(&app.server);
}

/// The container is found by its id and waited for: it began once, and the push ends well.
#[test]
fn a_release_command_outlives_its_server_and_runs_once() {
    let mut app = Deployed::new();
    let script = "echo begun at $(date +%N); while [ ! -e /tmp/go ]; do sleep 0.1; done; echo through";
    app.repo.commit(&[("Procfile", &format!("{PROCFILE}{script}\n"))]);
    app.repo.answer("second");
    let push = app.repo.push_in_background("main");
    let running = eventually("the release command runs", || commands(&app.server).pop());
    eventually("it began", || docker(&["logs", &running]).out.contains("begun").then_some(()));
    app.server.kill();
    drop(push.wait());
    app.server.boot();
    assert_eq!(commands(&app.server), std::slice::from_ref(&running), "the one that runs, and no second");
    docker(&["exec", &running, "touch", "/tmp/go"]).expect("docker exec");
    let journal = Journal::open(app.server.data());
    eventually("every job has ended", || (journal.unfinished() == 0).then_some(()));
    eventually("the new release serves", || (app.server.get("hello") == ok("second")).then_some(()));
    let info = newest(&app);
    assert_eq!(info["state"], "succeeded");
    let output = info["commands"][0]["output"].as_array().expect("lines").clone();
    assert_eq!(output.len(), 2, "each line once: {output:?}");
    assert!(output[0].as_str().expect("text").starts_with("begun at ") && output[1] == "through", "{output:?}");
    none_left(&app.server);
}

#[test]
fn a_release_command_may_not_take_for_ever() {
    let app = Deployed::with(crate::harness::Settings::with("HYTHE_RUNTIME_COMMAND_SECONDS", 3));
    app.repo.commit(&[("Procfile", &format!("{PROCFILE}echo begun; sleep 1000\n"))]);
    app.repo.push("main").refused(&["begun", "ended after 3 s"]);
    app.untouched();
    none_left(&app.server);
}
