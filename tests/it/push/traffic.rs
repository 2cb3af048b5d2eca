//! What holds for an app's requests, set by its people, from the command to the request that is refused.

use std::io::Write as _;

use super::{Deployed, ok};
use crate::harness::eventually;

fn status(app: &Deployed, words: &[&str]) -> u16 {
    let url = format!("http://hello.localhost:{}/", app.server.proxy_port);
    app.server.curl(&[words, &[url.as_str()]].concat()).status
}

#[test]
fn rules_hold_at_once_for_whatever_is_live_and_over_a_crash() {
    let mut app = Deployed::new();
    let soon = |app: &Deployed, what: &str, words: &[&str], code: u16| {
        eventually(what, || (status(app, words) == code).then_some(()));
    };
    assert!(app.verb(&["traffic"]).is_empty());
    app.verb(&["maintenance:on"]);
    soon(&app, "the page is there", &[], 503);
    app.verb(&["maintenance:off"]);
    soon(&app, "it serves again", &[], 200);

    app.verb(&["traffic:set", "deny=127.0.0.0/8", "response-header.x-frame-options=DENY"]);
    soon(&app, "nobody from here", &[], 403);
    // A release, and a crash, open nothing.
    app.repo.answer("second");
    app.repo.push("main").accepted();
    assert_eq!(status(&app, &[]), 403);
    app.server.kill();
    app.server.boot();
    eventually("the proxy is back", || (status(&app, &[]) == 403).then_some(()));
    app.verb(&["rollback"]);
    assert_eq!(status(&app, &[]), 403);
    let shown = app.verb(&["traffic"]);
    assert!(shown.contains("127.0.0.0/8") && shown.contains("x-frame-options"), "{shown}");
    app.verb(&["traffic:unset", "deny"]);
    eventually("the release before serves", || (app.server.get("hello") == ok("first")).then_some(()));

    // The password is read from standard input, shown nowhere, and let in.
    let mut words = tempfile::tempfile().expect("a file");
    words.write_all(b"pass:word 1\n").expect("it writes");
    std::io::Seek::rewind(&mut words).expect("it rewinds");
    let said = app.server.ssh_with(&app.server.owner, &["traffic:users:set", "-a", "hello", "ann"], words);
    assert!(said.ok && !said.out.contains("pass"), "{said:?}");
    soon(&app, "a password is asked for", &[], 401);
    assert_eq!(status(&app, &["-u", "ann:pass:word 1"]), 200);
    assert_eq!(status(&app, &["-u", "ann:pass:word 2"]), 401);
    let shown = app.verb(&["traffic", "--json"]);
    assert!(shown.contains("ann") && !shown.contains("pbkdf2") && !shown.contains("pass:word"), "{shown}");
    app.verb(&["traffic:users:remove", "ann"]);
    soon(&app, "everybody again", &[], 200);

    // Refused in the middle of an upload, over HTTP/2 too.
    app.verb(&["traffic:set", "body=1000"]);
    let body = tempfile::NamedTempFile::new().expect("a file");
    body.as_file().set_len(3 << 20).expect("its size");
    let data = format!("@{}", body.path().display());
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        soon(&app, version, &[version, "--data-binary", &data], 413);
    }
    app.verb(&["traffic:unset", "body"]);
    soon(&app, "longer bodies again", &["--data-binary", &data], 200);

    for (rule, text) in [
        ("allow=10.0.0.0/33", "no network"),
        ("request-header.host=evil", "the platform's own"),
        ("response-header.x=a\r\nset-cookie: b", "printable"),
        ("rate=0", "rate"),
        ("colour=red", "there is no such rule"),
    ] {
        let said = app.server.cli(&app.server.owner, &["traffic:set", "-a", "hello", rule]);
        assert!(!said.ok && said.err.contains(text), "{rule}: {said:?}");
    }
    assert_eq!(app.server.get("hello"), ok("first"));
}

/// Head and body as `curl` has them, which decodes what it asked for.
fn answer(app: &Deployed, words: &[&str]) -> String {
    let url = format!("http://hello.localhost:{}/", app.server.proxy_port);
    app.server.curl(&[&["-D", "-"], words, &[url.as_str()]].concat()).body.to_lowercase()
}

