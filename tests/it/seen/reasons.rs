//! `why`, after what can happen to an app.

use serde_json::Value;

use super::Talker;
use crate::harness::{Settings, eventually};

#[test]
fn why_names_memory_that_ran_out_with_its_evidence() {
    let app = Talker::with(Settings::with("HYTHE_RUNTIME_MEMORY_BYTES", 256 << 20));
    let well = eventually("the app is well", || {
        let well = app.hythe(&["why", "talker"]);
        well.contains("is well").then_some(well)
    });
    assert_eq!(well.lines().count(), 1, "{well}");
    for _ in 0..3 {
        eventually("the app answers", || (app.ask("/hog") == 200).then_some(()));
        eventually("it runs out of memory", || (app.ask("/") != 200).then_some(()));
    }
    let told = eventually("the chain is whole", || {
        let told = app.hythe(&["why", "talker"]);
        let whole = told.contains("restarts wait") && told.contains("route withdrawn") && told.contains("3 times in");
        whole.then_some(told)
    });
    for text in [
        "talker production: web runs out of memory",
        "v1: deployment of a push started, by owner",
        "web.1 was killed",
        "out of memory (limit 256 MB)",
        "| line ",
        "answers 503 since",
        "drift     web: 1 wanted, 0 ready",
        "next      Give it more memory",
    ] {
        assert!(told.contains(text), "{text:?} in\n{told}");
    }
    let as_json: Value = serde_json::from_str(&app.hythe(&["why", "talker", "--json"])).expect("JSON");
    assert!(as_json["chain"].as_array().is_some_and(|chain| chain.len() >= 2), "{as_json}");
    let over_ssh = app.server.ssh(&app.server.owner, &["why", "talker"]).expect("why");
    assert!(over_ssh.contains("out of memory"), "{over_ssh}");
}

#[test]
fn why_names_a_push_that_could_not_become_live() {
    let app = Talker::with(Settings::default());
    app.repo.commit(&[("server.js", "console.error('no such planet'); process.exit(7);\n")]);
    app.repo.push("main").refused(&["web exited with 7"]);
    let told = app.hythe(&["why", "talker"]);
    for text in ["v1 live since", "deployment of v2 failed", "web exited with 7"] {
        assert!(told.contains(text), "{text:?} in\n{told}");
    }
    let events = app.hythe(&["events", "talker", "-n", "50"]);
    assert!(events.contains("web.1 exited with 7"), "{events}");
    let words = app.hythe(&["logs", "talker", "--grep", "planet", "-s", "app"]);
    assert!(words.contains("web.1: no such planet"), "its lines outlive it: {words}");
}
