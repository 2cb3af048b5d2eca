//! Checks of what is live, and the watch after a switch.

use std::collections::BTreeSet;

use super::settings::ids;
use super::{Deployed, ok};
use crate::harness::{docker, eventually};

/// Answers with its own name; sick or dead as long as a file of that name is there.
const SERVER: &str = "const is = name => require('fs').existsSync('/tmp/' + name);\n\
    require('http').createServer((q, r) => {\n\
      r.statusCode = q.url === '/up' && is('sick') || q.url === '/live' && is('dead') ? 500 : 200;\n\
      r.end(process.env.HYTHE_PROCESS);\n\
    }).listen(process.env.PORT);\nprocess.on('SIGTERM', () => process.exit(0));\n";

const MANIFEST: &str = r#"{"formation": {"web": {"quantity": 2}}, "healthchecks": {"web": [
    {"type": "startup", "path": "/up", "wait": 0.2, "attempts": 50},
    {"type": "readiness", "path": "/up", "wait": 0.1, "attempts": 2},
    {"type": "liveness", "path": "/live", "wait": 0.1, "attempts": 2}]}}"#;

impl Deployed {
    fn container(&self, ordinal: u32) -> String {
        let middle = format!("-{ordinal}-");
        let all = self.server.replicas("hello");
        all.into_iter()
            .find(|name| name.rsplit_once('-').is_some_and(|(n, _)| format!("{n}-").ends_with(&middle)))
            .expect("it runs")
    }

    fn exec(&self, ordinal: u32, words: &[&str]) {
        let name = self.container(ordinal);
        docker(&[&["exec", name.as_str()], words].concat()).expect("docker exec");
    }