#[test]
fn text_is_compressed_for_whoever_takes_it() {
    let app = Deployed::new();
    app.repo.commit(&[(
        "server.js",
        "require('http').createServer((_, r) => {\n\
         r.setHeader('content-type', 'text/plain; charset=utf-8');\n\
         r.setHeader('etag', '\"a1\"');\n\
         r.end('all work and no play\\n'.repeat(500));\n\
         }).listen(process.env.PORT);\n",
    )]);
    app.repo.push("main").accepted();
    let plain = "all work and no play\n".repeat(500);
    let asking = ["--compressed", "-H", "accept-encoding: gzip"];
    assert!(!answer(&app, &asking).contains("content-encoding"), "nobody has asked for it");
    let shown = app.verb(&["traffic:set", "compression=on"]);
    assert!(shown.contains("compression"), "{shown}");
    eventually("the rule holds", || answer(&app, &asking).contains("content-encoding: gzip").then_some(()));
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for coding in ["zstd", "br", "gzip"] {
            let accepted = format!("accept-encoding: {coding}");
            let whole = answer(&app, &[version, "--compressed", "-H", &accepted]);
            assert!(whole.contains(&format!("content-encoding: {coding}\r\n")), "{version} {coding}: {whole}");
            assert!(whole.contains("vary: accept-encoding\r\n") && whole.contains("etag: w/\"a1\"\r\n"), "{whole}");
            assert!(whole.ends_with(&format!("\r\n\r\n{plain}")), "{version} {coding}");
            let head = answer(&app, &[version, "-I", "-H", &accepted]);
            assert!(head.contains(&format!("content-encoding: {coding}\r\n")), "{version} {coding}: {head}");
        }
        let whole = answer(&app, &[version]);
        assert!(!whole.contains("content-encoding") && whole.contains("vary: accept-encoding\r\n"), "{whole}");
        assert!(whole.contains("etag: \"a1\"\r\n") && whole.ends_with(&format!("\r\n\r\n{plain}")));
    }
    app.verb(&["traffic:unset", "compression"]);
    eventually("it ends", || (!answer(&app, &asking).contains("content-encoding")).then_some(()));
}

