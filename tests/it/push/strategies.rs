//! How a release takes over: replica by replica, or with a part of the requests first.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::{Deployed, ok};
use crate::harness::{Load, eventually};

const FAULTY: &str =
    "require('http').createServer((_, r) => { r.statusCode = 500; r.end('oh no'); }).listen(process.env.PORT);\n";

impl Deployed {
    fn set_strategy(&self, words: &[&str]) -> String {
        self.verb(&[&["envs:set", "--strategy"], words].concat())
    }

    fn state(&self) -> String {
        let said = self.verb(&["apps:info", "--json"]);
        let info: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        info["environments"][0]["state"].as_str().unwrap_or_default().to_owned()
    }

    fn is_held(&self) {
        eventually("the canary holds", || (self.state() == "holding").then_some(()));
    }

    /// How often each answer comes.
    fn answers(&self, requests: usize) -> BTreeMap<String, usize> {
        let mut all = BTreeMap::new();
        for _ in 0..requests {
            *all.entry(self.server.get("hello").body).or_default() += 1;
        }
        all
    }
}

#[test]
fn rolling_needs_one_replica_more_and_loses_no_request() {
    let app = Deployed::new();
    let said = app.set_strategy(&["rolling"]);
    assert!(said.contains("rollout rolling"), "{said}");
    app.verb(&["ps:scale", "web=3"]);
    eventually("three serve", || app.verb(&["ps"]).contains("web: 3 of 3 ready").then_some(()));
    let (over, most) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = Load::on(&app.server, "hello", 4);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                most.fetch_max(app.server.replicas("hello").len(), Ordering::Relaxed);
            }
        });
        app.repo.answer("second");
        app.repo.push("main").accepted();
        eventually("three new ones are left", || (app.server.replicas("hello").len() == 3).then_some(()));
        over.store(true, Ordering::Relaxed);
    });
    load.served_throughout();
    assert_eq!(most.load(Ordering::Relaxed), 4, "one more than the formation, and no more");
    assert_eq!(app.answers(20), [("second".to_owned(), 20)].into());

    // The third new replica does not come up: what was replaced comes back, as carefully.
    let load = Load::on(&app.server, "hello", 4);
    let half = "if (process.env.HYTHE_PROCESS === 'web.3') process.exit(7);\n\
        require('http').createServer((_, r) => r.end('third')).listen(process.env.PORT);\n";
    app.repo.commit(&[("server.js", half)]);
    app.repo.push("main").refused(&["web exited with 7"]);
    eventually("all are back", || (app.answers(20) == [("second".to_owned(), 20)].into()).then_some(()));
    eventually("three serve", || app.verb(&["ps"]).contains("web: 3 of 3 ready").then_some(()));
    eventually("and no more", || (app.server.replicas("hello").len() == 3).then_some(()));
    load.served_throughout();
    app.nothing_left();
}

#[test]
fn a_canary_holds_through_a_kill_until_it_is_let_go_on() {
    let mut app = Deployed::new();
    let said = app.set_strategy(&["canary=10"]);
    assert!(said.contains("rollout canary=10"), "{said}");
    app.repo.answer("second");
    let push = app.repo.push_in_background("main");
    app.is_held();
    let seen = app.answers(300);
    let new = seen.get("second").copied().unwrap_or(0);
    // Six standard deviations.
    assert!((1..=62).contains(&new) && seen["first"] + new == 300, "{seen:?}");

    let ps = app.verb(&["ps"]);
    assert!(ps.contains("held: 10 % of the requests go to v2") && ps.contains("releases:continue"), "{ps}");
    assert!(app.verb(&["releases"]).contains("canary 10 %"));
    let deployments = app.verb(&["deployments"]);
    assert!(deployments.contains("running, held at 10 %"), "{deployments}");
    let id = deployments.lines().find(|l| l.contains("held")).and_then(|l| l.split_whitespace().next()).expect("an id");
    assert!(app.verb(&["deployments:info", id]).contains("held: 10 % of the requests"));
    let why = app.verb(&["why"]);
    assert!(
        why.contains("v2 is held: 10 %") && why.contains("next      Let it go on: hythe releases:continue -a hello"),
        "{why}"
    );
    for words in [&["config:set", "A=1"][..], &["rollback"], &["ps:stop"], &["ps:scale", "web=2"]] {
        let words = [words, &["-a", "hello"]].concat();
        let early = app.server.cli(&app.server.owner, &words);
        assert!(!early.ok, "{words:?}: {early:?}");
    }
    app.repo.answer("third");
    app.repo.push("main").refused(&["production holds a canary at 10 %", "releases:abort"]);

    app.server.kill();
    push.kill();
    app.server.boot();
    assert_eq!(app.state(), "holding");
    let seen = app.answers(100);
    assert_eq!(seen.values().sum::<usize>(), seen["first"] + seen.get("second").copied().unwrap_or(0), "{seen:?}");
    eventually("the canary answers again", || (app.server.get("hello") == ok("second")).then_some(()));
    assert!(app.verb(&["releases:continue"]).is_empty());
    eventually("it is live", || (app.state() == "live").then_some(()));
    assert_eq!(app.answers(20), [("second".to_owned(), 20)].into());
    eventually("the push ends well", || app.repo.remote_tip("main").filter(|tip| *tip != app.head));
    eventually("the old one is gone", || (app.server.replicas("hello").len() == 1).then_some(()));
    let events = app.verb(&["events"]);
    assert!(events.contains("10 % of the requests go to v2") && events.contains("let go on from 10 %"), "{events}");
    app.nothing_left();
}

