//! What goes wrong around running apps, on the real engine. In each case a load generator asks all the while: where one
//! replica is ready, no request fails; and in the end everything is as it was asked for.

mod clock;
mod handover;

use crate::harness::{Journal, Load, RealServer, Relay, Repo, Settings, docker, eventually};

/// `web.1` and `web.2`; both must be there before something happens to one.
struct Twins {
    server: RealServer,
    repo: Repo,
}

impl Twins {
    fn with(settings: Settings, server_js: &str) -> Self {
        let server = RealServer::start_with(settings);
        let repo = Repo::node(&server, "hello", "first");
        if !server_js.is_empty() {
            repo.commit(&[("server.js", server_js)]);
        }
        repo.push("main").accepted();
        server.cli(&server.owner, &["ps:scale", "-a", "hello", "web=2"]).expect("ps:scale");
        let twins = Self { server, repo };
        twins.both_ready();
        twins
    }

    fn new() -> Self {
        Self::with(Settings::default(), "")
    }

    fn ready(&self) -> u64 {
        let said = self.server.cli(&self.server.owner, &["ps", "-a", "hello", "--json"]);
        let processes: serde_json::Value = serde_json::from_str(&said.out).unwrap_or_default();
        processes[0]["ready"].as_u64().unwrap_or(0)
    }

    #[track_caller]
    fn both_ready(&self) {
        eventually("two replicas are ready", || {
            (self.ready() == 2 && self.server.replicas("hello").len() == 2).then_some(())
        });
    }

    fn one(&self) -> String {
        self.server.replicas("hello").pop().expect("a replica")
    }

    /// The name is kept; a new container has another id.
    fn id(&self, name: &str) -> String {
        docker(&["inspect", "-f", "{{.Id}}", name]).out.trim().to_owned()
    }

    #[track_caller]
    fn replaced(&self, name: &str, id: &str) {
        eventually("another replica takes its place", || {
            let now = self.id(name);
            (!now.is_empty() && now != id).then_some(())
        });
        self.both_ready();
    }
}

/// Something happens to one replica of two, under load.
fn survives(happens: impl FnOnce(&str)) {
    let twins = Twins::new();
    let load = Load::on(&twins.server, "hello", 4);
    let (name, id) = {
        let name = twins.one();
        let id = twins.id(&name);
        (name, id)
    };
    happens(&name);
    twins.replaced(&name, &id);
    load.served_throughout();
}

#[test]
fn a_replica_that_is_killed() {
    survives(|name| drop(docker(&["kill", name]).expect("docker kill")));
}

#[test]
fn a_replica_that_is_removed() {
    survives(|name| drop(docker(&["rm", "-f", name]).expect("docker rm")));
}

#[test]
fn a_replica_that_is_frozen() {
    survives(|name| drop(docker(&["pause", name]).expect("docker pause")));
}

#[test]
fn a_replica_that_is_cut_off_its_network() {
    survives(|name| {
        let network = docker(&["inspect", "-f", "{{range $k, $v := .NetworkSettings.Networks}}{{$k}}{{end}}", name]);
        let network = network.expect("docker inspect").trim().to_owned();
        docker(&["network", "disconnect", "-f", &network, name]).expect("docker network disconnect");
    });
}

#[test]
fn the_network_of_the_space_is_removed() {
    let twins = Twins::new();
    let names = twins.server.replicas("hello");
    let format = "{{range $k, $v := .NetworkSettings.Networks}}{{$k}}{{end}}";
    let network = docker(&["inspect", "-f", format, &names[0]]).expect("docker inspect").trim().to_owned();
    for name in &names {
        docker(&["network", "disconnect", "-f", &network, name]).expect("docker network disconnect");
    }
    docker(&["network", "rm", &network]).expect("docker network rm");
    eventually("the app answers again", || (twins.server.get("hello").status == 200).then_some(()));
    twins.both_ready();
}

#[test]
fn the_image_is_removed_under_it() {
    let twins = Twins::new();
    let load = Load::on(&twins.server, "hello", 4);
    let (name, id) = {
        let name = twins.one();
        let id = twins.id(&name);
        (name, id)
    };
    let image = docker(&["inspect", "-f", "{{.Config.Image}}", &name]).expect("docker inspect").trim().to_owned();
    docker(&["rmi", "-f", &image]).expect("docker rmi");
    docker(&["rm", "-f", &name]).expect("docker rm");
    twins.replaced(&name, &id);
    load.served_throughout();
}

#[test]
fn a_replica_that_runs_out_of_memory() {
    let eats = "const kept = [];\n\
        if (process.env.HYTHE_PROCESS === 'web.2') setTimeout(() => { for (;;) kept.push(Buffer.alloc(8 << 20, 1)); }, 3000);\n\
        require('http').createServer((_, r) => r.end('ok')).listen(process.env.PORT);\n";
    let twins = Twins::with(Settings::with("HYTHE_RUNTIME_MEMORY_BYTES", 96 << 20), eats);
    let load = Load::on(&twins.server, "hello", 4);
    let name = twins.server.replicas("hello").into_iter().find(|n| n.contains("-2-")).expect("web.2");
    let id = twins.id(&name);
    eventually("it is started anew", || {
        let now = twins.id(&name);
        (!now.is_empty() && now != id).then_some(())
    });
    let log = twins.server.log();
    assert!(log.contains("out_of_memory=true"), "{log}");
    load.served_throughout();
}