#[test]
fn pages_of_the_app_s_own_are_shown_where_it_does_not_answer() {
    let mut app = Deployed::new();
    app.repo.commit(&[(
        "server.js",
        "require('http').createServer((q, r) => {\n\
         if (q.url === '/cut') return q.socket.destroy();\n\
         if (q.url === '/late') return;\n\
         r.end('first');\n\
         }).listen(process.env.PORT);\n",
    )]);
    app.repo.push("main").accepted();
    let folder = tempfile::tempdir().expect("a folder");
    for page in ["502", "503", "504", "maintenance"] {
        let file = folder.path().join(format!("{page}.html"));
        std::fs::write(&file, format!("<h1>our own {page}</h1>")).expect("it writes");
        let file = file.to_string_lossy().into_owned();
        let said = app.server.cli(&app.server.owner, &["traffic:pages:set", "-a", "hello", page, &file]);
        assert!(said.ok, "{said:?}");
    }
    app.verb(&["traffic:set", "timeout=1"]);
    let shown = app.verb(&["traffic"]);
    assert!(shown.contains("page maintenance") && shown.contains("28 bytes"), "{shown}");
    let get = |app: &Deployed, path: &str, words: &[&str]| {
        let url = format!("http://hello.localhost:{}{path}", app.server.proxy_port);
        let said = app.server.curl(&[words, &[url.as_str()]].concat());
        (said.status, said.body)
    };
    let own = |code: u16, page: &str| (code, format!("<h1>our own {page}</h1>"));
    eventually("the app took too long", || (get(&app, "/late", &[]) == own(504, "504")).then_some(()));
    assert_eq!(get(&app, "/cut", &[]), own(502, "502"));
    app.verb(&["maintenance:on"]);
    eventually("maintenance", || (get(&app, "/", &[]) == own(503, "maintenance")).then_some(()));
    let (code, problem) = get(&app, "/", &["-H", "accept: application/json"]);
    assert!(code == 503 && problem.contains("urn:hythe:problem:maintenance"), "{problem}");
    app.verb(&["maintenance:off"]);
    app.verb(&["ps:stop"]);
    eventually("it is stopped", || (get(&app, "/", &[]) == own(503, "503")).then_some(()));
    app.server.kill();
    app.server.boot();
    eventually("over a crash", || (get(&app, "/", &[]) == own(503, "503")).then_some(()));
    app.verb(&["traffic:pages:remove", "503"]);
    eventually("the platform's own", || (get(&app, "/", &[]).1.contains("App is stopped")).then_some(()));

    let long = folder.path().join("long.html");
    std::fs::write(&long, "x".repeat(40_000)).expect("it writes");
    let long = long.to_string_lossy().into_owned();
    let missing = folder.path().join("none.html").to_string_lossy().into_owned();
    for (words, text) in [
        (["503", long.as_str()], "pages.503: has 40000 bytes, the limit is 32768"),
        (["404", long.as_str()], "502, 503, 504, maintenance"),
        (["503", missing.as_str()], "cannot be read"),
    ] {
        let said = app.server.cli(&app.server.owner, &[&["traffic:pages:set", "-a", "hello"][..], &words].concat());
        assert!(!said.ok && said.err.contains(text), "{words:?}: {said:?}");
    }
    // Over ssh a name of a file would be one of the server's.
    let said = app.server.ssh(&app.server.owner, &["traffic:pages:set", "-a", "hello", "503", "/etc/passwd"]);
    assert!(!said.ok && !get(&app, "/", &[]).1.contains("root:"), "{said:?}");
    let mut piped = tempfile::tempfile().expect("a file");
    piped.write_all("<h1>por favor, más tarde</h1>".as_bytes()).expect("it writes");
    std::io::Seek::rewind(&mut piped).expect("it rewinds");
    let said = app.server.ssh_with(&app.server.owner, &["traffic:pages:set", "-a", "hello", "503"], piped);
    assert!(said.ok, "{said:?}");
    eventually("piped", || (get(&app, "/", &[]) == (503, "<h1>por favor, más tarde</h1>".into())).then_some(()));
}