    /// Who answers, in twenty requests.
    fn who(&self) -> BTreeSet<String> {
        (0..20).map(|_| self.server.get("hello").body).collect()
    }
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn a_replica_leaves_the_route_when_it_is_not_ready_and_is_replaced_when_it_is_beyond_help() {
    let app = Deployed::new();
    app.repo.commit(&[("server.js", SERVER), ("app.json", MANIFEST)]);
    app.repo.push("main").accepted();
    // The first release had set no number, so app.json's holds.
    eventually("both serve", || (app.who() == names(&["web.1", "web.2"])).then_some(()));
    let checks = app.verb(&["checks"]);
    assert!(checks.contains("app.json") && checks.contains("GET /live answers below 500"), "{checks}");
    eventually("only they run", || (ids(&app).len() == 2).then_some(()));
    let before = ids(&app);

    app.exec(2, &["touch", "/tmp/sick"]);
    eventually("web.2 leaves the route", || (app.who() == names(&["web.1"])).then_some(()));
    let info = app.verb(&["apps:info"]);
    assert!(info.contains("web.2 fails its readiness check: it answers GET /up with 500; out of the route"), "{info}");
    let ps = app.verb(&["ps"]);
    assert!(ps.contains("web.2 v2 running, not ready (readiness: it answers GET /up with 500)"), "{ps}");
    app.exec(1, &["touch", "/tmp/sick"]);
    eventually("the last one is told of", || app.verb(&["apps:info"]).contains("keeps its route").then_some(()));
    assert_eq!(app.who(), names(&["web.1"]));
    app.exec(1, &["rm", "/tmp/sick"]);
    app.exec(2, &["rm", "/tmp/sick"]);
    eventually("both serve again", || (app.who() == names(&["web.1", "web.2"])).then_some(()));
    assert_eq!(ids(&app), before, "none was restarted");

    app.exec(2, &["touch", "/tmp/dead"]);
    eventually("web.2 is another one", || {
        let now = ids(&app);
        (now.len() == 2 && now.intersection(&before).count() == 1).then_some(())
    });
    eventually("and serves", || (app.who() == names(&["web.1", "web.2"])).then_some(()));
    assert!(!app.server.log().contains("the engine refused a change"), "{}", app.server.log());
    let events = app.verb(&["events"]);
    assert!(events.contains("web.2 failed its liveness check") && events.contains("GET /live with 500"), "{events}");
}

#[test]
fn checks_are_set_of_what_runs_and_hold_up_a_rollout() {
    let app = Deployed::new();
    let before = ids(&app);
    let check = "test -f /tmp/ready";
    let said =
        app.verb(&["checks:set", "startup", "--command", check, "--every", "0.5", "--attempts", "6", "--timeout", "2"]);
    assert!(said.contains("test -f /tmp/ready exits with 0"), "{said}");
    assert_eq!(ids(&app), before, "nothing is restarted for a check");
    let releases = app.verb(&["releases"]);
    assert!(releases.contains("set check web startup"), "{releases}");
    app.repo.answer("second");
    app.repo.push("main").refused(&["web was not ready within", "test -f /tmp/ready exits with 1", "hythe checks"]);
    app.untouched();
    let ready = "require('fs').writeFileSync('/tmp/ready', '');\n\
        require('http').createServer((_, r) => r.end('second')).listen(process.env.PORT);\n";
    app.repo.commit(&[("server.js", ready)]);
    app.repo.push("main").accepted();
    assert_eq!(app.server.get("hello"), ok("second"));
    app.verb(&["checks:unset", "startup"]);
    let checks = app.verb(&["checks"]);
    assert!(checks.contains("default") && !checks.contains("/tmp/ready"), "{checks}");
    let bad = app.server.cli(&app.server.owner, &["checks:set", "-a", "hello", "liveness", "--path", "x y"]);
    assert!(!bad.ok && bad.err.contains("must be a path"), "{bad:?}");
}

#[test]
fn a_release_that_does_worse_in_its_watch_gives_way_to_the_one_before() {
    let app = Deployed::new();
    app.verb(&["envs:set", "--watch", "20"]);
    let faulty =
        "require('http').createServer((_, r) => { r.statusCode = 500; r.end('oh no'); }).listen(process.env.PORT);\n";
    app.repo.commit(&[("server.js", faulty)]);
    let push = app.repo.push_in_background("main");
    let asked = || {
        let answer = app.server.get("hello");
        assert!(answer == ok("first") || answer.body == "oh no", "one of the two answers: {answer:?}");
        answer
    };
    eventually("the new release answers", || (asked().status == 500).then_some(()));
    let early = app.server.cli(&app.server.owner, &["ps:scale", "-a", "hello", "web=2"]);
    assert!(!early.ok && early.err.contains("v2 is being rolled out"), "{early:?}");
    eventually("the one before is back", || (asked() == ok("first")).then_some(()));
    let said =
        push.wait().refused(&["traffic switched; watched for 20 s, v1 stands by", "requests (100 %) failed in the"]);
    assert!(said.contains("keeps serving"), "{said}");
    app.untouched();

    let crashing = "require('http').createServer((_, r) => r.end('x')).listen(process.env.PORT);\n\
        setTimeout(() => { console.error('out of luck'); process.exit(3); }, 1000);\n";
    app.repo.commit(&[("server.js", crashing)]);
    app.repo.push("main").refused(&["web crashed 2 times", "out of luck", "It exited with 3"]);
    app.untouched();

    app.verb(&["envs:set", "--watch", "1"]);
    app.repo.answer("third");
    app.repo.push("main").accepted();
    assert_eq!(app.server.get("hello"), ok("third"));
    eventually("what stood by is gone", || (app.server.replicas("hello").len() == 1).then_some(()));
}

#[test]
fn a_watch_goes_on_after_the_platform_was_killed() {
    let mut app = Deployed::new();
    app.verb(&["envs:set", "--watch", "6"]);
    app.repo.answer("second");
    let push = app.repo.push_in_background("main");
    eventually("the new release answers", || (app.server.get("hello") == ok("second")).then_some(()));
    app.server.kill();
    push.kill();
    assert_eq!(app.server.replicas("hello").len(), 2, "the one before stands by");
    app.server.boot();
    assert_eq!(app.server.get("hello"), ok("second"));
    eventually("the push ends well", || (app.repo.remote_tip("main") == Some(app.repo.head())).then_some(()));
    eventually("what stood by is gone", || (app.server.replicas("hello").len() == 1).then_some(()));
    assert_eq!(app.server.get("hello"), ok("second"));
    app.nothing_left();
}

#[test]
fn a_worker_is_checked_by_a_command_and_restarted() {
    let app = Deployed::new();
    let manifest = r#"{"formation": {"worker": {"quantity": 1}}, "healthchecks": {"worker": [
        {"type": "liveness", "command": ["node", "-e", "process.exit(require('fs').existsSync('/tmp/stuck') ? 4 : 0)"],
         "wait": 0.5, "attempts": 1}]}}"#;
    let procfile = "web: node server.js\nworker: node -e \"setInterval(() => {}, 1000)\"\n";
    app.repo.commit(&[("Procfile", procfile), ("app.json", manifest)]);
    app.repo.push("main").accepted();
    let worker = || app.server.replicas("hello").into_iter().find(|name| name.contains("-worker-"));
    let id = |name: &str| docker(&["inspect", "-f", "{{.Id}}", name]).out.trim().to_owned();
    let name = eventually("a worker runs", worker);
    let before = id(&name);
    docker(&["exec", &name, "touch", "/tmp/stuck"]).expect("docker exec");
    eventually("another one runs", || worker().filter(|name| ids(&app).contains(&id(name)) && id(name) != before));
    assert_eq!(app.server.get("hello"), ok("first"), "web is not touched by it");
}

