//! Apps whose replicas the platform counts.

use std::thread;

use super::{Deployed, ok};
use crate::harness::{Settings, eventually};

/// Answers after 300 ms, so that requests are inside together.
const SLOW: &str =
    "require('http').createServer((_, r) => setTimeout(() => r.end('slow'), 300)).listen(process.env.PORT);\n";

#[test]
fn an_idle_app_sleeps_and_the_next_request_wakes_it() {
    let mut app = Deployed::new();
    let owner = app.server.owner.clone();
    let words = ["ps:autoscale", "-a", "hello", "--min", "0", "--max", "2", "--idle", "1"];
    let said = app.server.cli(&owner, &words).expect("ps:autoscale");
    assert!(said.contains("scaled 0 to 2, asleep after 1 s"), "{said}");
    eventually("nothing of the app runs", || app.server.replicas("hello").is_empty().then_some(()));
    assert_eq!(app.server.get("hello"), ok("first"), "the request waits for the app");

    eventually("it sleeps again", || app.server.replicas("hello").is_empty().then_some(()));
    app.server.kill();
    app.server.boot();
    assert!(app.server.replicas("hello").is_empty(), "a restart of the platform wakes nobody");
    let answers: Vec<_> = thread::scope(|scope| {
        let asked: Vec<_> = (0..10).map(|_| scope.spawn(|| app.server.get("hello"))).collect();
        asked.into_iter().map(|one| one.join().expect("answer")).collect()
    });
    assert!(answers.iter().all(|answer| *answer == ok("first")), "{answers:?}");

    app.repo.answer("second");
    app.repo.push("main").accepted();
    assert_eq!(app.server.get("hello"), ok("second"));
    app.server.cli(&owner, &["ps:autoscale", "-a", "hello", "--off"]).expect("ps:autoscale");
    eventually("one replica runs for good", || (app.server.replicas("hello").len() == 1).then_some(()));
}

#[test]
fn load_brings_replicas_up_to_the_most() {
    let app = Deployed::with(Settings::default());
    app.repo.commit(&[("server.js", SLOW)]);
    app.repo.push("main").accepted();
    let owner = &app.server.owner;
    let words = ["ps:autoscale", "-a", "hello", "--min", "1", "--max", "3", "--in-flight", "2"];
    app.server.cli(owner, &words).expect("ps:autoscale");
    let refused = app.server.cli(owner, &["ps:scale", "-a", "hello", "web=9"]);
    assert!(!refused.ok && refused.err.contains("ps:autoscale web --off"), "{refused:?}");
    let over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let load = || {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                assert_eq!(app.server.get("hello"), ok("slow"));
            }
        };
        let askers: Vec<_> = (0..12).map(|_| scope.spawn(load)).collect();
        eventually("three replicas", || (app.server.replicas("hello").len() == 3).then_some(()));
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        askers.into_iter().for_each(|asker| asker.join().expect("every request is answered"));
    });
}

const BURNING: &str = "const burn = () => { for (let i = 0; i < 5e7; i++); setImmediate(burn); }; burn();\n";

#[test]
fn a_busy_worker_is_given_company_and_what_says_so_is_part_of_its_release() {
    let app = Deployed::with(Settings::default());
    app.repo.commit(&[("worker.js", BURNING), ("Procfile", "web: node server.js\nworker: node worker.js\n")]);
    app.repo.push("main").accepted();
    app.verb(&["ps:scale", "worker=1"]);
    let owner = &app.server.owner;
    let refused = |words: &[&str], said: &str| {
        let refused = app.server.cli(owner, &[&["ps:autoscale", "-a", "hello"], words].concat());
        assert!(!refused.ok && refused.err.contains(said), "{refused:?}");
    };
    for (flag, value) in [("--cpu", "101"), ("--memory", "0"), ("--latency", "0")] {
        refused(&["--max", "2", flag, value], "must be 1 to");
    }
    refused(&["worker", "--max", "2"], "receives no requests, so say how much");
    refused(&["worker", "--min", "0", "--max", "2", "--cpu", "50"], "none would wake it");
    refused(&["clerk", "--max", "2", "--cpu", "50"], "it has web, worker");
    // What a machine leaves it that others keep busy is still more than that.
    app.verb(&["ps:autoscale", "worker", "--max", "2", "--cpu", "2"]);
    let events = eventually("the step is told", || {
        let events = app.server.cli(owner, &["events", "hello"]).expect("events");
        events.contains("the platform scaled worker from 1 to 2").then_some(events)
    });
    assert!(events.contains("changed: autoscaling of worker"), "{events}");
    let ps = || app.server.cli(owner, &["ps", "hello"]).expect("ps");
    eventually("both are ready", || ps().contains("worker: 2 of 2 ready").then_some(()));

    assert!(app.verb(&["releases"]).contains("autoscale worker 1 to 2, processor 2 %"));
    assert!(app.verb(&["releases:info", "v4"]).contains("autoscale  worker: 1 to 2, processor 2 %"));
    let diff = app.verb(&["releases:diff", "v3", "v4"]);
    assert!(diff.contains("autoscale  worker: none → 1 to 2, processor 2 %"), "{diff}");
    app.verb(&["rollback", "v3"]);
    eventually("the number is what people set", || ps().contains("worker: 1 of 1 ready:").then_some(()));
    app.verb(&["rollback", "v4"]);
    eventually("the platform counts again", || ps().contains("(scaled 1 to 2, processor 2 %)").then_some(()));
}

#[test]
fn slow_answers_bring_replicas() {
    let app = Deployed::with(Settings::default());
    app.repo.commit(&[("server.js", SLOW)]);
    app.repo.push("main").accepted();
    let words = ["ps:autoscale", "-a", "hello", "--max", "2", "--in-flight", "1000", "--latency", "100"];
    app.server.cli(&app.server.owner, &words).expect("ps:autoscale");
    let load = crate::harness::Load::on(&app.server, "hello", 8);
    let ps = || app.server.cli(&app.server.owner, &["ps", "hello"]).expect("ps");
    eventually("both are ready", || ps().contains("2 of 2").then_some(()));
    load.served_throughout();
}