#[test]
fn a_release_brings_rules_along_and_people_go_first() {
    let app = Deployed::new();
    let soon = |what: &str, field: &str, there: bool| {
        let is_there = || answer(&app, &[]).contains(field) == there;
        eventually(what, || is_there().then_some(()));
    };
    let says = r#"{"traffic": {"response-header.x-from": "the tree", "deny": ["192.0.2.0/24"], "timeout": 90}}"#;
    app.repo.commit(&[("app.json", says)]);
    app.repo.push("main").accepted();
    soon("the release's rules hold", "x-from: the tree\r\n", true);
    let held = |rule: &str| {
        let all: serde_json::Value = serde_json::from_str(&app.verb(&["traffic", "--json"])).expect("JSON");
        let held = all["held"].as_array().expect("a list").iter().find(|held| held["rule"] == rule).cloned();
        held.map(|held| format!("{} {}", held["value"], held["origin"]).replace('"', ""))
    };
    assert_eq!(held("timeout").as_deref(), Some("90 app.json"));
    app.verb(&["traffic:set", "timeout=30", "deny=off", "response-header.x-from=somebody"]);
    soon("what people set goes first", "x-from: somebody\r\n", true);
    assert_eq!([held("timeout"), held("deny")], [Some("30 set".into()), Some("off set".into())]);
    app.verb(&["traffic:unset", "timeout", "deny", "response-header.x-from"]);
    soon("and leaves it to the tree", "x-from: the tree\r\n", true);
    assert_eq!([held("timeout"), held("deny")], [Some("90 app.json".into()), Some("192.0.2.0/24 app.json".into())]);

    // A rule of the release that keeps people out: the next release without it, and a rollback, follow the tree.
    app.repo.commit(&[("app.json", r#"{"traffic": {"deny": ["127.0.0.0/8"]}}"#)]);
    app.repo.push("main").accepted();
    eventually("nobody from here", || (status(&app, &[]) == 403).then_some(()));
    app.verb(&["rollback"]);
    eventually("the release before lets in", || (status(&app, &[]) == 200).then_some(()));
    soon("with its rules", "x-from: the tree\r\n", true);

    for (says, fault) in [
        (r#"{"traffic": {"rate": "fast"}}"#, "app.json: traffic.rate: write PER_SECOND or PER_SECOND/BURST"),
        (r#"{"traffic": {"deny": ["10.0.0.0/33"]}}"#, "app.json: traffic.deny: \"10.0.0.0/33\" is no network"),
        (r#"{"traffic": {"colour": "red"}}"#, "app.json: traffic.colour: there is no such rule; rules are allow, deny"),
        (r#"{"traffic": {"users": {"ann": "x"}}}"#, "app.json: traffic.users: is not for a release to say"),
    ] {
        app.repo.commit(&[("app.json", says)]);
        app.repo.push("main").refused(&[fault]);
    }
    assert!(answer(&app, &[]).contains("x-from: the tree\r\n"), "what is live goes on as it was");
}

#[test]
fn requests_wait_their_turn_where_a_replica_is_given_only_so_many() {
    let app = Deployed::new();
    // Each takes a while, and says how many were inside at most so far.
    app.repo.commit(&[(
        "server.js",
        "let inside = 0, most = 0;\n\
         require('http').createServer((q, r) => {\n\
         most = Math.max(most, ++inside);\n\
         r.on('close', () => inside--);\n\
         setTimeout(() => r.end(String(most)), q.url === '/long' ? 3000 : 200);\n\
         }).listen(process.env.PORT);\n",
    )]);
    app.repo.push("main").accepted();
    let at_once = |count: usize, path: &str| {
        let url = format!("http://hello.localhost:{}{path}", app.server.proxy_port);
        let asked = std::thread::scope(|scope| {
            let ask = || app.server.curl(&["-D", "-", &url]);
            let asked: Vec<_> = (0..count).map(|_| scope.spawn(ask)).collect();
            asked.into_iter().map(|one| one.join().expect("it asked")).collect::<Vec<_>>()
        });
        let (served, refused): (Vec<_>, Vec<_>) = asked.into_iter().partition(|answer| answer.status == 200);
        for answer in &refused {
            let text = answer.body.to_lowercase();
            assert!(answer.status == 503 && text.contains("retry-after: 5") && text.contains("app is busy"), "{text}");
        }
        (served, refused.len())
    };
    let shown = app.verb(&["traffic:set", "in-flight=2", "queue=0"]);
    assert!(shown.contains("in-flight") && shown.contains("queue"), "{shown}");
    eventually("those for whom there is no room are refused", || {
        let (served, refused) = at_once(6, "/");
        (refused > 0 && !served.is_empty()).then_some(())
    });
    app.verb(&["traffic:set", "queue=50", "wait=20s"]);
    eventually("all wait their turn", || (at_once(12, "/").1 == 0).then_some(()));
    // A process of its own has counted none but those of this rule.
    app.verb(&["ps:restart"]);
    let most = |served: &[crate::harness::Answer]| {
        served.iter().filter_map(|answer| answer.body.lines().last()?.parse::<u32>().ok()).max()
    };
    eventually("the new process answers", || (most(&at_once(12, "/").0) == Some(2)).then_some(()));
    let (served, refused) = at_once(30, "/");
    assert_eq!((served.len(), refused, most(&served)), (30, 0, Some(2)), "never more than two are inside");
    app.verb(&["traffic:set", "wait=1"]);
    eventually("and nobody longer than it says", || {
        let (served, refused) = at_once(3, "/long");
        (served.len() == 2 && refused == 1).then_some(())
    });
    for (rule, text) in [("in-flight=0", "in_flight"), ("queue=-1", "a number"), ("wait=301", "wait_seconds")] {
        let said = app.server.cli(&app.server.owner, &["traffic:set", "-a", "hello", rule]);
        assert!(!said.ok && said.err.contains(text), "{rule}: {said:?}");
    }
}
