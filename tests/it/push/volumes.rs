//! Volumes: what is in them outlives everything but their own end, and no two releases are ever in one at a time.

use super::{Deployed, ok};
use crate::harness::{Load, Repo, Settings, docker, eventually};

/// Answers its text and the notes in the volume, and adds one on `/add/…`. Whoever starts beside another that has the
/// volume leaves a mark there.
fn keeper(text: &str) -> String {
    format!(
        "const fs = require('fs');
try {{ fs.mkdirSync('/data/lock'); }} catch (e) {{ if (e.code === 'EEXIST') fs.appendFileSync('/data/clash', 'x'); }}
process.on('SIGTERM', () => {{ try {{ fs.rmdirSync('/data/lock'); }} catch {{}} process.exit(0); }});
require('http').createServer((q, r) => {{
  if (q.url.startsWith('/add/')) fs.appendFileSync('/data/notes', q.url.slice(5));
  const read = (f) => {{ try {{ return fs.readFileSync('/data/' + f, 'utf8'); }} catch {{ return '-'; }} }};
  r.end('{text} ' + read('notes') + ' ' + read('clash'));
}}).listen(process.env.PORT);
"
    )
}

/// An app whose web process has the volume `store` at /data.
fn with_volume(settings: Settings) -> Deployed {
    let app = Deployed::with(settings);
    app.repo.commit(&[("server.js", &keeper("one"))]);
    app.repo.push("main").accepted();
    app.verb(&["volumes:create", "store"]);
    app.verb(&["volumes:mount", "store", "/data"]);
    assert_eq!(app.server.ask("hello", "/add/a"), ok("one a -"), "its user may write there");
    app
}

#[track_caller]
fn refused(app: &Deployed, words: &[&str], texts: &[&str]) {
    let said = app.server.cli(&app.server.owner, &[words, &["-a", "hello"]].concat());
    assert!(!said.ok, "{words:?} was done: {said:?}");
    for text in texts {
        assert!(said.err.contains(text), "{words:?}: {text:?} is not in {:?}", said.err);
    }
}

#[test]
fn what_is_in_a_volume_outlives_replicas_releases_and_its_own_tombstone() {
    let mut app = with_volume(Settings::default());
    app.repo.commit(&[("server.js", &keeper("two"))]);
    app.repo.push("main").accepted();
    assert_eq!(app.server.ask("hello", "/add/b"), ok("two ab -"), "after a push");

    app.server.kill();
    app.server.boot();
    assert_eq!(app.server.get("hello"), ok("two ab -"), "after a kill of the platform");
    app.verb(&["ps:restart"]);
    eventually("the restart is over", || app.verb(&["ps"]).contains("1 of 1 ready").then_some(()));
    assert_eq!(app.server.get("hello"), ok("two ab -"), "after a restart");
    let diff = app.verb(&["releases:diff", "v2", "v3"]);
    assert!(diff.contains("mount      web store: none → /data"), "{diff}");
    app.verb(&["rollback", "v2"]);
    assert_eq!(app.server.get("hello"), ok("one - -"), "v2 had no volume");
    app.verb(&["rollback", "v3"]);
    assert_eq!(app.server.get("hello"), ok("one ab -"), "a rollback brings mounts back, never data");

    let info = app.verb(&["volumes:info", "store"]);
    assert!(info.contains("mounted     web:/data") && info.contains("one replica at a time"), "{info}");
    let owner = app.server.owner.clone();
    let seen = app.server.cli(&owner, &["run", "-a", "hello", "cat", "/data/notes"]).expect("run");
    assert!(seen.contains("ab"), "a command sees what web sees: {seen}");
    refused(&app, &["volumes:destroy", "store", "--confirm", "store"], &["web has it mounted at /data"]);
    app.verb(&["volumes:unmount", "store"]);
    assert_eq!(app.server.get("hello"), ok("one - -"));
    refused(&app, &["volumes:destroy", "store"], &["--confirm store"]);
    app.verb(&["volumes:destroy", "store", "--confirm", "store"]);
    let list = app.verb(&["volumes"]);
    assert!(list.contains("destroyed, kept") && list.contains("days more"), "{list}");
    refused(&app, &["rollback", "v3"], &["store", "volumes:restore"]);
    app.verb(&["volumes:restore", "store"]);
    app.verb(&["volumes:mount", "store", "/data"]);
    assert_eq!(app.server.get("hello"), ok("one ab -"), "the tombstone gave everything back");
}