#[test]
fn a_canary_goes_on_in_steps_and_tells_the_pusher() {
    let app = Deployed::new();
    app.set_strategy(&["canary=20,60", "--hold", "2"]);
    let load = Load::on(&app.server, "hello", 2);
    app.repo.answer("second");
    let said = app.repo.push("main").accepted();
    for text in ["v2 is held: 20 % of the requests", "60 % of the requests go to it", "hythe releases:abort -a hello"] {
        assert!(said.contains(text), "{text}: {said}");
    }
    load.served_throughout();
    assert_eq!(app.answers(20), [("second".to_owned(), 20)].into());
    assert_eq!(app.verb(&["events"]).matches("let go on from").count(), 2);
}

#[test]
fn a_canary_that_fails_goes_back_by_itself_and_one_that_is_aborted_as_well() {
    let app = Deployed::new();
    app.set_strategy(&["canary=50"]);
    app.repo.commit(&[("server.js", FAULTY)]);
    let push = app.repo.push_in_background("main");
    app.is_held();
    eventually("it was asked often enough", || {
        let answer = app.server.get("hello");
        assert!(answer == ok("first") || answer.body == "oh no", "{answer:?}");
        (app.state() != "holding").then_some(())
    });
    let said = push.wait().refused(&["requests (100 %) failed", "in which 50 % of all went to it"]);
    assert!(said.contains("keeps serving"), "{said}");
    app.untouched();
    let events = app.verb(&["events"]);
    assert!(events.contains("all requests go to the release before v2"), "{events}");

    app.repo.answer("second");
    let push = app.repo.push_in_background("main");
    app.is_held();
    eventually("the canary answers", || (app.server.get("hello") == ok("second")).then_some(()));
    app.verb(&["releases:abort"]);
    push.wait().refused(&["aborted, as was asked for"]);
    app.untouched();
    assert_eq!(app.answers(20), [("first".to_owned(), 20)].into());
    assert!(app.verb(&["events"]).contains("end of the rollout of v3 asked for"));
    let late = app.server.cli(&app.server.owner, &["releases:continue", "-a", "hello"]);
    assert!(!late.ok && late.err.contains("nothing is held"), "{late:?}");
    // What is gone back to is no canary.
    app.set_strategy(&["blue-green"]);
    app.repo.answer("fourth");
    app.repo.push("main").accepted();
    app.set_strategy(&["canary=10"]);
    app.verb(&["rollback"]);
    assert_eq!(app.answers(20), [("first".to_owned(), 20)].into());
}

#[test]
fn while_a_canary_holds_a_visitor_chooses_or_stays() {
    let app = Deployed::new();
    app.set_strategy(&["canary=10"]);
    app.verb(&["traffic:set", "canary-cookie=beta"]);
    app.repo.answer("second");
    let push = app.repo.push_in_background("main");
    app.is_held();
    let url = format!("http://hello.localhost:{}/", app.server.proxy_port);
    let with = |words: &[&str]| app.server.curl(&[words, &[url.as_str()]].concat()).body;
    for _ in 0..20 {
        assert_eq!(with(&["-b", "beta=new"]), "second");
        assert_eq!(with(&["-b", "beta=old"]), "first");
    }
    let folder = tempfile::tempdir().expect("a folder");
    for visitor in 0..5 {
        let jar = folder.path().join(visitor.to_string()).to_string_lossy().into_owned();
        let first = with(&["-c", &jar, "-b", &jar]);
        let kept = std::fs::read_to_string(&jar).expect("a jar");
        assert!(kept.contains("\tbeta\t"), "{kept}");
        for _ in 0..10 {
            assert_eq!(with(&["-c", &jar, "-b", &jar]), first);
        }
    }
    // When it has ended there is one release, whatever a cookie says.
    app.verb(&["releases:continue"]);
    eventually("it is live", || (app.state() == "live").then_some(()));
    assert_eq!([with(&["-b", "beta=old"]), with(&["-b", "beta=new"])], ["second", "second"]);
    assert!(!app.server.curl(&["-D", "-", &url]).body.contains("beta="), "no canary, no cookie");
    push.kill();
}
