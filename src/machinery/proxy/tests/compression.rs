use std::io::{Cursor, Read};

use tokio::sync::Notify;

use super::rules::{asking, ruled};
use super::*;

async fn compressing(shop: &Backend) -> Bench {
    ruled(vec![shop.upstream()], |t| t.compression = true).await
}

const KINDS: [&str; 3] = ["zstd", "br", "gzip"];

/// What can be read of the beginning of an encoded answer.
fn decoded(coding: &str, body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut reader: Box<dyn Read> = match coding {
        "zstd" => Box::new(zstd::stream::read::Decoder::new(Cursor::new(body)).expect("a decoder")),
        "br" => Box::new(brotli::Decompressor::new(Cursor::new(body), 4096)),
        "gzip" => Box::new(flate2::read::GzDecoder::new(Cursor::new(body))),
        _ => Box::new(Cursor::new(body)),
    };
    let mut piece = [0; 512];
    while let Ok(count @ 1..) = reader.read(&mut piece) {
        plain.extend_from_slice(&piece[..count]);
    }
    plain
}

/// Whether the encoded answer is there to its end.
fn is_whole(coding: &str, body: &[u8]) -> bool {
    let mut out = Vec::new();
    match coding {
        "zstd" => zstd::stream::copy_decode(body, &mut out).is_ok(),
        "br" => brotli::BrotliDecompress(&mut Cursor::new(body), &mut out).is_ok(),
        _ => flate2::read::GzDecoder::new(body).read_to_end(&mut out).is_ok(),
    }
}

struct Got {
    head: String,
    body: Vec<u8>,
    /// What came behind the last chunk.
    end: Option<String>,
}

impl Got {
    fn of(bytes: &[u8]) -> Self {
        let at = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
        let mut rest = &bytes[at..];
        if field(&head, "transfer-encoding").is_none() {
            return Self { head, body: rest.to_vec(), end: None };
        }
        let (mut body, mut end) = (Vec::new(), None);
        while let Some(line) = rest.windows(2).position(|w| w == b"\r\n") {
            let size = std::str::from_utf8(&rest[..line]).expect("a size");
            let size = usize::from_str_radix(size, 16).expect("a size");
            rest = &rest[line + 2..];
            if size == 0 {
                end = Some(String::from_utf8_lossy(rest).into_owned());
                break;
            }
            let Some(piece) = rest.get(..size) else { break };
            body.extend_from_slice(piece);
            rest = rest.get(size + 2..).unwrap_or_default();
        }
        Self { head, body, end }
    }

    fn field(&self, name: &str) -> Option<String> {
        field(&self.head, name)
    }

    fn coding(&self) -> String {
        self.field("content-encoding").unwrap_or_default()
    }
}

async fn ask(bench: &Bench, request: &str) -> Got {
    let mut stream = bench.connect().await;
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut bytes = Vec::new();
    let _ = soon(stream.read_to_end(&mut bytes)).await;
    Got::of(&bytes)
}

fn text() -> String {
    (0..5000).map(|n| format!("line {n} of a text\n")).collect()
}

fn said(head: &str, text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{head}Content-Length: {}\r\n\r\n{text}", text.len())
}

