use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[tokio::test]
async fn a_refusing_upstream_is_passed_by() {
    let shop = Backend::saying("ok").await;
    let down = Upstream::new(nobody().await, "down");
    let bench = Bench::shop(vec![Arc::clone(&down), shop.upstream()]).await;
    for n in 0..20 {
        let post = "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody";
        let answer = if n % 2 == 0 { bench.get("shop.test").await } else { bench.raw(post).await };
        assert_eq!(body(&answer), "ok", "{answer}");
        assert!(n % 2 == 0 || shop.last().ends_with("body"));
    }
    assert!(down.failures() <= 1, "after the first refusal the other is preferred: {}", down.failures());
    assert_eq!(down.in_flight(), 0);
}

#[tokio::test]
async fn what_may_be_repeated_is_and_what_may_not_is_not() {
    // Reads one request and closes without an answer.
    let broken = || {
        Backend::start(|mut stream, seen| async move {
            let heard = request(&mut stream).await;
            seen.lock().expect("no panic").extend(heard);
        })
    };
    let (first, second) = (broken().await, broken().await);
    let good = Backend::saying("ok").await;
    let upstreams = vec![first.upstream(), second.upstream(), good.upstream()];
    let bench = Bench::shop(upstreams.clone()).await;
    for _ in 0..5 {
        assert_eq!(body(&bench.get("shop.test").await), "ok");
    }
    let bench = Bench::shop(vec![first.upstream()]).await;
    let before = first.requests();
    let answer =
        bench.raw("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx").await;
    assert_eq!(status(&answer), 502);
    assert_eq!(first.requests(), before + 1, "a POST is sent once");
}

#[tokio::test]
async fn connections_to_the_upstream_are_reused_and_survive_its_closing_them() {
    // Two requests per connection, and no word of it.
    let shop = Backend::start(|mut stream, seen| async move {
        for _ in 0..2 {
            let Some(heard) = request(&mut stream).await else { return };
            seen.lock().expect("no panic").push(heard);
            stream.write_all(ok("ok").as_bytes()).await.expect("writes");
        }
    })
    .await;
    let upstream = shop.upstream();
    let bench = Bench::shop(vec![Arc::clone(&upstream)]).await;
    let mut stream = bench.connect().await;
    for _ in 0..10 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await.expect("writes");
        assert_eq!(status(&read_to(&mut stream, "\r\n\r\nok").await), 200);
    }
    assert_eq!((shop.requests(), upstream.failures()), (10, 0));
    assert_eq!(shop.connections(), 5);
}

#[tokio::test]
async fn a_connection_never_outlives_its_replica() {
    let shop = Backend::saying("ok").await;
    let old = shop.upstream();
    let bench = Bench::shop(vec![Arc::clone(&old)]).await;
    bench.get("shop.test").await;
    bench.get("shop.test").await;
    assert_eq!(shop.connections(), 1);
    // Another replica got the same address.
    bench.publish(table(TargetState::Live, vec![shop.upstream()]));
    old.retire();
    bench.get("shop.test").await;
    assert_eq!(shop.connections(), 2);
}

#[tokio::test]
async fn load_is_spread_by_requests_in_flight() {
    let hold = Arc::new(tokio::sync::Semaphore::new(0));
    let mut backends = Vec::new();
    for _ in 0..3 {
        let hold = Arc::clone(&hold);
        backends.push(
            Backend::start(move |mut stream, seen| {
                let hold = Arc::clone(&hold);
                async move {
                    let heard = request(&mut stream).await;
                    seen.lock().expect("no panic").extend(heard);
                    let _ = hold.acquire().await;
                    let _ = stream.write_all(ok("ok").as_bytes()).await;
                }
            })
            .await,
        );
    }
    let upstreams: Vec<_> = backends.iter().map(Backend::upstream).collect();
    let bench = Bench::shop(upstreams.clone()).await;
    let inside = || upstreams.iter().map(|u| u.in_flight()).sum::<usize>();
    let mut open = Vec::new();
    for n in 1..=30 {
        let mut stream = bench.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await.expect("writes");
        open.push(stream);
        until(|| inside() == n).await;
    }
    // Two choices keep three upstreams within a few requests of each other; one choice would not.
    assert!(upstreams.iter().all(|u| (6..=14).contains(&u.in_flight())), "{upstreams:?}");
    drop(open);
    until(|| inside() == 0).await;
}

#[tokio::test]
async fn a_request_waits_for_an_app_that_starts() {
    let shop = Backend::saying("woke up").await;
    let bench = Bench::start(table(TargetState::Starting, vec![]), quick()).await;
    let mut stream = bench.connect().await;
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        .await
        .expect("writes");
    // A table that changes nothing for this app does not end the wait.
    bench.publish(table(TargetState::Starting, vec![]));
    let early = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut [0; 1])).await;
    assert!(early.is_err());
    bench.publish(table(TargetState::Live, vec![shop.upstream()]));
    assert_eq!(body(&rest(&mut stream).await), "woke up");
    assert!(shop.last().ends_with("hi"));

    bench.publish(table(TargetState::Starting, vec![]));
    let mut stream = bench.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n").await.expect("writes");
    bench.publish(table(TargetState::Stopped, vec![]));
    assert!(rest(&mut stream).await.contains("stopped"), "the wait ends when the app is stopped");
}

