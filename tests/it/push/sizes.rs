//! Sizes by name: the bounds that the kernel holds a replica to.

use super::{Deployed, ok};
use crate::harness::{Load, Settings, docker, eventually};

/// Grows on `/hog` until somebody stops it.
const HOG: &str = "const kept = [];
require('http').createServer((q, r) => {
  if (q.url === '/hog') setInterval(() => kept.push(Buffer.alloc(16 << 20, 1)), 5);
  r.end('first');
}).listen(process.env.PORT);
process.on('SIGTERM', () => process.exit(0));
";

fn bounds(app: &Deployed) -> Vec<String> {
    let names = app.server.replicas("hello");
    let format = "{{.HostConfig.Memory}} {{.HostConfig.CpuQuota}} {{.HostConfig.PidsLimit}}";
    names.iter().map(|name| docker(&["inspect", "-f", format, name]).out.trim().to_owned()).collect()
}

#[test]
fn another_size_is_a_release_whose_bounds_the_kernel_holds() {
    let app = Deployed::with(Settings::default());
    app.repo.commit(&[("server.js", HOG)]);
    app.repo.push("main").accepted();
    let load = Load::on(&app.server, "hello", 2);
    app.verb(&["ps:scale", "web=1:small"]);
    eventually("the new one runs alone", || (bounds(&app) == ["268435456 50000 256"]).then_some(()));
    load.served_throughout();
    let seen = app.verb(&["ps"]);
    assert!(seen.contains("1 of 1 ready, small (256 MB, 0.5 CPU)"), "{seen}");
    let diff = app.verb(&["releases:diff", "v2", "v3"]);
    assert!(diff.contains("size       web: none → small"), "{diff}");

    // What the engine was told is what the kernel holds it to.
    let replica = app.server.replicas("hello").remove(0);
    for _ in 0..1 {
        let host = format!("hello.localhost:{}", app.server.proxy_port);
        app.server.curl(&["--resolve", &format!("{host}:127.0.0.1"), &format!("http://{host}/hog")]);
    }
    let told = eventually("it is killed with evidence", || {
        let told = app.verb(&["events", "-n", "100"]);
        told.contains("out of memory (limit 256 MB)").then_some(told)
    });
    assert!(told.contains("web.1 was killed"), "{replica}: {told}");
    eventually("it is back", || (app.server.get("hello") == ok("first")).then_some(()));

    app.verb(&["rollback", "v2"]);
    eventually("the usual bounds", || (bounds(&app) == ["536870912 100000 512"]).then_some(()));
}

#[test]
fn a_size_that_there_is_not_is_answered_with_those_that_there_are() {
    let app = Deployed::new();
    let owner = app.server.owner.clone();
    for words in [&["ps:size", "web=huge"][..], &["ps:scale", "web=1:huge"]] {
        let said = app.server.cli(&owner, &[words, &["-a", "hello"]].concat());
        assert!(!said.ok && said.err.contains("there are default, small, medium, large, xlarge"), "{said:?}");
    }
    let said = app.server.cli(&owner, &["ps:size", "web=$(id)", "-a", "hello"]);
    assert!(!said.ok && said.err.contains("web"), "{said:?}");
    let list = app.server.cli(&owner, &["sizes"]).expect("sizes");
    assert!(list.contains("default") && list.contains("512 MB") && list.contains("xlarge"), "{list}");
    app.repo.commit(&[("app.json", r#"{"formation": {"web": {"size": "huge"}}}"#)]);
    app.repo.push("main").refused(&["app.json: formation.web.size", "small, medium, large"]);
    app.untouched();
    app.repo.commit(&[("app.json", r#"{"formation": {"web": {"size": "large"}}}"#)]);
    app.repo.push("main").accepted();
    eventually("what the file wishes for", || (bounds(&app) == ["1073741824 200000 1024"]).then_some(()));
}

/// Writes 40 MB beside itself on `/fill`.
const FILLER: &str = "const fs = require('fs');
require('http').createServer((q, r) => {
  if (q.url === '/fill') fs.writeFileSync('/tmp/heap', Buffer.alloc(40 << 20, 1));
  r.end('first');
}).listen(process.env.PORT);
process.on('SIGTERM', () => process.exit(0));
";

#[test]
fn who_writes_more_than_its_file_system_may_hold_is_replaced_with_evidence() {
    let app = Deployed::with(Settings::with("HYTHE_RUNTIME_DISK_BYTES", 20 << 20));
    app.repo.commit(&[("server.js", FILLER)]);
    app.repo.push("main").accepted();
    let ids = || {
        let names = app.server.replicas("hello");
        let ids = names.iter().map(|name| docker(&["inspect", "-f", "{{.Id}}", name]).out.trim().to_owned());
        ids.collect::<Vec<_>>()
    };
    let before = ids();
    let host = format!("hello.localhost:{}", app.server.proxy_port);
    app.server.curl(&["--resolve", &format!("{host}:127.0.0.1"), &format!("http://{host}/fill")]);
    let told = eventually("it is replaced with evidence", || {
        let told = app.verb(&["events", "-n", "100"]);
        told.contains("has no more room").then_some(told)
    });
    assert!(told.contains("it wrote 40 MB to its own file system, of at most 20 MB"), "{told}");
    eventually("another one serves", || (ids() != before && app.server.get("hello") == ok("first")).then_some(()));
    let why = app.verb(&["why"]);
    assert!(why.contains("wrote 40 MB"), "{why}");

    // A release that fills it before it is ready does not become live.
    app.repo.commit(&[(
        "server.js",
        "require('fs').writeFileSync('/tmp/heap', Buffer.alloc(40 << 20, 1)); setInterval(() => 0, 1000);",
    )]);
    let refused = app.repo.push("main");
    refused.refused(&["web wrote 40 MB to its own file system, of at most 20 MB", "hythe volumes:create"]);
    assert_eq!(app.server.get("hello"), ok("first"));
}
