//! Options of a push (`git push -o …`), and the same asked with an archive.

use super::{Deployed, ok, quarantined};
use crate::harness::{Pushed, docker, eventually, run};

const GREETS: &str = "require('http').createServer((_, r) => r.end(process.env.GREETING ?? 'none'))\n\
    .listen(process.env.PORT);\nprocess.on('SIGTERM', () => process.exit(0));\n";

impl Deployed {
    fn push_with(&self, options: &[&str]) -> Pushed {
        let remote = self.server.remote("hello");
        let mut words = vec!["push"];
        options.iter().for_each(|option| words.extend(["-o", option]));
        words.extend([remote.as_str(), "main"]);
        let said = self.repo.git(&words);
        Pushed { ok: said.ok, text: format!("{}{}", said.out, said.err) }
    }

    fn sandbox(&self) -> String {
        let name = self.server.containers().into_iter().find(|name| name.contains("-sandbox-")).expect("a sandbox");
        docker(&["inspect", "-f", "{{.Id}}", &name]).expect("docker inspect")
    }
}

#[test]
fn options_that_deploy_nothing() {
    let app = Deployed::new();
    app.repo.answer("dry");
    let known = "known are: env=ENVIRONMENT, dry-run, detach, no-cache, skip, message=TEXT, config.KEY=VALUE";
    app.push_with(&["frobnicate", "no-cache"]).refused(&["\"frobnicate\" is not known", known]);
    app.push_with(&["dry-run", "skip"]).refused(&["do not go together"]);
    app.push_with(&["env=nowhere"]).refused(&["no such environment", "production"]);
    app.push_with(&["config.A B=verysecret"]).refused(&["config.A B"]);
    app.untouched();

    let said = app.push_with(&["dry-run", "config.GREETING=tested"]).accepted();
    assert!(said.contains("Dry run: it builds"), "{said}");
    app.untouched();
    assert!(!app.verb(&["releases"]).contains("v2"), "no release");
    assert!(!app.verb(&["config"]).contains("GREETING"), "no variable");
    assert!(app.verb(&["builds"]).contains("succeeded"));
    let good = std::fs::read_to_string(app.repo.file("package.json")).expect("package.json");
    app.repo.commit(&[("package.json", "{ \"name\": \"x\", }")]);
    app.push_with(&["dry-run"]).refused(&["JSON", "build failed"]);
    app.untouched();

    app.repo.commit(&[("package.json", &good)]);
    let said = app.push_with(&["skip"]).accepted();
    assert!(said.contains("nothing was built or deployed"), "{said}");
    assert_eq!(app.server.get("hello"), ok("first"));
    assert_eq!(app.repo.remote_tip("main"), Some(app.repo.head()), "the branch has moved");
    assert!(!app.verb(&["releases"]).contains("v2"), "no release");
    app.repo.answer("then");
    app.repo.push("main").accepted();
    assert_eq!(app.server.get("hello"), ok("then"));
    app.nothing_left();
}

#[test]
fn options_of_a_release() {
    let app = Deployed::new();
    let sandbox = app.sandbox();
    app.repo.commit(&[("server.js", GREETS)]);
    app.push_with(&["message=For the fair", "config.GREETING=well met, stranger", "no-cache"]).accepted();
    assert_eq!(app.server.get("hello"), ok("well met, stranger"), "set with the release");
    assert!(app.verb(&["releases"]).contains("For the fair (push "));
    assert_ne!(app.sandbox(), sandbox, "without what earlier builds left");
    let stored = std::fs::read(app.server.data().join("hythe.db")).expect("database");
    assert!(!stored.windows(8).any(|bytes| bytes == b"well met"), "an order holds its variables sealed");

    // A release that does not come to be leaves the variables as they were.
    app.repo.commit(&[("app.json", r#"{"scripts": {"predeploy": "exit 7"}}"#)]);
    app.push_with(&["config.GREETING=never", "config.OTHER=never"]).refused(&["exited with 7"]);
    let shown = app.verb(&["config"]);
    assert!(shown.contains("well met") && !shown.contains("never") && !shown.contains("OTHER"), "{shown}");

    app.verb(&["envs:create", "staging"]);
    let main = app.repo.remote_tip("main");
    app.repo.commit(&[("app.json", "{}")]);
    let said = app.push_with(&["env=staging", "config.GREETING=for us"]).accepted();
    assert!(said.contains("→ staging") && said.contains("main -> staging"), "{said}");
    assert_eq!(app.server.get("staging--hello"), ok("for us"));
    assert_eq!((app.server.get("hello"), app.repo.remote_tip("main")), (ok("well met, stranger"), main));
    assert_eq!(app.repo.remote_tip("staging"), Some(app.repo.head()));

    app.repo.commit(&[("note.txt", "a canary, this once")]);
    let push = std::thread::scope(|scope| {
        let push = scope.spawn(|| app.push_with(&["strategy=canary=50"]));
        eventually("it is held", || app.verb(&["releases"]).contains("canary 50 %").then_some(()));
        app.verb(&["releases:continue"]);
        push.join().expect("the push")
    });
    push.accepted();
    app.repo.commit(&[("note.txt", "as ever")]);
    let said = app.repo.push("main").accepted();
    assert!(!said.contains("canary"), "the environment has its own strategy: {said}");
}

#[test]
fn who_does_not_want_to_wait_need_not() {
    let app = Deployed::new();
    app.repo.answer("detached");
    let said = app.push_with(&["detach"]).accepted();
    assert!(said.contains("hythe builds:output -a hello bld_") && !said.contains("detected"), "{said}");
    app.verb(&["builds:output"]);
    assert_eq!(app.server.get("hello"), ok("detached"));
    app.repo.commit(&[("app.json", r#"{"scripts": {"predeploy": "sleep 4"}}"#)]);
    app.repo.answer("built");
    let said = app.push_with(&["wait=built"]).accepted();
    assert!(said.contains("-----> Image sha256:") && !said.contains("healthy"), "{said}");
    assert_eq!(app.server.get("hello"), ok("detached"), "not live yet");
    let output = app.verb(&["builds:output"]);
    assert!(output.starts_with("----->") && output.contains("healthy"), "from line one to the end: {output}");
    assert_eq!(app.server.get("hello"), ok("built"));
    app.nothing_left();
}

#[test]
fn an_archive_is_built_as_it_is_asked_for() {
    let app = Deployed::new();
    app.repo.answer("by archive");
    let path = app.server.data().join("shop.tar").display().to_string();
    app.repo.git(&["archive", &format!("--output={path}"), "HEAD"]).expect("git archive");
    let create = |words: &[&str]| {
        let all = [&["builds:create", path.as_str(), "-a", "hello"], words].concat();
        run(app.server.hythe(&app.server.owner).args(all))
    };
    let said = create(&["--dry-run"]).expect("builds:create");
    assert!(said.contains("Dry run"), "{said}");
    assert_eq!(app.server.get("hello"), ok("first"));
    let wrong = create(&["--strategy", "magic"]);
    assert!(!wrong.ok && wrong.err.contains("strategy"), "{wrong:?}");
    assert!(quarantined(app.server.data()).is_empty());
    let taken = create(&["--no-cache", "--message", "By hand, & so on", "--detach"]);
    assert!(taken.ok && taken.err.contains("is taken"), "{taken:?}");
    app.verb(&["builds:output"]);
    assert_eq!(app.server.get("hello"), ok("by archive"));
    assert!(app.verb(&["releases"]).contains("By hand, & so on (upload "));
}
