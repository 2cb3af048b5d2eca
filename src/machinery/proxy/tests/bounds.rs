use super::*;

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[tokio::test]
async fn heads_are_bounded_in_size_and_count() {
    let shop = Backend::saying("ok").await;
    let bench = Bench::shop(vec![shop.upstream()]).await;
    for head in [
        "X-A: b\r\n".repeat(200),
        format!("X-A: {}\r\n", "b".repeat(40_000)),
        format!("X-A: {}\r\n", "b".repeat(1_000_000)),
        format!("{}: b\r\n", "X".repeat(70_000)),
    ] {
        let answer = bench.raw(format!("GET / HTTP/1.1\r\nHost: shop.test\r\n{head}\r\n")).await;
        assert!(answer.is_empty() || status(&answer) == 431, "{answer}");
    }
    let answer = bench.raw(format!("GET /{} HTTP/1.1\r\nHost: shop.test\r\n\r\n", "a".repeat(70_000))).await;
    assert!(answer.is_empty() || matches!(status(&answer), 414 | 431), "{answer}");
    assert_eq!(shop.requests(), 0);
    let fits = format!("GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\nX-A: {}\r\n\r\n", "b".repeat(16_000));
    assert_eq!(status(&bench.raw(fits).await), 200);
}

#[tokio::test]
async fn a_head_without_end_is_cut() {
    let settings = ProxySettings { header_timeout: millis(100), ..quick() };
    let bench = Bench::start(table(TargetState::Live, vec![]), settings).await;
    let mut silent = bench.connect().await;
    let mut slow = bench.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nHost: shop").await.expect("writes");
    let mut drip = bench.connect().await;
    let (mut read, mut write) = drip.split();
    let dripping = async {
        let mut beat = tokio::time::interval(millis(10));
        loop {
            beat.tick().await;
            if write.write_all(b"X").await.is_err() {
                return;
            }
        }
    };
    let mut end = Vec::new();
    soon(async {
        tokio::select! {
            () = dripping => {}
            _ = read.read_to_end(&mut end) => {}
        }
    })
    .await;
    rest(&mut silent).await;
    rest(&mut slow).await;
    // An idle connection ends as well.
    let mut idle = bench.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await.expect("writes");
    let answer = rest(&mut idle).await;
    assert_eq!(status(&answer), 503);
}

#[tokio::test]
async fn a_body_that_stops_is_cut_and_frees_the_upstream() {
    let shop = Backend::saying("never").await;
    let upstream = shop.upstream();
    let settings = ProxySettings { body_timeout: millis(100), ..quick() };
    let bench = Bench::start(table(TargetState::Live, vec![Arc::clone(&upstream)]), settings).await;
    let answer = bench.raw("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 10\r\n\r\nabc").await;
    assert_eq!(status(&answer), 408, "{answer}");
    until(|| upstream.in_flight() == 0).await;
    assert_eq!((shop.requests(), upstream.failures()), (0, 0));
}

#[tokio::test]
async fn an_app_that_does_not_answer_is_given_up() {
    let shop = Backend::start(|mut stream, seen| async move {
        let heard = request(&mut stream).await;
        seen.lock().expect("no panic").extend(heard);
        // Until the proxy closes.
        let _ = stream.read(&mut [0; 1]).await;
        seen.lock().expect("no panic").push("closed".into());
    })
    .await;
    let upstream = shop.upstream();
    let settings = ProxySettings { first_byte_timeout: millis(100), ..quick() };
    let bench = Bench::start(table(TargetState::Live, vec![Arc::clone(&upstream)]), settings).await;
    assert_eq!(status(&bench.get("shop.test").await), 504);
    until(|| shop.requests() == 2).await;
    assert_eq!(shop.last(), "closed");
    assert_eq!(upstream.in_flight(), 0);
}

#[tokio::test]
async fn a_slow_upload_is_no_silent_app() {
    let shop = Backend::saying("got it").await;
    let settings = ProxySettings { first_byte_timeout: millis(200), body_timeout: Duration::from_secs(5), ..quick() };
    let bench = Bench::start(table(TargetState::Live, vec![shop.upstream()]), settings).await;
    let mut stream = bench.connect().await;
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 10\r\nConnection: close\r\n\r\n")
        .await
        .expect("writes");
    let mut beat = tokio::time::interval(millis(60));
    for _ in 0..10 {
        beat.tick().await;
        stream.write_all(b"x").await.expect("writes");
    }
    assert_eq!(body(&rest(&mut stream).await), "got it");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut() {
    let shop = Backend::start(|mut stream, seen| async move {
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("writes");
        while stream.write_all(&[b'x'; 65_536]).await.is_ok() {}
        seen.lock().expect("no panic").push("cut".into());
    })
    .await;
    let upstream = shop.upstream();
    let settings = ProxySettings { write_timeout: millis(200), ..quick() };
    let bench = Bench::start(table(TargetState::Live, vec![Arc::clone(&upstream)]), settings).await;
    let mut stream = bench.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await.expect("writes");
    until(|| shop.requests() == 1).await;
    until(|| upstream.in_flight() == 0).await;
}

#[tokio::test]
async fn connections_are_bounded_by_address_and_in_all() {
    let settings = ProxySettings { max_connections_per_address: 2, ..quick() };
    let bench = Bench::start(table(TargetState::Live, vec![]), settings).await;
    let (first, mut second) = (bench.connect().await, bench.connect().await);
    second.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await.expect("writes");
    read_to(&mut second, "\r\n\r\n").await;
    assert_eq!(rest(&mut bench.connect().await).await, "", "the third is closed at once");
    drop(first);
    soon(async { while bench.get("shop.test").await.is_empty() {} }).await;

    let settings = ProxySettings { max_connections: 1, ..quick() };
    let bench = Bench::start(table(TargetState::Live, vec![]), settings).await;
    let mut first = bench.connect().await;
    first.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await.expect("writes");
    read_to(&mut first, "</html>\n").await;
    let mut second = bench.connect().await;
    second.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await.expect("writes");
    let early = tokio::time::timeout(millis(100), second.read(&mut [0; 1])).await;
    assert!(early.is_err(), "the second waits");
    drop(first);
    read_to(&mut second, "</html>\n").await;
}
