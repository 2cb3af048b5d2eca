//! Upstreams that speak HTTP/2, and what needs it from end to end.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, Response};

use super::*;
use crate::base::model::{Protocol, Traffic};

const CALL: &str = "application/grpc";

/// An upstream of HTTP/2 that runs `talk` for each request; it takes `most` at once of each connection.
async fn serving<F>(
    most: u32,
    talk: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Clone + Send + 'static,
) -> Backend
where
    F: Future<Output = ()> + Send + 'static,
{
    Backend::start(move |stream, _| serve(stream, most, talk.clone())).await
}

async fn serve<F>(stream: TcpStream, most: u32, talk: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let tasks = TaskTracker::new();
    let Ok(mut connection) = h2::server::Builder::new().max_concurrent_streams(most).handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tasks.spawn(talk(request, respond));
    }
}

fn speaking(protocol: Protocol, backend: &Backend) -> Arc<Upstream> {
    Upstream::speaking(protocol, backend.address, "replica")
}

async fn shop(backend: &Backend) -> Bench {
    Bench::shop(vec![speaking(Protocol::H2c, backend)]).await
}

/// Whole, as text.
async fn all(mut body: RecvStream) -> (String, Option<HeaderMap>) {
    let mut text = Vec::new();
    while let Some(piece) = soon(body.data()).await {
        let piece = piece.expect("a piece");
        let _ = body.flow_control().release_capacity(piece.len());
        text.extend_from_slice(&piece);
    }
    (String::from_utf8_lossy(&text).into_owned(), soon(body.trailers()).await.expect("an end"))
}

fn answer(respond: &mut SendResponse<Bytes>, text: impl Into<Bytes>) {
    let mut stream = respond.send_response(Response::new(()), false).expect("a head");
    stream.send_data(text.into(), true).expect("a body");
}

impl Bench {
    /// A client of HTTP/2.
    async fn client(&self) -> SendRequest<Bytes> {
        let (client, connection) = h2::client::handshake(self.connect().await).await.expect("HTTP/2");
        self.tasks.spawn(async move { drop(connection.await) });
        client
    }
}

fn post(host: &str) -> hyper::http::request::Builder {
    Request::post(format!("http://{host}/shop.Cart/Add?x=1"))
}

fn call(host: &str) -> Request<()> {
    post(host).header("content-type", CALL).header("te", "trailers").body(()).expect("a request")
}

fn said<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().expect("text"))
}

/// Says each piece back as it comes, then how it was asked in its trailers.
async fn echo(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let (parts, mut body) = request.into_parts();
    let head = Response::builder().header("content-type", CALL).body(()).expect("a head");
    let mut stream = respond.send_response(head, false).expect("a head");
    while let Some(piece) = body.data().await {
        let Ok(piece) = piece else { return };
        let _ = body.flow_control().release_capacity(piece.len());
        stream.send_data(piece, false).expect("a piece");
    }
    let trailers = body.trailers().await.expect("an end").unwrap_or_default();
    let mut end = HeaderMap::new();
    end.insert("grpc-status", HeaderValue::from_static("0"));
    end.insert("x-sum", trailers.get("x-sum").cloned().unwrap_or(HeaderValue::from_static("none")));
    end.insert("x-te", parts.headers.get("te").cloned().unwrap_or(HeaderValue::from_static("none")));
    end.insert("x-uri", HeaderValue::try_from(parts.uri.to_string()).expect("a value"));
    end.insert("x-host", HeaderValue::from_static(if parts.headers.contains_key("host") { "twice" } else { "once" }));
    stream.send_trailers(end).expect("trailers");
}

