//! Pushes end to end, the good and the bad. After each bad one: the pusher was told why, the release
//! before serves on, the branch stands where it stood, nothing is left behind.

mod acme;
mod apps;
mod buildpacks;
mod builds;
mod cancel;
mod contents;
mod crash;
mod disk;
mod dockerfiles;
mod domains;
mod elsewhere;
mod environments;
mod health;
mod isolation;
mod languages;
mod manifest;
mod mounts;
mod options;
mod rebase;
mod refs;
mod registry_push;
mod scaling;
mod settings;
mod sizes;
mod smart_http;
mod sources;
mod strategies;
mod surroundings;
mod tls;
mod traffic;
mod trees;
mod upstreams;
mod verbs;
mod volumes;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::harness::{Answer, Journal, RealServer, Repo, Settings, eventually};

/// An app that serves `first`, and the proof that what came after changed nothing of it.
pub struct Deployed {
    pub server: RealServer,
    pub repo: Repo,
    head: String,
    containers: BTreeSet<String>,
}

impl Deployed {
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    pub fn with(settings: Settings) -> Self {
        Self::on(RealServer::start_with(settings))
    }

    pub fn on(server: RealServer) -> Self {
        let repo = Repo::node(&server, "hello", "first");
        repo.push("main").accepted();
        assert_eq!(server.get("hello"), ok("first"));
        let head = repo.head();
        let containers = server.containers().into_iter().collect();
        Self { server, repo, head, containers }
    }

    #[track_caller]
    pub fn untouched(&self) {
        assert_eq!(self.server.get("hello"), ok("first"), "the release before serves on");
        assert_eq!(self.repo.remote_tip("main").as_ref(), Some(&self.head), "the branch stands where it stood");
        self.nothing_left();
        let after = eventually("the engine holds nothing but what it held before", || {
            let after: BTreeSet<_> = self.server.containers().into_iter().collect();
            after.is_subset(&self.containers).then_some(after)
        });
        // A build that failed may take its sandbox along, never the app.
        let lost: Vec<_> = self.containers.difference(&after).filter(|name| !name.contains("-sandbox-")).collect();
        assert!(lost.is_empty(), "{lost:?} went away");
    }

    /// What `hythe setup` kept for the owner.
    pub fn token(&self) -> String {
        let kept = fs::read_to_string(self.server.owner.home.join("hythe/config.toml")).expect("settings");
        let line = kept.lines().find_map(|line| line.strip_prefix("token = \""));
        line.expect("a token").trim_end_matches('"').to_owned()
    }

    #[track_caller]
    pub fn nothing_left(&self) {
        let journal = Journal::open(self.server.data());
        eventually("every job has ended", || (journal.unfinished() == 0).then_some(()));
        eventually("nothing stays in quarantine", || quarantined(self.server.data()).is_empty().then_some(()));
    }
}

pub fn ok(body: &str) -> Answer {
    Answer { status: 200, body: body.into() }
}

/// What lies in the `incoming` folders of all repositories.
pub fn quarantined(data: &Path) -> Vec<String> {
    let Ok(repositories) = fs::read_dir(data.join("repos")) else { return Vec::new() };
    let incoming = repositories.flatten().filter_map(|r| fs::read_dir(r.path().join("incoming")).ok());
    incoming.flat_map(|dir| dir.flatten().map(|e| e.path().display().to_string()).collect::<Vec<_>>()).collect()
}

#[test]
fn a_push_puts_an_app_on_the_air() {
    let app = Deployed::new();
    app.repo.answer("second");
    let said = app.repo.push("main").accepted();
    assert!(said.contains("remote: -----> "), "{said}");
    assert!(said.contains(&format!("http://hello.localhost:{}", app.server.proxy_port)), "{said}");
    assert_eq!(app.server.get("hello"), ok("second"));
    assert_eq!(app.repo.remote_tip("main"), Some(app.repo.head()));
    app.nothing_left();
    eventually("one replica serves, the one before is gone", || {
        (app.server.replicas("hello").len() == 1).then_some(())
    });
}

#[test]
fn what_was_pushed_can_be_cloned() {
    let app = Deployed::new();
    let other = Repo::empty(&app.server, &app.server.owner, "hello");
    other.git(&["pull", "-q", &app.server.remote("hello"), "main"]).expect("git pull");
    assert_eq!(other.head(), app.repo.head());
    other.git(&["fsck", "--strict"]).expect("git fsck");
}

#[test]
fn an_app_outlives_a_restart_of_the_platform() {
    let mut app = Deployed::new();
    let replicas = app.server.replicas("hello");
    app.server.stop();
    assert_eq!(app.server.replicas("hello"), replicas, "apps run on without the platform");
    app.server.boot();
    assert_eq!(app.server.get("hello"), ok("first"));
    app.repo.answer("second");
    app.repo.push("main").accepted();
    assert_eq!(app.server.get("hello"), ok("second"));
}
