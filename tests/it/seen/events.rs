//! Events: looked back at, as a stream, resumed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use serde_json::Value;

use super::Talker;
use crate::harness::{Settings, eventually, program};

/// A stream of server-sent events, as a browser reads it.
struct Stream {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Stream {
    fn open(app: &Talker, token: &str, path: &str, last: Option<&str>) -> Self {
        let mut curl = program("curl");
        curl.args(["-sSN", "--noproxy", "*", "--max-time", "120", "-H", "Accept: text/event-stream"]);
        curl.args(["-H", &format!("Authorization: Bearer {token}")]);
        if let Some(last) = last {
            curl.args(["-H", &format!("Last-Event-ID: {last}")]);
        }
        let mut child = curl.arg(format!("{}{path}", app.server.api())).stdout(Stdio::piped()).spawn().expect("curl");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self { child, lines }
    }

    /// The next event: id, kind and data.
    fn next(&mut self) -> (String, String, Value) {
        let (mut id, mut kind) = (String::new(), String::new());
        loop {
            let line = self.lines.next().expect("the stream goes on").expect("a line");
            if let Some(text) = line.strip_prefix("id:") {
                id = text.trim().to_owned();
            } else if let Some(text) = line.strip_prefix("event:") {
                kind = text.trim().to_owned();
            } else if let Some(data) = line.strip_prefix("data:") {
                return (id, kind, serde_json::from_str(data.trim()).expect("JSON"));
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn kinds(app: &Talker) -> Vec<(String, String)> {
    let all: Value = serde_json::from_str(&app.hythe(&["events", "talker", "-n", "200", "--json"])).expect("JSON");
    let one = |event: &Value| {
        let text = |key: &str| event[key].as_str().expect("a text").to_owned();
        (text("kind"), text("text"))
    };
    all.as_array().expect("a list").iter().rev().map(one).collect()
}

#[test]
fn events_are_streamed_resumed_and_told_once_also_after_a_restart() {
    let mut app = Talker::with(Settings::default());
    let token = app.token();
    let path = "/v1/apps/talker/events";
    let mut stream = Stream::open(&app, &token, &format!("{path}?limit=100"), None);
    let mut seen = Vec::new();
    while seen.last().is_none_or(|(_, kind, _): &(String, String, Value)| kind != "deployment.succeeded") {
        seen.push(stream.next());
    }
    let told: Vec<&str> = seen.iter().map(|(_, kind, _)| kind.as_str()).collect();
    for kind in
        ["app.created", "deployment.started", "rollout.started", "replica.ready", "route.published", "environment.live"]
    {
        assert_eq!(told.iter().filter(|k| **k == kind).count(), 1, "{kind} in {told:?}");
    }
    let id_of = |kind: &str| seen.iter().find(|(_, k, _)| k == kind).map(|(id, ..)| id.clone());
    let ready = seen.iter().find(|(_, kind, _)| kind == "replica.ready").expect("ready");
    assert_eq!(ready.2["cause"].as_str().map(str::to_owned), id_of("rollout.started"));
    assert_eq!(seen[0].2["actor"], "owner");

    // What happens while nobody listens is told to who comes back, and only that.
    let last = seen.last().expect("an event").0.clone();
    drop(stream);
    app.hythe(&["ps:scale", "-a", "talker", "web=2"]);
    let mut stream = Stream::open(&app, &token, path, Some(&last));
    let (_, kind, scaled) = stream.next();
    assert_eq!((kind.as_str(), scaled["text"].as_str()), ("scaled", Some("scaled web from 1 to 2")));
    let (id, kind, second) = stream.next();
    assert_eq!((kind.as_str(), second["subject"].as_str()), ("replica.ready", Some("web.2")));
    drop(stream);

    let before = kinds(&app);
    app.server.kill();
    app.server.boot();
    eventually("the app answers again", || (app.ask("/") == 200).then_some(()));
    app.hythe(&["config:set", "-a", "talker", "SECRET=hush-hush"]);
    let after = kinds(&app);
    assert_eq!(after[..before.len()], before[..], "nothing is told twice");
    let new: Vec<&str> = after[before.len()..].iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(new[..3], ["variables.changed", "deployment.started", "rollout.started"], "{new:?}");
    let all = app.hythe(&["events", "talker", "-n", "200", "--json"]);
    assert!(all.contains("SECRET") && !all.contains("hush-hush"), "names, never values");
    // The stream goes on over the restart of the server.
    let mut stream = Stream::open(&app, &token, path, Some(&id));
    assert_eq!(stream.next().1, "variables.changed");
}

#[test]
fn measurements_are_shown_over_time_and_to_prometheus() {
    let app = Talker::with(Settings::default());
    for _ in 0..20 {
        assert_eq!(app.ask("/"), 200);
    }
    let token = app.token();
    let authorization = format!("Authorization: Bearer {token}");
    let scraped = eventually("the sampler has looked", || {
        let answer = app.server.curl(&["-H", &authorization, &format!("{}/metrics", app.server.api())]);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let counted = |line: &str| line.starts_with("hythe_requests_total") && line.ends_with(" 20");
        answer.body.lines().any(counted).then_some(answer.body)
    });
    for name in ["hythe_request_seconds_bucket", "hythe_requests_in_flight", "hythe_host_memory_bytes"] {
        assert!(scraped.lines().any(|l| l.starts_with(name)), "{name} in\n{scraped}");
    }
    assert_eq!(app.server.curl(&[&format!("{}/metrics", app.server.api())]).status, 401);
    let shown: Value = eventually("a minute is over", || {
        let shown: Value = serde_json::from_str(&app.hythe(&["metrics", "talker", "--json"])).expect("JSON");
        let whole = shown["points"].as_array().is_some_and(|points| !points.is_empty());
        whole.then_some(shown)
    });
    let points = shown["points"].as_array().expect("points");
    let requests: u64 = points.iter().filter_map(|p| p["requests"]["statuses"]["2xx"].as_u64()).sum();
    assert!((1..=20).contains(&requests), "{shown}");
    assert!(app.hythe(&["host:metrics"]).contains(" of "));
}

/// As far as the engine counts: one that has lost its control groups tells zeros, and they are not believed.
#[test]
fn replicas_are_measured_by_the_engines_counters() {
    let app = Talker::with(Settings::default());
    let token = app.token();
    let authorization = format!("Authorization: Bearer {token}");
    eventually("the sampler has looked", || {
        let answer = app.server.curl(&["-H", &authorization, &format!("{}/metrics", app.server.api())]);
        let names = ["hythe_replica_memory_bytes{", "hythe_replica_cpu_seconds_total{"];
        names.iter().all(|name| answer.body.lines().any(|line| line.starts_with(name))).then_some(())
    });
    let web = eventually("a minute is over", || {
        let shown: Value = serde_json::from_str(&app.hythe(&["metrics", "talker", "--json"])).expect("JSON");
        shown["points"].as_array()?.iter().find_map(|point| point["replicas"].get("web.1").cloned())
    });
    assert!(web["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 5 << 20), "{web}");
    assert!(web["cpu_percent"].as_f64().is_some_and(|percent| percent > 0.0), "{web}");
}
