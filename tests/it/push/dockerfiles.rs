//! Trees that are built by their Dockerfile.

use super::{Deployed, ok};
use crate::harness::{Answer, Journal, Load, RealServer, Repo, Settings, docker, engine, eventually};

pub const SERVE: &str = "#!/bin/sh\nexec perl /srv/serve.pl\n";

/// A server of one page in Perl, which the base image has.
pub const PERL: &str = r#"use strict; use IO::Socket::INET; $| = 1; $SIG{TERM} = sub { exit 0 };
my $port = $ENV{PORT} || 8080;
my $s = IO::Socket::INET->new(LocalAddr => '0.0.0.0', LocalPort => $port, Listen => 16, ReuseAddr => 1) or die "$!";
while (my $c = $s->accept) { while (<$c>) { last if /^\r?$/ } open my $f, '<', '/srv/page' or die; my $b = do { local $/; <$f> }; chomp $b;
print $c "HTTP/1.1 200 OK\r\nContent-Length: " . length($b) . "\r\nConnection: close\r\n\r\n$b"; close $c }
"#;

/// `run`: a command of the stage before the last.
fn dockerfile(run: &str) -> String {
    format!(
        "FROM hythe/base AS build\nARG GREETING=none\nRUN {run}\n\n# the server\nFROM hythe/base AS serve\nWORKDIR /srv\n\
         COPY --from=build /page page\nCOPY serve.pl serve.sh ./\nRUN chmod 755 serve.sh && \\\n  echo made\n\
         EXPOSE 8080\nUSER 1000\nCMD [\"/srv/serve.sh\"]\nFROM scratch\nCOPY serve.pl /\n"
    )
}

/// With a last stage that is not to be built.
fn tree(server: &RealServer, app: &str, dockerfile: &str, more: &[(&str, &str)]) -> Repo {
    let app_json = r#"{"build": {"target": "serve"}}"#;
    let files = [("Dockerfile", dockerfile), ("serve.pl", PERL), ("serve.sh", SERVE), ("app.json", app_json)];
    Repo::with(server, app, &[&files, more].concat())
}

