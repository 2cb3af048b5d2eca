//! People at work: commands beside the replicas and inside them, by the command line, a terminal and ssh; the commands of
//! a deployment; schedules. After each, nothing is left in the engine.

mod cron;
mod deploys;
mod terminals;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::harness::{RealServer, Relay, Said, Settings, docker, eventually};
use crate::push::{Deployed, ok};

/// Containers of commands, ended ones included.
pub fn commands(server: &RealServer) -> Vec<String> {
    let filters = [format!("label=hythe.prefix={}", server.prefix), "label=hythe.command".to_owned()];
    let words = ["ps", "-aq", "--filter", &filters[0], "--filter", &filters[1]];
    docker(&words).expect("docker ps").lines().map(str::to_owned).collect()
}

#[track_caller]
pub fn none_left(server: &RealServer) {
    eventually("no command is left in the engine", || commands(server).is_empty().then_some(()));
}

/// With `input` on its standard input, to the end.
pub fn fed(command: &mut Command, input: &[u8]) -> Said {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let said = said(child.wait_with_output().expect("it ends"));
    writer.join().expect("written");
    said
}

pub fn said(output: Output) -> Said {
    Said {
        ok: output.status.success(),
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub fn listed(server: &RealServer, words: &[&str]) -> Vec<Value> {
    let json = server.cli(&server.owner, words).expect("a list");
    serde_json::from_str::<Value>(&json).expect("JSON").as_array().expect("a list").clone()
}

pub fn ssh(server: &RealServer, words: &[&str]) -> Command {
    let line = server.ssh_command(&server.owner);
    let mut parts = line.split(' ');
    let mut command = crate::harness::program(parts.next().expect("ssh"));
    command.args(parts).args(["-p", &server.ssh_port.to_string()]).args(words);
    command
}

#[test]
fn a_command_runs_beside_the_replicas() {
    let app = Deployed::new();
    let (server, owner) = (&app.server, &app.server.owner);
    let replicas: BTreeSet<_> = server.replicas("hello").into_iter().collect();
    let done = server.cli(owner, &["run", "-a", "hello", "bash", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (Some(3), "out\n", "err\n"));

    server.cli(owner, &["config:set", "-a", "hello", "GREETING=well met"]).expect("config:set");
    let line = "echo $GREETING $HYTHE_APP $HYTHE_RELEASE ${HYTHE_PROCESS%.*} && id -u";
    let done = server.cli(owner, &["run", "-a", "hello", line]);
    assert_eq!((done.code, done.out.as_str()), (Some(0), "well met hello v2 run\n1000\n"), "{done:?}");

    let input: Vec<u8> = (0..2_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut count = server.hythe(owner);
    let counted = fed(count.args(["run", "-a", "hello", "wc", "-c"]), &input).expect("run");
    assert_eq!(counted.trim(), "2000000");
    let mut echo = server.hythe(owner);
    let text = "line\n".repeat(20_000);
    assert!(fed(echo.args(["run", "-a", "hello", "cat"]), text.as_bytes()).expect("run") == text);

    // From another machine the way leads through the platform's own proxy.
    let token = server.cli(owner, &["tokens:create", "far"]).expect("tokens:create").trim().to_owned();
    let mut far = server.hythe(owner);
    far.env("HYTHE_URL", format!("http://hythe.localhost:{}", server.proxy_port)).env("HYTHE_TOKEN", token);
    assert!(fed(far.args(["run", "-a", "hello", "cat"]), text.as_bytes()).expect("run") == text);

    let missing = server.cli(owner, &["run", "-a", "hello", "no-such-program"]);
    assert_eq!(missing.code, Some(127), "{missing:?}");
    none_left(server);
    let all = listed(server, &["run:list", "-a", "hello", "--json"]);
    let ended: Vec<_> = all.iter().map(|c| (c["state"].as_str().expect("state"), c["exit_code"].as_i64())).collect();
    assert_eq!(
        ended,
        [
            ("failed", Some(127)),
            ("succeeded", Some(0)),
            ("succeeded", Some(0)),
            ("succeeded", Some(0)),
            ("succeeded", Some(0)),
            ("failed", Some(3))
        ]
    );
    assert_eq!(server.replicas("hello").len(), replicas.len(), "the replicas are none the wiser");
    assert_eq!(server.get("hello"), ok("first"));
}

#[test]
fn a_command_is_confined_like_a_replica() {
    let app = Deployed::new();
    let done = app.server.cli(&app.server.owner, &["run", "-a", "hello", "cat", "/proc/self/status"]).expect("run");
    for expected in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(done.contains(expected), "{expected} in {done}");
    }
}

#[test]
fn what_one_may_not_see_cannot_be_run_in() {
    let app = Deployed::new();
    let newcomer = app.server.newcomer("newcomer");
    for words in [
        &["run", "-a", "hello", "id"][..],
        &["run", "-a", "owner/hello", "id"],
        &["run:detached", "-a", "hello", "id"],
        &["ps:exec", "-a", "hello", "web.1", "id"],
        &["run:list", "-a", "hello"],
        &["cron", "-a", "hello"],
        &["cron:add", "-a", "hello", "@daily", "id"],
    ] {
        let told = app.server.ssh(&newcomer, words);
        assert_eq!((told.code, told.out.as_str()), (Some(3), ""), "{words:?}: {told:?}");
        assert!(told.err.contains("not found"), "{told:?}");
    }
    let nothing = Deployed::new();
    let owner = &nothing.server.owner;
    nothing.server.cli(owner, &["apps:create", "empty"]).expect("apps:create");
    let told = nothing.server.cli(owner, &["run", "-a", "empty", "id"]);
    assert!(!told.ok && told.err.contains("nothing was deployed"), "{told:?}");
    let told = nothing.server.cli(owner, &["ps:exec", "-a", "hello", "web.7", "id"]);
    assert!(!told.ok && told.err.contains("web.7 not found"), "{told:?}");
}

#[test]
fn a_detached_command_goes_on_by_itself() {
    let mut app = Deployed::new();
    let line = "echo begun; while [ ! -e /tmp/stop ]; do sleep 0.1; done; echo done; exit 4";
    let start = |app: &Deployed| {
        let owner = &app.server.owner;
        app.server.cli(owner, &["run:detached", "-a", "hello", line]).expect("run:detached").trim().to_owned()
    };
    let id = start(&app);
    eventually("it says that it began", || {
        let said = app.server.cli(&app.server.owner, &["run:logs", "-a", "hello", &id]);
        said.out.contains("begun").then_some(())
    });
    // The platform may come and go meanwhile.
    let before = commands(&app.server);
    app.server.kill();
    assert_eq!(commands(&app.server), before);
    app.server.boot();
    docker(&["exec", &before[0], "touch", "/tmp/stop"]).expect("docker exec");
    let owner = &app.server.owner;
    let ended = app.server.cli(owner, &["run:logs", "-t", "-a", "hello", &id]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(4), "begun\ndone\n"), "{ended:?}");
    none_left(&app.server);
    let all = listed(&app.server, &["run:list", "-a", "hello", "--json"]);
    assert_eq!((all.len(), all[0]["state"].as_str(), all[0]["exit_code"].as_i64()), (1, Some("failed"), Some(4)));

    let id = start(&app);
    eventually("it runs", || (!commands(&app.server).is_empty()).then_some(()));
    app.server.cli(owner, &["run:stop", "-a", "hello", &id]).expect("run:stop");
    let ended = app.server.cli(owner, &["run:logs", "-t", "-a", "hello", &id]);
    assert!(!ended.ok, "{ended:?}");
    none_left(&app.server);
}

/// A client that holds a running command, once the command runs.
fn holding(app: &Deployed, command: &mut Command) -> Child {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    // That its container is there does not say yet that somebody holds it.
    let mut first = [0; 3];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut first).expect("its first line");
    assert_eq!(&first, b"on\n");
    assert_eq!(commands(&app.server).len(), 1);
    child
}

#[test]
fn a_command_ends_with_whoever_holds_it() {
    let mut app = Deployed::new();
    let words = ["run", "-a", "hello", "sh", "-c", "echo on; exec sleep 1000"];
    let mut cli = app.server.hythe(&app.server.owner);
    let mut child = holding(&app, cli.args(words));
    child.kill().expect("kill");
    child.wait().expect("gone");
    none_left(&app.server);
    let mut far = ssh(&app.server, &["git@localhost", "run", "-a", "hello", "sh", "-c", "'echo on; exec sleep 1000'"]);
    let mut child = holding(&app, &mut far);
    child.kill().expect("kill");
    child.wait().expect("gone");
    none_left(&app.server);
    // Asked politely, it passes the signal on and gives the command's own end back.
    let mut cli = app.server.hythe(&app.server.owner);
    let mut child = holding(&app, cli.args(words));
    crate::harness::run(crate::harness::program("kill").args(["-TERM", &child.id().to_string()])).expect("kill");
    assert_eq!(child.wait().expect("gone").code(), Some(143));
    none_left(&app.server);
    // So it is when the platform stops, …
    let mut cli = app.server.hythe(&app.server.owner);
    let mut child = holding(&app, cli.args(words));
    app.server.stop();
    assert!(!child.wait().expect("gone").success());
    none_left(&app.server);
    app.server.boot();
    // … when it is lost, …
    let mut cli = app.server.hythe(&app.server.owner);
    let mut child = holding(&app, cli.args(words));
    app.server.kill();
    assert_eq!(child.wait().expect("gone").code(), Some(6));
    app.server.boot();
    none_left(&app.server);
    let all = listed(&app.server, &["run:list", "-a", "hello", "--json"]);
    assert!(all.len() == 5 && all.iter().all(|c| c["state"] == "failed"), "{all:?}");
    // … and when its app is destroyed.
    let mut cli = app.server.hythe(&app.server.owner);
    let mut child = holding(&app, cli.args(words));
    app.server.cli(&app.server.owner, &["apps:destroy", "-a", "hello", "--confirm", "hello"]).expect("apps:destroy");
    assert!(!child.wait().expect("gone").success());
    none_left(&app.server);
}

/// The platform stops while the engine is about to hear a request, which it hears when nobody can reach the platform any more.
fn stopped_meanwhile(app: &mut Deployed, relay: &Relay) {
    let port = app.server.api_port;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let reached = || std::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port));
            eventually("it stops", || reached().is_err().then_some(()));
            relay.mend();
        });
        app.server.stop();
    });
}

