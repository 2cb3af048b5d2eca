//! Webhooks: what is posted, that it is signed, and that nothing is lost when a receiver or the server is away.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::Talker;
use crate::harness::{Settings, eventually, program};

#[derive(Clone)]
struct Post {
    id: String,
    timestamp: String,
    signature: String,
    body: String,
}

impl Post {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

/// Takes posts; answers each with the next of `answers`, then with 204. `None` is to hang.
struct Receiver {
    port: u16,
    posts: Arc<Mutex<Vec<Post>>>,
}

impl Receiver {
    fn answering(answers: &[Option<u16>]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let posts = Arc::<Mutex<Vec<Post>>>::default();
        let (all, answers) = (Arc::clone(&posts), Arc::new(Mutex::new(VecDeque::from(answers.to_vec()))));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (all, answers) = (Arc::clone(&all), Arc::clone(&answers));
                std::thread::spawn(move || take(stream, &all, &answers));
            }
        });
        Self { port, posts }
    }

    fn posts(&self) -> Vec<Post> {
        self.posts.lock().expect("unpoisoned").clone()
    }

    fn of_kind(&self, kind: &str) -> Vec<Post> {
        self.posts().into_iter().filter(|post| post.json()["type"] == kind).collect()
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/in?token=hidden", self.port)
    }
}

