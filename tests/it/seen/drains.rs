//! Drains: what arrives at the other end, and what does not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::Talker;
use crate::harness::{Settings, eventually, program, run};

type Received = Arc<Mutex<Vec<u8>>>;

/// Ends with the test, however that ends.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn here(settings: &mut Settings) {
    settings.variables.insert("HYTHE_OUTBOUND_PRIVATE".into(), "true".into());
}

/// Keeps all that anybody sends.
fn receiver() -> (u16, Received) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let received = Received::default();
    let all = Arc::clone(&received);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let all = Arc::clone(&all);
            std::thread::spawn(move || keep(stream, &all));
        }
    });
    (port, received)
}

fn keep(mut from: impl Read, all: &Received) {
    let mut piece = [0; 4096];
    while let Ok(length) = from.read(&mut piece) {
        if length == 0 {
            return;
        }
        all.lock().expect("unpoisoned").extend_from_slice(&piece[..length]);
    }
}

/// The whole messages of a stream of counted ones (RFC 6587 §3.4.1).
fn frames(received: &Received) -> Vec<String> {
    let all = received.lock().expect("unpoisoned").clone();
    let (mut rest, mut frames) = (&all[..], Vec::new());
    while let Some(space) = rest.iter().position(|b| *b == b' ') {
        let length: usize = std::str::from_utf8(&rest[..space]).expect("digits").parse().expect("a length");
        let Some(message) = rest.get(space + 1..space + 1 + length) else { break };
        frames.push(String::from_utf8(message.to_vec()).expect("UTF-8"));
        rest = &rest[space + 1 + length..];
    }
    frames
}

/// `<PRI>1 TIME HOST APP PROCESS - - TEXT`: priority, process and text of what is well-formed.
fn parsed(frame: &str) -> (u8, String, String) {
    let parts: Vec<&str> = frame.splitn(8, ' ').collect();
    let [head, time, host, source, process, "-", "-", text] = parts[..] else { panic!("{frame}") };
    let priority = head.strip_prefix('<').and_then(|h| h.strip_suffix(">1")).and_then(|p| p.parse().ok());
    assert!(time.len() == 24 && time.ends_with('Z') && time.contains('T'), "{frame}");
    assert_eq!(host, "talker.production");
    assert!(["app", "proxy", "system", "deploy", "build"].contains(&source), "{frame}");
    (priority.unwrap_or_else(|| panic!("{frame}")), process.to_owned(), text.to_owned())
}

fn syslog_arrives(app: &Talker, received: &Received) {
    eventually("lines arrive", || (frames(received).len() > 50).then_some(()));
    app.ask("/die");
    eventually("errors arrive as such", || {
        let error = (131, "web.1".to_owned(), "out of ideas".to_owned());
        frames(received).iter().any(|frame| parsed(frame) == error).then_some(())
    });
    let numbers: Vec<u64> = frames(received)
        .iter()
        .map(|frame| parsed(frame))
        .filter(|(priority, process, _)| (*priority, process.as_str()) == (134, "web.1"))
        .filter_map(|(.., text)| text.strip_prefix("line ")?.parse().ok())
        .collect();
    let broken = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1 && pair[1] != 1);
    assert_eq!(broken, None, "in order and without gap");
}

#[test]
fn a_syslog_receiver_gets_well_formed_frames() {
    let mut settings = Settings::default();
    here(&mut settings);
    let app = Talker::with(settings);
    let (port, received) = receiver();
    let added = app.hythe(&["drains:add", "-a", "talker", &format!("syslog://127.0.0.1:{port}")]);
    syslog_arrives(&app, &received);
    let shown: Value = serde_json::from_str(&app.hythe(&["drains", "talker", "--json"])).expect("JSON");
    assert!(shown[0]["sent"].as_u64().is_some_and(|sent| sent > 50) && shown[0]["dropped"] == 0, "{shown}");
    let id = added.split_whitespace().next().expect("its id");
    app.hythe(&["drains:remove", "-a", "talker", id]);
    assert_eq!(app.hythe(&["drains", "talker", "--json"]).trim(), "[]");
}

