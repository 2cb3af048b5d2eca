//! Somebody sets the clock of the machine: an hour forward, then two hours back. libfaketime stands between Hythe and the
//! wall clock; time that is measured goes on evenly, as it does on a real machine.

use std::fs;
use std::path::PathBuf;

use super::Twins;
use crate::harness::{Journal, Load, RealServer, Settings, docker, eventually};
use crate::people::listed;

struct Wall(tempfile::TempDir);

impl Wall {
    fn new() -> Self {
        let wall = Self(tempfile::tempdir().expect("directory"));
        wall.set("+0");
        wall
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("offset")
    }

    /// So many seconds from the real time. Replaced in one piece: it is read at every look at the clock.
    fn set(&self, offset: &str) {
        let fresh = self.0.path().join("fresh");
        fs::write(&fresh, offset).expect("offset");
        fs::rename(fresh, self.file()).expect("offset");
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::with("LD_PRELOAD", library().display());
        let more = [
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ];
        settings.variables.extend(more.map(|(name, value)| (name.to_owned(), value)));
        settings
    }
}

/// Debian's, whatever the machine.
fn library() -> PathBuf {
    let machines = fs::read_dir("/usr/lib").expect("/usr/lib").flatten();
    let found = machines.map(|machine| machine.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    found.expect("libfaketime is installed; contrib/test sees to it")
}

/// An app that takes a while to come up, so that the clock can be set in the middle of a rollout.
fn slow(text: &str) -> String {
    format!(
        "setTimeout(() => require('http').createServer((_, r) => r.end('{text}')).listen(process.env.PORT), 2000);\n"
    )
}

fn runs(server: &RealServer) -> Vec<String> {
    let runs = listed(server, &["cron:runs", "-a", "hello", "beat", "--json"]);
    let mut due: Vec<String> = runs.iter().map(|run| run["due_at"].to_string()).collect();
    due.sort();
    due
}

#[test]
fn the_clock_is_set_forward_and_back() {
    let wall = Wall::new();
    let twins = Twins::with(wall.settings(), &slow("first"));
    let owner = &twins.server.owner;
    twins.server.cli(owner, &["cron:add", "-a", "hello", "--name", "beat", "@hourly", "echo beat"]).expect("cron:add");
    let load = Load::on(&twins.server, "hello", 4);
    let journal = Journal::open(twins.server.data());
    for (text, offset) in [("forward", "+3600"), ("back", "-3600")] {
        twins.repo.commit(&[("server.js", &slow(text))]);
        let push = twins.repo.push_in_background("main");
        eventually("the rollout is under way", || {
            journal.newest().iter().any(|step| step.name == "rollout" && step.state == "running").then_some(())
        });
        wall.set(offset);
        push.wait().accepted();
        assert_eq!(twins.server.get("hello").body, text);
        eventually("only the new ones are left", || (twins.server.replicas("hello").len() == 2).then_some(()));
        // What dies is replaced at the old pace.
        let name = twins.one();
        let id = twins.id(&name);
        docker(&["kill", &name]).expect("docker kill");
        twins.replaced(&name, &id);
        if text == "forward" {
            eventually("the schedule that fell due ran", || (!runs(&twins.server).is_empty()).then_some(()));
        }
    }
    twins.repo.commit(&[("server.js", &slow("after"))]);
    twins.repo.push("main").accepted();
    assert_eq!(twins.server.get("hello").body, "after");
    assert_eq!(journal.unfinished(), 0);
    // The hour that came twice ran once.
    let all = runs(&twins.server);
    let mut once = all.clone();
    once.dedup();
    assert_eq!(all, once);
    assert!(all.len() <= 2, "{all:?}");
    let log = twins.server.log();
    assert!(!log.contains("lost a job to another holder"), "{log}");
    load.served_throughout();
}