#[test]
fn requests_wait_while_a_push_takes_the_volume_over() {
    let app = with_volume(Settings::default());
    let load = Load::on(&app.server, "hello", 4);
    for text in ["two", "three"] {
        app.repo.commit(&[("server.js", &keeper(text))]);
        app.repo.push("main").accepted();
        assert_eq!(app.server.get("hello"), ok(&format!("{text} a -")), "nobody started beside another");
    }
    load.served_throughout();
}

#[test]
fn a_release_that_fails_gives_the_volume_back() {
    let app = with_volume(Settings::default());
    let load = Load::on(&app.server, "hello", 4);
    let broken = format!("{}\nsetTimeout(() => process.exit(7), 100);\nprocess.env.PORT = '1';", keeper("never"));
    app.repo.commit(&[("server.js", &broken.replace("listen(process.env.PORT)", "on('error', () => {})"))]);
    app.repo.push("main").refused(&["exited with 7"]);
    assert_eq!(app.server.get("hello").body.split(' ').take(2).collect::<Vec<_>>(), ["one", "a"]);
    load.served_throughout();
    eventually("one replica is left", || (app.server.replicas("hello").len() == 1).then_some(()));
    app.repo.commit(&[("server.js", &keeper("two"))]);
    app.repo.push("main").accepted();
    assert!(app.server.get("hello").body.starts_with("two a"));
}

#[test]
fn a_kill_in_the_middle_of_a_takeover_loses_nothing() {
    let mut app = with_volume(Settings::default());
    let before = app.server.replicas("hello");
    app.repo.commit(&[("server.js", &keeper("two"))]);
    let push = app.repo.push_in_background("main");
    eventually("the one before was stopped", || {
        let now = app.server.replicas("hello");
        before.iter().all(|name| !now.contains(name)).then_some(())
    });
    app.server.kill();
    let _ = push.wait();
    app.server.boot();
    eventually("the push went on to its end", || {
        let answer = app.server.get("hello");
        (answer.status == 200 && answer.body.starts_with("two a")).then_some(())
    });
    app.nothing_left();
    assert_eq!(app.server.replicas("hello").len(), 1);
}

#[test]
fn what_cannot_be_mounted_is_refused_with_a_remedy() {
    let app = with_volume(Settings::default());
    for path in [
        "/",
        "/proc",
        "/proc/self",
        "/sys",
        "/dev/shm",
        "/etc",
        "/app",
        "/workspace",
        "/data/../etc",
        "data",
        "/a b",
        "/x:ro",
    ] {
        app.verb(&["volumes"]);
        refused(&app, &["volumes:mount", "store", path], &["path"]);
    }
    for name in ["../store", "a/b", "$(id)", "STORE", "", "--x", &"x".repeat(10_000)] {
        refused(&app, &["volumes:create", "--", name], &[]);
        refused(&app, &["volumes:mount", "--", name, "/other"], &[]);
    }
    app.verb(&["volumes:create", "other"]);
    refused(&app, &["volumes:mount", "other", "/data"], &["/data", "store"]);
    refused(&app, &["volumes:mount", "other", "/data/below"], &["lie in one another"]);
    refused(&app, &["volumes:mount", "other", "/o", "-p", "nobody"], &["is no process type"]);
    refused(&app, &["volumes:create", "other"], &["already exists"]);
    refused(&app, &["ps:scale", "web=2"], &["store", "one replica at a time", "--shared"]);
    refused(&app, &["ps:autoscale", "web", "--max", "2"], &["store", "one replica at a time"]);
    assert_eq!(app.server.get("hello"), ok("one a -"));

    // Somebody else's, by name and by id.
    let outsider = app.server.newcomer("eve");
    let list = app.verb(&["volumes:destroy", "other", "--confirm", "other", "--json"]);
    let id = list.split('"').find(|part| part.starts_with("vol_")).expect("an id").to_owned();
    app.server.ssh(&outsider, &["apps:create", "theirs"]).expect("apps:create");
    for name in ["store", "other", id.as_str()] {
        let said = app.server.ssh(&outsider, &["volumes:restore", name, "-a", "theirs"]);
        assert!(!said.ok && said.err.contains("not found"), "{said:?}");
        let said = app.server.ssh(&outsider, &["volumes:mount", name, "/data", "-a", "theirs"]);
        assert!(!said.ok && said.err.contains("not found"), "{said:?}");
    }
    let said = app.server.ssh(&outsider, &["volumes", "--destroyed"]).expect("volumes");
    assert!(!said.contains("vol_"), "{said}");
}

