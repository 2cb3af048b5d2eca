use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use super::*;

const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn each_piece_arrives_before_the_next_is_sent() {
    // After each piece the app waits for a word of the client, which comes by another way.
    let (told, heard) = tokio::sync::mpsc::channel::<()>(1);
    let heard = Arc::new(tokio::sync::Mutex::new(heard));
    let shop = Backend::start(move |mut stream, _| {
        let heard = Arc::clone(&heard);
        async move {
            request(&mut stream).await;
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.expect("writes");
            for n in 0..5 {
                stream.write_all(format!("7\r\nevent {n}\r\n").as_bytes()).await.expect("writes");
                heard.lock().await.recv().await;
            }
            stream.write_all(b"0\r\n\r\n").await.expect("writes");
        }
    })
    .await;
    let bench = Bench::shop(vec![shop.upstream()]).await;
    let mut stream = bench.connect().await;
    stream.write_all(HEAD).await.expect("writes");
    for n in 0..5 {
        read_to(&mut stream, &format!("event {n}")).await;
        told.send(()).await.expect("the app listens");
    }
    assert!(rest(&mut stream).await.ends_with("0\r\n\r\n"));
}

#[tokio::test]
async fn uploads_pass_piece_by_piece_and_answers_may_come_first() {
    let shop = Backend::start(|mut stream, _| async move {
        let mut head = read_to(&mut stream, "one").await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\ngot one\r\n")
            .await
            .expect("writes");
        head += &read_to(&mut stream, "0\r\n\r\n").await;
        assert!(head.contains("two"), "{head}");
        stream.write_all(b"7\r\ngot two\r\n0\r\n\r\n").await.expect("writes");
    })
    .await;
    let bench = Bench::shop(vec![shop.upstream()]).await;
    let mut stream = bench.connect().await;
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        .await
        .expect("writes");
    read_to(&mut stream, "got one").await;
    stream.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await.expect("writes");
    assert!(rest(&mut stream).await.contains("got two"));
}

/// Writes until the other side has taken nothing for a while, and says how much went.
async fn pour(stream: &mut (impl tokio::io::AsyncWrite + Unpin), poured: &AtomicUsize) {
    let piece = [b'x'; 65_536];
    while let Ok(Ok(count)) = tokio::time::timeout(Duration::from_millis(500), stream.write(&piece)).await {
        poured.fetch_add(count, Ordering::SeqCst);
    }
}

/// What sockets and the proxy's own buffers may hold at most; the kernel grows the former to some megabytes.
const HELD: usize = 32 << 20;

#[tokio::test]
async fn a_slow_reader_slows_the_writer_both_ways() {
    let (poured, done) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
    let (count, full) = (Arc::clone(&poured), done.clone());
    let shop = Backend::start(move |mut stream, _| {
        let (count, full) = (Arc::clone(&count), full.clone());
        async move {
            request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("writes");
            pour(&mut stream, &count).await;
            full.cancel();
        }
    })
    .await;
    let bench = Bench::shop(vec![shop.upstream()]).await;
    let mut stream = bench.connect().await;
    stream.write_all(HEAD).await.expect("writes");
    soon(done.cancelled()).await;
    let held = poured.load(Ordering::SeqCst);
    assert!(held < HELD, "{held} bytes were taken from the app while the client read none");

    // The app reads nothing of an upload.
    let shop = Backend::start(|mut stream, _| async move {
        read_to(&mut stream, "\r\n\r\n").await;
        std::future::pending::<()>().await;
    })
    .await;
    let bench = Bench::shop(vec![shop.upstream()]).await;
    let mut stream = bench.connect().await;
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 1073741824\r\n\r\n")
        .await
        .expect("writes");
    let poured = AtomicUsize::new(0);
    pour(&mut stream, &poured).await;
    let held = poured.into_inner();
    assert!(held < HELD, "{held} bytes were taken from the client while the app read none");
}