/// Answers, unless it was left a note that it shall not; a note is read once.
const MOODY: &str = "const fs = require('fs');\n\
    process.on('SIGTERM', () => process.exit(0));\n\
    if (fs.existsSync('/data/mute')) { fs.rmSync('/data/mute'); setInterval(() => {}, 1000); }\n\
    else require('http').createServer((q, r) => {\n\
      if (q.url === '/mute') { fs.writeFileSync('/data/mute', ''); process.exit(3); }\n\
      r.end('first');\n\
    }).listen(process.env.PORT);\n";

const IMPATIENT: &str =
    r#"{"healthchecks": {"web": [{"type": "startup", "path": "/up", "wait": 0.2, "attempts": 10, "timeout": 1}]}}"#;

#[test]
fn a_live_replica_that_never_starts_again_is_replaced() {
    let app = Deployed::new();
    app.verb(&["volumes:create", "mood"]);
    app.verb(&["volumes:mount", "mood", "/data"]);
    app.repo.commit(&[("server.js", MOODY), ("app.json", IMPATIENT)]);
    app.repo.push("main").accepted();
    let first = ids(&app);
    let _ = app.server.ask("hello", "/mute");
    eventually("another one runs, and does not answer", || (ids(&app).is_disjoint(&first)).then_some(()));
    let mute = ids(&app);
    eventually("that one is replaced", || (app.server.get("hello") == ok("first")).then_some(()));
    assert!(ids(&app).is_disjoint(&mute));
    let events = app.verb(&["events"]);
    assert!(events.contains("did not start in time"), "{events}");
    app.nothing_left();
}

/// In a terminal of the replica's machine: what runs in it now.
fn running(name: &str) -> String {
    docker(&["top", name, "-eo", "pid,args"]).expect("docker top")
}

#[test]
fn a_command_is_asked_ten_times_a_second_and_never_twice_at_once() {
    let app = Deployed::new();
    let before = ids(&app);
    // One that finds another at it fails, and the replica would be replaced.
    let alone = "sh -c 'mkdir /tmp/in && echo >>/tmp/asked && sleep 0.05 && rmdir /tmp/in'";
    app.verb(&["checks:set", "liveness", "--command", alone, "--every", "0.1", "--attempts", "1", "--timeout", "20"]);
    let name = app.container(1);
    eventually("it was asked thirty times", || {
        let asked = docker(&["exec", &name, "wc", "-l", "/tmp/asked"]);
        let count: u32 = asked.out.split(' ').next()?.parse().ok()?;
        (count >= 30).then_some(())
    });
    assert_eq!(ids(&app), before);
    let often = app
        .server
        .cli(&app.server.owner, &["checks:set", "-a", "hello", "liveness", "--command", "true", "--every", "0.09"]);
    assert!(!often.ok && often.err.contains("must be 0.1 s to 3600 s"), "{often:?}");

    let slow = "sh -c 'test ! -e /tmp/hang || sleep 1234'";
    app.verb(&["checks:set", "readiness", "--command", slow, "--every", "0.1", "--attempts", "1", "--timeout", "0.3"]);
    app.exec(1, &["touch", "/tmp/hang"]);
    eventually("it is not ready", || app.verb(&["ps"]).contains("does not end in 300 ms").then_some(()));
    for _ in 0..20 {
        let now = running(&name);
        assert!(now.matches("sleep 1234").count() <= 2, "a shell and its sleep at most: {now}");
    }
    app.exec(1, &["rm", "/tmp/hang"]);
    eventually("it is ready again", || (!app.verb(&["ps"]).contains("not ready")).then_some(()));
    eventually("what hung is gone", || (!running(&name).contains("sleep 1234")).then_some(()));
    assert_eq!(ids(&app), before, "none was restarted");
}
