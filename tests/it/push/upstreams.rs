//! Apps that speak something else than HTTP/1.1 without TLS, from the push to real clients.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Deployed, ok};
use crate::harness::{eventually, program, run};

/// Speaks HTTP/2 alone: at `/up` 204, to POST what it was sent and trailers, to all else its version and authority.
const STREAMS: &str = r"
const server = require('http2').createServer();
server.on('stream', (stream, head) => {
  stream.on('error', () => {});
  if (head[':path'] === '/up') return stream.respond({':status': 204}, {endStream: true});
  if (head[':method'] !== 'POST') {
    stream.respond({':status': 200});
    return stream.end(`2 ${head[':scheme']} ${head[':authority'].split(':')[0]}`);
  }
  stream.on('wantTrailers', () => stream.sendTrailers({'grpc-status': '0', 'x-te': head['te'] ?? 'none'}));
  stream.respond({':status': 200, 'content-type': 'application/grpc'}, {waitForTrailers: true});
  stream.pipe(stream);
});
server.listen(process.env.PORT);
process.on('SIGTERM', () => process.exit(0));
";

/// Speaks both versions inside TLS, with a certificate that nobody vouches for.
const SEALED: &str = r"
const {readFileSync} = require('fs');
const options = {key: readFileSync('key.pem'), cert: readFileSync('cert.pem'), allowHTTP1: true};
const server = require('http2').createSecureServer(options, (q, r) => r.end(`${q.httpVersion} ${q.socket.encrypted}`));
server.listen(process.env.PORT);
process.on('SIGTERM', () => process.exit(0));
";

/// `web` speaks it, and is asked at `/up` before it is live.
fn speaking(protocol: &str) -> String {
    format!(
        r#"{{"formation": {{"web": {{"protocol": "{protocol}"}}}}, "healthchecks": {{"web": [{{"type": "startup", "path": "/up", "status": 204}}]}}}}"#
    )
}

impl Deployed {
    fn soon(&self, body: &str) {
        eventually(body, || (self.server.get("hello") == ok(body)).then_some(()));
    }
}

#[test]
fn what_an_app_speaks_belongs_to_its_release_and_what_people_set_goes_first() {
    let app = Deployed::new();
    app.repo.commit(&[("app.json", &speaking("spdy"))]);
    app.repo.push("main").refused(&["formation.web.protocol: must be http1, h2c or https"]);
    app.untouched();
    for (rule, text) in [("protocol=h3", "must be http1, h2c or https"), ("protocol=", "must be http1, h2c or https")] {
        let said = app.server.cli(&app.server.owner, &["traffic:set", "-a", "hello", rule]);
        assert!(!said.ok && said.err.contains(text), "{said:?}");
    }

    // Its check passes only because it is asked in HTTP/2.
    app.repo.commit(&[("app.json", &speaking("h2c")), ("server.js", STREAMS)]);
    app.repo.push("main").accepted();
    assert_eq!(app.server.get("hello"), ok("2 http hello.localhost"));
    // A tree that says nothing of it is spoken to in HTTP/1.1.
    app.verb(&["rollback"]);
    app.soon("first");
    app.verb(&["traffic:set", "protocol=h2c"]);
    eventually("it does not speak that", || (app.server.get("hello").status == 502).then_some(()));
    assert!(app.verb(&["traffic"]).contains("h2c"));
    app.verb(&["traffic:unset", "protocol"]);
    app.soon("first");

    // Made by openssl, and signed by nobody.
    let at = |name: &str| app.repo.file(name).display().to_string();
    let (key, cert) = (at("key.pem"), at("cert.pem"));
    let words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=nobody"];
    let made = run(program("openssl").args(words).args(["-keyout", &key, "-out", &cert]).stdin(Stdio::null()));
    assert!(made.ok, "{made:?}");
    let sealed = r#"{"formation": {"web": {"protocol": "https"}}, "healthchecks": {"web": [{"path": "/"}]}}"#;
    let pem = |path: &str| fs::read_to_string(path).expect("it reads");
    app.repo.commit(&[("app.json", sealed), ("server.js", SEALED), ("key.pem", &pem(&key)), ("cert.pem", &pem(&cert))]);
    app.repo.push("main").accepted();
    assert_eq!(app.server.get("hello"), ok("2.0 true"));
}

#[test]
fn a_call_of_grpc_passes_with_its_trailers_and_fails_with_a_status_of_its_own() {
    let mut app = Deployed::new();
    app.repo.commit(&[("app.json", &speaking("h2c")), ("server.js", STREAMS)]);
    app.repo.push("main").accepted();
    let heads = app.server.home().join("heads");
    let call = |host: &str| {
        let url = format!("http://{host}.localhost:{}/shop.Cart/Add", app.server.proxy_port);
        let words = ["--http2-prior-knowledge", "-H", "content-type: application/grpc", "-H", "te: trailers"];
        let answer = app
            .server
            .curl(&[&words[..], &["--data-binary", "a\tb", "-D", &heads.display().to_string(), &url]].concat());
        (answer, fs::read_to_string(&heads).expect("heads"))
    };
    let (answer, said) = call("hello");
    assert_eq!(answer, ok("a\tb"));
    assert!(said.contains("grpc-status: 0") && said.contains("x-te: trailers"), "{said}");
    let (answer, said) = call("nobody");
    assert_eq!(answer, ok(""));
    assert!(said.contains("grpc-status: 12") && said.contains("grpc-message: No app"), "{said}");
    app.verb(&["maintenance:on"]);
    eventually("it is closed", || call("hello").1.contains("grpc-status: 14").then_some(()));
    app.verb(&["maintenance:off"]);
    // What is spoken is known before anything is asked, over a crash too.
    app.server.kill();
    app.server.boot();
    app.soon("2 http hello.localhost");
}

