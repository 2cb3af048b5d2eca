//! A newer process of the platform takes the place of the older one while clients come, stay and wait.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::{Load, RealServer, Settings, eventually, scratch};
use crate::push::{Deployed, ok};

/// `/tail` begins to answer, and ends once somebody asked for `/end`. The rest answers at once, and with its length.
const TAILS: &str = "const held = [];
require('http').createServer((q, r) => {
  if (q.url === '/tail') { r.write('begun '); held.push(r); return; }
  if (q.url === '/end') { held.splice(0).forEach(one => one.end('ended')); }
  const body = process.env.WORD || 'first'; r.setHeader('content-length', body.length); r.end(body);
}).listen(process.env.PORT);
";

struct Client(TcpStream);

impl Client {
    fn of(server: &RealServer) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", server.proxy_port)).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
        Self(stream)
    }

    fn ask(&mut self, path: &str) {
        write!(self.0, "GET {path} HTTP/1.1\r\nHost: hello.localhost\r\n\r\n").expect("written");
    }

    /// Until it has all of `text`.
    fn read_to(&mut self, text: &str) -> String {
        let mut got = Vec::new();
        while !got.ends_with(text.as_bytes()) {
            let mut byte = [0];
            assert_eq!(self.0.read(&mut byte).expect("more"), 1, "it ended after {:?}", String::from_utf8_lossy(&got));
            got.extend(byte);
        }
        String::from_utf8(got).expect("text")
    }

    fn rest(mut self) -> String {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).expect("a proper end");
        rest
    }
}

#[test]
fn the_next_process_takes_over_and_no_request_is_lost() {
    let mut app = Deployed::new();
    app.repo.commit(&[("server.js", TAILS)]);
    app.repo.push("main").accepted();
    let (fresh, kept) = (Load::on(&app.server, "hello", 2), Load::kept(&app.server, "hello", 2));
    let mut tail = Client::of(&app.server);
    tail.ask("/tail");
    tail.read_to("begun ");
    let mut silent: Vec<_> = (0..100).map(|_| Client::of(&app.server)).collect();

    let older = app.server.hand_over();
    // It stays for the two that are connected to it.
    assert_eq!(app.server.ask("hello", "/"), ok("first"));
    assert!(!app.server.has_left(older));
    // Those go where the newer one says.
    let mut replica = Client::of(&app.server);
    replica.ask("/end");
    replica.read_to("first");
    tail.read_to("ended\r\n0\r\n\r\n");
    app.server.cli(&app.server.owner, &["config:set", "-a", "hello", "WORD=second"]).expect("config:set");
    // It hears of the new release a moment after everybody else.
    eventually("the older process knows the new release", || {
        let mut client = silent.pop().expect("it hears of it in time");
        client.ask("/");
        let answer = client.rest();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
        answer.ends_with("second").then_some(())
    });
    drop((tail, replica, silent));
    eventually("the older process ends", || app.server.has_left(older).then_some(()));

    // So does the next one.
    let older = app.server.hand_over();
    eventually("the older process ends", || app.server.has_left(older).then_some(()));
    assert_eq!(app.server.get("hello"), ok("second"));
    fresh.served_throughout();
    kept.served_throughout();

    // And one that sleeps is woken for whoever asks the older one.
    let words = ["ps:autoscale", "-a", "hello", "--min", "0", "--max", "2", "--idle", "1"];
    app.server.cli(&app.server.owner, &words).expect("ps:autoscale");
    eventually("nothing of the app runs", || app.server.replicas("hello").is_empty().then_some(()));
    let mut silent = Client::of(&app.server);
    let older = app.server.hand_over();
    silent.ask("/");
    assert!(silent.rest().ends_with("second"));
    eventually("the older process ends", || app.server.has_left(older).then_some(()));
    app.server.stop();
    app.server.boot();
    assert_eq!(app.server.get("hello"), ok("second"));
}

#[test]
fn a_next_process_that_cannot_begin_changes_nothing() {
    let dir = tempfile::tempdir_in(scratch()).expect("directory");
    let file = dir.path().join("hythe.toml");
    fs::write(&file, "[runtime]\nready_seconds = 60\n").expect("written");
    let app = Deployed::with(Settings::with("HYTHE_CONFIG", file.display()));
    let load = Load::on(&app.server, "hello", 2);
    fs::write(&file, "[runtime]\nready_seconds = \"soon\"\n").expect("written");
    app.server.ask_to_hand_over();
    eventually("it is refused", || app.server.log().contains("this one goes on").then_some(()));
    assert!(app.server.log().contains("ready_seconds"), "the cause is in the log: {}", app.server.log());
    app.repo.answer("second");
    app.repo.push("main").accepted();
    assert_eq!(app.server.get("hello"), ok("second"));
    load.served_throughout();
}