#[tokio::test]
async fn tables_change_under_load_without_a_failed_request() {
    const CLIENTS: usize = 8;
    const TABLES: usize = 150;
    let bench = Arc::new(Bench::start(RouteTable::default(), quick()).await);
    let first = Backend::saying("0").await;
    bench.publish(table(TargetState::Live, vec![first.upstream()]));
    let (stop, served) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..CLIENTS {
        let (bench, stop, served) = (Arc::clone(&bench), stop.clone(), Arc::clone(&served));
        clients.spawn(async move {
            let mut stream = bench.connect().await;
            while !stop.is_cancelled() {
                let request: &[u8] = if n % 2 == 0 {
                    b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"
                } else {
                    b"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 2\r\n\r\nhi"
                };
                stream.write_all(request).await.expect("writes");
                let answer = read_to(&mut stream, "\r\n\r\n").await;
                assert_eq!(status(&answer), 200, "{answer}");
                let length: usize = field(&answer, "content-length").expect("a length").parse().expect("a number");
                let mut missing = length - body(&answer).len();
                while missing > 0 {
                    missing -= stream.read(&mut [0; 16][..missing]).await.expect("reads");
                }
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut backend = first;
    let mut upstream = Arc::clone(&bench.table.borrow().target(&host("shop.test")).expect("routed").upstreams[0]);
    for n in 1..=TABLES {
        let next = Backend::saying(&n.to_string()).await;
        let fresh = next.upstream();
        bench.publish(table(TargetState::Live, vec![Arc::clone(&fresh)]));
        soon(upstream.drained()).await;
        // The replica is gone for good: whoever still came would be refused.
        drop(std::mem::replace(&mut backend, next));
        assert_eq!(upstream.failures(), 0);
        upstream = fresh;
        let reached = served.load(Ordering::Relaxed) + CLIENTS;
        until(|| served.load(Ordering::Relaxed) >= reached || clients.is_empty()).await;
    }
    stop.cancel();
    while let Some(client) = soon(clients.join_next()).await {
        client.expect("no client failed");
    }
}

/// Nine of ten requests go to `usual`, one to `canary`.
fn split(usual: Vec<Arc<Upstream>>, canary: Vec<Arc<Upstream>>) -> RouteTable {
    let mut split = Arc::into_inner(target(TargetState::Live, usual)).expect("one");
    split.canary = Some(Portion { percent: 10, upstreams: canary });
    RouteTable::new(None, [(host("shop.test"), Arc::new(split))])
}

#[tokio::test]
async fn a_canary_gets_its_part_of_the_requests() {
    let (old, new) = (Backend::saying("old").await, Backend::saying("new").await);
    let bench = Bench::shop(vec![]).await;
    bench.publish(split(vec![old.upstream(), old.upstream()], vec![new.upstream()]));
    let mut stream = bench.connect().await;
    for _ in 0..1000 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await.expect("writes");
        let answer = read_to(&mut stream, "\r\n\r\n").await;
        assert_eq!(status(&answer), 200);
        if !answer.ends_with("old") && !answer.ends_with("new") {
            let mut body = [0; 3];
            soon(tokio::io::AsyncReadExt::read_exact(&mut stream, &mut body)).await.expect("a body");
        }
    }
    // Five standard deviations of a binomial distribution: not in a million runs by chance.
    let (new, old) = (new.requests(), old.requests());
    assert_eq!(new + old, 1000);
    assert!((53..=147).contains(&new), "{new} of 1000");
}

#[tokio::test]
async fn where_a_group_has_nobody_left_the_other_one_answers() {
    let shop = Backend::saying("ok").await;
    let down = nobody().await;
    let gone = Upstream::new(down, "gone");
    gone.retire();
    for table in [
        split(vec![shop.upstream()], vec![Upstream::new(down, "down")]),
        split(vec![Upstream::new(down, "down")], vec![shop.upstream()]),
        split(vec![shop.upstream()], vec![Arc::clone(&gone)]),
        split(vec![], vec![shop.upstream()]),
    ] {
        let bench = Bench::shop(vec![]).await;
        bench.publish(table);
        for _ in 0..30 {
            assert_eq!(body(&bench.get("shop.test").await), "ok");
        }
    }
}

#[tokio::test]
async fn an_upstream_knows_how_long_its_answers_took() {
    let shop = Backend::start(|mut stream, _| async move {
        while request(&mut stream).await.is_some() {
            tokio::time::sleep(Duration::from_millis(30)).await;
            stream.write_all(ok("slow").as_bytes()).await.expect("writes");
        }
    })
    .await;
    let upstream = shop.upstream();
    let bench = Bench::shop(vec![Arc::clone(&upstream)]).await;
    for _ in 0..3 {
        bench.get("shop.test").await;
    }
    let latency = upstream.latency();
    assert_eq!(latency.iter().sum::<u64>(), 3);
    assert_eq!(latency[..3].iter().sum::<u64>(), 0, "none took less than 25 ms: {latency:?}");
}