#[test]
fn a_replica_that_flaps() {
    let flaps = "if (process.env.HYTHE_PROCESS === 'web.2') setTimeout(() => process.exit(1), 700);\n\
        require('http').createServer((_, r) => r.end('ok')).listen(process.env.PORT);\n";
    let server = RealServer::start();
    let repo = Repo::node(&server, "hello", "first");
    repo.commit(&[("server.js", flaps)]);
    repo.push("main").accepted();
    let load = Load::on(&server, "hello", 4);
    server.cli(&server.owner, &["ps:scale", "-a", "hello", "web=2"]).expect("ps:scale");
    eventually("it was started three times", || (server.log().matches("a replica exited").count() >= 3).then_some(()));
    load.served_throughout();
    let waits = server.log();
    assert!(waits.matches("a replica exited").count() < 30, "it is started with ever longer pauses:\n{waits}");
}

#[test]
fn a_process_that_ignores_sigterm() {
    let deaf = "process.on('SIGTERM', () => {});\n\
        require('http').createServer((_, r) => r.end('deaf')).listen(process.env.PORT);\n";
    let twins = Twins::with(Settings::with("HYTHE_RUNTIME_GRACE_SECONDS", 2), deaf);
    let load = Load::on(&twins.server, "hello", 4);
    twins.repo.answer("second");
    twins.repo.push("main").accepted();
    eventually("only the new ones are left", || (twins.server.replicas("hello").len() == 2).then_some(()));
    assert_eq!(twins.server.get("hello").body, "second");
    load.served_throughout();
}

#[test]
fn an_engine_that_hangs() {
    let relay = Relay::start();
    let twins = Twins::with(Settings::with("HYTHE_RUNTIME_ENGINE", relay.socket().display()), "");
    let load = Load::on(&twins.server, "hello", 4);
    relay.hang();
    twins.repo.answer("second");
    let push = twins.repo.push_in_background("main");
    let before = load.answered();
    eventually("people are served meanwhile", || (load.answered() > before + 500).then_some(()));
    relay.mend();
    let pushed = push.wait();
    if !pushed.ok {
        pushed.refused(&["engine"]);
        twins.repo.push("main").accepted();
    }
    assert_eq!(twins.server.get("hello").body, "second");
    load.served_throughout();
}

#[test]
fn all_replicas_die_with_their_engine() {
    let relay = Relay::start();
    let twins = Twins::with(Settings::with("HYTHE_RUNTIME_ENGINE", relay.socket().display()), "");
    relay.cut();
    for name in twins.server.replicas("hello") {
        docker(&["kill", &name]).expect("docker kill");
    }
    relay.mend();
    eventually("the app answers again", || (twins.server.get("hello").status == 200).then_some(()));
    twins.both_ready();
}

#[test]
fn the_platform_is_killed_and_comes_back() {
    let mut twins = Twins::new();
    let names = twins.server.replicas("hello");
    let ids: Vec<_> = names.iter().map(|name| twins.id(name)).collect();
    twins.server.kill();
    docker(&["kill", &names[0]]).expect("docker kill");
    twins.server.boot();
    let load = Load::on(&twins.server, "hello", 4);
    twins.replaced(&names[0], &ids[0]);
    assert_eq!(twins.id(&names[1]), ids[1], "the other one was adopted, not replaced");
    load.served_throughout();
}

#[test]
fn many_deployments_at_once() {
    const MANY: usize = 50;
    let twins = Twins::new();
    let shows = "require('http').createServer((_, r) => r.end(Object.keys(process.env).filter(k => k.startsWith('MANY')).length + ''))\
        .listen(process.env.PORT);\n";
    twins.repo.commit(&[("server.js", shows)]);
    twins.repo.push("main").accepted();
    let load = Load::on(&twins.server, "hello", 4);
    std::thread::scope(|scope| {
        for n in 0..MANY {
            let server = &twins.server;
            scope.spawn(move || {
                let variable = format!("MANY_{n}=1");
                // Two at the very same moment: one is told to try again, and does.
                eventually("the variable is set", || {
                    server.cli(&server.owner, &["config:set", "-a", "hello", &variable]).ok.then_some(())
                });
            });
        }
    });
    let journal = Journal::open(twins.server.data());
    let mut left = journal.unfinished();
    while left > 0 {
        left = eventually("one more is live", || Some(journal.unfinished()).filter(|now| *now < left));
    }
    assert_eq!(twins.server.get("hello").body, MANY.to_string());
    load.served_throughout();
    twins.both_ready();
}

#[test]
fn a_stop_during_a_rollout() {
    let twins = Twins::new();
    twins.repo.answer("second");
    let push = twins.repo.push_in_background("main");
    twins.server.cli(&twins.server.owner, &["ps:stop", "-a", "hello"]).expect("ps:stop");
    let pushed = push.wait();
    eventually("nothing runs", || twins.server.replicas("hello").is_empty().then_some(()));
    assert_eq!(twins.server.get("hello").status, 503);
    twins.server.cli(&twins.server.owner, &["ps:start", "-a", "hello"]).expect("ps:start");
    let expected = if pushed.ok { "second" } else { "first" };
    eventually("it serves again", || (twins.server.get("hello").body == expected).then_some(()));
    twins.both_ready();
}

#[test]
fn a_rollback_during_a_rollout() {
    let twins = Twins::new();
    twins.repo.answer("second");
    twins.repo.push("main").accepted();
    let load = Load::on(&twins.server, "hello", 4);
    twins.repo.answer("third");
    let journal = Journal::open(twins.server.data());
    let jobs = journal.jobs();
    let push = twins.repo.push_in_background("main");
    eventually("the push is a job", || (journal.jobs() > jobs).then_some(()));
    // v1 with two replicas: scaling made a release of its own.
    twins.server.cli(&twins.server.owner, &["rollback", "v2", "-a", "hello"]).expect("rollback");
    push.wait();
    eventually("what was asked for last is live", || (twins.server.get("hello").body == "first").then_some(()));
    load.served_throughout();
    twins.both_ready();
}