#[test]
fn a_syslog_receiver_gets_them_inside_tls() {
    let dir = tempfile::tempdir().expect("a folder");
    let (key, certificate) = (dir.path().join("key.pem"), dir.path().join("cert.pem"));
    let openssl = |words: &[&str]| {
        let mut command = program("openssl");
        command.args(words).arg("-keyout").arg(&key).arg("-out").arg(&certificate);
        run(&mut command).expect("openssl req");
    };
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ]);
    let mut settings = Settings::with("SSL_CERT_FILE", certificate.display());
    here(&mut settings);
    let app = Talker::with(settings);
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").local_addr().expect("address").port();
    let mut server: Command = program("openssl");
    server.args(["s_server", "-quiet", "-naccept", "9", "-accept", &format!("127.0.0.1:{port}")]);
    server.arg("-key").arg(&key).arg("-cert").arg(&certificate).stdout(Stdio::piped()).stdin(Stdio::piped());
    let mut server = Killed(server.stderr(Stdio::null()).spawn().expect("openssl s_server"));
    let received = Received::default();
    let (output, all) = (server.0.stdout.take().expect("its output"), Arc::clone(&received));
    let reader = std::thread::spawn(move || keep(output, &all));
    app.hythe(&["drains:add", "-a", "talker", "-e", "production", &format!("syslog+tls://localhost:{port}")]);
    syslog_arrives(&app, &received);
    drop(server);
    reader.join().expect("the reader ends");
}

#[test]
fn lines_are_posted_and_what_does_not_fit_is_dropped_and_counted() {
    let mut settings = Settings::default();
    here(&mut settings);
    let app = Talker::with(settings);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let address = format!("http://me:s3cret@127.0.0.1:{port}/in?key=s3cret");
    app.hythe(&["drains:add", "-a", "talker", &address]);
    let shown = app.hythe(&["drains", "talker"]);
    assert!(shown.contains(&format!("http://127.0.0.1:{port}/…")) && !shown.contains("s3cret"), "{shown}");
    let stored = std::fs::read(app.server.data().join("hythe.db")).expect("database");
    assert!(!stored.windows(6).any(|w| w == b"s3cret"), "the address is kept sealed");

    // The first answer is a refusal: the same lines come again.
    let mut bodies = Vec::new();
    for answer in ["503 Service Unavailable", "200 OK", "204 No Content"] {
        let (stream, _) = listener.accept().expect("a request");
        let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
        let (mut head, mut line) = (String::new(), String::new());
        while reader.read_line(&mut line).expect("a head") > 2 {
            head.push_str(&std::mem::take(&mut line));
        }
        assert!(head.starts_with("POST /in?key=s3cret HTTP/1.1"), "{head}");
        assert!(head.to_lowercase().contains("authorization: basic bwu6cznjcmv0"), "{head}");
        let length = head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.expect("a length")];
        reader.read_exact(&mut body).expect("a body");
        bodies.push(String::from_utf8(body).expect("text"));
        let mut stream = stream;
        write!(stream, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").expect("an answer");
    }
    assert!(bodies[1].starts_with(bodies[0].lines().next().expect("a line")), "the same lines again");
    for line in bodies.iter().flat_map(|body| body.lines()) {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!((&line["app"], &line["environment"]), (&"talker".into(), &"production".into()));
        assert!(line["message"].is_string() && line["time"].is_string(), "{line}");
    }
    drop(listener);
    let fault = eventually("the fault is shown", || {
        let shown: Value = serde_json::from_str(&app.hythe(&["drains", "talker", "--json"])).expect("JSON");
        shown[0]["fault"].as_str().map(str::to_owned)
    });
    assert!(!fault.contains("s3cret"), "{fault}");
    assert!(!app.server.log().contains("s3cret"));
    eventually("more than may wait are dropped, and counted", || {
        let shown: Value = serde_json::from_str(&app.hythe(&["drains", "talker", "--json"])).expect("JSON");
        (shown[0]["dropped"].as_u64()? > 0).then_some(())
    });
    assert_eq!(app.ask("/"), 200, "nobody else notices");
}

#[test]
fn nothing_goes_to_private_addresses_unless_the_operator_allows_it() {
    let app = Talker::with(Settings::default());
    let (port, received) = receiver();
    let add = |address: &str| app.server.cli(&app.server.owner, &["drains:add", "-a", "talker", address]);
    for address in [
        format!("syslog://127.0.0.1:{port}"),
        format!("http://[::1]:{port}/"),
        "http://169.254.169.254/latest".into(),
        "http://10.0.0.1/".into(),
    ] {
        let refused = add(&address);
        assert!(!refused.ok && refused.err.contains("public internet"), "{address}: {refused:?}");
    }
    assert!(!add("file:///etc/passwd").ok);
    // A name is judged by where it leads.
    assert!(add(&format!("syslog://localhost:{port}")).ok);
    let fault = eventually("the fault is shown", || {
        let shown: Value = serde_json::from_str(&app.hythe(&["drains", "talker", "--json"])).expect("JSON");
        shown[0]["fault"].as_str().map(str::to_owned)
    });
    assert!(fault.contains("outbound.private"), "{fault}");
    assert!(received.lock().expect("unpoisoned").is_empty());
}