#[tokio::test]
async fn text_is_compressed_as_the_client_takes_it() {
    let plain = text();
    let head = "Content-Type: text/html; charset=utf-8\r\nETag: \"a1\"\r\nAccept-Ranges: bytes\r\nVary: cookie\r\n";
    let whole = Backend::answering(said(head, &plain)).await;
    let pieces: String = plain.as_bytes().chunks(7919).fold(String::new(), |all, piece| {
        all + &format!("{:x}\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece))
    });
    let chunked =
        Backend::answering(format!("HTTP/1.1 200 OK\r\n{head}Transfer-Encoding: chunked\r\n\r\n{pieces}0\r\n\r\n"))
            .await;
    for shop in [&whole, &chunked] {
        let upstream = shop.upstream();
        let bench = ruled(vec![Arc::clone(&upstream)], |t| t.compression = true).await;
        for coding in KINDS {
            let got = ask(&bench, &asking(&format!("Accept-Encoding: {coding}\r\n"))).await;
            assert_eq!(got.coding(), coding, "{}", got.head);
            assert!(got.body.len() < plain.len() / 3, "{} of {}", got.body.len(), plain.len());
            assert!(is_whole(coding, &got.body) && decoded(coding, &got.body) == plain.as_bytes(), "{coding}");
            assert_eq!(got.field("etag").as_deref(), Some("W/\"a1\""));
            assert_eq!(["content-length", "accept-ranges"].map(|name| got.field(name)), [None, None]);
            assert!(got.head.to_lowercase().contains("vary: accept-encoding") && got.head.contains("cookie"));
        }
        until(|| upstream.in_flight() == 0).await;
        assert_eq!((shop.requests(), shop.connections()), (3, 1), "the connection to the app is used again");
        // Nobody asked for it: as it is, and told apart by caches.
        let got = ask(&bench, &asking("")).await;
        assert_eq!((got.coding().as_str(), got.body == plain.as_bytes()), ("", true));
        assert_eq!(got.field("etag").as_deref(), Some("\"a1\""));
        assert!(got.head.to_lowercase().contains("vary: accept-encoding"), "{}", got.head);
    }
    // Without the rule nothing is touched.
    let bench = Bench::shop(vec![whole.upstream()]).await;
    let got = ask(&bench, &asking("Accept-Encoding: gzip\r\n")).await;
    assert_eq!((got.coding().as_str(), got.field("vary").as_deref()), ("", Some("cookie")));
}

#[tokio::test]
async fn what_must_not_be_touched_goes_on_as_it_is() {
    let plain = text();
    let answer = |status: &str, head: &str| {
        format!("HTTP/1.1 {status}\r\n{head}ETag: \"a1\"\r\nContent-Length: {}\r\n\r\n{plain}", plain.len())
    };
    let kind = "Content-Type: text/plain\r\n";
    for (status, head, request, varies) in [
        ("200 OK", "Content-Type: image/png\r\n", "", false),
        ("200 OK", "Content-Type: application/grpc\r\n", "", false),
        ("200 OK", "", "", false),
        ("200 OK", &format!("{kind}Content-Encoding: br\r\n"), "", false),
        ("200 OK", &format!("{kind}Cache-Control: public, No-Transform\r\n"), "", false),
        ("200 OK", &format!("{kind}Content-Digest: sha-256=:x:\r\n"), "", false),
        ("206 Partial Content", &format!("{kind}Content-Range: bytes 0-9/100\r\n"), "Range: bytes=0-9\r\n", false),
        ("416 Range Not Satisfiable", &format!("{kind}Content-Range: bytes */100\r\n"), "", false),
        ("200 OK", kind, "Range: bytes=0-\r\n", true),
        ("200 OK", kind, "Cache-Control: no-transform\r\n", true),
    ] {
        let shop = Backend::answering(answer(status, head)).await;
        let got = ask(&compressing(&shop).await, &asking(&format!("Accept-Encoding: gzip, br\r\n{request}"))).await;
        assert!(got.body == plain.as_bytes(), "{status} {head} {request}: {}", got.head);
        assert_eq!(got.coding(), if head.contains("Encoding") { "br" } else { "" }, "{head}");
        assert_eq!(got.field("etag").as_deref(), Some("\"a1\""), "{head}");
        assert_eq!(got.field("content-length"), Some(plain.len().to_string()), "{head}");
        assert_eq!(got.field("vary").is_some(), varies, "{status} {head} {request}: {}", got.head);
    }
    // A status that is not 200 is no reason.
    let shop = Backend::answering(answer("404 Not Found", kind)).await;
    let got = ask(&compressing(&shop).await, &asking("Accept-Encoding: gzip\r\n")).await;
    assert_eq!((got.coding().as_str(), decoded("gzip", &got.body) == plain.as_bytes()), ("gzip", true));
}

#[tokio::test]
async fn answers_without_a_body_or_with_little_stay_and_keep_the_connection_in_step() {
    for (head, body) in [
        ("HTTP/1.1 204 No Content\r\nContent-Type: text/plain\r\n\r\n", ""),
        ("HTTP/1.1 304 Not Modified\r\nETag: \"a1\"\r\n\r\n", ""),
        ("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n", ""),
        ("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n", "hello"),
    ] {
        let shop = Backend::answering(format!("{head}{body}")).await;
        let bench = compressing(&shop).await;
        let one = "GET / HTTP/1.1\r\nHost: shop.test\r\nAccept-Encoding: gzip\r\n\r\n";
        let got = bench.raw(format!("{one}{}", asking("Accept-Encoding: gzip\r\n"))).await;
        let first = head.lines().next().expect("a status line");
        assert_eq!(got.matches(first).count(), 2, "{got}");
        assert!(field(&got, "content-encoding").is_none() && got.ends_with(body), "{got}");
    }
}

#[tokio::test]
async fn a_head_says_what_a_get_would() {
    let plain = text();
    let shop = Backend::start(move |mut stream, seen| {
        let plain = plain.clone();
        async move {
            while let Some(request) = request(&mut stream).await {
                let is_head = request.starts_with("HEAD");
                seen.lock().expect("no panic").push(request);
                let whole = said("Content-Type: text/css\r\nETag: \"a1\"\r\n", &plain);
                let end = if is_head { whole.len() - plain.len() } else { whole.len() };
                stream.write_all(&whole.as_bytes()[..end]).await.expect("writes");
            }
        }
    })
    .await;
    let bench = compressing(&shop).await;
    for accepted in ["gzip", "identity"] {
        let get = asking(&format!("Accept-Encoding: {accepted}\r\n"));
        let (got, head) = (ask(&bench, &get).await, ask(&bench, &get.replace("GET", "HEAD")).await);
        for name in ["content-encoding", "etag", "vary", "content-type", "content-length"] {
            assert_eq!(head.field(name), got.field(name), "{accepted} {name}: {}", head.head);
        }
        assert!(head.body.is_empty() && !got.body.is_empty());
    }
}

#[tokio::test]
async fn what_is_unchanged_is_known_by_the_name_that_the_client_has() {
    let shop = Backend::answering("HTTP/1.1 304 Not Modified\r\nETag: \"a1\"\r\n\r\n").await;
    let bench = compressing(&shop).await;
    for (known, tag) in
        [("W/\"a1\"", "W/\"a1\""), ("\"x\", W/\"a1\"", "W/\"a1\""), ("\"a1\"", "\"a1\""), ("*", "\"a1\"")]
    {
        let got = ask(&bench, &asking(&format!("Accept-Encoding: gzip\r\nIf-None-Match: {known}\r\n"))).await;
        assert_eq!((status(&got.head), got.field("etag").as_deref()), (304, Some(tag)), "{known}");
        assert_eq!(got.field("vary").as_deref(), Some("accept-encoding"));
    }
}

#[tokio::test]
async fn each_event_arrives_before_the_next_is_sent() {
    for coding in KINDS {
        let word = Arc::new(Notify::new());
        let told = Arc::clone(&word);
        let shop = Backend::start(move |mut stream, _| {
            let told = Arc::clone(&told);
            async move {
                request(&mut stream).await;
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
                stream.write_all(head.as_bytes()).await.expect("writes");
                for n in 0..3 {
                    stream.write_all(format!("7\r\nevent {n}\r\n").as_bytes()).await.expect("writes");
                    told.notified().await;
                }
                stream.write_all(b"0\r\n\r\n").await.expect("writes");
            }
        })
        .await;
        let bench = compressing(&shop).await;
        let mut stream = bench.connect().await;
        stream.write_all(asking(&format!("Accept-Encoding: {coding}\r\n")).as_bytes()).await.expect("writes");
        let mut bytes = Vec::new();
        for n in 0..3 {
            let wanted = (0..=n).map(|n| format!("event {n}")).collect::<String>();
            soon(async {
                let is_there = |bytes: &[u8]| {
                    bytes.windows(4).any(|w| w == b"\r\n\r\n")
                        && decoded(coding, &Got::of(bytes).body) == wanted.as_bytes()
                };
                while !is_there(&bytes) {
                    assert!(stream.read_buf(&mut bytes).await.expect("reads") > 0, "{coding}: closed before event {n}");
                }
            })
            .await;
            word.notify_one();
        }
        let _ = soon(stream.read_to_end(&mut bytes)).await;
        let got = Got::of(&bytes);
        assert!(got.end.is_some() && is_whole(coding, &got.body), "{coding}");
    }
}

#[tokio::test]
async fn trailers_come_behind_the_compressed_body() {
    let plain = text();
    let shop = Backend::answering(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{plain}\r\n0\r\nX-Sum: 7\r\n\r\n",
        plain.len()
    ))
    .await;
    let got = ask(&compressing(&shop).await, &asking("Accept-Encoding: zstd\r\nTE: trailers\r\n")).await;
    assert!(decoded("zstd", &got.body) == plain.as_bytes());
    assert_eq!(got.end.as_deref(), Some("x-sum: 7\r\n\r\n"));
}