#[test]
fn volumes_shared_by_several_replicas_roll_without_a_stop() {
    let app = Deployed::with(Settings::default());
    app.verb(&["volumes:create", "store", "--shared"]);
    app.verb(&["volumes:mount", "store", "/data"]);
    app.verb(&["ps:scale", "web=2"]);
    eventually("two replicas", || (app.server.replicas("hello").len() == 2).then_some(()));
    let load = Load::on(&app.server, "hello", 2);
    app.verb(&["ps:restart"]);
    eventually("the new ones serve alone", || {
        let seen = app.verb(&["ps"]);
        (seen.contains("2 of 2 ready") && app.server.replicas("hello").len() == 2).then_some(())
    });
    load.served_throughout();
}

#[test]
fn a_destroyed_app_leaves_its_volumes_for_a_while_and_foreign_ones_for_ever() {
    let mut app = with_volume(Settings::with("HYTHE_RUNTIME_VOLUME_KEPT_SECONDS", 3600));
    let foreign = format!("{}-volume-store", app.server.prefix);
    docker(&["volume", "create", &foreign]);
    let owner = app.server.owner.clone();
    app.server.cli(&owner, &["apps:destroy", "hello", "--confirm", "hello"]).expect("apps:destroy");
    let list = app.server.cli(&owner, &["volumes", "--destroyed"]).expect("volumes");
    let id = list.split_whitespace().find(|word| word.starts_with("vol_")).expect("an id").to_owned();
    assert!(list.contains("store of hello/production"), "{list}");

    let other = Repo::node(&app.server, "again", "none");
    other.commit(&[("server.js", &keeper("again"))]);
    app.server.cli(&owner, &["apps:create", "again"]).expect("apps:create");
    app.server.cli(&owner, &["volumes:restore", &id, "-a", "again", "--as", "kept"]).expect("volumes:restore");
    app.server.cli(&owner, &["volumes:mount", "kept", "/data", "-a", "again"]).expect("volumes:mount");
    other.push("main").accepted();
    assert!(app.server.get("again").body.starts_with("again a"), "{:?}", app.server.get("again"));

    // Its time over, the data goes.
    app.server.cli(&owner, &["apps:destroy", "again", "--confirm", "again"]).expect("apps:destroy");
    let volume = format!("{}-volume-{id}", app.server.prefix);
    let exists = |name: &str| docker(&["volume", "ls", "-q"]).out.lines().any(|line| line == name);
    assert!(exists(&volume), "kept");
    app.server.stop();
    keeping::end_of_keeping(app.server.data());
    app.server.boot();
    eventually("its data is removed", || (!exists(&volume)).then_some(()));
    assert!(exists(&foreign), "what is not ours is never touched");
    docker(&["volume", "rm", &foreign]);
    let said = app.server.cli(&owner, &["volumes", "--destroyed"]).expect("volumes");
    assert!(!said.contains("vol_"), "{said}");
}

mod keeping {
    use std::path::Path;

    use hythe::base::access::Scope;
    use hythe::base::clock::Timestamp;
    use hythe::state::store::{Store, volumes};

    /// As if the time of all tombstones were over.
    pub(super) fn end_of_keeping(data: &Path) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async {
            let store = Store::open(None, data).await.expect("the database");
            let mut tx = store.begin().await.expect("begin");
            assert!(!volumes::destroyed(&mut tx, &Scope::Platform).await.expect("tombstones").is_empty());
            volumes::begin_purge(&mut tx, Timestamp(i64::MAX)).await.expect("purge");
            tx.commit().await.expect("commit");
            store.close().await;
        });
    }
}
