//! Lines of replicas, jobs and the proxy.

use std::fs;
use std::path::Path;

use super::Talker;
use crate::harness::{Repo, Settings, docker, eventually};

/// What the engine holds of one container's output.
fn printed(container: &str) -> Vec<String> {
    let said = docker(&["logs", container]);
    format!("{}{}", said.out, said.err).lines().map(str::to_owned).collect()
}

#[test]
fn a_restart_of_the_server_neither_loses_nor_doubles_lines() {
    let mut app = Talker::with(Settings::default());
    let container = app.server.replicas("talker").pop().expect("a replica");
    let count = |app: &Talker| app.said().len();
    eventually("lines are kept", || (count(&app) > 100).then_some(()));
    for way in 0..3 {
        let before = printed(&container).len();
        // Killed twice, stopped once: in the middle of whatever it does, and while the app talks on.
        if way == 1 {
            app.server.stop()
        } else {
            app.server.kill()
        }
        eventually("the app talks on", || (printed(&container).len() > before + 200).then_some(()));
        app.server.boot();
        eventually("what was said meanwhile is kept", || (count(&app) > before + 200).then_some(()));
    }
    app.hythe(&["ps:stop", "talker"]);
    eventually("the replica is gone", || app.server.replicas("talker").is_empty().then_some(()));
    let all = eventually("its last word is kept", || {
        let all = app.said();
        all.last()?.starts_with("goodbye").then_some(all)
    });
    let numbers: Vec<u64> = all.iter().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect();
    let last = all.last().and_then(|line| line.strip_prefix("goodbye after ")?.parse::<u64>().ok());
    assert!(numbers.len() > 700, "{}", numbers.len());
    let whole: Vec<u64> = (1..=last.expect("a number")).collect();
    let odd = numbers.iter().zip(&whole).find(|(a, b)| a != b);
    assert!(numbers == whole, "{} lines kept, {} written; first odd one: {odd:?}", numbers.len(), whole.len());
}

#[test]
fn lines_of_the_dead_of_builds_and_of_requests_stand_side_by_side() {
    let app = Talker::with(Settings::default());
    eventually("lines are kept", || (app.said().len() > 3).then_some(()));
    assert_eq!(app.ask("/hello?token=hush"), 200);
    app.ask("/die");
    eventually("another one took its place", || (app.ask("/hello") == 200).then_some(()));
    let dead = eventually("the dead one's last words are kept", || {
        let lines = app.hythe(&["logs", "talker", "--grep", "OUT OF IDEAS"]);
        lines.contains("web.1: out of ideas").then_some(lines)
    });
    assert_eq!(dead.lines().count(), 1, "{dead}");
    let starts = eventually("the new one is heard", || {
        let starts = app.hythe(&["logs", "talker", "-p", "web", "--grep", "line 1", "-n", "10000"]);
        (starts.lines().filter(|l| l.ends_with(": line 1")).count() == 2).then_some(starts)
    });
    assert!(starts.lines().all(|l| l.contains(" web.1: ")));

    let requests = eventually("each request left a line", || {
        let lines = app.hythe(&["logs", "talker", "-s", "proxy"]);
        (lines.contains("status=200") && lines.contains("status=502")).then_some(lines)
    });
    assert!(requests.contains("GET /hello status=200") && !requests.contains("hush"), "{requests}");
    let built = app.hythe(&["logs", "talker", "-s", "build"]);
    assert!(built.contains("build: -----> Node.js detected"), "{built}");
    let deployed = app.hythe(&["logs", "talker", "-s", "deploy"]);
    assert!(deployed.contains("deploy: -----> Release v1 → production"), "{deployed}");

    let later = app.hythe(&["logs", "talker", "--since", "2030-01-01T00:00:00Z"]);
    assert_eq!(later, "");
    assert_eq!(app.hythe(&["logs", "talker", "-n", "7", "-p", "web.1"]).lines().count(), 7);
    let wrong = app.server.cli(&app.server.owner, &["logs", "talker", "-s", "router"]);
    assert!(!wrong.ok && wrong.err.contains("app, build, deploy, proxy, system"), "{wrong:?}");
    // Nothing of it for somebody else, by whichever way.
    let stranger = app.server.newcomer("stranger");
    for verb in ["logs", "events", "why", "metrics"] {
        let refused = app.server.ssh(&stranger, &[verb, "owner/talker"]);
        assert!(!refused.ok && refused.err.contains("app not found"), "{verb}: {refused:?}");
    }
}

#[test]
fn an_app_that_prints_endlessly_stays_within_its_bound() {
    let bound = 1 << 20;
    let mut settings = Settings::with("HYTHE_LOGS_MAX_BYTES", bound);
    settings.variables.insert("HYTHE_LOGS_LINES_PER_SECOND".into(), "50".into());
    let app = Talker::with(settings);
    let flood =
        "const text = 'x'.repeat(200) + '\\n'; const { writeSync } = require('fs');\nfor (;;) writeSync(1, text);\n";
    app.repo.commit(&[("Procfile", "web: node server.js\nflood: node flood.js\n"), ("flood.js", flood)]);
    app.repo.push("main").accepted();
    app.hythe(&["ps:scale", "-a", "talker", "flood=1"]);
    let dir = app.server.data().join("app-logs");
    let told = eventually("drops are counted and told", || {
        assert!(size(&dir) < bound + (256 << 10), "{} bytes", size(&dir));
        let told = app.hythe(&["logs", "talker", "-s", "system"]);
        (told.contains("lines of flood.1 were dropped")).then_some(told)
    });
    assert!(told.contains("more than 50 lines in a second"), "{told}");
    for _ in 0..20 {
        assert_eq!(app.ask("/"), 200);
        assert_eq!(app.server.get("talker").status, 200);
    }
    let lines = app.hythe(&["logs", "talker", "-n", "3", "-p", "web"]);
    assert_eq!(lines.lines().count(), 3, "the others are heard as well: {lines}");
    assert!(size(&dir) < bound + (256 << 10), "{} bytes", size(&dir));
    // Another app of the same server is deployed and answers as ever.
    let other = Repo::node(&app.server, "calm", "calm");
    other.push("main").accepted();
    assert_eq!(app.server.get("calm").body, "calm");
}

/// Of the largest environment: the bound is of each.
fn size(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let files = entries.flatten().filter_map(|e| Some((e.path(), e.metadata().ok()?)));
    let (mut own, mut largest) = (0, 0);
    for (path, meta) in files {
        if meta.is_dir() { largest = u64::max(largest, size(&path)) } else { own += meta.len() }
    }
    own + largest
}