#[tokio::test]
async fn a_call_streams_both_ways_at_once_with_trailers_at_either_end() {
    let backend = serving(100, echo).await;
    let bench = shop(&backend).await;
    let mut client = bench.client().await;
    let (answer, mut upload) = client.send_request(call("shop.test"), false).expect("sent");
    // The head of the answer comes before anything of the body goes.
    let answer = soon(answer).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), said(answer.headers(), "content-type")), (200, Some(CALL)));
    let mut body = answer.into_body();
    for word in ["one", "two", "three"] {
        upload.send_data(Bytes::from(word), false).expect("sent");
        let piece = soon(body.data()).await.expect("a piece").expect("a piece");
        assert_eq!(piece, word);
    }
    upload
        .send_trailers(HeaderMap::from_iter([("x-sum".parse().expect("a name"), HeaderValue::from_static("7"))]))
        .expect("sent");
    assert!(soon(body.data()).await.is_none());
    let end = soon(body.trailers()).await.expect("an end").expect("trailers");
    for (name, value) in [
        ("grpc-status", "0"),
        ("x-sum", "7"),
        ("x-te", "trailers"),
        ("x-uri", "http://shop.test/shop.Cart/Add?x=1"),
        ("x-host", "once"),
    ] {
        assert_eq!(said(&end, name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn an_answer_of_trailers_alone_stays_one() {
    let backend = serving(100, |_, mut respond: SendResponse<Bytes>| async move {
        let head =
            Response::builder().header("content-type", CALL).header("grpc-status", "5").body(()).expect("a head");
        respond.send_response(head, true).expect("a head");
    })
    .await;
    let bench = shop(&backend).await;
    let (answer, _upload) = bench.client().await.send_request(call("shop.test"), false).expect("sent");
    let answer = soon(answer).await.expect("an answer");
    assert_eq!(said(answer.headers(), "grpc-status"), Some("5"));
    assert!(answer.body().is_end_stream(), "nothing comes behind the head");
}

#[tokio::test]
async fn what_the_platform_answers_to_a_call_is_a_status_of_grpc_and_to_nobody_else() {
    let gone = Upstream::speaking(Protocol::H2c, nobody().await, "replica");
    let closed = Traffic { maintenance: true, ..Traffic::default() };
    let closed = Arc::new(Target { rules: Some(Arc::new(Rules::new(closed))), ..plain(TargetState::Live, vec![]) });
    let routes = [
        (host("gone.test"), target(TargetState::Live, vec![gone])),
        (host("empty.test"), target(TargetState::Live, vec![])),
        (host("stopped.test"), target(TargetState::Stopped, vec![])),
        (host("closed.test"), closed),
    ];
    let bench = Bench::start(RouteTable::new(None, routes), quick()).await;
    let mut client = bench.client().await;
    for (host, code, status) in [
        ("gone.test", "14", 502),
        ("empty.test", "14", 503),
        ("stopped.test", "14", 503),
        ("closed.test", "14", 503),
        ("nobody.test", "12", 404),
    ] {
        let (answer, _) = client.send_request(call(host), true).expect("sent");
        let answer = soon(answer).await.expect("an answer");
        let headers = answer.headers();
        assert_eq!((answer.status().as_u16(), said(headers, "grpc-status")), (200, Some(code)), "{host}");
        assert_eq!(said(headers, "content-type"), Some(CALL), "{host}");
        assert!(said(headers, "grpc-message").is_some_and(|text| text.len() > 20), "{host}: {headers:?}");
        assert!(headers.contains_key("x-request-id") && answer.body().is_end_stream(), "{host}");
        let page = post(host).header("content-type", "application/json").body(()).expect("a request");
        let (answer, _) = client.send_request(page, true).expect("sent");
        let answer = soon(answer).await.expect("an answer");
        assert_eq!((answer.status().as_u16(), said(answer.headers(), "grpc-status")), (status, None), "{host}");
    }
}

type Talk = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Answers when as many requests wait as `crowd`.
fn crowd(crowd: usize) -> impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> Talk + Clone + Send + 'static {
    let gate = Arc::new(tokio::sync::Barrier::new(crowd));
    move |request, mut respond| {
        let gate = Arc::clone(&gate);
        Box::pin(async move {
            if request.uri().path() != "/first" {
                gate.wait().await;
            }
            answer(&mut respond, "together");
        })
    }
}

async fn got(client: &mut SendRequest<Bytes>, path: &str) -> String {
    let request = Request::get(format!("http://shop.test{path}")).body(()).expect("a request");
    let (answer, _) = client.send_request(request, true).expect("sent");
    all(soon(answer).await.expect("an answer").into_body()).await.0
}

#[tokio::test]
async fn requests_share_a_connection_as_far_as_the_replica_takes_them() {
    for (most, connections) in [(100, 1), (2, 3)] {
        let backend = serving(most, crowd(6)).await;
        let bench = shop(&backend).await;
        let mut client = bench.client().await;
        // How many it takes is known from its settings.
        assert_eq!(got(&mut client, "/first").await, "together");
        let six = (0..6).map(|_| {
            let mut client = client.clone();
            async move { got(&mut client, "/").await }
        });
        for text in futures_util::future::join_all(six).await {
            assert_eq!(text, "together");
        }
        assert_eq!(backend.connections(), connections, "{most} at once");
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_stream_at_the_replica_and_no_other() {
    let resets = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&resets);
    let backend = serving(100, move |request, mut respond: SendResponse<Bytes>| {
        let count = Arc::clone(&count);
        async move {
            if request.uri().path() == "/first" {
                return answer(&mut respond, "well");
            }
            let mut stream = respond.send_response(Response::new(()), false).expect("a head");
            stream.send_data(Bytes::from("begun"), false).expect("a piece");
            let reason = std::future::poll_fn(|cx| stream.poll_reset(cx)).await.expect("a reset");
            assert_eq!(reason, Reason::CANCEL);
            count.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let upstream = speaking(Protocol::H2c, &backend);
    let bench = Bench::shop(vec![Arc::clone(&upstream)]).await;
    let mut client = bench.client().await;
    let request = Request::get("http://shop.test/").body(()).expect("a request");
    let (answer, _) = client.send_request(request, true).expect("sent");
    let mut body = soon(answer).await.expect("an answer").into_body();
    assert_eq!(soon(body.data()).await.expect("a piece").expect("a piece"), "begun");
    drop(body);
    until(|| resets.load(Ordering::SeqCst) == 1 && upstream.in_flight() == 0).await;
    assert_eq!(got(&mut client, "/first").await, "well");
    assert_eq!(backend.connections(), 1);
}

/// The frames of one connection, byte for byte.
struct Frames(TcpStream);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

impl Frames {
    /// The preface of the client has been read, the own one sent.
    async fn new(mut stream: TcpStream) -> Self {
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.expect("a preface");
        assert!(preface.starts_with(b"PRI * HTTP/2.0"));
        let mut frames = Self(stream);
        frames.write(SETTINGS, 0, 0, &[]).await;
        frames
    }

    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        let _ = self.0.write_all(&[&head, payload].concat()).await;
    }

    /// Kind, stream, payload.
    async fn read(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }

    /// The stream of the next request.
    async fn request(&mut self) -> Option<u32> {
        loop {
            if let (HEADERS, stream, _) = self.read().await? {
                return Some(stream);
            }
        }
    }

    /// Says no more. What still comes is read: closing on it would destroy what was said.
    async fn end(&mut self) {
        let _ = self.0.shutdown().await;
        self.rest().await;
    }

    /// Until the other side closes.
    async fn rest(&mut self) {
        while self.read().await.is_some() {}
    }
}

/// Ends the first request so, and answers those that come after it with what they brought.
async fn ending(first: impl Fn(u32) -> (u8, u32, Vec<u8>) + Send + Sync + 'static) -> (Backend, Arc<AtomicUsize>) {
    let (first, seen, turns) = (Arc::new(first), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&seen);
    let backend = Backend::start(move |stream, _| {
        let (first, count, turn) = (Arc::clone(&first), Arc::clone(&count), turns.fetch_add(1, Ordering::SeqCst));
        async move {
            if turn > 0 {
                return serve(stream, 100, move |request, mut respond| {
                    count.fetch_add(1, Ordering::SeqCst);
                    async move { answer(&mut respond, all(request.into_body()).await.0) }
                })
                .await;
            }
            let mut frames = Frames::new(stream).await;
            let stream = frames.request().await.expect("a request");
            count.fetch_add(1, Ordering::SeqCst);
            let (kind, of, payload) = first(stream);
            frames.write(kind, 0, of, &payload).await;
            if kind == GOAWAY {
                return frames.end().await;
            }
            // `200`, and no body.
            while let Some(stream) = frames.request().await {
                count.fetch_add(1, Ordering::SeqCst);
                frames.write(HEADERS, 0x5, stream, &[0x88]).await;
            }
        }
    })
    .await;
    (backend, seen)
}

async fn posted(bench: &Bench, text: &str) -> (u16, String) {
    let request = post("shop.test").header("content-length", text.len()).body(()).expect("a request");
    let (answer, mut upload) = bench.client().await.send_request(request, false).expect("sent");
    upload.send_data(Bytes::from(text.to_owned()), true).expect("sent");
    let answer = soon(answer).await.expect("an answer");
    (answer.status().as_u16(), all(answer.into_body()).await.0)
}

fn goes_away(last: u32, reason: Reason) -> (u8, u32, Vec<u8>) {
    (GOAWAY, 0, [last.to_be_bytes(), u32::from(reason).to_be_bytes()].concat())
}

#[tokio::test]
async fn what_a_replica_did_not_look_at_is_sent_again_with_its_body() {
    for reason in [Reason::NO_ERROR, Reason::ENHANCE_YOUR_CALM] {
        let (backend, seen) = ending(move |_| goes_away(0, reason)).await;
        let bench = shop(&backend).await;
        assert_eq!(posted(&bench, "paid once").await, (200, "paid once".into()), "{reason}");
        assert_eq!((seen.load(Ordering::SeqCst), backend.connections()), (2, 2));
    }
    let refused = |stream| (RST_STREAM, stream, u32::from(Reason::REFUSED_STREAM).to_be_bytes().to_vec());
    let (backend, seen) = ending(refused).await;
    let bench = shop(&backend).await;
    assert_eq!(posted(&bench, "paid once").await.0, 200);
    assert_eq!((seen.load(Ordering::SeqCst), backend.connections()), (2, 1), "on the same connection");
}

#[tokio::test]
async fn what_a_replica_may_have_done_is_not_done_twice() {
    let reset = |stream| (RST_STREAM, stream, u32::from(Reason::INTERNAL_ERROR).to_be_bytes().to_vec());
    let (backend, seen) = ending(reset).await;
    let bench = shop(&backend).await;
    assert_eq!(posted(&bench, "paid once").await.0, 502);
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    let (backend, seen) = ending(|stream| goes_away(stream, Reason::NO_ERROR)).await;
    let bench = shop(&backend).await;
    assert_eq!(posted(&bench, "paid once").await.0, 502);
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    // Refused when more had been sent than is kept.
    let backend = Backend::start(|stream, seen| async move {
        let mut frames = Frames::new(stream).await;
        let stream = frames.request().await.expect("a request");
        seen.lock().expect("no panic").push(stream.to_string());
        for of in [0, stream] {
            frames.write(WINDOW_UPDATE, 0, of, &(1_u32 << 20).to_be_bytes()).await;
        }
        let mut sent = 0;
        while sent < 100_000 {
            let (kind, _, payload) = frames.read().await.expect("a frame");
            sent += if kind == DATA { payload.len() } else { 0 };
        }
        frames.write(RST_STREAM, 0, stream, &u32::from(Reason::REFUSED_STREAM).to_be_bytes()).await;
        while let Some(stream) = frames.request().await {
            seen.lock().expect("no panic").push(stream.to_string());
        }
    })
    .await;
    let bench = shop(&backend).await;
    assert_eq!(posted(&bench, &"x".repeat(200_000)).await.0, 502);
    assert_eq!(backend.requests(), 1);
}

#[tokio::test]
async fn slow_clients_of_some_answers_leave_room_for_the_others() {
    let windows = Arc::new(Mutex::new(None));
    let told = Arc::clone(&windows);
    let backend = Backend::start(move |stream, _| {
        let told = Arc::clone(&told);
        async move {
            let mut frames = Frames::new(stream).await;
            let (mut of_stream, mut of_all) = (65_535_u64, 65_535_u64);
            loop {
                match frames.read().await.expect("a frame") {
                    (SETTINGS, _, payload) => {
                        let settings = payload
                            .chunks_exact(6)
                            .map(|s| (u16::from_be_bytes([s[0], s[1]]), u32::from_be_bytes([s[2], s[3], s[4], s[5]])));
                        settings.filter(|(id, _)| *id == 4).for_each(|(_, size)| of_stream = size.into());
                    }
                    (WINDOW_UPDATE, 0, payload) => {
                        of_all += u64::from(u32::from_be_bytes(payload.try_into().expect("four bytes")));
                    }
                    (HEADERS, stream, _) => {
                        *told.lock().expect("no panic") = Some((of_stream, of_all));
                        frames.write(HEADERS, 0x5, stream, &[0x88]).await;
                    }
                    _ => {}
                }
            }
        }
    })
    .await;
    let bench = shop(&backend).await;
    assert_eq!(status(&bench.get("shop.test").await), 200);
    let (of_stream, of_all) = windows.lock().expect("no panic").expect("windows");
    assert!(of_all >= of_stream * 100, "{of_stream} of each, {of_all} of all");
}

#[tokio::test]
async fn clients_of_http_1_reach_it_too() {
    let backend = serving(100, |request: Request<RecvStream>, mut respond: SendResponse<Bytes>| async move {
        let (parts, body) = request.into_parts();
        let (text, trailers) = all(body).await;
        let names: Vec<_> = parts.headers.keys().map(|name| name.as_str()).collect();
        let sum = trailers.and_then(|t| said(&t, "x-sum").map(str::to_owned)).unwrap_or_default();
        let text = format!("{} {} {text} {sum} [{}]", parts.method, parts.uri, names.join(" "));
        let head = Response::builder().header("trailer", "x-end").body(()).expect("a head");
        let mut stream = respond.send_response(head, false).expect("a head");
        stream.send_data(text.into(), false).expect("a body");
        stream
            .send_trailers(HeaderMap::from_iter([("x-end".parse().expect("a name"), HeaderValue::from_static("9"))]))
            .expect("an end");
    })
    .await;
    let bench = shop(&backend).await;
    let said = bench
        .raw(
            "PUT /a?b HTTP/1.1\r\nHost: Shop.test:80\r\nTE: trailers\r\nConnection: TE, close, x-mine\r\nX-Mine: 1\r\n\
             Keep-Alive: 5\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n",
        )
        .await;
    assert!(said.contains("PUT http://shop.test:80/a?b hi 7 ["), "{said}");
    assert!(said.ends_with("0\r\nx-end: 9\r\n\r\n"), "{said}");
    let names: Vec<_> = said.split(['[', ']']).nth(1).expect("names").split(' ').collect();
    for name in ["host", "connection", "transfer-encoding", "keep-alive", "x-mine"] {
        assert!(!names.contains(&name), "{name}: {said}");
    }
    // A switch of protocols is none of HTTP/2: the request goes without it.
    let said = bench
        .raw("GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n")
        .await;
    assert!(status(&said) == 200 && !said.contains("upgrade"), "{said}");
}

#[tokio::test]
async fn answers_that_are_none_of_http_2_become_a_page() {
    for bytes in
        [&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..], b"", b"\0\0\0\x04\0\0\0\0\0garbage garbage garbage"]
    {
        let backend = Backend::start(move |mut stream, _| async move {
            read_to(&mut stream, "SM\r\n\r\n").await;
            let _ = stream.write_all(bytes).await;
        })
        .await;
        let bench = shop(&backend).await;
        assert_eq!(status(&bench.get("shop.test").await), 502, "{bytes:?}");
    }
    // A head without an end.
    let backend = Backend::start(|stream, _| async move {
        let mut frames = Frames::new(stream).await;
        let stream = frames.request().await.expect("a request");
        frames.write(HEADERS, 0, stream, &[0x88]).await;
        for _ in 0..1000 {
            // A literal field of 16,000 bytes, never indexed.
            let field = [&[0x10, 1, b'x', 0x7f, 0x81, 0x7c][..], &[b'y'; 16_000]].concat();
            frames.write(9, 0, stream, &field).await;
        }
        frames.rest().await;
    })
    .await;
    let bench = shop(&backend).await;
    assert_eq!(status(&bench.get("shop.test").await), 502);
}

#[tokio::test]
async fn who_speaks_something_else_from_now_on_is_spoken_to_so() {
    let old = Backend::saying("one").await;
    let upstream = old.upstream();
    let bench = Bench::shop(vec![Arc::clone(&upstream)]).await;
    assert_eq!(body(&bench.get("shop.test").await), "one");
    upstream.speak(Protocol::H2c);
    assert_eq!(status(&bench.get("shop.test").await), 502, "nobody there speaks it");
    upstream.speak(Protocol::Http1);
    assert_eq!(body(&bench.get("shop.test").await), "one");
}

#[tokio::test]
async fn a_connection_that_was_taken_in_clear_is_not_taken_for_one_in_tls() {
    let (asked, gate) = (CancellationToken::new(), CancellationToken::new());
    let (told, opens) = (asked.clone(), gate.clone());
    let old = Backend::start(move |mut stream, _| {
        let (told, opens) = (told.clone(), opens.clone());
        async move {
            while stream.read_buf(&mut Vec::with_capacity(4096)).await.is_ok_and(|read| read > 0) {
                told.cancel();
                opens.cancelled().await;
                let _ = stream.write_all(ok("one").as_bytes()).await;
            }
        }
    })
    .await;
    let upstream = old.upstream();
    let bench = Bench::shop(vec![Arc::clone(&upstream)]).await;
    let (answer, ()) = tokio::join!(bench.get("shop.test"), async {
        asked.cancelled().await;
        upstream.speak(Protocol::Https);
        gate.cancel();
    });
    assert_eq!(body(&answer), "one");
    until(|| upstream.in_flight() == 0).await;
    assert_eq!(status(&bench.get("shop.test").await), 502, "nobody there speaks it");
}

#[tokio::test]
async fn a_connection_that_says_nothing_to_anybody_is_left_for_another() {
    let turns = Arc::new(AtomicUsize::new(0));
    let backend = Backend::start(move |stream, _| {
        let turn = turns.fetch_add(1, Ordering::SeqCst);
        async move {
            if turn == 0 {
                return Frames::new(stream).await.rest().await;
            }
            serve(stream, 100, |_, mut respond| async move { answer(&mut respond, "well") }).await;
        }
    })
    .await;
    let upstreams = vec![speaking(Protocol::H2c, &backend)];
    let impatient = Arc::new(Rules::new(Traffic { timeout_seconds: Some(1), ..Traffic::default() }));
    let impatient = Target { rules: Some(impatient), ..plain(TargetState::Live, upstreams.clone()) };
    let bench = Bench::start(RouteTable::new(None, [(host("shop.test"), Arc::new(impatient))]), quick()).await;
    assert_eq!(status(&bench.get("shop.test").await), 504);
    bench.publish(table(TargetState::Live, upstreams));
    let answer = bench.get("shop.test").await;
    assert!(status(&answer) == 200 && answer.contains("well"), "{answer}");
    assert_eq!(backend.connections(), 2);
}

/// By a word, in the middle of one, and by garbage: the next request is for another connection, one that cannot be repeated too.
#[tokio::test]
async fn a_connection_that_ended_while_it_rested_is_not_used_again() {
    const GOES_AWAY: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0";
    for last in [GOES_AWAY, b"", b"\0\0\x08", b"HTTP/1.1 400 Bad Request\r\n\r\n"] {
        let (turns, ended) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let told = ended.clone();
        let backend = Backend::start(move |stream, _| {
            let (turn, told) = (turns.fetch_add(1, Ordering::SeqCst), told.clone());
            async move {
                if turn > 0 {
                    return serve(stream, 100, echo).await;
                }
                let mut frames = Frames::new(stream).await;
                let stream = frames.request().await.expect("a request");
                frames.write(HEADERS, 0x5, stream, &[0x88]).await;
                let _ = frames.0.write_all(last).await;
                frames.end().await;
                told.cancel();
            }
        })
        .await;
        let bench = shop(&backend).await;
        assert_eq!(status(&bench.get("shop.test").await), 200);
        soon(ended.cancelled()).await;
        let (code, text) = posted(&bench, "again").await;
        assert_eq!((code, text.as_str()), (200, "again"), "{last:?}");
        assert_eq!(backend.connections(), 2);
    }
}

#[tokio::test]
async fn a_replica_that_retires_ends_what_is_inside_and_then_its_connection() {
    let ended = CancellationToken::new();
    let told = ended.clone();
    let backend = Backend::start(move |stream, _| {
        let told = told.clone();
        async move {
            serve(stream, 100, echo).await;
            told.cancel();
        }
    })
    .await;
    let upstream = speaking(Protocol::H2c, &backend);
    let bench = Bench::shop(vec![Arc::clone(&upstream)]).await;
    let (answer, mut upload) = bench.client().await.send_request(call("shop.test"), false).expect("sent");
    let mut body = soon(answer).await.expect("an answer").into_body();
    upstream.retire();
    assert_eq!(upstream.in_flight(), 1);
    upload.send_data(Bytes::from("last"), true).expect("sent");
    assert_eq!(soon(body.data()).await.expect("a piece").expect("a piece"), "last");
    assert!(soon(body.data()).await.is_none());
    assert_eq!(
        soon(body.trailers()).await.expect("an end").map(|end| end["grpc-status"].clone()),
        Some("0".parse().expect("a value"))
    );
    soon(upstream.drained()).await;
    soon(ended.cancelled()).await;
}