#[test]
fn a_tree_is_built_by_its_dockerfile_with_arguments_patterns_and_processes() {
    let server = RealServer::start();
    // Nothing but a Dockerfile: no word in app.json is needed.
    let usual = dockerfile("echo \"$GREETING\" > /page").split("FROM scratch").next().expect("text").to_owned();
    let repo = Repo::with(&server, "hello", &[("Dockerfile", &usual), ("serve.pl", PERL), ("serve.sh", SERVE)]);
    let said = repo.push("main").accepted();
    for text in ["-----> Dockerfile (no buildpack knows this tree)", "line 10: RUN chmod 755", "made", "Release v1"] {
        assert!(said.contains(text), "{text:?} is not in\n{said}");
    }
    assert_eq!(server.get("hello"), ok("none"));
    // The same tree gives the same image, from the engine's cache.
    repo.commit(&[]);
    let again = repo.push("main").accepted();
    assert!(again.contains("(as before)") && again.contains("nothing new"), "{again}");

    // A tree that buildpacks know is theirs, unless it says otherwise.
    let node = Repo::node(&server, "other", "by node");
    node.commit(&[("Dockerfile", "FROM nothing-like-this\n")]);
    let said = node.push("main").accepted();
    assert!(said.contains("Dockerfile is not used") && said.contains("\"build\""), "{said}");
    assert_eq!(server.get("other"), ok("by node"));

    let verb = |words: &[&str]| server.cli(&server.owner, &[words, &["-a", "other"]].concat()).expect("a verb");
    verb(&["config:set", "GREETING=from a variable", "TOKEN=hunter2-of-the-app"]);
    let app_json =
        r#"{"build": {"dockerfile": "docker/App", "target": "serve", "args": {"GREETING": null, "NOBODY": "x"}}}"#;
    let run = "echo \"$GREETING [$TOKEN] $HYTHE_APP\" > /page; sleep 1; id -u; \
               cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max /sys/fs/cgroup/memory/memory.limit_in_bytes \
               /sys/fs/cgroup/memory.max 2>/dev/null; true";
    let text = dockerfile(run)
        .replace("ARG GREETING=none", "ARG GREETING\nARG TOKEN\nARG HYTHE_APP\nCOPY . /context\nRUN ls -A /context");
    node.commit(&[
        ("docker/App", &text),
        ("app.json", app_json),
        ("serve.pl", PERL),
        ("serve.sh", SERVE),
        (".dockerignore", "*.txt\n!kept.txt\n.git*\n"),
        ("notes.txt", "left out"),
        ("kept.txt", "kept"),
        ("Procfile", "worker: while true; do sleep 1; done\n"),
    ]);
    let said = node.push("main").accepted();
    for text in [
        "docker/App (chosen by app.json)",
        "argument NOBODY is not used",
        "GREETING",
        "kept.txt",
        "line 10: FROM",
        "4096",
    ] {
        assert!(said.contains(text), "{text:?} is not in\n{said}");
    }
    assert!(said.contains("2147483648") || said.contains("2147483647"), "bounded in memory:\n{said}");
    assert!(!said.contains("notes.txt") && !said.contains("hunter2"), "{said}");
    // An argument that app.json does not name is not the app's variable, whatever the Dockerfile declares.
    assert_eq!(server.get("other"), ok("from a variable [] other"));
    verb(&["ps:scale", "worker=1"]);
    eventually("the worker of the Procfile runs", || (server.replicas("other").len() == 2).then_some(()));

    // Nothing of the app's secrets in what the engine keeps, nor a label that is ours in what runs.
    let kept = engine::recipes(&server.prefix);
    let words: Vec<&str> = ["inspect"].into_iter().chain(kept.iter().map(String::as_str)).collect();
    assert!(!docker(&words).expect("docker inspect").contains("hunter2"));
    let image = docker(&["inspect", "-f", "{{.Image}}", &server.replicas("other")[0]]).expect("docker inspect");
    let image = docker(&["inspect", image.trim()]).expect("docker inspect");
    assert!(!image.contains("hythe.recipe") && !image.contains("from a variable"), "{image}");

    for app in ["hello", "other"] {
        server.cli(&server.owner, &["apps:destroy", app, "--confirm", app]).expect("apps:destroy");
    }
    eventually("what their builds left is gone", || engine::recipes(&server.prefix).is_empty().then_some(()));
}