#[tokio::test]
async fn a_large_body_passes_whole() {
    const SIZE: usize = 256 << 20;
    let shop = Backend::start(|mut stream, _| async move {
        read_to(&mut stream, "\r\n\r\n").await;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("writes");
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..SIZE >> 20 {
            stream.write_all(&piece).await.expect("writes");
        }
    })
    .await;
    let bench = Bench::shop(vec![shop.upstream()]).await;
    let mut stream = bench.connect().await;
    stream.write_all(HEAD).await.expect("writes");
    let mut passed = read_to(&mut stream, "\r\n\r\n").await.split_once("\r\n\r\n").expect("a head").1.len();
    let mut piece = vec![0; 1 << 20];
    loop {
        match soon(stream.read(&mut piece)).await.expect("reads") {
            0 => break,
            count => passed += count,
        }
    }
    assert_eq!(passed, SIZE);
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_request_at_the_app() {
    // Leaves while waiting for the head, while reading the body, and in the middle of an upload.
    for (sent, answer) in [
        (HEAD, &b""[..]),
        (HEAD, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome"),
        (b"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 10\r\n\r\nabc", b""),
    ] {
        let shop = Backend::start(move |mut stream, seen| async move {
            read_to(&mut stream, "\r\n\r\n").await;
            stream.write_all(answer).await.expect("writes");
            seen.lock().expect("no panic").push("asked".into());
            while stream.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {}
            seen.lock().expect("no panic").push("left".into());
        })
        .await;
        let upstream = shop.upstream();
        let bench = Bench::shop(vec![Arc::clone(&upstream)]).await;
        let mut stream = bench.connect().await;
        stream.write_all(sent).await.expect("writes");
        until(|| shop.requests() == 1).await;
        if !answer.is_empty() {
            read_to(&mut stream, "some").await;
        }
        assert_eq!(upstream.in_flight(), 1);
        drop(stream);
        until(|| shop.requests() == 2).await;
        until(|| upstream.in_flight() == 0).await;
        assert_eq!(upstream.failures(), 0);
    }
}

#[tokio::test]
async fn an_app_that_breaks_off_never_looks_like_a_whole_answer() {
    for (answer, sound_end) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome", None),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n", Some("0\r\n\r\n")),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nsome", Some("0\r\n\r\n")),
    ] {
        let shop = Backend::start(move |mut stream, _| async move {
            request(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.expect("writes");
        })
        .await;
        let bench = Bench::shop(vec![shop.upstream()]).await;
        let mut stream = bench.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await.expect("writes");
        let got = rest(&mut stream).await;
        // The head may be lost as well.
        assert!(got.is_empty() || status(&got) == 200, "{got}");
        assert!(got.len() < 300 && sound_end.is_none_or(|end| !got.ends_with(end)), "{got}");
    }
}

async fn echo() -> Backend {
    Backend::start(|stream, _| async move {
        let mut socket = tokio_tungstenite::accept_async(stream).await.expect("a handshake");
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() || socket.send(message).await.is_err() {
                break;
            }
        }
    })
    .await
}

#[tokio::test]
async fn websockets_pass_and_count_as_in_flight() {
    let shop = echo().await;
    let upstream = shop.upstream();
    let bench = Bench::shop(vec![Arc::clone(&upstream)]).await;
    let stream = bench.connect().await;
    let (mut socket, answer) =
        tokio_tungstenite::client_async("ws://shop.test/chat", stream).await.expect("a handshake");
    assert_eq!(answer.status(), 101);
    for text in ["hello".to_owned(), "x".repeat(3 << 20)] {
        socket.send(Message::text(text.clone())).await.expect("sends");
        let back = soon(socket.next()).await.expect("a message").expect("sound");
        assert_eq!(back.into_text().expect("text").len(), text.len());
    }
    assert_eq!(upstream.in_flight(), 1);
    // A new table does not touch the tunnel.
    bench.publish(table(TargetState::Stopped, vec![]));
    upstream.retire();
    socket.send(Message::text("still here")).await.expect("sends");
    assert_eq!(soon(socket.next()).await.expect("a message").expect("sound"), Message::text("still here"));
    socket.close(None).await.expect("closes");
    drop(socket);
    soon(upstream.drained()).await;
}