#[tokio::test]
async fn an_app_that_breaks_off_never_looks_like_a_whole_answer() {
    let plain = text();
    let cut = said("Content-Type: text/plain\r\n", &plain)[..plain.len() / 2].to_owned();
    for coding in KINDS {
        let (cut, word) = (cut.clone(), Arc::new(Notify::new()));
        let told = Arc::clone(&word);
        let shop = Backend::start(move |mut stream, _| {
            let (cut, told) = (cut.clone(), Arc::clone(&told));
            async move {
                request(&mut stream).await;
                stream.write_all(cut.as_bytes()).await.expect("writes");
                told.notified().await;
            }
        })
        .await;
        let upstream = shop.upstream();
        let bench = ruled(vec![Arc::clone(&upstream)], |t| t.compression = true).await;
        let mut stream = bench.connect().await;
        stream.write_all(asking(&format!("Accept-Encoding: {coding}\r\n")).as_bytes()).await.expect("writes");
        let mut bytes = Vec::new();
        soon(async {
            while !bytes.windows(4).any(|w| w == b"\r\n\r\n") {
                assert!(stream.read_buf(&mut bytes).await.expect("reads") > 0, "closed before the head");
            }
        })
        .await;
        word.notify_one();
        let _ = soon(stream.read_to_end(&mut bytes)).await;
        let got = Got::of(&bytes);
        assert_eq!((got.coding().as_str(), &got.end), (coding, &None), "{}", got.head);
        assert!(!is_whole(coding, &got.body), "{coding}");
        until(|| upstream.in_flight() == 0).await;
    }
}

