//! What only the real engine can show. The `docker` program is the judge of what the API was told.

use std::process::Command;

use futures_util::TryStreamExt;
use hythe::base::model::{Generation, Replica, WorkloadId, WorkloadSpec};
use hythe::base::secret::Secret;
use hythe::machinery::runtime::contract::{
    Rig, command, entries, finished, has_exited, is_running, observe, one, said, sandbox, until, workload,
};
use hythe::machinery::runtime::docker::Docker;
use hythe::machinery::runtime::{Engine, EngineError, Privileges, SandboxSpec};
use serde_json::Value;

use super::{DockerRig, SOCKET};

pub(super) fn docker(arguments: &[&str]) -> String {
    let done = Command::new("/usr/bin/docker").args(arguments).output().expect("docker");
    assert!(done.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("text").trim().to_owned()
}

fn inspect(id: &str) -> Value {
    serde_json::from_str::<Value>(&docker(&["inspect", id])).expect("json")[0].take()
}

async fn lines(rig: &DockerRig, replica: &Replica) -> String {
    let lines: Vec<_> =
        rig.docker.logs(&replica.id, 100, false).await.expect("logs").try_collect().await.expect("lines");
    lines.into_iter().map(|line| line.text + "\n").collect()
}

/// The one replica of `spec`, once it has ended.
async fn ended(rig: &DockerRig, spec: &WorkloadSpec) -> Replica {
    rig.docker.ensure(spec).await.expect("ensure");
    let mine = |r: &&Replica| r.workload == spec.id && has_exited(r);
    let all = until(&rig.docker, |all| all.iter().any(|r| mine(&r))).await;
    all.iter().find(mine).expect("it ended").clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_confined_and_keep_secrets() {
    let rig = DockerRig::new().await;
    let mut spec = workload(&rig, &["cat", "/proc/self/status"]);
    spec.variables.insert("TOKEN".into(), Secret::new("hunter2".into()));
    let replica = ended(&rig, &spec).await;
    let status = lines(&rig, &replica).await;
    for expected in
        ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "Uid:\t1000"]
    {
        assert!(status.contains(expected), "{expected} in {status}");
    }
    let mut seen = inspect(&replica.id);
    let host = &seen["HostConfig"];
    assert_eq!(host["Memory"], 64 << 20);
    assert_eq!(host["MemorySwap"], 64 << 20);
    assert_eq!((&host["CpuQuota"], &host["CpuPeriod"]), (&Value::from(100_000), &Value::from(100_000)));
    assert_eq!(host["PidsLimit"], 64);
    assert_eq!(host["Privileged"], false);
    assert_eq!(host["Binds"], Value::Null);
    assert_eq!(host["PortBindings"], Value::Null);
    assert_eq!(host["RestartPolicy"]["Name"], "");
    assert_eq!(
        host["LogConfig"],
        serde_json::json!({"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}})
    );
    assert_eq!(seen["Mounts"], serde_json::json!([]));
    assert_eq!(seen["Config"]["Hostname"], "web-1");
    let name = seen["Name"].as_str().expect("a name");
    assert!(name.starts_with(&format!("/{}-shop-web-7-1-", rig.prefix)), "{name}");
    seen["Config"]["Env"].take();
    assert!(!seen.to_string().contains("hunter2"), "a variable is in the environment and nowhere else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_ours_is_never_touched() {
    let rig = DockerRig::new().await;
    let neighbour = DockerRig::new().await;
    let spec = workload(&rig, &["sleep", "1000"]);
    neighbour.docker.ensure(&WorkloadSpec { image: neighbour.image(), ..spec.clone() }).await.expect("ensure");
    rig.docker.ensure(&spec).await.expect("ensure");
    let theirs = until(&neighbour.docker, |all| all.iter().any(is_running)).await;
    let ours = until(&rig.docker, |all| all.iter().any(is_running)).await;
    assert_eq!((ours.len(), theirs.len()), (1, 1));
    assert_ne!(ours[0].id, theirs[0].id);
    rig.docker.retire(&spec.id, Generation(99)).await.expect("retire");
    rig.docker.remove(&theirs[0].id).await.expect("for us it is not there");
    let logs = rig.docker.logs(&theirs[0].id, 1, false).await;
    assert!(matches!(logs, Err(EngineError::NotFound { .. })), "a foreign log is not shown");
    assert_eq!(observe(&neighbour.docker).await, theirs);
    assert_eq!(observe(&rig.docker).await, []);
    // A container of somebody's own that stands where ours would.
    let name = format!("{}-sandbox-app_1", rig.prefix);
    let image = rig.docker.image_reference(&rig.image());
    docker(&["create", "--name", &name, &image, "sleep", "9"]);
    let opened = rig.docker.open_sandbox(&sandbox(&rig)).await;
    docker(&["rm", "-f", &name]);
    assert!(matches!(opened, Err(EngineError::Refused { .. })), "{opened:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_half_made_is_made_anew() {
    let rig = DockerRig::new().await;
    let spec = workload(&rig, &["sleep", "1000"]);
    rig.docker.ensure(&spec).await.expect("ensure");
    let made = observe(&rig.docker).await;
    let seen = inspect(&made[0].id);
    let name = seen["Name"].as_str().expect("a name").trim_start_matches('/').to_owned();
    let labels: Vec<_> = seen["Config"]["Labels"].as_object().expect("labels").iter().collect();
    docker(&["rm", "-f", &made[0].id]);
    let image = rig.docker.image_reference(&rig.image());
    // Created and never started, once with all labels, once with hardly any.
    for count in [labels.len(), 0] {
        let mut arguments = vec!["create".to_owned(), "--name".into(), name.clone()];
        arguments.extend(["--label".into(), format!("hythe.prefix={}", rig.prefix)]);
        for (key, value) in &labels[..count] {
            arguments.extend(["--label".into(), format!("{key}={}", value.as_str().expect("text"))]);
        }
        arguments.extend([image.clone(), "sleep".into(), "9".into()]);
        docker(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        rig.docker.ensure(&spec).await.expect("ensure");
        let all = observe(&rig.docker).await;
        assert_eq!(all.len(), 1);
        assert!(is_running(&all[0]));
        docker(&["rm", "-f", &all[0].id]);
    }
    // The space's network vanished while it was believed to be there.
    docker(&["network", "rm", &format!("{}-{}", rig.prefix, spec.space)]);
    rig.docker.ensure(&spec).await.expect("ensure");
    assert!(observe(&rig.docker).await[0].address.is_some());
    // A new process knows nothing and finds it all.
    let reborn = Docker::connect(SOCKET, &rig.prefix).expect("connect");
    assert_eq!(observe(&reborn).await, observe(&rig.docker).await);
    reborn.ensure(&spec).await.expect("ensure");
    assert_eq!(observe(&reborn).await, observe(&rig.docker).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_asks_first_and_kills_after_the_grace() {
    let rig = DockerRig::new().await;
    let polite = ["bash", "-c", "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.1; done"];
    let deaf = ["bash", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"];
    for (words, says) in [(polite, "ready\nbye\n"), (deaf, "ready\n")] {
        let spec = WorkloadSpec { grace_seconds: 1, ..workload(&rig, &words) };
        rig.docker.ensure(&spec).await.expect("ensure");
        let all = until(&rig.docker, |all| all.iter().any(is_running)).await;
        let mut log = rig.docker.logs(&all[0].id, 10, true).await.expect("logs");
        let mut text = log.try_next().await.expect("line").expect("ready").text + "\n";
        rig.docker.retire(&spec.id, spec.generation.next()).await.expect("retire");
        while let Some(line) = log.try_next().await.expect("line") {
            text += &(line.text + "\n");
        }
        assert_eq!(text, says);
        assert_eq!(observe(&rig.docker).await, []);
    }
}

const CONNECT: &str = "use Socket; my ($ip, $port) = @ARGV; socket(my $s, PF_INET, SOCK_STREAM, 0); \
                       $SIG{ALRM} = sub { print 'silence'; exit }; alarm 2; \
                       print connect($s, sockaddr_in($port, inet_aton($ip))) ? 'connected' : 'refused';";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sandboxes_reach_neither_apps_nor_each_other() {
    let rig = DockerRig::new().await;
    let mut spec = workload(&rig, &[]);
    spec.process.command = rig.listener();
    let beside =
        WorkloadSpec { id: WorkloadId { process: "other".parse().expect("name"), ..spec.id.clone() }, ..spec.clone() };
    rig.docker.ensure(&spec).await.expect("ensure");
    let web = until(&rig.docker, |all| all.iter().any(|r| r.address.is_some())).await;
    let address = web[0].address.expect("an address");
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    // A replica of the same space reaches it …
    let knock = [
        "perl",
        "-e",
        "use Socket; for (1..200) { socket(my $s, PF_INET, SOCK_STREAM, 0); \
                  if (connect($s, sockaddr_in($ARGV[1], inet_aton($ARGV[0])))) { print 'connected'; exit } \
                  select undef, undef, undef, 0.02 } print 'never'",
        &ip,
        &port,
    ];
    let knock = WorkloadSpec { process: workload(&rig, &knock).process, ..beside };
    assert_eq!(lines(&rig, &ended(&rig, &knock).await).await, "connected\n");
    // … a sandbox does not, nor another sandbox.
    let first = sandbox(&rig);
    let second = SandboxSpec { name: "app_2".into(), ..first.clone() };
    rig.docker.open_sandbox(&first).await.expect("open");
    rig.docker.open_sandbox(&second).await.expect("open");
    assert_eq!(said(&rig.docker, &first, &["perl", "-e", CONNECT, &ip, &port]).await.0, "silence");
    let seen = inspect(&format!("{}-sandbox-app_2", rig.prefix));
    let network = format!("{}-build", rig.prefix);
    let other = seen["NetworkSettings"]["Networks"][network]["IPAddress"].as_str().expect("an address").to_owned();
    assert_eq!(said(&rig.docker, &first, &["perl", "-e", CONNECT, &other, "22"]).await.0, "silence");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_has_the_capabilities_it_was_opened_for() {
    let rig = DockerRig::new().await;
    let plain = sandbox(&rig);
    rig.docker.open_sandbox(&plain).await.expect("open");
    let status = ["cat", "/proc/self/status"];
    let seen = said(&rig.docker, &plain, &status).await.0;
    assert!(seen.contains("CapBnd:\t0000000000000000") && seen.contains("NoNewPrivs:\t1"), "{seen}");
    let trusted = SandboxSpec { name: "base".into(), privileges: Privileges::Packages, ..plain };
    rig.docker.open_sandbox(&trusted).await.expect("open");
    let seen = said(&rig.docker, &trusted, &status).await.0;
    // CHOWN, DAC_OVERRIDE, FOWNER, SETGID, SETUID: bits 0, 1, 3, 6, 7.
    assert!(seen.contains("CapEff:\t00000000000000cb") && seen.contains("Uid:\t0"), "{seen}");
    assert_eq!(said(&rig.docker, &trusted, &["chown", "7:7", "/workspace"]).await.1, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_hold_owners_and_whiteouts_and_leave_no_image() {
    let rig = DockerRig::new().await;
    let spec = SandboxSpec { privileges: Privileges::Packages, ..sandbox(&rig) };
    rig.docker.open_sandbox(&spec).await.expect("open");
    let temporary = || docker(&["images", "-q", &format!("{}/changes", rig.prefix)]);
    let layer = entries(rig.docker.changes(&spec.name).await.expect("changes")).await;
    assert!(layer.iter().all(|(path, ..)| path == "sbin"), "only the place of the engine's init: {layer:?}");
    let script = "echo text > /workspace/new && rm /usr/bin/ls && mkdir /opt && chown 1000:1000 /opt";
    assert_eq!(said(&rig.docker, &spec, &["bash", "-c", script]).await.1, 0);
    for _ in 0..2 {
        let layer = entries(rig.docker.changes(&spec.name).await.expect("changes")).await;
        let content = |path: &str| layer.iter().find(|(p, ..)| p == path).map(|(.., content)| content.as_str());
        assert_eq!(content("workspace/new"), Some("text\n"), "{layer:?}");
        assert_eq!(content("usr/bin/.wh.ls"), Some(""), "{layer:?}");
        assert_eq!(content("opt"), Some(""), "{layer:?}");
        assert_eq!(content("usr/bin/cat"), None);
    }
    assert_eq!(temporary(), "");
    // Dropped before its end: the image goes all the same, and clean-up waits for that.
    drop(rig.docker.changes(&spec.name).await.expect("changes"));
    rig.docker.remove_everything().await.expect("clean");
    assert_eq!(temporary(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_are_reaped() {
    let rig = DockerRig::new().await;
    let spec = sandbox(&rig);
    rig.docker.open_sandbox(&spec).await.expect("open");
    let orphan = command(&["bash", "-c", "(sleep 0.01 &) ; true"]);
    assert_eq!(finished(rig.docker.exec(&spec.name, orphan).await.expect("exec")).await.1, 0);
    let look =
        "for p in /proc/[0-9]*/stat; do read -r _ _ state _ < $p && [ \"$state\" = Z ] && echo zombie; done; true";
    let looked = said(&rig.docker, &spec, &["bash", "-c", &format!("sleep 0.2; {look}")]).await;
    assert_eq!(looked, (String::new(), 0));
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_unreachable_and_may_come_back() {
    let absent = Docker::connect("/nonexistent/docker.sock", "hythe-test").expect("connecting is lazy");
    let fault = absent.observe().await.expect_err("nobody answers");
    assert!(matches!(fault, EngineError::Unreachable { .. }) && fault.is_temporary(), "{fault:?}");
    assert!(absent.events().await.err().is_some_and(|fault| fault.is_temporary()));
    let directory = tempfile::tempdir().expect("directory");
    let socket = directory.path().join("docker.sock");
    let late = Docker::connect(socket.to_str().expect("text"), "hythe-test").expect("connect");
    assert!(late.probe().await.is_err());
    std::os::unix::fs::symlink(SOCKET, &socket).expect("link");
    late.probe().await.expect("it came up");
    let load = absent.load(one(vec![0; 1024])).await;
    assert!(matches!(load, Err(EngineError::Unreachable { .. })), "{load:?}");
    for prefix in ["", "-x", "x-", "X", "a/b"] {
        assert!(Docker::connect(SOCKET, prefix).is_err(), "{prefix:?}");
    }
}
