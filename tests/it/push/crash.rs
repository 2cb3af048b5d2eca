//! `kill -9` of the platform in each step of a push. After the restart the job is finished or has
//! failed cleanly, and never half: the branch, the release record and what is served agree.

use std::collections::BTreeSet;

use super::{Deployed, ok};
use crate::harness::{Answer, Journal, RealServer, eventually};

const STEPS: [&str; 8] = ["detect", "build", "image", "release", "predeploy", "rollout", "postdeploy", "accept"];

/// Kills the server as soon as `step` of a new push runs; the step that was hit, if the push was not faster.
fn kill_in(app: &mut Deployed, step: &str, text: &str) -> Option<String> {
    let journal = Journal::open(app.server.data());
    let jobs = journal.jobs();
    app.repo.answer(text);
    let push = app.repo.push_in_background("main");
    let order = |name: &str| STEPS.iter().position(|s| *s == name);
    let hit = eventually("the step runs", || {
        if journal.jobs() == jobs {
            return None;
        }
        let rows = journal.newest();
        let over = rows.first().is_some_and(|r| r.job_state != "running" && r.job_state != "queued");
        let running = rows.into_iter().find(|r| r.state == "running");
        match running {
            _ if over => Some(None),
            Some(row) if order(&row.name) >= order(step) => Some(Some(row.name)),
            _ => None,
        }
    });
    app.server.kill();
    drop(push.wait());
    hit
}

fn consistent(app: &Deployed, before: &str, after: &str) -> bool {
    let journal = Journal::open(app.server.data());
    eventually("every job has ended", || (journal.unfinished() == 0).then_some(()));
    let (state, reason) = journal.deployments().pop().expect("a deployment");
    let tip = app.repo.remote_tip("main");
    let done = state == "succeeded";
    if done {
        assert_eq!(tip, Some(app.repo.head()), "succeeded: the branch moved");
        serves(&app.server, after);
    } else {
        assert_eq!(state, "failed");
        let reason = reason.filter(|r| !r.is_empty()).expect("failed with a reason");
        assert_ne!(tip, Some(app.repo.head()), "failed, {reason}: the branch stayed");
        eprintln!("the push failed: {reason}");
        serves(&app.server, before);
    }
    app.nothing_left();
    eventually("one replica is left", || (app.server.replicas("hello").len() == 1).then_some(()));
    done
}

/// After a restart the proxy may say 503 until the first look at the engine; never another version.
fn serves(server: &RealServer, text: &str) {
    let answer: Answer = eventually("the app answers", || Some(server.get("hello")).filter(|a| a.status == 200));
    assert_eq!(answer, ok(text));
}

#[test]
fn a_push_survives_kill_9_in_each_step() {
    let mut app = Deployed::new();
    let mut serving = "first".to_owned();
    let mut hit = BTreeSet::new();
    for step in STEPS {
        let text = format!("killed in {step}");
        hit.extend(kill_in(&mut app, step, &text));
        app.server.boot();
        if consistent(&app, &serving, &text) {
            serving = text;
        } else {
            // The failed one is no ancestor of what the server has; the next starts from it all the same.
            app.repo.push("main").accepted();
            serving = text;
        }
    }
    assert!(hit.len() >= 3, "the kills met different steps: {hit:?}");
}

/// The branch and what is served agree also when the last step of a push fails, after the switch.
#[test]
fn a_push_whose_branch_cannot_move_goes_back_to_the_last_good_release() {
    let app = Deployed::new();
    app.repo.answer("second");
    app.repo.push("main").accepted();
    let earlier = app.repo.git(&["rev-parse", "HEAD~1"]).expect("git rev-parse");
    app.repo.commit(&[("app.json", r#"{"scripts": {"postdeploy": "sleep 2"}}"#)]);
    app.repo.answer("third");
    let journal = Journal::open(app.server.data());
    let push = app.repo.push_in_background("main");
    eventually("the command after the switch runs", || {
        journal.newest().iter().any(|row| row.name == "postdeploy" && row.state == "running").then_some(())
    });
    let repositories = std::fs::read_dir(app.server.data().join("repos")).expect("repositories");
    let repository = repositories.flatten().next().expect("a repository").path();
    std::fs::write(repository.join("refs/heads/main"), format!("{}\n", earlier.trim())).expect("the branch is moved");
    push.wait().refused(&["the branch moved since you fetched"]);
    eventually("the last good release is served", || (app.server.get("hello") == ok("second")).then_some(()));
    eventually("one replica is left", || (app.server.replicas("hello").len() == 1).then_some(()));
    let (state, reason) = journal.deployments().pop().expect("a deployment");
    assert_eq!(state, "failed", "{reason:?}");
    assert_eq!(app.repo.remote_tip("main").as_deref(), Some(earlier.trim()));
    app.nothing_left();
}

#[test]
fn a_killed_replica_comes_back() {
    let app = Deployed::new();
    let replica = app.server.replicas("hello").pop().expect("a replica");
    crate::harness::docker(&["kill", &replica]).expect("docker kill");
    eventually("the app answers again", || (app.server.get("hello") == ok("first")).then_some(()));
    eventually("a replica runs", || (app.server.replicas("hello").len() == 1).then_some(()));
}