#[test]
fn a_dockerfile_that_cannot_be_built_says_why_and_changes_nothing() {
    let app = Deployed::new();
    let repo = &app.repo;
    let good = dockerfile("echo x > /page");
    let hex = "0".repeat(64);
    let own = format!("FROM {}/image:{hex}", app.server.prefix);
    for (text, texts) in [
        (dockerfile("--network=host id"), &["Dockerfile line 3", "server's network"][..]),
        (dockerfile("--security=insecure id"), &["Dockerfile line 3", "never has privileges"]),
        (
            format!("{good}ADD http://169.254.169.254/latest/meta-data /x\n"),
            &["Dockerfile line 17", "ADD of an address"],
        ),
        (format!("{good}ADD http://127.0.0.1:{}/v1/healthz /x\n", app.server.api_port), &["ADD of an address"]),
        (dockerfile("echo the evidence; exit 7"), &["Dockerfile line 3", "exited 7", "the evidence"]),
        (good.replace("COPY serve.pl", "COPY absent.pl"), &["Dockerfile line 9", "absent.pl"]),
        (good.replace("CMD", "CDM"), &["Dockerfile line 14", "unknown instruction \"CDM\""]),
        (
            "FROM localhost:1/x/y\n".into(),
            &["Dockerfile line 1", "localhost:1/x/y:latest", "not an address of the public"],
        ),
        ("FROM 169.254.169.254/x/y\n".into(), &["Dockerfile line 1", "not an address of the public"]),
        (own, &["Dockerfile line 1", "platform's own"]),
        (good.replace("CMD", "LABEL hythe.environment=x\nCMD"), &["Dockerfile line 14", "platform's own"]),
        ("FROM hythe/base AS serve\nCMD []\n".into(), &["ENTRYPOINT or a CMD"]),
    ] {
        let app_json = r#"{"build": {"target": "serve"}}"#;
        let app_json = if text.starts_with("FROM hythe/base") { app_json } else { r#"{"build": {}}"# };
        repo.commit(&[("Dockerfile", &text), ("app.json", app_json), ("serve.pl", PERL), ("serve.sh", SERVE)]);
        repo.push("main").refused(texts);
        app.untouched();
    }
    repo.commit(&[("app.json", r#"{"build": {"dockerfile": "absent/Dockerfile"}}"#)]);
    repo.push("main").refused(&["absent/Dockerfile", "does not have"]);
    repo.commit(&[("app.json", r#"{"build": {"args": {"NONE": null}}}"#)]);
    repo.push("main").refused(&["argument NONE has no value", "config:set NONE="]);
    app.untouched();
}

#[test]
fn a_build_goes_on_after_kill_9_and_leaves_no_container() {
    let mut server = RealServer::start();
    let repo = tree(&server, "hello", &dockerfile("sleep 5; echo after the kill > /page"), &[]);
    let push = repo.push_in_background("main");
    let journal = Journal::open(server.data());
    eventually("the build runs", || {
        let rows = if journal.jobs() == 0 { Vec::new() } else { journal.newest() };
        let building = rows.iter().any(|row| row.name == "build" && row.state == "running");
        (building && server.containers().iter().any(|name| !name.contains("-sandbox-"))).then_some(())
    });
    server.kill();
    drop(push.wait());
    server.boot();
    let answer: Answer = eventually("the app answers", || Some(server.get("hello")).filter(|a| a.status == 200));
    assert_eq!(answer, ok("after the kill"));
    eventually("every job has ended", || (journal.unfinished() == 0).then_some(()));
    let others =
        || server.containers().into_iter().filter(|name| !name.contains("-sandbox-") && !name.contains("hello"));
    eventually("no container of the build is left", || (others().count() == 0).then_some(()));
}

#[test]
fn a_build_that_wants_everything_is_ended_and_what_runs_answers_throughout() {
    let mut settings = Settings::with("HYTHE_BUILD_MEMORY_BYTES", 256 << 20);
    let bounds = [("PROCESSES", "256"), ("DISK_BYTES", "1000000000"), ("OUTPUT_BYTES", "5000000")];
    settings.variables.extend(bounds.map(|(key, value)| (format!("HYTHE_BUILD_{key}"), value.to_owned())));
    let app = Deployed::with(settings);
    let load = Load::on(&app.server, "hello", 2);
    let hostile = tree(&app.server, "hostile", &dockerfile("true"), &[]);
    for (command, told) in [
        ("bash -c 'bomb() { bomb | bomb & }; bomb; sleep infinity'", &["too many processes", "build.processes"][..]),
        ("perl -e 'my @a; while (1) { push @a, \"x\" x (1 << 24) }'", &["Dockerfile line 3", "exited 137", "256 MiB"]),
        ("dd if=/dev/zero of=/full bs=1M count=4000; sleep infinity", &["wrote more than 1.0 GB", "build.disk_bytes"]),
        ("yes 'and again'", &["printed more than 5 MB", "build.output_bytes"]),
    ] {
        hostile.commit(&[("Dockerfile", &dockerfile(command))]);
        hostile.push("main").refused(told);
    }
    load.served_throughout();
    eventually("no container of a build is left", || {
        let names = app.server.containers();
        names.iter().all(|name| name.contains("-sandbox-") || name.contains("hello")).then_some(())
    });
}