/// An answer without end: with a reader that reads none, the app is not read either.
#[tokio::test]
async fn a_slow_reader_slows_the_app() {
    let poured = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (count, done) = (Arc::clone(&poured), CancellationToken::new());
    let full = done.clone();
    let shop = Backend::start(move |mut stream, _| {
        let (count, full) = (Arc::clone(&count), full.clone());
        async move {
            request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n").await.expect("writes");
            // Nothing that gets any shorter.
            let mut piece = [0; 65_536];
            piece.iter_mut().for_each(|byte| *byte = rand::random());
            while let Ok(Ok(taken)) = tokio::time::timeout(Duration::from_millis(500), stream.write(&piece)).await {
                count.fetch_add(taken, std::sync::atomic::Ordering::SeqCst);
                piece.rotate_left(1);
                piece[0] = rand::random();
                piece.iter_mut().step_by(16).for_each(|byte| *byte = rand::random());
            }
            full.cancel();
        }
    })
    .await;
    let bench = compressing(&shop).await;
    let mut stream = bench.connect().await;
    stream.write_all(asking("Accept-Encoding: gzip\r\n").as_bytes()).await.expect("writes");
    soon(done.cancelled()).await;
    let held = poured.load(std::sync::atomic::Ordering::SeqCst);
    assert!(held < 32 << 20, "{held} bytes were taken from the app while the client read none");
}

#[tokio::test]
async fn who_holds_all_presses_of_an_app_keeps_nobody_from_an_answer() {
    let shop = Backend::start(|mut stream, _| async move {
        let Some(request) = request(&mut stream).await else { return };
        if request.starts_with("GET /a?b=c") {
            let _ = stream.write_all(said("Content-Type: text/plain\r\n", &text()).as_bytes()).await;
            return;
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        let _ = stream.write_all(head.as_bytes()).await;
        std::future::pending::<()>().await;
    })
    .await;
    let upstream = shop.upstream();
    let bench = ruled(vec![Arc::clone(&upstream)], |t| t.compression = true).await;
    let mut held = Vec::new();
    for _ in 0..32 {
        let mut stream = bench.connect().await;
        let request = "GET /events HTTP/1.1\r\nHost: shop.test\r\nAccept-Encoding: gzip\r\n\r\n";
        stream.write_all(request.as_bytes()).await.expect("writes");
        assert!(read_to(&mut stream, "\r\n\r\n").await.contains("content-encoding: gzip"));
        held.push(stream);
    }
    let got = ask(&bench, &asking("Accept-Encoding: gzip\r\n")).await;
    assert_eq!((got.coding().as_str(), got.body == text().as_bytes()), ("", true), "{}", got.head);
    held.clear();
    until(|| upstream.in_flight() == 0).await;
    let got = ask(&bench, &asking("Accept-Encoding: gzip\r\n")).await;
    assert_eq!((got.coding().as_str(), decoded("gzip", &got.body) == text().as_bytes()), ("gzip", true));
}
