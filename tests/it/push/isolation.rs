//! Builds and what runs beside them, and builds beside each other.

use std::thread;

use super::{Deployed, ok};
use crate::harness::engine::docker;
use crate::harness::{Load, RealServer, Repo, Settings, eventually};

fn package(build: &str) -> String {
    let manifest = serde_json::json!({
        "name": "app", "version": "1.0.0", "scripts": { "start": "node server.js", "build": build }
    });
    manifest.to_string()
}

#[test]
fn a_build_that_wants_everything_is_ended_and_what_runs_answers_throughout() {
    let mut settings = Settings::with("HYTHE_BUILD_MEMORY_BYTES", 256 << 20);
    let bounds = [("PROCESSES", "256"), ("DISK_BYTES", "1000000000"), ("OUTPUT_BYTES", "5000000")];
    settings.variables.extend(bounds.map(|(key, value)| (format!("HYTHE_BUILD_{key}"), value.to_owned())));
    let app = Deployed::with(settings);
    let hostile = Repo::node(&app.server, "hostile", "harmless");
    let load = Load::on(&app.server, "hello", 2);
    for (build, told) in [
        ("bash -c 'bomb() { bomb | bomb & }; bomb; sleep infinity'", ["too many processes", "build.processes"]),
        ("node -e 'const a = []; for (;;) a.push(Buffer.alloc(1 << 24, 1))'", ["out of memory", "256 MiB"]),
        ("dd if=/dev/zero of=/tmp/full bs=1M; sleep infinity", ["wrote more than 1.0 GB", "build.disk_bytes"]),
        ("yes 'and again'", ["printed more than 5 MB", "build.output_bytes"]),
    ] {
        hostile.commit(&[("package.json", &package(build))]);
        hostile.push("main").refused(&told);
    }
    load.served_throughout();
    hostile.commit(&[("package.json", &package("true"))]);
    hostile.push("main").accepted();
    assert_eq!(app.server.get("hostile"), ok("harmless"));
}

#[test]
fn who_waits_for_room_is_told_so_and_built_when_there_is_some() {
    let server = RealServer::start_with(Settings::with("HYTHE_BUILD_AT_ONCE", 1));
    let [first, second] = ["first", "second"].map(|name| Repo::node(&server, name, name));
    first.commit(&[("package.json", &package("until test -e /tmp/go; do sleep 0.1; done"))]);
    let sandboxes = || {
        let ours = format!("label=hythe.prefix={}", server.prefix);
        docker(&["ps", "-q", "--filter", &ours, "--filter", "label=hythe.sandbox"]).expect("docker ps")
    };
    thread::scope(|scope| {
        let built = scope.spawn(|| first.push("main").accepted());
        let sandbox = eventually("the first one is at work", || {
            let found = sandboxes();
            let name = found.lines().next()?.to_owned();
            let processes = docker(&["top", &name]);
            (processes.ok && processes.out.contains("/tmp/go")).then_some(name)
        });
        let waits = scope.spawn(|| second.push("main").accepted());
        eventually("the second one is told", || {
            let log = server.cli(&server.owner, &["logs", "second", "-s", "build"]);
            (log.out.contains("Waiting for room: this build is next")).then_some(())
        });
        docker(&["exec", &sandbox, "touch", "/tmp/go"]).expect("go");
        let said = built.join().expect("the first push");
        assert!(!said.contains("Waiting"), "{said}");
        let said = waits.join().expect("the second push");
        assert!(said.contains("Waiting for room: this build is next"), "{said}");
    });
    assert_eq!((server.get("first"), server.get("second")), (ok("first"), ok("second")));
}

#[test]
fn a_build_has_bounds_of_its_own_and_the_engine_puts_it_behind_every_app() {
    let mut settings = Settings::with("HYTHE_BUILD_MEMORY_BYTES", 600 << 20);
    let bounds =
        [("PROCESSES", "300"), ("CPU_MILLIS", "1500")].map(|(key, value)| (format!("HYTHE_BUILD_{key}"), value));
    settings.variables.extend(bounds.map(|(key, value)| (key, value.to_owned())));
    let app = Deployed::with(settings);
    let other = Repo::node(&app.server, "other", "built");
    other.commit(&[("package.json", &package("until test -e /tmp/go; do sleep 0.1; done"))]);
    let one = |label: &str| {
        let ours = format!("label=hythe.prefix={}", app.server.prefix);
        let found = docker(&["ps", "-q", "--filter", &ours, "--filter", &format!("label={label}")]).expect("docker ps");
        found.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let held_to = |id: &str| {
        let fields = ["Memory", "MemorySwap", "PidsLimit", "CpuPeriod", "CpuQuota", "CpuShares", "OomScoreAdj"];
        let format = fields.map(|field| format!("{{{{.HostConfig.{field}}}}}")).join(" ");
        let said = docker(&["inspect", "--format", &format, id]).expect("docker inspect");
        let numbers: Vec<i64> = said.split_whitespace().map(|number| number.parse().expect("a number")).collect();
        <[i64; 7]>::try_from(numbers).expect("seven numbers")
    };
    thread::scope(|scope| {
        let built = scope.spawn(|| other.push("main").accepted());
        let sandbox = eventually("it builds", || {
            let sandboxes = one("hythe.sandbox");
            sandboxes.into_iter().find(|id| docker(&["top", id]).out.contains("/tmp/go"))
        });
        let replicas = one("hythe.environment");
        assert!(!replicas.is_empty());
        let [memory, with_swap, processes, period, quota, weight, taken_at] = held_to(&sandbox);
        assert_eq!((memory, with_swap, processes, quota * 1000 / period), (600 << 20, 600 << 20, 300, 1500));
        for replica in replicas {
            let [memory, with_swap, processes, _, quota, of_replica, replica_taken_at] = held_to(&replica);
            assert!(memory > 0 && memory == with_swap && processes > 0 && quota > 0);
            // 0 is the kernel's own weight, 1024.
            let of_replica = if of_replica == 0 { 1024 } else { of_replica };
            assert!(weight > 0 && weight * 8 <= of_replica, "{weight} {of_replica}");
            assert!(taken_at > replica_taken_at, "{taken_at} {replica_taken_at}");
        }
        docker(&["exec", &sandbox, "touch", "/tmp/go"]).expect("go");
        built.join().expect("the push");
    });
    assert_eq!(app.server.get("other"), ok("built"));
}
