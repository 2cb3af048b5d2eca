//! The disk: what old releases, destroyed apps and builds leave goes, and nothing that is needed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{Deployed, ok};
use crate::harness::{RealServer, Repo, Settings, docker, eventually};

fn quick(more: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::with("HYTHE_DISK_GRACE_SECONDS", 1);
    settings.variables.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    settings
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn blobs(server: &RealServer) -> BTreeSet<String> {
    let dir = server.data().join("blobs");
    names(&dir.join("fresh")).into_iter().chain(names(&dir.join("sha256"))).collect()
}

fn images(server: &RealServer) -> BTreeSet<String> {
    let ours = format!("reference={}/image", server.prefix);
    let said = docker(&["images", "--format", "{{.Tag}}", "--filter", &ours]).expect("docker images");
    said.lines().map(str::to_owned).collect()
}

#[track_caller]
fn clean(server: &RealServer) -> String {
    server.cli(&server.owner, &["disk:clean"]).expect("disk:clean")
}

/// Images of the releases that can be deployed, and those of all.
fn of_releases(app: &Deployed) -> (BTreeSet<String>, BTreeSet<String>) {
    let said =
        app.server.cli(&app.server.owner, &["releases", "-a", "hello", "-n", "100", "--json"]).expect("releases");
    let all: Vec<serde_json::Value> = serde_json::from_str(&said).expect("JSON");
    let image = |r: &serde_json::Value| r["image"].as_str().expect("an image").trim_start_matches("sha256:").to_owned();
    let kept = all.iter().filter(|r| r["image_gone_at"].is_null());
    (kept.map(image).collect(), all.iter().map(image).collect())
}

#[test]
fn many_deploys_leave_what_retention_says() {
    let mut app = Deployed::with(quick(&[("HYTHE_DISK_KEEP_IMAGES", "3")]));
    for n in 2..=12 {
        app.repo.answer(&format!("answer {n}"));
        app.repo.push("main").accepted();
    }
    let (_, all) = of_releases(&app);
    assert_eq!(all.len(), 12);
    // Killed at once or a little later, it leaves nothing half done: the next one finishes.
    for pause in [0, 30, 120] {
        let mut child = app.server.hythe(&app.server.owner).arg("disk:clean").spawn().expect("hythe");
        std::thread::sleep(std::time::Duration::from_millis(pause));
        app.server.kill();
        let _ = child.wait();
        app.server.boot();
        eventually("it serves", || (app.server.get("hello") == ok("answer 12")).then_some(()));
    }
    let kept = eventually("what is not kept is gone from the store", || {
        clean(&app.server);
        let (kept, all) = of_releases(&app);
        let there = blobs(&app.server);
        all.difference(&kept).all(|image| !there.contains(image)).then_some(kept)
    });
    // The live one, the last good one, and three.
    assert_eq!(kept.len(), 5);
    assert!(kept.is_subset(&blobs(&app.server)));
    let in_engine = eventually("and from the engine", || {
        let there = images(&app.server);
        all.difference(&kept).all(|image| !there.contains(image)).then_some(there)
    });
    assert!(kept.is_subset(&in_engine));

    let list = app.verb(&["releases"]);
    assert_eq!(list.matches("image gone").count(), 7, "{list}");
    let said = app.server.cli(&app.server.owner, &["rollback", "v2", "-a", "hello"]);
    assert!(!said.ok, "{said:?}");
    for text in ["v2 cannot be deployed again", "disk.keep_images", "v12, v11, v10, v9, v8", "push its commit"] {
        assert!(said.err.contains(text), "{text}: {said:?}");
    }
    app.verb(&["rollback", "v8"]);
    assert_eq!(app.server.get("hello"), ok("answer 8"));
    clean(&app.server);
    app.verb(&["rollback"]);
    assert_eq!(app.server.get("hello"), ok("answer 12"), "the way back without a number stays open");
    // What was given up comes back by being pushed.
    app.repo.answer("answer 2");
    app.repo.push("main").accepted();
    assert_eq!(app.server.get("hello"), ok("answer 2"));
    assert!(!app.verb(&["releases:info", "v2"]).contains("no way back"), "the same tree gives the same image");
}

#[test]
fn collecting_without_a_pause_harms_no_push_and_no_rollback() {
    let app = Deployed::with(quick(&[("HYTHE_DISK_KEEP_IMAGES", "0")]));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let cleaner = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                clean(&app.server);
                rounds += 1;
            }
            rounds
        });
        let pushed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // The same few trees again and again: blobs are needed again just when they were given up.
            for n in 0..9 {
                app.repo.answer(&format!("turn {}", n % 3));
                app.repo.push("main").accepted();
                assert_eq!(app.server.get("hello"), ok(&format!("turn {}", n % 3)));
                if n % 3 == 2 {
                    app.verb(&["rollback"]);
                    assert_eq!(app.server.get("hello"), ok("turn 1"));
                }
            }
        }));
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(cleaner.join().expect("the cleaner") > 3, "it went on beside the pushes");
        if let Err(panic) = pushed {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn a_destroyed_app_leaves_nothing_behind() {
    let server = RealServer::start_with(quick(&[]));
    let stays = Repo::node(&server, "stays", "here");
    stays.push("main").accepted();
    let folders = ["repos", "caches", "app-logs"].map(|name| server.data().join(name));
    let before: Vec<_> = eventually("each holds something of the one app", || {
        let there: Vec<_> = folders.iter().map(|dir| names(dir)).collect();
        there.iter().all(|names| names.len() == 1).then_some(there)
    });
    let label = format!("label=hythe.prefix={}", server.prefix);
    let networks = || docker(&["network", "ls", "-q", "--filter", &label]).expect("networks").lines().count();

    let goes = Repo::node(&server, "goes", "away");
    goes.push("main").accepted();
    assert_eq!(server.get("goes"), ok("away"));
    let foreign = format!("{}-foreign/image:{}", server.prefix, "a".repeat(64));
    let image = images(&server).pop_first().expect("an image");
    docker(&["tag", &format!("{}/image:{image}", server.prefix), &foreign]).expect("tag");
    server.cli(&server.owner, &["apps:destroy", "-a", "goes", "--confirm", "goes"]).expect("apps:destroy");
    eventually("only what the other app needs is there", || {
        clean(&server);
        let there: Vec<_> = folders.iter().map(|dir| names(dir)).collect();
        let of_it = server.containers().into_iter().any(|name| name.contains("goes"));
        // One sandbox and one replica: those of the app that stays.
        (there == before && !of_it && server.containers().len() == 2).then_some(())
    });
    let usage = server.cli(&server.owner, &["disk"]).expect("disk");
    assert!(usage.contains("stays") && !usage.contains("goes") && usage.contains("kept free"), "{usage}");
    assert_eq!(networks(), 2, "that of the space, and that of builds");

    server.cli(&server.owner, &["apps:destroy", "-a", "stays", "--confirm", "stays"]).expect("apps:destroy");
    eventually("nothing of any app is there", || {
        clean(&server);
        (server.containers().is_empty() && networks() == 1 && folders.iter().all(|dir| names(dir).is_empty()))
            .then_some(())
    });
    assert!(docker(&["image", "inspect", &foreign]).ok, "what is not ours stays");
    docker(&["rmi", &foreign]).expect("rmi");
}

#[test]
fn a_push_is_refused_early_while_space_is_short() {
    let server = RealServer::start_with(Settings::with("HYTHE_DISK_RESERVED_BYTES", 1_000_000_000_000_000_u64));
    let repo = Repo::node(&server, "hello", "first");
    let said = repo.push("main").refused(&["kept free", "1000000.0 GB", "hythe disk:clean"]);
    assert!(!said.contains("-----> "), "no build began: {said}");
    let usage = server.cli(&server.owner, &["disk"]).expect("disk");
    assert!(usage.contains("TOO LITTLE, pushes are refused"), "{usage}");
}

#[test]
fn a_build_cache_is_bounded_and_can_be_cleared() {
    let app = Deployed::with(quick(&[("HYTHE_DISK_CACHE_BYTES", "3000000")]));
    app.verb(&["builds:cache:clear"]);
    app.repo.answer("second");
    let said = app.repo.push("main").accepted();
    assert!(!said.contains("cache was dropped"), "{said}");

    app.repo.commit(&[("weight", &"heavy".repeat(1_000_000))]);
    app.repo.push("main").accepted();
    eventually("the cache has outgrown its bound", || clean(&app.server).contains("1 build caches").then_some(()));
    app.repo.git(&["rm", "-q", "weight"]).expect("git rm");
    app.repo.answer("third");
    let said = app.repo.push("main").accepted();
    assert!(said.contains("build cache was dropped") && said.contains("disk.cache_bytes"), "{said}");
    assert_eq!(app.server.get("hello"), ok("third"));
    app.repo.answer("fourth");
    let said = app.repo.push("main").accepted();
    assert!(!said.contains("cache was dropped"), "told once: {said}");
}