#[test]
fn a_command_in_the_making_does_not_outlive_the_platform() {
    let relay = Relay::start();
    let mut app = Deployed::with(Settings::with("HYTHE_RUNTIME_ENGINE", relay.socket().display()));
    let moments = ["/containers/create?name=", "/attach?", "/start"];
    for moment in moments {
        for killed in [false, true] {
            relay.hold(moment);
            let mut cli = app.server.hythe(&app.server.owner);
            cli.args(["run", "-a", "hello", "sleep", "1000"]).stdin(Stdio::null());
            let mut child = cli.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
            eventually("it is being made", || relay.holds().then_some(()));
            if killed {
                app.server.kill();
                relay.mend();
            } else {
                stopped_meanwhile(&mut app, &relay);
                assert_eq!(commands(&app.server), [""; 0], "{moment}: it is gone before the platform is");
            }
            assert!(!child.wait().expect("gone").success());
            app.server.boot();
            none_left(&app.server);
        }
    }
    let all = listed(&app.server, &["run:list", "-a", "hello", "--json"]);
    assert!(all.len() == 6 && all.iter().all(|c| c["state"] == "failed"), "{all:?}");
}

#[test]
fn a_detached_command_in_the_making_runs_on() {
    let relay = Relay::start();
    let mut app = Deployed::with(Settings::with("HYTHE_RUNTIME_ENGINE", relay.socket().display()));
    relay.hold("/start");
    let line = "echo begun; while [ ! -e /tmp/stop ]; do sleep 0.1; done";
    let id = app.server.cli(&app.server.owner, &["run:detached", "-a", "hello", line]).expect("run:detached");
    eventually("it is being made", || relay.holds().then_some(()));
    stopped_meanwhile(&mut app, &relay);
    let made = commands(&app.server);
    let state = docker(&["inspect", "-f", "{{.State.Status}}", &made[0]]).expect("docker inspect");
    assert_eq!((made.len(), state.trim()), (1, "running"), "it was not left half made");
    app.server.boot();
    docker(&["exec", &made[0], "touch", "/tmp/stop"]).expect("docker exec");
    let ended = app.server.cli(&app.server.owner, &["run:logs", "-t", "-a", "hello", id.trim()]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "begun\n"), "{ended:?}");
    none_left(&app.server);
}