/// Says which fields it was sent; an upgrade it takes, and gives back what comes over it.
const TELLING: &str = r"
const {createHash} = require('crypto');
const server = require('http').createServer((q, r) => r.end(JSON.stringify(q.headers)));
server.on('upgrade', (q, socket, head) => {
  const key = q.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = createHash('sha1').update(key).digest('base64');
  socket.on('error', () => {});
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  socket.pipe(socket);
});
server.listen(process.env.PORT);
process.on('SIGTERM', () => process.exit(0));
";

#[test]
fn a_request_is_followed_from_the_client_to_the_app_and_into_its_log() {
    let app = Deployed::new();
    app.repo.commit(&[("server.js", TELLING)]);
    app.repo.push("main").accepted();
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let (given, heads) = (format!("traceparent: 00-{trace}-{parent}-01"), app.server.home().join("heads"));
    let url = format!("http://hello.localhost:{}/a%22,%22b?token=hush", app.server.proxy_port);
    let ask = |words: &[&str]| {
        let answer = app.server.curl(&[words, &["-D", &heads.display().to_string(), &url]].concat());
        let seen: serde_json::Value = serde_json::from_str(&answer.body).expect("fields");
        (seen, fs::read_to_string(&heads).expect("heads"))
    };
    let (seen, said) = ask(&["-H", &given]);
    assert_eq!(seen["traceparent"], given["traceparent: ".len()..]);
    assert!(!said.contains("erver-timing") && !said.contains("erver-Timing"), "{said}");
    for words in [&[][..], &["-H", "traceparent: 00-0-0-00"]] {
        let (seen, said) = ask(words);
        let begun = seen["traceparent"].as_str().expect("a trace");
        let id = seen["x-request-id"].as_str().expect("an id");
        assert!(begun.starts_with(&format!("00-{id}-")) && said.contains(id), "{begun}: {said}");
    }

    let said = app.server.cli(&app.server.owner, &["traffic:set", "-a", "hello", "access-log=xml"]);
    assert!(!said.ok && said.err.contains("must be plain or json"), "{said:?}");
    app.verb(&["traffic:set", "server-timing=on", "access-log=json"]);
    eventually("times are told", || ask(&[]).1.contains("server-timing: proxy;dur=").then_some(()));
    ask(&["-H", &given]);
    let line = eventually("the line is kept", || {
        let lines = app.verb(&["logs", "--grep", trace, "-n", "100"]);
        let object = lines.lines().find_map(|line| line.find('{').map(|at| line[at..].to_owned()))?;
        serde_json::from_str::<serde_json::Value>(&object).ok()
    });
    for (name, value) in
        [("path", "/a%22,%22b"), ("host", "hello.localhost"), ("protocol", "HTTP/1.1"), ("trace_id", trace)]
    {
        assert_eq!(line[name], value, "{line}");
    }
    assert!(line["status"] == 200 && line["bytes"].as_u64() > Some(100) && line["app_ms"].is_number(), "{line}");
    assert!(!line.to_string().contains("hush"), "{line}");
}

#[test]
fn a_websocket_passes_from_a_client_of_http_2() {
    let app = Deployed::new();
    app.repo.commit(&[("server.js", TELLING)]);
    app.repo.push("main").accepted();
    let place = format!("127.0.0.1:{}", app.server.proxy_port);
    let target = |path: &str| format!("http://hello.localhost:{}{path}", app.server.proxy_port);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let talk = async {
        let stream = TokioIo::new(TcpStream::connect(place).await.expect("connects"));
        let (mut client, connection) = http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        // The settings that allow it come before any answer.
        let first = Request::get(target("/")).body(Empty::<Bytes>::new()).expect("a request");
        assert_eq!(client.send_request(first).await.expect("an answer").status(), 200);
        let mut ask = Request::connect(target("/socket")).body(Empty::new()).expect("a request");
        ask.extensions_mut().insert(Protocol::from_static("websocket"));
        let answer = client.send_request(ask).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let mut socket = TokioIo::new(hyper::upgrade::on(answer).await.expect("a stream"));
        for word in ["one", "two"] {
            socket.write_all(word.as_bytes()).await.expect("sent");
            let mut heard = [0; 3];
            socket.read_exact(&mut heard).await.expect("an echo");
            assert_eq!(&heard, word.as_bytes());
        }
        let plain = Request::connect(place_of(&target("/"))).body(Empty::new()).expect("a request");
        assert_eq!(client.send_request(plain).await.expect("an answer").status(), 405);
    };
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), talk).await }).expect("in time");
}

/// Host and port, as a plain CONNECT has them.
fn place_of(url: &str) -> String {
    url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}
