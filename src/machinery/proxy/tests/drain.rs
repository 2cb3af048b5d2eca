use super::*;

/// A backend that tells of each request and answers when told to.
async fn slow() -> (Backend, Arc<tokio::sync::Semaphore>) {
    let go = Arc::new(tokio::sync::Semaphore::new(0));
    let gate = Arc::clone(&go);
    let backend = Backend::start(move |mut stream, seen| {
        let gate = Arc::clone(&gate);
        async move {
            while let Some(request) = request(&mut stream).await {
                seen.lock().expect("no panic").push(request);
                gate.acquire().await.expect("open").forget();
                if stream.write_all(ok("late").as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (backend, go)
}

#[tokio::test]
async fn shutdown_ends_the_idle_at_once_and_lets_requests_finish() {
    let (shop, go) = slow().await;
    let settings = ProxySettings { drain: HANG * 2, header_timeout: HANG * 2, ..quick() };
    let bench = Bench::start(table(TargetState::Live, vec![shop.upstream()]), settings).await;
    let mut untouched = bench.connect().await;
    let mut idle = bench.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n").await.expect("writes");
    read_to(&mut idle, "</html>\n").await;
    let mut busy = bench.connect().await;
    busy.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await.expect("writes");
    until(|| shop.requests() == 1).await;

    bench.shutdown.cancel();
    assert_eq!(rest(&mut untouched).await, "");
    assert_eq!(rest(&mut idle).await, "");
    assert!(TcpStream::connect(bench.address).await.is_err(), "nobody listens any more");
    bench.tasks.close();
    assert!(!bench.tasks.is_empty(), "a request is still inside");
    go.add_permits(1);
    let answer = rest(&mut busy).await;
    assert_eq!((status(&answer), body(&answer)), (200, "late"));
    soon(bench.tasks.wait()).await;
}

#[tokio::test]
async fn one_that_leaves_serves_who_is_connected_and_asks_them_to_go() {
    let (shop, go) = slow().await;
    go.add_permits(3);
    let settings = ProxySettings { header_timeout: HANG * 2, ..quick() };
    let bench = Bench::start(table(TargetState::Live, vec![shop.upstream()]), settings).await;
    let mut untouched = bench.connect().await;
    let mut idle = bench.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await.expect("writes");
    let before = read_to(&mut idle, "late").await;
    assert_eq!(field(&before, "connection"), None);

    bench.proxy.leave();
    bench.tasks.close();
    until(|| std::net::TcpStream::connect(bench.address).is_err()).await;
    for client in [&mut untouched, &mut idle] {
        client.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await.expect("writes");
        let answer = rest(client).await;
        assert_eq!((status(&answer), body(&answer), field(&answer, "connection")), (200, "late", Some("close".into())));
    }
    drop((untouched, idle));
    soon(bench.tasks.wait()).await;
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut() {
    let (shop, _go) = slow().await;
    let upstream = shop.upstream();
    let settings = ProxySettings { drain: Duration::from_millis(50), ..quick() };
    let bench = Bench::start(table(TargetState::Live, vec![Arc::clone(&upstream)]), settings).await;
    let mut busy = bench.connect().await;
    busy.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await.expect("writes");
    until(|| shop.requests() == 1).await;
    bench.shutdown.cancel();
    bench.tasks.close();
    soon(bench.tasks.wait()).await;
    assert_eq!(rest(&mut busy).await, "");
    assert_eq!(upstream.in_flight(), 0);
}

#[tokio::test]
async fn a_retired_upstream_finishes_what_is_inside_and_takes_nothing_more() {
    let ((old, go), new) = (slow().await, Backend::saying("new").await);
    let upstream = old.upstream();
    let bench = Bench::shop(vec![Arc::clone(&upstream)]).await;
    let mut busy = bench.connect().await;
    busy.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n").await.expect("writes");
    until(|| old.requests() == 1).await;
    assert_eq!(upstream.in_flight(), 1);

    bench.publish(table(TargetState::Live, vec![new.upstream()]));
    let mut drained = Box::pin(upstream.drained());
    assert!(futures_util::poll!(drained.as_mut()).is_pending());
    assert_eq!(body(&bench.get("shop.test").await), "new", "visible with the very next request");
    go.add_permits(1);
    assert_eq!(body(&rest(&mut busy).await), "late");
    soon(drained).await;
    assert_eq!((old.requests(), upstream.in_flight()), (1, 0));
}

#[tokio::test]
async fn a_retired_upstream_in_a_table_is_passed_by_until_admitted() {
    let (a, b) = (Backend::saying("a").await, Backend::saying("b").await);
    let (first, second) = (a.upstream(), b.upstream());
    let bench = Bench::shop(vec![Arc::clone(&first), Arc::clone(&second)]).await;
    first.retire();
    for _ in 0..20 {
        assert_eq!(body(&bench.get("shop.test").await), "b");
    }
    second.retire();
    assert_eq!(status(&bench.get("shop.test").await), 503);
    first.admit();
    assert_eq!(body(&bench.get("shop.test").await), "a");
}
