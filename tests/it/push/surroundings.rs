//! What happens around a push: another push, a stopped engine, a full disk, a taken port, a client gone.

use std::net::TcpListener;

use super::{Deployed, ok};
use crate::harness::{Journal, RealServer, Relay, Repo, Settings, SmallDisk, eventually};

#[test]
fn two_pushes_at_once_end_one_after_the_other() {
    let app = Deployed::new();
    let other = Repo::empty(&app.server, &app.server.owner, "hello");
    other.git(&["pull", "-q", &app.server.remote("hello"), "main"]).expect("git pull");
    app.repo.answer("second");
    other.answer("third");
    let (one, two) = (app.repo.push_in_background("main"), other.push_in_background("main"));
    let (one, two) = (one.wait(), two.wait());
    // Both saw the same tip: the one that came second would undo the first.
    assert!(one.ok != two.ok, "exactly one is accepted:\n{one:?}\n{two:?}");
    let (winner, text, loser) = if one.ok { (&app.repo, "second", two) } else { (&other, "third", one) };
    loser.refused(&["fetch"]);
    assert_eq!(app.server.get("hello"), ok(text));
    assert_eq!(app.repo.remote_tip("main"), Some(winner.head()));
    app.nothing_left();
    eventually("one replica serves", || (app.server.replicas("hello").len() == 1).then_some(()));
}

#[test]
fn pushes_to_two_apps_do_not_meet() {
    let app = Deployed::new();
    let other = Repo::node(&app.server, "other", "other");
    app.repo.answer("second");
    let (one, two) = (app.repo.push_in_background("main"), other.push_in_background("main"));
    one.wait().accepted();
    two.wait().accepted();
    assert_eq!(app.server.get("hello"), ok("second"));
    assert_eq!(app.server.get("other"), ok("other"));
}

#[test]
fn a_client_that_goes_away_changes_nothing() {
    let app = Deployed::new();
    let journal = Journal::open(app.server.data());
    let jobs = journal.jobs();
    app.repo.answer("second");
    let push = app.repo.push_in_background("main");
    eventually("the push is a job", || (journal.jobs() > jobs).then_some(()));
    push.kill();
    eventually("the new version serves", || (app.server.get("hello") == ok("second")).then_some(()));
    eventually("the branch moved", || (app.repo.remote_tip("main") == Some(app.repo.head())).then_some(()));
    app.nothing_left();
}

#[test]
fn an_engine_that_stops_during_a_push() {
    let relay = Relay::start();
    let app = Deployed::with(Settings::with("HYTHE_RUNTIME_ENGINE", relay.socket().display()));
    let journal = Journal::open(app.server.data());
    let jobs = journal.jobs();
    app.repo.answer("second");
    let push = app.repo.push_in_background("main");
    eventually("the push is a job", || (journal.jobs() > jobs).then_some(()));
    relay.cut();
    // The app itself runs on, and the proxy needs no engine.
    assert_eq!(app.server.get("hello").status, 200);
    relay.mend();
    let pushed = push.wait();
    eventually("every job has ended", || (journal.unfinished() == 0).then_some(()));
    if pushed.ok {
        assert_eq!(app.server.get("hello"), ok("second"));
        app.nothing_left();
    } else {
        pushed.refused(&["engine"]);
        app.untouched();
    }
    // Whatever became of it, the next one works.
    app.repo.answer("third");
    app.repo.push("main").accepted();
    assert_eq!(app.server.get("hello"), ok("third"));
}

#[test]
fn an_engine_that_stays_away_fails_the_push_with_a_reason() {
    let relay = Relay::start();
    let app = Deployed::with(Settings::with("HYTHE_RUNTIME_ENGINE", relay.socket().display()));
    relay.cut();
    app.repo.answer("second");
    app.repo.push("main").refused(&["engine"]);
    assert_eq!(app.server.get("hello"), ok("first"));
    relay.mend();
    app.untouched();
}

#[test]
fn a_disk_that_is_full_during_a_push() {
    let disk = SmallDisk::mount(1500);
    let unreserved = Settings::with("HYTHE_DISK_RESERVED_BYTES", 0);
    let app = Deployed::with(Settings { data: Some(disk.path().join("data")), ..unreserved });
    disk.fill(256 << 10);
    // More than is left, and nothing that compresses.
    let mut noise = Vec::with_capacity(4 << 20);
    let mut x = 1_u64;
    while noise.len() < 4 << 20 {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        noise.extend_from_slice(&x.to_le_bytes());
    }
    app.repo.write("noise.bin", &noise);
    app.repo.commit(&[]);
    app.repo.push("main").refused(&["disk"]);
    assert_eq!(app.server.get("hello"), ok("first"), "apps are served from a full disk");
    disk.relieve();
    app.untouched();
    app.repo.push("main").accepted();
}

#[test]
fn a_disk_that_takes_hardly_any_more_files_refuses_pushes_and_serves_apps() {
    let disk = SmallDisk::of_files(1500, 20_000);
    let reserving = Settings::with("HYTHE_DISK_RESERVED_FILES", 4000);
    let mut settings = Settings { data: Some(disk.path().join("data")), ..reserving };
    settings.variables.insert("HYTHE_DISK_RESERVED_BYTES".into(), "0".into());
    let app = Deployed::with(settings);
    disk.crowd(3000);
    app.repo.answer("second");
    app.repo.push("main").refused(&["inodes are free at", "4000 are kept free", "disk.reserved_files"]);
    let said = app.server.cli(&app.server.owner, &["disk"]).expect("disk");
    assert!(said.contains("4000 are kept free: TOO FEW, pushes are refused"), "{said}");
    assert_eq!(app.server.get("hello"), ok("first"));
    disk.disperse();
    app.repo.push("main").accepted();
    assert_eq!(app.server.get("hello"), ok("second"));
}

#[test]
fn a_taken_port_is_named_at_the_start() {
    let server = RealServer::prepared(Settings { bare: true, ..Settings::default() });
    for (port, setting) in [
        (server.proxy_port, "HYTHE_HTTP_PROXY_LISTEN"),
        (server.api_port, "HYTHE_HTTP_API_LISTEN"),
        (server.ssh_port, "HYTHE_GIT_LISTEN"),
    ] {
        let _taken = TcpListener::bind(("127.0.0.1", port)).expect("bind");
        let status = server.spawn().wait().expect("the process ends");
        assert!(!status.success());
        let log = server.log();
        assert!(log.contains(&port.to_string()) && log.contains(setting), "{port} {setting}:\n{log}");
    }
}

#[test]
fn one_data_directory_has_one_server() {
    let server = RealServer::start();
    let status = server.spawn().wait().expect("the process ends");
    assert!(!status.success());
    assert!(server.log().contains("another hythe serves from"), "{}", server.log());
    assert_eq!(server.get("nothing").status, 404, "the first one serves on");
}