#[tokio::test]
async fn tunnels_end_with_the_drain() {
    let shop = echo().await;
    let upstream = shop.upstream();
    let settings = ProxySettings { drain: Duration::from_millis(50), ..quick() };
    let bench = Bench::start(table(TargetState::Live, vec![Arc::clone(&upstream)]), settings).await;
    let stream = bench.connect().await;
    let (mut socket, _) = tokio_tungstenite::client_async("ws://shop.test/", stream).await.expect("a handshake");
    socket.send(Message::text("hello")).await.expect("sends");
    soon(socket.next()).await;
    bench.shutdown.cancel();
    bench.tasks.close();
    soon(bench.tasks.wait()).await;
    assert!(!matches!(soon(socket.next()).await, Some(Ok(_))));
    assert_eq!(upstream.in_flight(), 0);
}

#[tokio::test]
async fn any_protocol_passes_and_one_side_may_end_first() {
    let shop = Backend::start(|mut stream, _| async move {
        let head = read_to(&mut stream, "\r\n\r\n").await;
        assert_eq!(field(&head, "upgrade").as_deref(), Some("tcp/1"));
        assert_eq!(field(&head, "connection").as_deref(), Some("upgrade"));
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tcp/1\r\n\r\nhello")
            .await
            .expect("writes");
        let said = rest(&mut stream).await;
        stream.write_all(format!("you said {said}").as_bytes()).await.expect("writes");
    })
    .await;
    let bench = Bench::shop(vec![shop.upstream()]).await;
    let mut stream = bench.connect().await;
    let head = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: tcp/1\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("writes");
    let answer = read_to(&mut stream, "hello").await;
    assert_eq!(status(&answer), 101);
    assert_eq!(field(&answer, "upgrade").as_deref(), Some("tcp/1"));
    stream.write_all(b"goodbye").await.expect("writes");
    stream.shutdown().await.expect("ends its side");
    assert_eq!(rest(&mut stream).await, "you said goodbye");
}

#[tokio::test]
async fn an_app_may_decline_to_switch() {
    let shop = Backend::saying("plain").await;
    let bench = Bench::shop(vec![shop.upstream()]).await;
    let mut stream = bench.connect().await;
    for _ in 0..2 {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            .await
            .expect("writes");
        assert_eq!(status(&read_to(&mut stream, "\r\n\r\nplain").await), 200);
    }
    assert_eq!(shop.connections(), 1);
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_upload_reaches_the_client() {
    const SIZE: usize = 16 << 20;
    // Says no after the head and closes, as applications do with bodies that are too large for them.
    let shop = Backend::start(|mut stream, _| async move {
        read_to(&mut stream, "\r\n\r\n").await;
        let no = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
        stream.write_all(no.as_bytes()).await.expect("writes");
    })
    .await;
    let upstream = shop.upstream();
    let bench = Bench::shop(vec![Arc::clone(&upstream)]).await;
    for (name, code) in [("nobody.test", 404), ("shop.test", 413)] {
        let mut stream = bench.connect().await;
        let head = format!("POST / HTTP/1.1\r\nHost: {name}\r\nContent-Length: {SIZE}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("writes");
        // This client reads nothing before it has sent everything, which a reset would keep it from.
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..SIZE >> 20 {
            soon(stream.write_all(&piece)).await.expect("the proxy still listens");
        }
        let answer = rest(&mut stream).await;
        // An app that closes on unread bytes may destroy its own answer; the proxy never adds to that.
        assert!(status(&answer) == code || (code == 413 && status(&answer) == 502), "{name}: {answer}");
    }
    until(|| upstream.in_flight() == 0).await;
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_upload_reaches_a_client_of_http_2() {
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let bench = Bench::shop(vec![]).await;
    let stream = TokioIo::new(bench.connect().await);
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
    bench.tasks.spawn(async move { drop(connection.await) });
    for round in 0..20 {
        for (name, code) in [("nobody.test", 404), ("shop.test", 503)] {
            let body = Full::new(bytes::Bytes::from(vec![b'x'; 4 << 20]));
            let request = hyper::Request::post(format!("http://{name}/")).body(body).expect("a request");
            let answer = soon(client.send_request(request)).await.unwrap_or_else(|e| panic!("{round} {name}: {e:?}"));
            assert_eq!(answer.status(), code);
            let page = soon(answer.into_body().collect()).await.unwrap_or_else(|e| panic!("{round} {name}: {e:?}"));
            assert!(!page.to_bytes().is_empty());
        }
    }
}