fn take(stream: TcpStream, all: &Mutex<Vec<Post>>, answers: &Mutex<VecDeque<Option<u16>>>) {
    let mut out = stream.try_clone().expect("the stream");
    let mut from = BufReader::new(stream);
    let mut headers = Vec::new();
    for line in from.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
        headers.push(line);
    }
    let header = |name: &str| {
        let find = headers.iter().filter_map(|line| line.split_once(": "));
        find.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.to_owned()).next().unwrap_or_default()
    };
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    if from.read_exact(&mut body).is_err() {
        return;
    }
    let body = String::from_utf8(body).expect("UTF-8");
    let (id, timestamp, signature) = (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
    all.lock().expect("unpoisoned").push(Post { id, timestamp, signature, body });
    let answer = answers.lock().expect("unpoisoned").pop_front().unwrap_or(Some(204));
    match answer {
        Some(status) => {
            let _ = write!(out, "HTTP/1.1 {status} so\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
        // Until the other side gives up.
        None => drop(from.read(&mut [0])),
    }
}

/// What OpenSSL makes of it.
fn signature(key: &str, post: &Post) -> String {
    let key = key.strip_prefix("whsec_").expect("a key");
    let bits = pipe("base64", &["-d"], key.as_bytes());
    let hex: String = bits.iter().map(|b| format!("{b:02x}")).collect();
    let signed = format!("{}.{}.{}", post.id, post.timestamp, post.body);
    let words = ["dgst", "-sha256", "-mac", "HMAC", "-macopt", &format!("hexkey:{hex}"), "-binary"];
    let mac = pipe("openssl", &words, signed.as_bytes());
    format!("v1,{}", String::from_utf8(pipe("base64", &["-w0"], &mac)).expect("text"))
}

fn pipe(name: &str, words: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = program(name).args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect(name);
    child.stdin.take().expect("its input").write_all(input).expect("written");
    child.wait_with_output().expect("its output").stdout
}

fn app() -> Talker {
    let mut settings = Settings::default();
    settings.variables.insert("HYTHE_OUTBOUND_PRIVATE".into(), "true".into());
    Talker::with(settings)
}

/// Id and key.
fn add(app: &Talker, receiver: &Receiver, words: &[&str]) -> (String, String) {
    let url = receiver.url();
    let all = [&["webhooks:add", "-a", "talker", "--json"], words, &[&url]].concat();
    let made: Value = serde_json::from_str(&app.hythe(&all)).expect("JSON");
    let text = |key: &str| made[key].as_str().expect("a text").to_owned();
    assert!(!made.to_string().contains("hidden"), "what may be a secret is not shown: {made}");
    (text("id"), text("secret"))
}

fn deliveries(app: &Talker, id: &str) -> Vec<Value> {
    let all = app.hythe(&["webhooks:deliveries", "-a", "talker", "-n", "200", "--json", id]);
    serde_json::from_str(&all).expect("JSON")
}

#[test]
fn events_are_posted_signed_tried_again_and_replayed() {
    let app = app();
    let receiver = Receiver::answering(&[Some(500)]);
    let hanging = Receiver::answering(&[None, None, None, None]);
    add(&app, &hanging, &[]);
    let (id, key) = add(&app, &receiver, &["--events", "variables.changed,deployment.*"]);
    app.hythe(&["config:set", "-a", "talker", "COLOUR=blue"]);
    let done = eventually("the deployment is told", || receiver.of_kind("deployment.succeeded").pop());
    assert_eq!(done.signature, signature(&key, &done));
    assert_eq!(
        (&done.json()["data"]["id"], &done.json()["data"]["app_name"]),
        (&done.id.as_str().into(), &"talker".into())
    );
    let first = eventually("what was refused comes again", || {
        let first = receiver.posts().first().cloned()?;
        (receiver.posts().iter().filter(|post| post.id == first.id).count() == 2).then_some(first)
    });
    let kinds = |post: &Post| post.json()["type"].as_str().expect("a kind").to_owned();
    let others: Vec<_> = receiver.posts().iter().map(kinds).filter(|k| !k.starts_with("deployment.")).collect();
    assert!(others.iter().all(|kind| kind == "variables.changed"), "{others:?}");
    assert!(!receiver.posts().iter().any(|post| post.body.contains("blue")), "no value of a variable leaves");
    eventually("all are delivered", || deliveries(&app, &id).iter().all(|d| d["state"] == "delivered").then_some(()));
    let again = deliveries(&app, &id).into_iter().find(|d| d["event"] == first.id.as_str()).expect("the delivery");
    assert_eq!(again["attempts"], 2, "{again}");

    app.hythe(&["webhooks:replay", "-a", "talker", &id, &done.id]);
    eventually("it comes again with its id", || {
        (receiver.posts().iter().filter(|post| post.id == done.id).count() == 2).then_some(())
    });
    app.hythe(&["webhooks:remove", "-a", "talker", &id]);
    let said = app.server.cli(&app.server.owner, &["webhooks:deliveries", "-a", "talker", &id]);
    assert!(!said.ok && said.err.contains("webhook not found"), "{said:?}");
}

#[test]
fn what_waits_survives_the_server_and_what_is_gone_is_given_up() {
    let mut app = app();
    let away = Receiver::answering(&[Some(503)]);
    let gone = Receiver::answering(&[Some(410)]);
    let (waits, _) = add(&app, &away, &["--events", "restarted"]);
    let (fails, _) = add(&app, &gone, &["--events", "restarted"]);
    app.hythe(&["ps:restart", "-a", "talker"]);
    let tried = |id: &str| deliveries(&app, id).first().is_some_and(|d| d["reason"].is_string());
    eventually("it was tried and noted", || (tried(&waits) && tried(&fails)).then_some(()));
    app.server.kill();
    app.server.boot();
    eventually("it comes after all", || (away.posts().len() == 2).then_some(()));
    assert_eq!(away.posts()[0].id, away.posts()[1].id);
    eventually("it is noted", || (deliveries(&app, &waits)[0]["state"] == "delivered").then_some(()));
    let given_up = &deliveries(&app, &fails)[0];
    assert_eq!(given_up["state"], "failed", "410 is the receiver's last word: {given_up}");
    assert!(given_up["reason"].as_str().is_some_and(|reason| reason.contains("answered 410")), "{given_up}");
    app.hythe(&["webhooks:replay", "-a", "talker", &fails, "--failed"]);
    eventually("asked for again, it comes", || (gone.posts().len() == 2).then_some(()));
}

#[test]
fn bad_webhooks_are_refused_with_words() {
    let app = Talker::with(Settings::default());
    for (words, expected) in [
        (vec!["http://127.0.0.1:1/x"], "public internet"),
        (vec!["http://169.254.169.254/latest"], "public internet"),
        (vec!["syslog://example.com:514"], "https://HOST/PATH"),
        (vec!["file:///etc/passwd"], "https://HOST/PATH"),
        (vec!["--events", "deploy.*", "https://example.com/x"], "deployment.failed"),
    ] {
        let said = app.server.cli(&app.server.owner, &[vec!["webhooks:add", "-a", "talker"], words.clone()].concat());
        assert!(!said.ok && said.err.contains(expected), "{words:?}: {said:?}");
    }
    assert_eq!(app.hythe(&["webhooks", "talker", "--json"]).trim(), "[]");
}
